//! The protected side: Kamailio on UDP and TCP, IPv4 and IPv6, and behind it one `sipp` phone for each
//! family.
//!
//! Kamailio relays calls statefully with Record-Route and answers OPTIONS itself. It knows nothing of the
//! filter.

use std::collections::HashSet;
use std::fs;
use std::ops::RangeInclusive;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::host::{Family, Host, Transport};
use crate::process::Process;
use crate::scan::options;
use crate::wait::wait_until;

/// Where the SIP server listens.
pub const SIP_PORT: u16 = 5060;
/// Where media may arrive; a policy for this laboratory has a media listener on it.
pub const MEDIA_PORTS: RangeInclusive<u16> = 10000..=20000;

/// The password of every account of the registrar.
pub const PASSWORD: &str = "correct-horse";

/// Where the phones listen; no listener of the policy, and reached over the loopback device only.
const PHONE_PORT: u16 = 5070;
const START_MS: u64 = 15_000;
/// A phone outlives every test, but not a laboratory whose janitor was killed.
const PHONE_LIFE_S: u32 = 900;

/// A running SIP server with its phones. Dropping it ends them.
#[derive(Debug)]
pub struct Pbx {
    kamailio: Process,
    phones: Vec<Process>,
}

impl Pbx {
    /// Starts all of it on `host` and waits until it answers on every address and transport.
    pub fn start(host: &Host) -> Result<Self> {
        Self::start_as(host, include_str!("kamailio.cfg"))
    }

    /// The same with a registrar, which wants [`PASSWORD`] of whoever registers or calls.
    pub fn start_registrar(host: &Host) -> Result<Self> {
        Self::start_as(host, include_str!("registrar.cfg"))
    }

    fn start_as(host: &Host, config: &str) -> Result<Self> {
        let kamailio = start_kamailio(host, config)?;
        let phones =
            Family::ALL.into_iter().map(|family| start_phone(host, family)).collect::<Result<_>>()?;
        let mut pbx = Self { kamailio, phones };
        let wanted = [PHONE_PORT, media_port(Family::V4), media_port(Family::V6)];
        wait_until(Duration::from_millis(START_MS), "the phones to listen", || {
            pbx.still_runs()?;
            let open = udp_ports(host)?;
            Ok(wanted.iter().all(|port| open.contains(port)).then_some(()))
        })?;
        for (family, transport) in
            Family::ALL.into_iter().flat_map(|family| [(family, Transport::Udp), (family, Transport::Tcp)])
        {
            let what = format!("kamailio to answer over {} {}", family.name(), transport.name());
            wait_until(Duration::from_millis(START_MS), &what, || {
                pbx.still_runs()?;
                options(host, host.sip(family), transport, Duration::from_millis(200))
            })
            .with_context(|| format!("kamailio printed:\n{}", pbx.kamailio.tail()))?;
        }
        Ok(pbx)
    }

    /// Fails, with what it printed, if the server or a phone is no longer running.
    pub fn still_runs(&mut self) -> Result<()> {
        self.kamailio.still_runs()?;
        self.phones.iter_mut().try_for_each(Process::still_runs)
    }
}

fn start_kamailio(host: &Host, config: &str) -> Result<Process> {
    let text = config
        .replace("{{password}}", PASSWORD)
        .replace("{{v4}}", &host.address(Family::V4).to_string())
        .replace("{{v6}}", &host.address(Family::V6).to_string());
    let config = host.directory().join("kamailio.cfg");
    fs::write(&config, text).with_context(|| format!("write {}", config.display()))?;
    let runtime = host.directory().join("kamailio");
    fs::create_dir_all(&runtime).with_context(|| format!("create {}", runtime.display()))?;
    let mut command = host.command("kamailio");
    command.args(["-DD", "-E", "-m", "16", "-M", "8"]).arg("-f").arg(&config);
    command.arg("-w").arg(&runtime).arg("-Y").arg(&runtime);
    host.spawn("kamailio", command)
}

fn start_phone(host: &Host, family: Family) -> Result<Process> {
    let scenario = host.directory().join("phone.xml");
    fs::write(&scenario, include_str!("scenarios/phone.xml"))
        .with_context(|| format!("write {}", scenario.display()))?;
    let address = host.address(family).to_string();
    let mut command = host.command("sipp");
    command.arg("-sf").arg(&scenario).current_dir(host.directory());
    command.args(["-i", &address, "-p", &PHONE_PORT.to_string(), "-t", "u1"]);
    command.args(["-rtp_echo", "-mi", &address, "-mp", &media_port(family).to_string()]);
    // Its screen would be redrawn into a file every second.
    command.args(["-f", "3600", "-nostdin", "-timeout_error", "-timeout", &PHONE_LIFE_S.to_string()]);
    host.spawn("phone", command)
}

/// Where the phone of a family takes and echoes media.
fn media_port(family: Family) -> u16 {
    match family {
        Family::V4 => 12000,
        Family::V6 => 12100,
    }
}

/// The local ports of a host's UDP sockets, IPv4 and IPv6.
fn udp_ports(host: &Host) -> Result<HashSet<u16>> {
    let tables = host.in_namespace(|| {
        // The thread's own view: /proc/net is the process's, in the root namespace.
        ["udp", "udp6"]
            .map(|name| fs::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap_or_default())
    })?;
    let port = |line: &str| {
        let (_, port) = line.split_whitespace().nth(1)?.rsplit_once(':')?;
        u16::from_str_radix(port, 16).ok()
    };
    Ok(tables.iter().flat_map(|table| table.lines()).filter_map(port).collect())
}
