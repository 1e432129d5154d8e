//! What scanners do: a sweep by `svmap`, the tool that most of them are, and a single OPTIONS with a bounded
//! wait.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::host::{Family, Host, Transport};
use crate::wait::uninterrupted;

/// `svmap` waits three seconds for stragglers after its last packet; the rest is for a machine under load.
const SWEEP_MS: u64 = 30_000;

/// What a sweep came back with.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// SIP replies received.
    pub replies: usize,
    /// The servers found, as `svmap` prints them: `198.51.100.10:5060`.
    pub found: Vec<String>,
}

/// Sends `packets` OPTIONS by `svmap` to one address and port, over UDP. Takes a little more than three
/// seconds.
///
/// How many really left the host is for a [`Capture`](crate::Capture) on it to say.
pub fn sweep(from: &Host, to: SocketAddr, packets: usize) -> Result<Sweep> {
    let mut command = from.command("svmap");
    // -d prints each reply. Replies to one target are one line in its table, so the table cannot be counted.
    command.env("HOME", from.directory()).args(["-d", "-p", &to.port().to_string()]);
    if to.is_ipv6() {
        command.arg("-6");
    }
    command.args(vec![to.ip().to_string(); packets]);
    let outcome = from.run("svmap", command, Duration::from_millis(SWEEP_MS))?;
    if !outcome.succeeded() || outcome.stderr.contains("Traceback") {
        bail!("svmap failed (code {:?}): {}", outcome.code, outcome.stderr.trim());
    }
    let replies = outcome.stdout.lines().filter(|line| line.starts_with("b'SIP/2.0 ")).count();
    let cell = |line: &str| line.strip_prefix("| ")?.split(" |").next().map(|cell| cell.trim().to_owned());
    let found = outcome.stdout.lines().filter_map(cell).filter(|cell| cell != "SIP Device").collect();
    Ok(Sweep { replies, found })
}

/// Sends one INVITE over UDP with a body of so many bytes, which the kernel sends in fragments if it must, and waits
/// for its first reply as [`options`] does: 100 where a proxy took it.
pub fn invite_with_body(from: &Host, to: SocketAddr, bytes: usize, wait: Duration) -> Result<Option<u16>> {
    let local = SocketAddr::new(from.address(Family::of(to.ip())), 0);
    let reply = from.in_namespace(|| ask_over_udp("INVITE", local, to, &"x".repeat(bytes), wait))??;
    reply.map(|reply| status_code(&reply)).transpose()
}

/// Sends one request over UDP from one of the host's addresses, and waits for its first reply as [`options`] does.
pub fn ask_from(
    from: &Host,
    address: IpAddr,
    method: &str,
    to: SocketAddr,
    wait: Duration,
) -> Result<Option<u16>> {
    let local = SocketAddr::new(address, 0);
    let reply = from.in_namespace(|| ask_over_udp(method, local, to, "", wait))??;
    reply.map(|reply| status_code(&reply)).transpose()
}

/// Sends one OPTIONS and waits up to `wait` for its reply: the status code, or `None` if nothing came back.
///
/// Over UDP that is one packet; over TCP one SYN as long as `wait` is below a second, when the kernel repeats
/// it.
pub fn options(from: &Host, to: SocketAddr, transport: Transport, wait: Duration) -> Result<Option<u16>> {
    let local = SocketAddr::new(from.address(Family::of(to.ip())), 0);
    let reply = match transport {
        Transport::Udp => from.in_namespace(|| ask_over_udp("OPTIONS", local, to, "", wait))?,
        Transport::Tcp => from.in_namespace(|| ask_over_tcp(local, to, wait))?,
        Transport::Other(number) => bail!("no SIP over IP protocol {number}: ask over UDP or TCP"),
    }?;
    reply.map(|reply| status_code(&reply)).transpose()
}

fn ask_over_udp(
    method: &str,
    local: SocketAddr,
    to: SocketAddr,
    body: &str,
    wait: Duration,
) -> Result<Option<Vec<u8>>> {
    let socket = UdpSocket::bind(local).with_context(|| format!("bind {local}"))?;
    socket.connect(to).with_context(|| format!("connect to {to}"))?;
    socket
        .send(request(method, "UDP", socket.local_addr()?, to, body).as_bytes())
        .with_context(|| format!("send to {to}"))?;
    socket.set_read_timeout(Some(wait))?;
    let mut reply = vec![0; 4096];
    let received = received(uninterrupted(|| socket.recv(&mut reply)))?;
    Ok(received.map(|length| reply[..length].to_vec()))
}

fn ask_over_tcp(local: SocketAddr, to: SocketAddr, wait: Duration) -> Result<Option<Vec<u8>>> {
    let started = Instant::now();
    let Some(mut stream) = received(TcpStream::connect_timeout(&to, wait))? else { return Ok(None) };
    let local = SocketAddr::new(local.ip(), stream.local_addr()?.port());
    stream
        .write_all(request("OPTIONS", "TCP", local, to, "").as_bytes())
        .with_context(|| format!("send to {to}"))?;
    // A timeout of zero is an error to the socket, so the last of the wait is a millisecond.
    stream.set_read_timeout(Some(wait.saturating_sub(started.elapsed()).max(Duration::from_millis(1))))?;
    let mut reply = vec![0; 4096];
    let received = received(uninterrupted(|| stream.read(&mut reply)))?;
    Ok(received.filter(|length| *length > 0).map(|length| reply[..length].to_vec()))
}

/// A silence, or a server that is not there, is `None`; a laboratory that is broken is an error.
fn received<T>(result: std::io::Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) => match error.kind() {
            ErrorKind::WouldBlock
            | ErrorKind::TimedOut
            | ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset => Ok(None),
            _ => Err(error).context("ask for OPTIONS"),
        },
    }
}

fn request(method: &str, transport: &str, local: SocketAddr, to: SocketAddr, body: &str) -> String {
    let port = local.port();
    format!(
        "{method} sip:{to} SIP/2.0\r\n\
         Via: SIP/2.0/{transport} {local};branch=z9hG4bK-probe-{port};rport\r\n\
         Max-Forwards: 70\r\n\
         From: <sip:probe@{local}>;tag=probe{port}\r\n\
         To: <sip:{to}>\r\n\
         Call-ID: probe-{port}@{}\r\n\
         CSeq: 1 {method}\r\n\
         Contact: <sip:probe@{local}>\r\n\
         Content-Length: {}\r\n\r\n{body}",
        local.ip(),
        body.len()
    )
}

fn status_code(reply: &[u8]) -> Result<u16> {
    let text = String::from_utf8_lossy(reply);
    let code = text
        .strip_prefix("SIP/2.0 ")
        .and_then(|rest| rest.split(' ').next())
        .and_then(|code| code.parse().ok());
    code.with_context(|| format!("not a SIP reply: {}", text.lines().next().unwrap_or_default()))
}
