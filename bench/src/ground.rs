//! Where packets run: veth pairs between two network namespaces of a laboratory of their own. The laboratory removes all of it, whatever ends the program.
//! What is attached to a wire is not decided here.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::atomic::{AtomicU16, Ordering},
};

use anyhow::{Context, Result};
use nix::net::if_::if_nametoindex;
use serde_json::Value;
use tests::{Host, Lab};

/// Two hosts and the wires between them: one sends, one is protected.
#[derive(Debug)]
pub struct Ground {
    lab: Lab,
    wires: u8,
}

/// A veth pair: the generator writes into one end, what is measured stands at the other.
#[derive(Clone, Debug)]
pub struct Wire {
    name: String,
    sender: Host,
    protected: Host,
    sender_index: u32,
    sender_hardware: [u8; 6],
    protected_hardware: [u8; 6],
    sender_address: Ipv4Addr,
    protected_address: Ipv4Addr,
}

impl Ground {
    /// Builds one without a wire. Needs root.
    pub fn new() -> Result<Self> {
        Ok(Self { lab: Lab::new()?, wires: 0 })
    }

    /// One with a single wire.
    pub fn with_wire() -> Result<(Self, Wire)> {
        let mut ground = Self::new()?;
        let wire = ground.wire()?;
        Ok((ground, wire))
    }

    /// The laboratory, for what runs in it.
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// Lays one more wire.
    pub fn wire(&mut self) -> Result<Wire> {
        static NUMBER: AtomicU16 = AtomicU16::new(0);
        let (sender, protected) = (self.lab.trunk(), self.lab.pbx());
        // The kernel names its threads by interface: no two wires of this machine may share a name.
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("w{:x}n{number}", std::process::id());
        // RFC 2544's own addresses: in no plan of prefixes.
        let [here, there] = [2, 1].map(|host| Ipv4Addr::new(198, 18, self.wires, host));
        self.wires += 1;
        sender.cable(&name, here.into(), protected, there.into())?;
        // A veth receives in NAPI, as a NIC does, only with an XDP program or with this.
        let mut command = protected.command("ethtool");
        command.args(["-K", &name, "gro", "on"]);
        run(protected, command)?;
        let index = sender.in_namespace(|| if_nametoindex(name.as_str()))?;
        let wire = Wire {
            sender_index: index.with_context(|| format!("find {name}"))?,
            sender_hardware: hardware_address(sender, &name)?,
            protected_hardware: hardware_address(protected, &name)?,
            sender: sender.clone(),
            protected: protected.clone(),
            sender_address: here,
            protected_address: there,
            name,
        };
        wire.know_each_other()?;
        Ok(wire)
    }
}

impl Wire {
    /// The interface's name at both ends.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The host that sends.
    pub fn sender(&self) -> &Host {
        &self.sender
    }

    /// The host that receives and is protected.
    pub fn protected(&self) -> &Host {
        &self.protected
    }

    /// The sending end's interface index.
    pub fn sender_index(&self) -> u32 {
        self.sender_index
    }

    /// Hardware addresses of the sending and of the protected end.
    pub fn hardware_addresses(&self) -> [[u8; 6]; 2] {
        [self.sender_hardware, self.protected_hardware]
    }

    /// Addresses of the sending and of the protected end.
    pub fn addresses(&self) -> [Ipv4Addr; 2] {
        [self.sender_address, self.protected_address]
    }

    /// Frames that the protected end has taken off its ring so far.
    pub fn received(&self) -> Result<u64> {
        let mut command = self.protected.command("ethtool");
        command.args(["-S", &self.name]);
        let text = run(&self.protected, command)?;
        let counter = text.lines().filter_map(|line| line.trim().split_once(": "));
        let packets =
            counter.filter(|(name, _)| name.starts_with("rx_queue_") && name.ends_with("_xdp_packets"));
        packets.map(|(_, value)| value.parse::<u64>().context("read the interface's counters")).sum()
    }

    /// No address resolution: its packets would be lost in a flood.
    fn know_each_other(&self) -> Result<()> {
        let pairs = [
            (&self.sender, self.protected_address, self.protected_hardware),
            (&self.protected, self.sender_address, self.sender_hardware),
        ];
        for (host, address, hardware) in pairs {
            let hardware = hardware.map(|byte| format!("{byte:02x}")).join(":");
            let address = IpAddr::from(address).to_string();
            let entry = [
                "neighbour",
                "replace",
                &address,
                "lladdr",
                &hardware,
                "dev",
                &self.name,
                "nud",
                "permanent",
            ];
            host.network(&entry)?;
        }
        Ok(())
    }
}

fn hardware_address(host: &Host, interface: &str) -> Result<[u8; 6]> {
    let links: Value = serde_json::from_str(&host.network(&["-json", "link", "show", interface])?)?;
    let text = links[0]["address"].as_str().context("`ip -json link` names no address")?;
    let bytes = text.split(':').map(|byte| u8::from_str_radix(byte, 16)).collect::<Result<Vec<_>, _>>()?;
    bytes.try_into().ok().with_context(|| format!("{text} is no hardware address"))
}

/// Runs a command inside a host; what it printed is the error where it fails.
pub(crate) fn run(host: &Host, command: std::process::Command) -> Result<String> {
    run_within(host, command, std::time::Duration::from_secs(10))
}

/// The same with a deadline of its own.
pub(crate) fn run_within(
    host: &Host,
    command: std::process::Command,
    within: std::time::Duration,
) -> Result<String> {
    let line = format!("{command:?}");
    let outcome = host.run("bench", command, within)?;
    anyhow::ensure!(outcome.succeeded(), "{line} failed ({:?}): {}", outcome.code, outcome.stderr.trim());
    Ok(outcome.stdout)
}
