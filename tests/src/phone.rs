//! A phone that registers with a password, over UDP, TCP or TLS, and says what it likes in Via and Contact.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use md5::{Digest as _, Md5};

use crate::host::Host;
use crate::wait::uninterrupted;

/// How long a server may take to answer.
const ANSWER: Duration = Duration::from_secs(5);

/// What a phone speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// SIP over UDP.
    Udp,
    /// SIP over TCP.
    Tcp,
    /// SIP over TLS, by `openssl s_client`.
    Tls,
}

/// Who a phone is.
#[derive(Clone, Copy, Debug)]
pub struct Account<'a> {
    /// The user part, and the name it authenticates with.
    pub user: &'a str,
    /// Right or wrong.
    pub password: &'a str,
}

/// A phone with a connection of its own.
#[derive(Debug)]
pub struct Phone {
    line: Line,
    way: Way,
    local: SocketAddr,
    server: SocketAddr,
    call_id: String,
    count: u32,
}

#[derive(Debug)]
enum Line {
    Udp(UdpSocket),
    Tcp(TcpStream),
    Tls { child: Child, to: ChildStdin, from: Receiver<Vec<u8>> },
}

impl Phone {
    /// Connects from `host` to `server`; `port` is the local one, and must be free.
    pub fn connect(host: &Host, way: Way, port: u16, server: SocketAddr) -> Result<Self> {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let local = SocketAddr::new(host.address(crate::Family::of(server.ip())), port);
        let line = match way {
            Way::Udp => Line::Udp(host.in_namespace(|| {
                let socket = UdpSocket::bind(local)?;
                socket.connect(server)?;
                socket.set_read_timeout(Some(ANSWER))?;
                anyhow::Ok(socket)
            })??),
            Way::Tcp => Line::Tcp(host.in_namespace(|| {
                let stream = TcpStream::connect_timeout(&server, ANSWER)?;
                stream.set_read_timeout(Some(ANSWER))?;
                anyhow::Ok(stream)
            })??),
            Way::Tls => secure(host, local, server)?,
        };
        let local = match &line {
            Line::Tcp(stream) => stream.local_addr()?,
            _ => local,
        };
        let call_id = format!("phone-{}-{}", std::process::id(), SERIAL.fetch_add(1, Ordering::Relaxed));
        Ok(Self { line, way, local, server, call_id, count: 0 })
    }

    /// Where its packets come from.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Registers this contact for so many seconds, with a Via of its own invention; the final status.
    ///
    /// Each registration of a phone has the same Call-ID, as RFC 3261 section 10.2 wants it.
    pub fn register(&mut self, account: Account<'_>, contact: &str, expires_s: u32) -> Result<u16> {
        let challenged = self.ask(account, contact, expires_s, "")?;
        if status(&challenged)? != 401 {
            return status(&challenged);
        }
        let answer = authorization(&challenged, account, self.server)?;
        status(&self.ask(account, contact, expires_s, &answer)?)
    }

