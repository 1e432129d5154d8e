//! The two ends of a link: what the daemon holds, and what a connector speaks through.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::time::SystemTime;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Fault;
use super::aside::aside;
use super::ledger::{Ledger, Row, Scope};
use crate::policy::{Pbx, Secret};
use crate::trust::Report;

/// More than any password.
const SECRET_BYTES_MAX: u64 = 4096;

/// How a link stands, for `status`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// Since when the PBX has been answering; none while it does not.
    pub connected_since: Option<SystemTime>,
    /// What ended it last, or keeps it from being of full use, with the remedy.
    pub last_error: Option<String>,
    /// Messages of the PBX so far that said something about a peer.
    pub events: u64,
}

/// A PBX that is being followed; dropping it ends that.
#[derive(Debug)]
pub struct Link {
    task: JoinHandle<()>,
    state: watch::Receiver<State>,
}

impl Link {
    pub(super) fn new(task: JoinHandle<()>, state: watch::Receiver<State>) -> Self {
        Self { task, state }
    }

    /// How it stands now.
    pub fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// The same, to wait for.
    pub fn watched(&self) -> watch::Receiver<State> {
        self.state.clone()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Where a connector says what it learnt.
pub(super) struct Outlet {
    name: String,
    reports: mpsc::Sender<(String, Report)>,
    state: watch::Sender<State>,
}

impl Outlet {
    pub(super) fn new(
        name: String,
        reports: mpsc::Sender<(String, Report)>,
        state: watch::Sender<State>,
    ) -> Self {
        Self { name, reports, state }
    }

    /// Waits where the receiver is behind.
    pub(super) async fn report(&self, report: Report) -> Result<(), Fault> {
        let sent = self.reports.send((self.name.clone(), report)).await;
        sent.map_err(|_| Fault::Unwanted)
    }

    /// Reports everything that is registered: the first time as it is, and then what changed in the ledger by it.
    pub(super) async fn listed(
        &self,
        ledger: &mut Ledger,
        rows: Vec<Row>,
        now: Instant,
    ) -> Result<(), Fault> {
        let is_first = !self.is_connected();
        let mut taken = std::mem::take(ledger);
        let work = move || {
            let reports = match is_first {
                true => taken.snapshot(rows, now).map(|snapshot| vec![snapshot]),
                false => taken.changes(Scope::Everything, &rows, now),
            };
            (taken, reports)
        };
        let (taken, reports) = aside(work).await?;
        *ledger = taken;
        for report in reports? {
            self.report(report).await?;
        }
        if is_first {
            self.connected();
        }
        Ok(())
    }

    /// The PBX said something about a peer.
    pub(super) fn count_event(&self) {
        self.state.send_modify(|state| state.events += 1);
    }

    /// The PBX answers, and its snapshot was reported.
    fn connected(&self) {
        tracing::info!("pbx {}: connected, and knows who is registered", self.name);
        self.state.send_modify(|state| {
            state.connected_since = Some(SystemTime::now());
            state.last_error = None;
        });
    }

    pub(super) fn is_connected(&self) -> bool {
        self.state.borrow().connected_since.is_some()
    }

    /// The link works, but not as it could; or, with none, it does again.
    pub(super) fn complain(&self, complaint: Option<&str>) {
        if self.state.borrow().last_error.as_deref() == complaint {
            return;
        }
        if let Some(text) = complaint {
            tracing::warn!("pbx {}: {text}", self.name);
        }
        self.state.send_modify(|state| state.last_error = complaint.map(str::to_owned));
    }

    pub(super) fn disconnected(&self, fault: &Fault) {
        self.state.send_modify(|state| {
            state.connected_since = None;
            state.last_error = Some(fault.with_causes());
        });
    }
}

/// Who we are to a PBX that asks, and the password, read anew each time so that it can be changed.
pub(super) fn login_of(pbx: &Pbx) -> Result<(Option<&str>, String), Fault> {
    let secret = match pbx.secret.as_ref().ok_or(Fault::NoLogin("secret"))? {
        Secret::Text(text) => text.clone(),
        Secret::File(path) => {
            first_line(path).map_err(|source| Fault::NoSecret { path: path.clone(), source })?
        }
    };
    Ok((pbx.user.as_deref(), secret))
}

fn first_line(path: &Path) -> io::Result<String> {
    // To open a FIFO would wait for its writer, and everything else with it.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let mut line = String::new();
    BufReader::new(File::open(path)?.take(SECRET_BYTES_MAX)).read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pbx::tests::peer::pbx;
    use crate::policy::PbxKind;

    #[test]
    fn a_password_is_the_first_line_of_its_file_and_what_cannot_be_one_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let login = |path: &Path| {
            let secret = Some(Secret::File(path.to_owned()));
            let pbx = Pbx { secret, ..pbx(PbxKind::Asterisk, "") };
            login_of(&pbx).map(|(user, secret)| (user.map(str::to_owned), secret))
        };
        fs::write(&path, "hush hush\r\nnot this\n").unwrap();
        assert_eq!(login(&path).unwrap(), (Some("filter".to_owned()), "hush hush".to_owned()));
        for wrong in [folder.path(), &folder.path().join("absent")] {
            let fault = login(wrong).unwrap_err();
            assert!(
                fault.is_refusal() && fault.to_string().contains(&wrong.display().to_string()),
                "{fault}"
            );
        }
        let nothing = Pbx { secret: None, ..pbx(PbxKind::Asterisk, "") };
        assert!(login_of(&nothing).unwrap_err().to_string().contains("`secret`"));
    }
}
