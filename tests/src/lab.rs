//! Building and removing a laboratory. It must leave nothing behind, whatever ends it, and must not touch the
//! root namespace.

use std::env;
use std::fs;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, Stdio};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use anyhow::{Context, Result, bail};
use nix::unistd::geteuid;

use crate::host::{Family, Host, Role};
use crate::process::succeed;

/// Where `ip netns add` keeps namespaces.
const NAMESPACES: &str = "/run/netns";
/// What every name of a laboratory begins with; the process id follows, then a number within the process.
const PREFIX: &str = "sipf";
/// The switch's own hardware address: frames to it go nowhere but into the switch.
pub(crate) const SWITCH_HARDWARE_ADDRESS: &str = "02:00:00:00:00:01";
/// An address of no host. Every host believes it to be at the switch, so packets to it disturb nobody's
/// counters.
pub(crate) const NOWHERE: &str = "198.51.100.1";

/// Three hosts and a switch. Dropping it, or the end of the process in any way, removes all of it.
#[derive(Debug)]
pub struct Lab {
    directory: PathBuf,
    pins: PathBuf,
    hosts: [Host; 3],
    janitor: Child,
}

impl Lab {
    /// Builds a laboratory; takes about a tenth of a second. Needs root.
    pub fn new() -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        static SWEEP: Once = Once::new();
        if !geteuid().is_root() {
            bail!("the laboratory makes network namespaces and needs root: run it with sudo");
        }
        SWEEP.call_once(sweep);
        let name = Name { pid: process::id(), number: NUMBER.fetch_add(1, Ordering::Relaxed) };
        let directory = name.directory();
        fs::create_dir(&directory).with_context(|| format!("create {}", directory.display()))?;
        let janitor = start_janitor(&name)?;
        let hosts = Role::ALL.map(|role| Host::new(role, name.namespace(role.name()), directory.clone()));
        // From here on an error drops the laboratory and so removes the part of it that exists.
        let lab = Self { directory, pins: name.pins(), hosts, janitor };
        lab.connect(&name.namespace("switch")).context("build the laboratory")?;
        Ok(lab)
    }

    /// A laboratory for the test that calls it; `None`, and a word on why, without root.
    ///
    /// With `CI=true` a test may not be skipped.
    ///
    /// # Panics
    ///
    /// In CI without root, and where the laboratory cannot be built.
    pub fn or_skip() -> Option<Self> {
        if !geteuid().is_root() {
            let name = thread::current().name().unwrap_or("a test").to_owned();
            let must = env::var("CI").is_ok_and(|value| value == "true");
            assert!(!must, "{name} needs root for network namespaces, and in CI it must run");
            // Past the test harness, which keeps what a passing test prints to itself. Who closed it wants no word.
            let _ = writeln!(io::stderr(), "skipped: {name}: network namespaces need root");
            return None;
        }
        match Self::new() {
            Ok(lab) => Some(lab),
            Err(error) => panic!("{error:#}"),
        }
    }

    /// The host that is protected.
    pub fn pbx(&self) -> &Host {
        &self.hosts[0]
    }

    /// The provisioned peer.
    pub fn trunk(&self) -> &Host {
        &self.hosts[1]
    }

    /// The peer that nothing speaks for.
    pub fn stranger(&self) -> &Host {
        &self.hosts[2]
    }

    /// A directory for this laboratory's files.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// What to give to `--pins`: unique, on the machine's bpffs, not yet there.
    pub fn pins(&self) -> &Path {
        &self.pins
    }

    fn connect(&self, switch: &str) -> Result<()> {
        succeed(Command::new("ip").args(["netns", "add", switch]))?;
        // No multicast snooping: neighbour discovery must work at once, without a querier.
        // No link-local addresses anywhere: their owners would chatter into captures and counters.
        let mut lines = format!(
            "link add br0 address {SWITCH_HARDWARE_ADDRESS} type bridge mcast_snooping 0\n\
             link set br0 addrgenmode none\nlink set br0 up\nlink set lo up\n"
        );
        for host in &self.hosts {
            succeed(Command::new("ip").args(["netns", "add", host.namespace()]))?;
            let port = host.role().name();
            // The far end is born inside the host: the root namespace never sees it.
            lines += &format!("link add {port} type veth peer name eth0 netns {}\n", host.namespace());
            lines += &format!("link set {port} addrgenmode none\nlink set {port} master br0 up\n");
        }
        self.ip_batch(switch, &lines)?;
        for host in &self.hosts {
            self.ip_batch(host.namespace(), &host_batch(host))?;
            // A local sender leaves checksums to a NIC that veth does not have; captured frames would be
            // wrong.
            let mut ethtool = host.command("ethtool");
            succeed(ethtool.args(["-K", "eth0", "tx", "off", "rxvlan", "off", "txvlan", "off"]))?;
            // The switch must put a VLAN tag back into the frame, where XDP looks, and not beside it.
            let mut ethtool = Command::new("nsenter");
            ethtool.arg(format!("--net={NAMESPACES}/{switch}")).args(["ethtool", "-K", host.role().name()]);
            succeed(ethtool.args(["txvlan", "off", "tx-vlan-stag-hw-insert", "off"]))?;
        }
        Ok(())
    }

    fn ip_batch(&self, namespace: &str, lines: &str) -> Result<()> {
        let path = self.directory.join(format!("{namespace}.batch"));
        fs::File::create(&path)
            .and_then(|mut file| file.write_all(lines.as_bytes()))
            .with_context(|| format!("write {}", path.display()))?;
        succeed(Command::new("ip").args(["-n", namespace, "-batch"]).arg(&path))?;
        Ok(())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // The janitor reads our end of its standard input; closing it is the signal, and its exit is the
        // receipt.
        drop(self.janitor.stdin.take());
        if let Err(error) = self.janitor.wait() {
            eprintln!("the laboratory {} was not removed: {error}", self.directory.display());
        }
    }
}

