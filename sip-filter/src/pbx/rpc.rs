//! JSON-RPC 2.0 to a PBX: by datagrams to a Unix socket, or by HTTP.
//!
//! Every call is bounded in time and in what it may answer; one call is under way at a time.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net as unix;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Buf, Bytes};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::{TcpStream, UnixDatagram};
use tokio::time::timeout;

use super::Fault;
use super::aside::aside;

/// How long an answer may take: a PBX copies its whole table for a dump.
const ANSWER_TIMEOUT: Duration = super::patience(10);
/// The longest answer by HTTP, with some 60,000 contacts at 900 bytes.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// What is read in less time than it takes to have another thread do it.
const SMALL_BYTES_MAX: usize = 16 * 1024;
/// The longest datagram that Linux carries between Unix sockets as they come.
const DATAGRAM_BYTES_MAX: usize = 256 * 1024;

/// Where a PBX answers.
pub(super) struct Rpc {
    way: Way,
    address: String,
    count: u64,
}

enum Way {
    Datagrams(UnixDatagram),
    /// The path of the URL.
    Http(&'static str),
}

/// What the PBX objects to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Objection {
    pub(super) code: i64,
    pub(super) message: String,
}

/// What a call came to: a result or an objection, unless the link itself is at fault.
pub(super) type Answer<T> = Result<Result<T, Objection>, Fault>;

/// What came, before anybody read it.
struct Raw {
    body: Box<dyn Buf + Send>,
    /// What is wrong where it turns out to be no JSON, if not that.
    otherwise: Option<String>,
}

impl Rpc {
    /// To a Unix socket where `address` begins with a slash, else by HTTP with this path.
    pub(super) fn open(address: &str, path: &'static str) -> Result<Self, Fault> {
        let way = if address.starts_with('/') {
            Way::Datagrams(
                connect(address)
                    .map_err(|source| Fault::Unreachable { address: address.to_owned(), source })?,
            )
        } else {
            Way::Http(path)
        };
        Ok(Self { way, address: address.to_owned(), count: 0 })
    }

    pub(super) fn is_by_datagrams(&self) -> bool {
        matches!(self.way, Way::Datagrams(_))
    }

    pub(super) async fn call(&mut self, method: &'static str, parameters: Value) -> Answer<Value> {
        self.read(method, parameters, |value| value).await
    }

    /// Calls, and has a result read, beside the runtime where it is long.
    pub(super) async fn read<T: Send + 'static>(
        &mut self,
        method: &'static str,
        parameters: Value,
        read: fn(Value) -> T,
    ) -> Answer<T> {
        self.count += 1;
        let request =
            json!({"jsonrpc": "2.0", "method": method, "params": parameters, "id": self.count}).to_string();
        let exchange = async {
            match &self.way {
                Way::Datagrams(socket) => exchange(socket, &self.address, &request, self.count).await,
                Way::Http(path) => post(&self.address, path, request).await,
            }
        };
        let silent = Fault::Silent { awaited: method, within: ANSWER_TIMEOUT };
        let raw = timeout(ANSWER_TIMEOUT, exchange).await.unwrap_or(Err(silent))?;
        let is_small = raw.body.remaining() <= SMALL_BYTES_MAX;
        let work = move || Ok(understand(raw.parse()?)?.map(read));
        if is_small { work() } else { aside(work).await? }
    }
}

impl Raw {
    fn parse(mut self) -> Result<Value, Fault> {
        let bytes = self.body.copy_to_bytes(self.body.remaining());
        serde_json::from_slice(&bytes).map_err(|error| {
            let what = self.otherwise.unwrap_or_else(|| error.to_string());
            Fault::Foreign { protocol: "JSON-RPC", what }
        })
    }
}

/// A socket with a name of the kernel's choosing, to which a PBX that is not root can answer too, and nobody else.
fn connect(path: &str) -> io::Result<UnixDatagram> {
    let mut random = [0; 16];
    getrandom::fill(&mut random)?;
    let socket = unix::UnixDatagram::bind_addr(&unix::SocketAddr::from_abstract_name(random)?)?;
    socket.connect(path)?;
    socket.set_nonblocking(true)?;
    UnixDatagram::from_std(socket)
}

async fn exchange(socket: &UnixDatagram, address: &str, request: &str, id: u64) -> Result<Raw, Fault> {
    #[derive(Deserialize)]
    struct Named {
        #[serde(default)]
        id: Value,
    }
    let unreachable = |source| Fault::Unreachable { address: address.to_owned(), source };
    socket.send(request.as_bytes()).await.map_err(unreachable)?;
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        let length = socket.recv(&mut buffer).await.map_err(Fault::Broken)?;
        buffer.truncate(length);
        // A late answer to a call that was given up is not this one's.
        let named = serde_json::from_slice::<Named>(&buffer);
        if named.map_or(true, |named| named.id.as_u64() == Some(id)) {
            return Ok(Raw { body: Box::new(Bytes::from(buffer)), otherwise: None });
        }
        buffer.resize(DATAGRAM_BYTES_MAX, 0);
    }
}

async fn post(address: &str, path: &str, request: String) -> Result<Raw, Fault> {
    let unreachable = |source| Fault::Unreachable { address: address.to_owned(), source };
    let broken = |error: hyper::Error| Fault::Broken(io::Error::other(error));
    let stream = TcpStream::connect(address).await.map_err(unreachable)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(HOST, address)
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(request)))
        .map_err(|error| Fault::Broken(io::Error::other(error)))?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), BODY_BYTES_MAX).collect().await;
        let body = body.map_err(|error| Fault::Broken(io::Error::other(error)))?.aggregate();
        // Kamailio writes an objection into a 500.
        let otherwise =
            (status != StatusCode::OK).then(|| format!("it answers a POST to {path} with {status}"));
        Ok(Raw { body: Box::new(body), otherwise })
    };
    tokio::pin!(connection);
    tokio::pin!(answer);
    tokio::select! {
        raw = &mut answer => raw,
        // It may end with the last byte of the answer.
        ended = &mut connection => {
            ended.map_err(broken)?;
            answer.await
        }
    }
}

fn understand(mut answer: Value) -> Answer<Value> {
    if let Some(result) = answer.get_mut("result") {
        return Ok(Ok(result.take()));
    }
    let Some(error) = answer.get("error") else {
        let what = "it answers with neither result nor error".to_owned();
        return Err(Fault::Foreign { protocol: "JSON-RPC", what });
    };
    let code = error.get("code").and_then(Value::as_i64).unwrap_or_default();
    let message = error.get("message").and_then(Value::as_str).unwrap_or("no reason given").to_owned();
    Ok(Err(Objection { code, message }))
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::pbx::tests::http::{HttpPeer, result};

    #[tokio::test]
    async fn a_long_answer_is_read_beside_the_runtime() {
        for (length, is_beside) in [(10, false), (SMALL_BYTES_MAX, true)] {
            let peer = HttpPeer::new(move |_, _| result(&json!("x".repeat(length)))).await;
            let mut rpc = Rpc::open(&peer.address(), "/RPC").unwrap();
            let answer = rpc.read("ul.dump", json!([]), |value| (value, thread::current().id())).await;
            let (value, reader) = answer.unwrap().unwrap();
            assert_eq!(value.as_str().map(str::len), Some(length));
            assert_eq!(reader != thread::current().id(), is_beside, "{length}");
        }
    }
}
