//! A connector that runs inside a host, and what it has reported so far.

use std::net::{IpAddr, SocketAddr};
use std::thread::JoinHandle;
use std::time::Duration;

use sip_filter::pbx::{Link, State, start};
use sip_filter::policy::{Pbx, PbxKind, Secret};
use sip_filter::trust::{Binding, Flow, Report, SipTransport};
use tests::{Host, wait_until};
use tokio::sync::{mpsc, oneshot};

/// Longer than a connector needs to see that a PBX is gone, and to try again.
const PATIENCE: Duration = Duration::from_secs(30);

/// A followed PBX; dropping it ends the connector.
pub(super) struct Follower {
    link: Option<Link>,
    received: mpsc::Receiver<(String, Report)>,
    /// In the order in which they came.
    pub(super) reports: Vec<Report>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Follower {
    /// Follows the PBX at `address` from inside `host`.
    pub(super) fn start(host: &Host, kind: PbxKind, address: &str, secret: &str) -> Self {
        let pbx = Pbx {
            name: "office".to_owned(),
            kind,
            address: address.to_owned(),
            user: Some("filter".to_owned()),
            secret: Some(Secret::Text(secret.to_owned())),
        };
        let (sender, received) = mpsc::channel(1024);
        let (stop, stopped) = oneshot::channel();
        let (link_sender, link) = std::sync::mpsc::channel();
        // The thread stays in the namespace that it is started in.
        let spawn = || {
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    link_sender.send(start(pbx, sender)).unwrap();
                    let _: Result<(), oneshot::error::RecvError> = stopped.await;
                });
            })
        };
        let thread = host.in_namespace(spawn).unwrap();
        let link = link.recv_timeout(PATIENCE).unwrap();
        Self { link: Some(link), received, reports: Vec::new(), stop: Some(stop), thread: Some(thread) }
    }

    /// How the link stands.
    pub(super) fn state(&self) -> State {
        self.link.as_ref().unwrap().state()
    }

    /// Waits for a report from now on for which `find` has something to say.
    pub(super) fn wait<T>(&mut self, what: &str, find: impl Fn(&Report) -> Option<T>) -> T {
        let found = wait_until(PATIENCE, what, || {
            while let Ok((name, report)) = self.received.try_recv() {
                assert_eq!(name, "office");
                let found = find(&report);
                self.reports.push(report);
                if found.is_some() {
                    return Ok(found);
                }
            }
            Ok(None)
        });
        found.unwrap_or_else(|error| panic!("{error:#}; {:?}; reported: {:#?}", self.state(), self.reports))
    }

    /// The next snapshot's bindings, and how many more are registered from nowhere known.
    pub(super) fn snapshot(&mut self) -> (Vec<Binding>, usize) {
        self.wait("a snapshot", |report| match report {
            Report::Snapshot { bindings, unplaced } => Some((bindings.clone(), unplaced.len())),
            _ => None,
        })
    }

    /// The next registration of an address of record.
    pub(super) fn registered(&mut self, wanted: &str) -> Binding {
        self.wait(&format!("{wanted} to be registered"), |report| match report {
            Report::Registered(binding) if binding.aor == wanted => Some(binding.clone()),
            _ => None,
        })
    }

    /// The next contact that goes.
    pub(super) fn unregistered(&mut self, wanted: &str) {
        self.wait(&format!("{wanted} to be gone"), |report| {
            matches!(report, Report::Unregistered { aor, .. } if aor == wanted).then_some(())
        });
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.link = None;
        if let Some(stop) = self.stop.take() {
            let _: Result<(), ()> = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A flow from a socket.
pub(super) fn flow(local: SocketAddr, transport: SipTransport) -> Flow {
    let address: IpAddr = local.ip();
    Flow { address, port: local.port(), transport }
}