    fn ask(&mut self, account: Account<'_>, contact: &str, expires_s: u32, more: &str) -> Result<String> {
        self.count += 1;
        let (user, server, call_id, count) = (account.user, self.server.ip(), &self.call_id, self.count);
        let server = if server.is_ipv6() { format!("[{server}]") } else { server.to_string() };
        let transport = format!("{:?}", self.way).to_uppercase();
        // Neither Via nor Contact says where it is: whoever believes them is found out. The answer comes by rport.
        let text = format!(
            "REGISTER sip:{server} SIP/2.0\r\n\
             Via: SIP/2.0/{transport} 203.0.113.66:5099;rport;branch=z9hG4bK-{call_id}-{count}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:{user}@{server}>;tag={count}\r\nTo: <sip:{user}@{server}>\r\n\
             Call-ID: {call_id}\r\nCSeq: {count} REGISTER\r\nContact: <{contact}>\r\nExpires: {expires_s}\r\n\
             {more}Content-Length: 0\r\n\r\n"
        );
        self.send(text.as_bytes())?;
        loop {
            let answer = self.receive().context("no answer")?;
            if status(&answer)? >= 200 {
                return Ok(answer);
            }
        }
    }

    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.line {
            Line::Udp(socket) => socket.send(bytes).map(drop)?,
            Line::Tcp(stream) => stream.write_all(bytes)?,
            Line::Tls { to, .. } => {
                to.write_all(bytes)?;
                to.flush()?;
            }
        }
        Ok(())
    }

    fn receive(&mut self) -> Result<String> {
        let mut text = String::new();
        while !text.contains("\r\n\r\n") {
            let mut buffer = [0; 8192];
            let part = match &mut self.line {
                Line::Udp(socket) => {
                    let length = uninterrupted(|| socket.recv(&mut buffer))?;
                    buffer[..length].to_vec()
                }
                Line::Tcp(stream) => {
                    let length = uninterrupted(|| stream.read(&mut buffer))?;
                    buffer[..length].to_vec()
                }
                Line::Tls { from, .. } => from.recv_timeout(ANSWER)?,
            };
            ensure!(!part.is_empty(), "the server closed the connection");
            text += &String::from_utf8_lossy(&part);
        }
        Ok(text)
    }
}

impl Drop for Phone {
    fn drop(&mut self) {
        if let Line::Tls { child, .. } = &mut self.line {
            // It may have ended with its connection.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn secure(host: &Host, local: SocketAddr, server: SocketAddr) -> Result<Line> {
    let mut command = host.command("openssl");
    command.args(["s_client", "-quiet", "-connect", &server.to_string(), "-bind", &local.to_string()]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().context("start openssl")?;
    let (Some(to), Some(mut out)) = (child.stdin.take(), child.stdout.take()) else {
        bail!("openssl has no standard input or output");
    };
    let (sender, from) = mpsc::channel();
    // Ends with the child, which ends with the phone.
    thread::spawn(move || {
        let mut buffer = [0; 8192];
        while let Ok(length) = out.read(&mut buffer)
            && sender.send(buffer[..length].to_vec()).is_ok()
            && length > 0
        {}
    });
    Ok(Line::Tls { child, to, from })
}

fn status(answer: &str) -> Result<u16> {
    let status =
        answer.strip_prefix("SIP/2.0 ").and_then(|rest| rest.get(..3)).and_then(|code| code.parse().ok());
    status.with_context(|| format!("no SIP answer: {answer:?}"))
}

/// The answer to a challenge (RFC 2617, `qop=auth`, which all servers here offer).
fn authorization(challenged: &str, account: Account<'_>, server: SocketAddr) -> Result<String> {
    let challenge =
        challenged.lines().find(|line| line.to_ascii_lowercase().starts_with("www-authenticate:"));
    let challenge = challenge.context("a 401 without a challenge")?;
    let value = |name: &str| {
        let rest = challenge.split_once(&format!("{name}=\""))?.1;
        Some(rest.split_once('"')?.0.to_owned())
    };
    let (realm, nonce) = value("realm").zip(value("nonce")).context("a challenge without realm or nonce")?;
    let uri = format!("sip:{}", server.ip());
    let (user, password) = (account.user, account.password);
    let [secret, request] = [format!("{user}:{realm}:{password}"), format!("REGISTER:{uri}")].map(hash);
    let response = hash(format!("{secret}:{nonce}:00000001:c0ffee:auth:{request}"));
    let opaque = value("opaque").map(|opaque| format!(",opaque=\"{opaque}\"")).unwrap_or_default();
    Ok(format!(
        "Authorization: Digest username=\"{user}\",realm=\"{realm}\",nonce=\"{nonce}\",uri=\"{uri}\",\
         response=\"{response}\",algorithm=MD5,cnonce=\"c0ffee\",qop=auth,nc=00000001{opaque}\r\n"
    ))
}

fn hash(text: String) -> String {
    Md5::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}
