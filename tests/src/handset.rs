//! A phone out there, by `sipp`: it registers with a password, calls, and goes away.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::call::{Call, sipp_transport};
use crate::host::{Family, Host, Role, Transport};
use crate::pbx::{PASSWORD, SIP_PORT};

/// Where a phone behind a NAT believes itself to be (RFC 1918).
const PRIVATE_CONTACT: &str = "<sip:[call_number]@192.168.178.20:5062>";
const OWN_CONTACT: &str = "<sip:{{user}}@[local_ip]:[local_port];transport=[transport]>";
/// What a registration may take where nothing is lost; each lost packet costs half a second or more.
const REGISTER: Duration = Duration::from_secs(15);
/// A whole call, with what the machine else does.
const CALL: Duration = Duration::from_secs(20);
/// The widest gap between the CSeq numbers of the scenario.
const WRONG_MAX: u32 = 6;

/// A phone at one of a host's addresses.
#[derive(Clone, Debug)]
pub struct Handset<'a> {
    host: &'a Host,
    address: IpAddr,
    transport: Transport,
    user: String,
    contact: String,
}

/// What came of an attempt to register.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The registrar accepted it.
    pub complete: bool,
    /// How long it took, or how long it was tried.
    pub took: Duration,
    /// What `sipp` says went wrong; empty where nothing did.
    pub log: String,
}

impl<'a> Handset<'a> {
    /// A phone of the account `user` that names its own address as its contact.
    pub fn new(host: &'a Host, address: IpAddr, transport: Transport, user: &str) -> Self {
        Self { host, address, transport, user: user.to_owned(), contact: OWN_CONTACT.to_owned() }
    }

    /// The same behind a NAT: its contact is an address that nobody reaches.
    #[must_use]
    pub fn behind_nat(self) -> Self {
        Self { contact: PRIVATE_CONTACT.to_owned(), ..self }
    }

    /// The same at another address of its host.
    #[must_use]
    pub fn at(&self, address: IpAddr) -> Self {
        Self { address, ..self.clone() }
    }

    /// Where its packets come from.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Registers for so many seconds.
    pub fn register(&self, lifetime_s: u32) -> Result<Outcome> {
        self.register_after(0, lifetime_s)
    }

    /// The same after so many attempts with a wrong password, at most six.
    pub fn register_after(&self, wrong: u32, lifetime_s: u32) -> Result<Outcome> {
        let attempt = include_str!("scenarios/register-wrong.xml");
        let wrong =
            (0..wrong.min(WRONG_MAX)).map(|number| attempt.replace("{{number}}", &(2 + number).to_string()));
        let text =
            self.filled(include_str!("scenarios/register.xml"), &wrong.collect::<String>(), lifetime_s);
        self.sipp(&text, &["-m", "1"], REGISTER)
    }

    /// Takes its registration back.
    pub fn deregister(&self) -> Result<Outcome> {
        self.register(0)
    }

    /// Takes all registrations of its account back, wherever they are (RFC 3261 section 10.2.2).
    pub fn deregister_all(&self) -> Result<Outcome> {
        Self { contact: "*".to_owned(), ..self.clone() }.register(0)
    }

    /// So many phones at once behind this address, each of an account and at a port of its own.
    pub fn register_many(&self, phones: u32, lifetime_s: u32, within: Duration) -> Result<Outcome> {
        let one = Self { user: format!("{}[call_number]", self.user), ..self.clone() };
        let text = one.filled(include_str!("scenarios/register.xml"), "", lifetime_s);
        let phones = phones.to_string();
        let sockets = (phones.parse::<u32>()? + 100).to_string();
        let arguments = ["-m", &phones, "-l", &phones, "-r", &phones, "-max_socket", &sockets];
        let one_a_call = format!("{}n", &sipp_transport(self.transport)?[..1]);
        one.sipp_over(&one_a_call, &text, &arguments, within)
    }

    /// Calls the PBX, which wants the password.
    pub fn call(&self) -> Result<Call> {
        self.call_within(CALL)
    }

    /// The same where the call may fail: `within` is how long it is tried, in whole seconds.
    pub fn call_within(&self, within: Duration) -> Result<Call> {
        let text = self.filled(include_str!("scenarios/phone-call.xml"), "", 0);
        Call::by(self.host, self.address, self.transport, &text, within)
    }

    fn filled(&self, scenario: &str, wrong: &str, lifetime_s: u32) -> String {
        let text = scenario.replace("{{wrong}}", wrong).replace("{{contact}}", &self.contact);
        let text = text.replace("{{lifetime}}", &lifetime_s.to_string());
        // sipp's own key words do not stand within each other; the registrar minds the password only.
        let account = self.user.split('[').next().unwrap_or_default();
        let text = text.replace("{{user}}", &self.user).replace("{{account}}", account);
        text.replace("{{password}}", PASSWORD)
    }

    fn sipp(&self, scenario: &str, arguments: &[&str], within: Duration) -> Result<Outcome> {
        self.sipp_over(sipp_transport(self.transport)?, scenario, arguments, within)
    }

    fn sipp_over(
        &self,
        transport: &str,
        scenario: &str,
        arguments: &[&str],
        within: Duration,
    ) -> Result<Outcome> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let directory =
            self.host.directory().join(format!("register-{}", NUMBER.fetch_add(1, Ordering::Relaxed)));
        fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
        let path = directory.join("register.xml");
        fs::write(&path, scenario).with_context(|| format!("write {}", path.display()))?;
        let mut command = self.host.command("sipp");
        command.current_dir(&directory).args(["-sf", "register.xml", "-bind_local"]).args(arguments);
        command.args(["-i", &self.address.to_string(), "-t", transport, "-f", "3600", "-nostdin"]);
        command.args(["-timeout_error", "-timeout", &within.as_secs().max(1).to_string()]);
        command.args(["-trace_err", "-error_file", "errors.log"]);
        let family = Family::of(self.address);
        command.arg(SocketAddr::new(Role::Pbx.address(family), SIP_PORT).to_string());
        let started = Instant::now();
        let outcome = self.host.run("sipp", command, within + Duration::from_secs(10))?;
        let errors = fs::read_to_string(directory.join("errors.log")).unwrap_or_default();
        let log = if outcome.succeeded() { String::new() } else { errors + &outcome.stderr };
        Ok(Outcome { complete: outcome.succeeded(), took: started.elapsed(), log })
    }
}
