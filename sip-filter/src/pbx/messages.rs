//! Reading what AMI and ESL have in common: blocks of `Name: value` lines, ended by an empty line, some with a body.
//!
//! Every length is bounded, and reading can be cancelled at any byte without losing one.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Fault;

/// The longest line: a SIP URI in an event, many times over.
const LINE_BYTES_MAX: usize = 16 * 1024;
/// The most lines of a message; an endpoint of Asterisk has some 150.
const LINES_MAX: usize = 512;
/// The longest body: a FreeSWITCH's list of some 50,000 registrations.
const BODY_BYTES_MAX: usize = 32 * 1024 * 1024;

/// How much is read at once, at least.
const READ_BYTES: usize = 16 * 1024;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a peer may leave unread what it is told.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// A block of headers with the body that follows it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Message {
    headers: Vec<(String, String)>,
    /// Empty where none was announced.
    pub(super) body: Vec<u8>,
}

impl Message {
    /// A header's value, by its name in any case; none where it stands there more than once.
    ///
    /// Asterisk writes the user part of a stranger's From header into some events, line breaks and all.
    /// So a header that is there twice was forged once, and tells nothing.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(header, _)| header.eq_ignore_ascii_case(name));
        match (values.next(), values.next()) {
            (Some((_, value)), None) => Some(value),
            _ => None,
        }
    }

    /// Takes apart lines without an empty one; those without a colon are left out.
    pub(super) fn parse(text: &str) -> Self {
        let headers = text.lines().filter_map(|line| line.split_once(':'));
        let headers = headers.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()));
        Self { headers: headers.collect(), body: Vec::new() }
    }
}

/// A connection on which messages are read and text is written.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// How far `buffer` is read: up to here stand whole lines of the message that has begun.
    scanned: usize,
    lines: usize,
    bodies: Bodies,
}

/// Whether a header `Content-Length` announces a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bodies {
    /// In AMI it would be a forged header, that swallows what follows.
    Never,
    Announced,
}

impl Connection {
    pub(super) async fn open(address: &str, bodies: Bodies) -> Result<Self, Fault> {
        let unreachable = |source| Fault::Unreachable { address: address.to_owned(), source };
        let connecting = timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await;
        let stream = connecting.map_err(|elapsed| unreachable(elapsed.into()))?.map_err(unreachable)?;
        Ok(Self { stream, buffer: Vec::new(), scanned: 0, lines: 0, bodies })
    }

    pub(super) async fn write(&mut self, text: &str) -> Result<(), Fault> {
        let writing = timeout(WRITE_TIMEOUT, self.stream.write_all(text.as_bytes())).await;
        let silent = Fault::Silent { awaited: "its reading", within: WRITE_TIMEOUT };
        writing.map_err(|_| silent)?.map_err(Fault::Broken)
    }

    /// One line, without its end.
    pub(super) async fn line(&mut self) -> Result<String, Fault> {
        loop {
            if let Some(end) = find_line(&self.buffer)? {
                let line = String::from_utf8_lossy(&self.buffer[..end]).trim_end().to_owned();
                self.buffer.drain(..=end);
                return Ok(line);
            }
            self.read().await?;
        }
    }

    /// The next message; its body as long as `Content-Length` says.
    pub(super) async fn message(&mut self) -> Result<Message, Fault> {
        loop {
            if let Some(message) = self.take()? {
                return Ok(message);
            }
            self.read().await?;
        }
    }

    async fn read(&mut self) -> Result<(), Fault> {
        self.buffer.reserve(READ_BYTES);
        match self.stream.read_buf(&mut self.buffer).await.map_err(Fault::Broken)? {
            0 => Err(Fault::Closed),
            _ => Ok(()),
        }
    }

    /// The next message if all of it is here.
    fn take(&mut self) -> Result<Option<Message>, Fault> {
        while let Some(length) = find_line(&self.buffer[self.scanned..])? {
            let line = &self.buffer[self.scanned..self.scanned + length];
            if !line.is_empty() && line != b"\r" {
                self.scanned += length + 1;
                self.lines += 1;
                if self.lines > LINES_MAX {
                    return Err(Fault::TooLong { what: "a message of lines", limit: LINES_MAX });
                }
            } else if self.scanned == 0 {
                // Asterisk writes more empty lines than one.
                self.buffer.drain(..=length);
            } else {
                return self.take_whole(self.scanned + length + 1);
            }
        }
        Ok(None)
    }

    /// The message whose headers end before `end`, if its body is here too.
    fn take_whole(&mut self, end: usize) -> Result<Option<Message>, Fault> {
        let mut message = Message::parse(&String::from_utf8_lossy(&self.buffer[..self.scanned]));
        let length = match message.header("Content-Length") {
            Some(text) if self.bodies == Bodies::Announced => text.parse().unwrap_or(usize::MAX),
            _ => 0,
        };
        if length > BODY_BYTES_MAX {
            return Err(Fault::TooLong { what: "a body", limit: BODY_BYTES_MAX });
        }
        let Some(body) = self.buffer.get(end..end + length) else { return Ok(None) };
        message.body = body.to_vec();
        self.buffer.drain(..end + length);
        (self.scanned, self.lines) = (0, 0);
        Ok(Some(message))
    }
}

/// Where the first line ends.
fn find_line(bytes: &[u8]) -> Result<Option<usize>, Fault> {
    let end = bytes.iter().take(LINE_BYTES_MAX).position(|byte| *byte == b'\n');
    if end.is_none() && bytes.len() >= LINE_BYTES_MAX {
        return Err(Fault::TooLong { what: "a line", limit: LINE_BYTES_MAX });
    }
    Ok(end)
}
