//! A peer on a real socket that answers blocks of headers, as AMI and ESL have them, by a script.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::pbx::link::Outlet;
use crate::pbx::messages::Message;
use crate::pbx::{Connector, Fault, State};
use crate::policy::{Pbx, PbxKind, Secret};
use crate::trust::Report;

/// What a peer says to what it was asked.
pub(in crate::pbx) enum Answer {
    /// That.
    Say(String),
    /// That, and then it closes the connection.
    Last(String),
}

/// Called once with an empty text when somebody connects, then with each block.
pub(in crate::pbx) trait Script: FnMut(&Message, &str) -> Answer + Send + 'static {}
impl<F: FnMut(&Message, &str) -> Answer + Send + 'static> Script for F {}

/// A listening peer; gone when dropped.
pub(in crate::pbx) struct Peer {
    at: SocketAddr,
    task: JoinHandle<()>,
}

impl Peer {
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

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, script: &mut impl Script) {
    let mut text = String::new();
    let mut block = String::new();
    loop {
        let (text_out, is_last) = match script(&Message::parse(&block), &block) {
            Answer::Say(text) => (text, false),
            Answer::Last(text) => (text, true),
        };
        if stream.write_all(text_out.as_bytes()).await.is_err() || is_last {
            return;
        }
        while !text.contains("\n\n") {
            let mut bytes = [0; 4096];
            match stream.read(&mut bytes).await {
                Ok(length) if length > 0 => {
                    text += &String::from_utf8_lossy(&bytes[..length]).replace('\r', "");
                }
                _ => return,
            }
        }
        let (first, rest) = text.split_once("\n\n").unwrap();
        (block, text) = (first.to_owned(), rest.to_owned());
    }
}

pub(in crate::pbx) fn pbx(kind: PbxKind, address: &str) -> Pbx {
    Pbx {
        name: "office".to_owned(),
        kind,
        address: address.to_owned(),
        user: Some("filter".to_owned()),
        secret: Some(Secret::Text("hush".to_owned())),
    }
}

/// One session of a connector to its end, with all that it reported.
pub(in crate::pbx) async fn session(pbx: &Pbx) -> (Fault, Vec<Report>, State) {
    let (sender, mut received) = mpsc::channel(1024);
    let (state, watched) = watch::channel(State::default());
    let outlet = Outlet::new(pbx.name.clone(), sender, state);
    let fault = Connector::new(pbx.kind).session(pbx, &outlet).await;
    let state = watched.borrow().clone();
    drop(outlet);
    let mut reports = Vec::new();
    while let Some((name, report)) = received.recv().await {
        assert_eq!(name, pbx.name);
        reports.push(report);
    }
    (fault, reports, state)
}
