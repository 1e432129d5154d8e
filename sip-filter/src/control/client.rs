//! Asking a daemon.

use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::de::DeserializeOwned;

use super::{Fault, Request, Response};

/// How long an answer may take; the largest policy needs seconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Nobody listens on the socket.
    #[error("no sip-filter daemon answers at {socket}: start it with `sip-filter run`, or name its --socket")]
    NoDaemon {
        /// Which socket.
        socket: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The socket is for somebody else.
    #[error("the daemon at {socket} answers root alone: use sudo")]
    Denied {
        /// Which socket.
        socket: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The connection broke.
    #[error("the daemon at {socket} did not answer")]
    NoAnswer {
        /// Which socket.
        socket: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The answer is not what this version understands.
    #[error("the daemon's answer cannot be read: is it another version? restart it")]
    Garbled(#[from] serde_json::Error),
    /// The daemon says no.
    #[error("{message}")]
    Refused {
        /// Whose fault.
        fault: Fault,
        /// Its words.
        message: String,
    },
}

/// Sends a request and waits for the answer.
///
/// # Errors
///
/// See [`CallError`].
pub fn call<T: DeserializeOwned>(socket: &Path, request: &Request) -> Result<T, CallError> {
    let stream = UnixStream::connect(socket).map_err(|source| {
        let socket = socket.to_path_buf();
        match source.kind() {
            io::ErrorKind::PermissionDenied => CallError::Denied { socket, source },
            _ => CallError::NoDaemon { socket, source },
        }
    })?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    let answer = exchange(&stream, &line)
        .map_err(|source| CallError::NoAnswer { socket: socket.to_path_buf(), source })?;
    match serde_json::from_str(&answer)? {
        Response::Ok(value) => Ok(serde_json::from_value(value)?),
        Response::Error { fault, message } => Err(CallError::Refused { fault, message }),
    }
}

fn exchange(mut stream: &UnixStream, line: &[u8]) -> io::Result<String> {
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
    stream.write_all(line)?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    if answer.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(answer)
}
