//! One host of the laboratory: its addresses, and how to run programs and code inside its network namespace.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::panic;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns};

use crate::process::{Outcome, Process, succeed};

/// Who a host plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Runs the SIP server and, on its NIC, the filter.
    Pbx,
    /// The provisioned peer.
    Trunk,
    /// A peer that nothing speaks for.
    Stranger,
}

impl Role {
    /// Every host, in the order in which a laboratory keeps them.
    pub const ALL: [Role; 3] = [Role::Pbx, Role::Trunk, Role::Stranger];

    /// The word in namespace names and reports.
    pub fn name(self) -> &'static str {
        match self {
            Role::Pbx => "pbx",
            Role::Trunk => "trunk",
            Role::Stranger => "stranger",
        }
    }

    /// Its address; from the documentation ranges (RFC 5737, RFC 3849), other than those of the example
    /// policies.
    pub fn address(self, family: Family) -> IpAddr {
        let (v4, v6) = match self {
            Role::Pbx => (10, 0x10),
            Role::Trunk => (20, 0x20),
            Role::Stranger => (30, 0x30),
        };
        match family {
            Family::V4 => Ipv4Addr::new(198, 51, 100, v4).into(),
            Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0x5060, 0, 0, 0, 0, v6).into(),
        }
    }
}

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub const ALL: [Family; 2] = [Family::V4, Family::V6];

    /// As people write it.
    pub fn name(self) -> &'static str {
        match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        }
    }

    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Family::V4 } else { Family::V6 }
    }
}

/// What SIP runs over, or what a captured packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
    /// Another IP protocol number, or a fragment without ports.
    Other(u8),
}

impl Transport {
    /// As people write it.
    pub fn name(self) -> &'static str {
        match self {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
            Transport::Other(_) => "other",
        }
    }
}

/// A host: one network namespace with the NIC `eth0`.
#[derive(Clone, Debug)]
pub struct Host {
    role: Role,
    namespace: String,
    directory: PathBuf,
}

impl Host {
    pub(crate) fn new(role: Role, namespace: String, directory: PathBuf) -> Self {
        Self { role, namespace, directory }
    }

    /// Who it plays.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Its own address.
    pub fn address(&self, family: Family) -> IpAddr {
        self.role.address(family)
    }

    /// The namespace's name, as `ip -n` takes it.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The laboratory's directory; it goes with the laboratory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// A command that will run inside the host.
    ///
    /// By `nsenter` and not `ip netns exec`, which mounts another `/sys` and so hides `/sys/fs/bpf`.
    /// Only the network is the host's own: `/sys/class/net` shows the root namespace's interfaces.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path().display())).arg("--").arg(program);
        command
    }

    /// Starts a program inside the host; `command` comes from [`Host::command`].
    pub fn spawn(&self, name: &str, command: Command) -> Result<Process> {
        Process::spawn(&self.directory, name, command)
    }

    /// Runs a program inside the host to its end, whatever its exit code; fails when `within` has passed
    /// first.
    pub fn run(&self, name: &str, command: Command, within: Duration) -> Result<Outcome> {
        self.spawn(name, command)?.wait(within)
    }

    /// Runs code inside the host, on a thread of its own, because a namespace belongs to a thread.
    ///
    /// A socket opened there stays in the host wherever it is used afterwards. A panic of `work` goes on in
    /// the caller.
    pub fn in_namespace<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let path = self.path();
        let file = File::open(&path).with_context(|| format!("open {}", path.display()))?;
        thread::scope(|scope| {
            let thread = scope.spawn(move || {
                setns(file, CloneFlags::CLONE_NEWNET).context("enter the network namespace")?;
                Ok(work())
            });
            thread.join().unwrap_or_else(|payload| panic::resume_unwind(payload))
        })
    }

    /// Gives the NIC one more address, for example `203.0.113.7/32` or `2001:db8:bad::1/64`, usable at once.
    ///
    /// The other hosts get a route to it through this host.
    pub fn add_address(&self, address: IpAddr, prefix_length: u8, others: &[&Host]) -> Result<()> {
        let prefix = format!("{address}/{prefix_length}");
        let mut command = Command::new("ip");
        command.args(["-n", &self.namespace, "address", "add", &prefix, "dev", "eth0"]);
        if address.is_ipv6() {
            command.arg("nodad");
        }
        succeed(&mut command)?;
        let by = self.address(Family::of(address)).to_string();
        for other in others {
            let host_route =
                if address.is_ipv4() { format!("{address}/32") } else { format!("{address}/128") };
            let mut command = Command::new("ip");
            succeed(command.args(["-n", &other.namespace, "route", "replace", &host_route, "via", &by]))?;
        }
        Ok(())
    }

    /// Lays a cable to another host, past the switch: a NIC `name` in both, with these addresses.
    pub fn cable(&self, name: &str, here: IpAddr, other: &Host, there: IpAddr) -> Result<()> {
        let mut command = self.ip();
        command.args(["link", "add", name, "type", "veth", "peer", "name", name, "netns", &other.namespace]);
        succeed(&mut command)?;
        for (host, address) in [(other, there), (self, here)] {
            let prefix = format!("{address}/{}", if address.is_ipv4() { 24 } else { 64 });
            succeed(host.ip().args(["link", "set", name, "addrgenmode", "none"]))?;
            let mut command = host.ip();
            command.args(["address", "add", &prefix, "dev", name]);
            if address.is_ipv6() {
                command.arg("nodad");
            }
            succeed(&mut command)?;
            succeed(host.ip().args(["link", "set", name, "up"]))?;
        }
        Ok(())
    }

    /// `ip` about this host's network, by its own words: `host.network(&["link", "delete", "eth1"])`.
    pub fn network(&self, arguments: &[&str]) -> Result<String> {
        succeed(self.ip().args(arguments))
    }

    /// The hardware address of the NIC, for crafted frames.
    pub fn hardware_address(&self) -> [u8; 6] {
        // Given by the laboratory, so that a frame can be built before anything was sent.
        [0x02, 0, 0, 0, 0, 0x10 * (self.role as u8 + 1)]
    }

    /// The SIP port of this host, which is where everybody calls.
    pub fn sip(&self, family: Family) -> SocketAddr {
        SocketAddr::new(self.address(family), crate::pbx::SIP_PORT)
    }

    fn ip(&self) -> Command {
        let mut command = Command::new("ip");
        command.args(["-n", &self.namespace]);
        command
    }

    pub(crate) fn path(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.namespace)
    }
}
