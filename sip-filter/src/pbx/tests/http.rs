//! A peer that answers JSON-RPC by HTTP, or anything else that it likes.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Answers a method and its parameters with all bytes of a response.
pub(in crate::pbx) trait Script: FnMut(&str, &Value) -> String + Send + 'static {}
impl<F: FnMut(&str, &Value) -> String + Send + 'static> Script for F {}

/// A listening peer; gone when dropped.
pub(in crate::pbx) struct HttpPeer {
    at: SocketAddr,
    task: JoinHandle<()>,
}

impl HttpPeer {
    pub(in crate::pbx) async fn new(mut script: impl Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                serve(stream, &mut script).await;
            }
        });
        Self { at, task }
    }

    pub(in crate::pbx) fn address(&self) -> String {
        self.at.to_string()
    }
}

impl Drop for HttpPeer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, script: &mut impl Script) {
    let mut text = String::new();
    let request: Value = loop {
        let mut bytes = [0; 4096];
        match stream.read(&mut bytes).await {
            Ok(length) if length > 0 => text += &String::from_utf8_lossy(&bytes[..length]),
            _ => return,
        }
        let body = text.split_once("\r\n\r\n").and_then(|(_, body)| serde_json::from_str(body).ok());
        if let Some(request) = body {
            break request;
        }
    };
    assert!(text.contains("content-type: application/json\r\n"), "{text}");
    let response = script(request["method"].as_str().unwrap(), &request["params"]);
    // Who reads no more has seen enough.
    let _: std::io::Result<()> = stream.write_all(response.as_bytes()).await;
    if response.ends_with(STALL) {
        std::future::pending::<()>().await;
    }
}

/// At the end of an answer: and then nothing, but the connection stays.
pub(in crate::pbx) const STALL: &str = "\u{1}";

/// A response with this body.
pub(in crate::pbx) fn ok(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A response with this result.
pub(in crate::pbx) fn result(result: &Value) -> String {
    ok(&json!({"jsonrpc": "2.0", "result": result, "id": 1}).to_string())
}

/// A response with this error.
pub(in crate::pbx) fn error(code: i64, message: &str) -> String {
    ok(&json!({"jsonrpc": "2.0", "error": {"code": code, "message": message}, "id": 1}).to_string())
}