fn host_batch(host: &Host) -> String {
    let hardware_address = host.hardware_address().map(|byte| format!("{byte:02x}")).join(":");
    let v4 = host.address(Family::V4);
    let v6 = host.address(Family::V6);
    // No duplicate address detection: it would hold the address back for a second.
    format!(
        "link set lo up\n\
         link set eth0 address {hardware_address} addrgenmode none\n\
         address add {v4}/24 dev eth0\n\
         address add {v6}/64 dev eth0 nodad\n\
         link set eth0 up\n\
         neighbour add {NOWHERE} lladdr {SWITCH_HARDWARE_ADDRESS} dev eth0 nud permanent\n"
    )
}

/// What a laboratory is called: its process and its number within the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Name {
    pid: u32,
    number: u32,
}

impl Name {
    fn stem(self) -> String {
        format!("{PREFIX}{}-{}", self.pid, self.number)
    }

    fn namespace(self, of: &str) -> String {
        format!("{}-{of}", self.stem())
    }

    fn directory(self) -> PathBuf {
        std::env::temp_dir().join(self.stem())
    }

    fn pins(self) -> PathBuf {
        PathBuf::from(format!("/sys/fs/bpf/{PREFIX}-lab-{}-{}", self.pid, self.number))
    }

    /// Reads the name of a namespace or a directory of a laboratory; `None` for anybody else's.
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix(PREFIX)?.splitn(3, '-');
        Some(Self { pid: parts.next()?.parse().ok()?, number: parts.next()?.parse().ok()? })
    }
}

fn start_janitor(name: &Name) -> Result<Child> {
    let mut command = Command::new("sh");
    command.args(["-c", include_str!("janitor.sh"), "janitor"]);
    command.arg(name.stem()).arg(name.directory()).arg(name.pins());
    // A process group of its own: Ctrl-C on the terminal ends the laboratory, not its janitor.
    command.stdin(Stdio::piped()).stdout(Stdio::null()).process_group(0);
    command.spawn().context("start the laboratory's janitor (sh)")
}

/// Removes laboratories whose janitor was killed with them, as when a container is stopped.
fn sweep() {
    let places = [PathBuf::from(NAMESPACES), std::env::temp_dir()];
    let entries = places.iter().filter_map(|path| fs::read_dir(path).ok());
    let names = entries.flatten().flatten().filter_map(|entry| Name::parse(entry.file_name().to_str()?));
    // Our own id on something that is already there means that its process is dead and that its id came round
    // to us.
    let mut dead: Vec<Name> = names
        .filter(|name| name.pid == process::id() || !Path::new(&format!("/proc/{}", name.pid)).exists())
        .collect();
    dead.dedup();
    for name in dead {
        if let Ok(mut janitor) = start_janitor(&name) {
            drop(janitor.stdin.take());
            // Another process may be sweeping the same; only the result matters, and names are never reused.
            let _ = janitor.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Name;

    #[test]
    fn only_names_of_laboratories_are_swept() {
        let ours = Some(Name { pid: 12, number: 3 });
        for (text, expected) in [
            ("sipf12-3-pbx", ours),
            ("sipf12-3", ours),
            ("sipf-lab", None),
            ("sipfx-3-pbx", None),
            ("vpn12-3", None),
        ] {
            assert_eq!(Name::parse(text), expected, "{text}");
        }
    }
}
