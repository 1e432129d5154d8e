//! Answering clients: each in a task of its own, none of them able to hold up another for long.

use std::{
    io,
    os::unix::fs::FileTypeExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    sync::{Semaphore, mpsc, oneshot},
    time::timeout,
};

use super::{Fault, LINE_BYTES_MAX, Request, Response};

/// How many clients are served at a time; the next one waits.
const CLIENTS_MAX: usize = 256;
/// How long a client may take to say its line, and to take the answer.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a daemon that stops waits for clients to take their answers.
const PARTING_TIMEOUT: Duration = Duration::from_millis(500);

/// A request and where its answer goes.
pub type Call = (Request, oneshot::Sender<Response>);

/// Why the socket cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Another daemon answers there.
    #[error(
        "a sip-filter daemon answers at {0} already: stop it first, or give this instance its own --socket and --pins"
    )]
    InUse(PathBuf),
    /// Something that is not a socket stands there.
    #[error("{0} is not a socket: remove it, or name another --socket")]
    NotSocket(PathBuf),
    /// The file system says no.
    #[error("cannot open the control socket {path}")]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// The socket's file; gone with this value.
#[derive(Debug)]
pub struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // A file that is gone already is as good.
        let _: io::Result<()> = std::fs::remove_file(&self.0);
    }
}

/// Opens the socket for root alone; replaces one that a dead daemon left.
///
/// # Errors
///
/// See [`ServerError`].
pub fn bind(path: &Path) -> Result<(UnixListener, SocketFile), ServerError> {
    let io = |source| ServerError::Io { path: path.to_path_buf(), source };
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).map_err(io)?;
    }
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(ServerError::NotSocket(path.to_path_buf()));
        }
        Ok(_) if std::os::unix::net::UnixStream::connect(path).is_ok() => {
            return Err(ServerError::InUse(path.to_path_buf()));
        }
        Ok(_) => std::fs::remove_file(path).map_err(io)?,
        Err(_) => {}
    }
    let before = nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o177));
    let listener = UnixListener::bind(path).map_err(io);
    nix::sys::stat::umask(before);
    Ok((listener?, SocketFile(path.to_path_buf())))
}

/// The places for clients that are served at the same time.
#[derive(Debug, Clone)]
pub struct Places(Arc<Semaphore>);

impl Default for Places {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(CLIENTS_MAX)))
    }
}

impl Places {
    /// Waits until every client has its answer, but not for one that dawdles.
    pub async fn are_empty(&self) {
        let all = u32::try_from(CLIENTS_MAX).unwrap_or(u32::MAX);
        let _: Result<_, _> = timeout(PARTING_TIMEOUT, self.0.acquire_many(all)).await;
    }
}

/// Takes clients for as long as somebody takes their calls.
pub async fn serve(listener: UnixListener, places: Places, calls: mpsc::Sender<Call>) {
    loop {
        let client = match listener.accept().await {
            Ok((client, _)) => client,
            Err(error) => {
                // Out of file descriptors: they come back as clients leave.
                tracing::warn!(%error, "a control client was not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places.0).acquire_owned().await else { return };
        let calls = calls.clone();
        tokio::spawn(async move {
            answer(client, calls).await;
            drop(place);
        });
    }
}

async fn answer(client: UnixStream, calls: mpsc::Sender<Call>) {
    let (reader, mut writer) = client.into_split();
    let mut line = Vec::new();
    let mut reader = BufReader::new(reader).take(LINE_BYTES_MAX);
    let response = match timeout(CLIENT_TIMEOUT, reader.read_until(b'\n', &mut line)).await {
        Ok(Ok(_)) if line.last() == Some(&b'\n') => match serde_json::from_slice(&line) {
            Ok(request) => forward(request, &calls).await,
            Err(error) => refuse(format!("this is no request: {error}")),
        },
        Ok(Ok(_)) => refuse(format!("a request is one line of at most {LINE_BYTES_MAX} bytes")),
        Ok(Err(_)) => return,
        Err(_) => refuse(format!("no request within {} s", CLIENT_TIMEOUT.as_secs())),
    };
    let Ok(mut bytes) = serde_json::to_vec(&response) else { return };
    bytes.push(b'\n');
    // A client that does not take its answer loses it.
    let _: Result<io::Result<()>, _> = timeout(CLIENT_TIMEOUT, writer.write_all(&bytes)).await;
}

async fn forward(request: Request, calls: &mpsc::Sender<Call>) -> Response {
    let (sender, receiver) = oneshot::channel();
    let stopping = || Response::Error { fault: Fault::Failed, message: "the daemon is stopping".to_owned() };
    if calls.send((request, sender)).await.is_err() {
        return stopping();
    }
    receiver.await.unwrap_or_else(|_| stopping())
}

fn refuse(message: String) -> Response {
    Response::Error { fault: Fault::Usage, message }
}
