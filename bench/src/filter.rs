//! The filter under test, run as an operator runs it: the release binary, a policy file, list files, its control socket.
//! What it costs is measured elsewhere.

use std::{
    fs,
    net::IpAddr,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use aya::programs::{ProgramFd, loaded_programs};
use serde_json::{Value, json};
use tests::Filter;

use crate::ground::{Ground, Wire};

/// The trunk that holds the list.
const TRUNK: &str = "bench";
/// How long an apply of the longest list may take.
const APPLY: Duration = Duration::from_secs(60);
/// How long bans and registrations last: longer than a run.
const PEER_MS: u64 = 3_600_000;

const LISTENERS: &str = r#"
[[listener]]
name = "sip"
kind = "signalling"
transport = "udp"
ports = ["5060"]

[[listener]]
name = "rtp"
kind = "media"
transport = "udp"
ports = ["10000-20000"]
"#;

/// Which list the prefixes are on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    /// A trunk's allow list.
    Allow,
    /// The deny list.
    Deny,
}

/// What strangers may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strangers {
    /// Nothing.
    Drop,
    /// Try to register, as the defaults have it.
    Prove,
}

/// A daemon on a ground of its own, enforcing.
pub struct Running {
    // Dropped before the ground that it stands on.
    filter: Filter,
    wire: Wire,
    list: PathBuf,
    listed: Listed,
    strangers: Strangers,
    start: Duration,
    ground: Ground,
}

impl Running {
    /// Starts it with these prefixes on a list; the known client of the wire is on the allow list always.
    ///
    /// # Errors
    ///
    /// Where the daemon does not start, with what it printed.
    pub fn start(prefixes: &[String], listed: Listed, strangers: Strangers) -> Result<Self> {
        let (ground, wire) = Ground::with_wire()?;
        let list = ground.lab().directory().join("list");
        fs::write(&list, lines(prefixes)).with_context(|| format!("write {}", list.display()))?;
        let policy = policy(&wire, listed, strangers, &format!("\"file:{}\"", list.display()));
        let mut filter = Filter::prepare(ground.lab(), &policy)?;
        let started = Instant::now();
        filter.run()?;
        Ok(Self { start: started.elapsed(), filter, wire, list, listed, strangers, ground })
    }

    /// The wire at whose protected end it stands.
    pub fn wire(&self) -> &Wire {
        &self.wire
    }

    /// From the start of the process to the answer of its control socket.
    pub fn start_took(&self) -> Duration {
        self.start
    }

    /// The program that is attached.
    pub fn program(&self) -> Result<ProgramFd> {
        let id = self.status()?["interfaces"][0]["program_id"].as_u64().context("no program is attached")?;
        let programs = loaded_programs().flatten();
        let program = programs.into_iter().find(|program| u64::from(program.id()) == id);
        Ok(program.with_context(|| format!("find program {id}"))?.fd()?)
    }

    /// Packets counted under a reason.
    pub fn counted(&self, reason: &str) -> Result<u64> {
        self.filter.counter(reason)
    }

    /// `status --json`.
    pub fn status(&self) -> Result<Value> {
        self.filter.status()
    }

    /// Rewrites the list and applies the policy: what the command printed, and how long it took.
    pub fn apply(&self, prefixes: &[String]) -> Result<(Value, Duration)> {
        let config = self.filter.config().display().to_string();
        if fs::read_to_string(self.filter.config())?.contains("\"file:") {
            fs::write(&self.list, lines(prefixes))
                .with_context(|| format!("write {}", self.list.display()))?;
        } else {
            let inline = prefixes.iter().map(|prefix| format!("\"{prefix}\",\n")).collect::<String>();
            self.filter.write_config(&policy(&self.wire, self.listed, self.strangers, &inline))?;
        }
        let mut command = self.filter.command();
        command.args(["apply", "--config", &config, "--json"]);
        let started = Instant::now();
        let printed = crate::ground::run_within(self.ground.lab().pbx(), command, APPLY)?;
        let took = started.elapsed();
        Ok((serde_json::from_str(&printed).context("read what `apply --json` printed")?, took))
    }

    /// Puts an address on the trunk's allow list: the answer, and the round trip on the control socket.
    pub fn allow(&self, address: IpAddr) -> Result<(Value, Duration)> {
        let length = if address.is_ipv4() { 32 } else { 128 };
        let change = json!({
            "list": { "trunk": TRUNK }, "prefix": format!("{address}/{length}"), "action": "add"
        });
        self.filter.ask(&json!({ "command": "change", "change": change, "save": false }))
    }

    /// Bans an address: the answer, and the round trip on the control socket.
    pub fn ban(&self, address: IpAddr) -> Result<(Value, Duration)> {
        self.filter
            .ask(&json!({ "command": "ban_add", "address": address, "for_ms": PEER_MS, "cause": "bench" }))
    }

    /// Takes an address of record for registered from an address.
    pub fn register(&self, address: IpAddr) -> Result<()> {
        self.filter
            .ask(&json!({
                "command": "registration_add",
                "aor": format!("{}@bench", address.to_string().replace(':', "-")),
                "from": { "address": address, "port": 0 },
                "transport": "udp",
                "for_ms": PEER_MS,
            }))
            .map(drop)
    }
}

fn lines(prefixes: &[String]) -> String {
    prefixes.iter().fold(String::new(), |text, prefix| text + prefix + "\n")
}

fn policy(wire: &Wire, listed: Listed, strangers: Strangers, entries: &str) -> String {
    let interface = wire.name();
    let [client, _] = wire.addresses();
    let (denied, allowed) = match listed {
        Listed::Allow => (String::new(), format!("\"{client}\", {entries}")),
        Listed::Deny => (format!("\n[deny]\nsources = [{entries}]\n"), format!("\"{client}\"")),
    };
    let strangers = match strangers {
        Strangers::Drop => "drop",
        Strangers::Prove => "prove",
    };
    format!(
        "interfaces = [\"{interface}\"]\nmode = \"enforce\"\non_exit = \"open\"\n{LISTENERS}{denied}\n\
         [strangers]\nsignalling = \"{strangers}\"\n\n[[trunk]]\nname = \"{TRUNK}\"\nallow = [{allowed}]\n"
    )
}
