//! What operators have today for the same job: only the sources on a list may reach 5060 and 10000 to 20000 over UDP, all else passes.
//! Each stands on a ground of its own and leaves with it; how it is set up is one function.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use tests::Process;

use crate::{
    ground::{Ground, Wire, run_within},
    plan::Plan,
    results::Change,
};

/// How long a set-up may take.
const SET_UP: Duration = Duration::from_secs(120);
/// An address that is added, of RFC 5737: in no plan.
const ADDED: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// A contender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contender {
    /// nftables with an interval set at the earliest hook.
    NftNetdev,
    /// nftables with an interval set at the usual hook.
    NftInput,
    /// iptables in the table raw, with an ipset.
    RawIpset,
    /// A rule for each prefix.
    Iptables,
    /// xdp-filter of xdp-tools: addresses only, and what is not listed is dropped whatever it is.
    XdpFilter,
}

/// A contender, set up.
pub struct Standing {
    contender: Contender,
    size: usize,
    took: Duration,
    wire: Wire,
    /// Holds what must outlive the set-up.
    keeper: Option<Process>,
    ground: Ground,
}

impl Contender {
    /// Every one.
    pub const ALL: [Contender; 5] = [
        Contender::NftNetdev,
        Contender::NftInput,
        Contender::RawIpset,
        Contender::Iptables,
        Contender::XdpFilter,
    ];

    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Contender::NftNetdev => "nftables netdev",
            Contender::NftInput => "nftables input",
            Contender::RawIpset => "iptables raw + ipset",
            Contender::Iptables => "iptables rules",
            Contender::XdpFilter => "xdp-filter",
        }
    }

    /// The longest list that is any use to try.
    pub fn size_max(self) -> usize {
        match self {
            Contender::Iptables => 1_000,
            Contender::XdpFilter => 9_900,
            _ => usize::MAX,
        }
    }

    /// Sets it up for a plan of IPv4 prefixes and the known client of its wire.
    ///
    /// # Errors
    ///
    /// Where a tool is missing or fails, with what it printed.
    pub fn set_up(self, plan: &Plan) -> Result<Standing> {
        let (ground, wire) = Ground::with_wire()?;
        let client = wire.addresses()[0];
        let mut prefixes = vec![format!("{client}/32")];
        prefixes.extend_from_slice(&plan.prefixes);
        let mut hosts = vec![IpAddr::from(client)];
        hosts.extend(plan.hosts(plan.prefixes.len().min(self.size_max())));
        let (script, input) = self.script(&wire, &prefixes, &hosts);
        let path = ground.lab().directory().join("rules");
        fs::write(&path, input).with_context(|| format!("write {}", path.display()))?;
        let mut standing = Standing {
            contender: self,
            size: plan.prefixes.len(),
            took: Duration::ZERO,
            wire,
            keeper: None,
            ground,
        };
        if self == Contender::XdpFilter {
            standing.keep_mounts()?;
        }
        let started = Instant::now();
        standing.shell(&script.replace("RULES", &path.display().to_string()))?;
        standing.took = started.elapsed();
        Ok(standing)
    }

    /// Shell commands, and the file RULES that they read.
    fn script(self, wire: &Wire, prefixes: &[String], hosts: &[IpAddr]) -> (String, String) {
        let interface = wire.name();
        let elements = prefixes.join(",\n");
        let set = format!("set allow {{ type ipv4_addr; flags interval; elements = {{\n{elements}\n}} }}");
        let rule = "udp dport { 5060, 10000-20000 } ip saddr != @allow drop";
        match self {
            Contender::NftNetdev => (
                "nft -f RULES".into(),
                format!(
                    "table netdev bench {{ {set}\nchain in {{ \
                     type filter hook ingress device {interface} priority -500; policy accept;\n{rule}\n}}\n}}\n"
                ),
            ),
            Contender::NftInput => (
                "nft -f RULES".into(),
                format!(
                    "table inet bench {{ {set}\nchain in {{ \
                     type filter hook input priority 0; policy accept;\n{rule}\n}}\n}}\n"
                ),
            ),
            Contender::RawIpset => {
                let entries =
                    prefixes.iter().map(|prefix| format!("add allow {prefix}\n")).collect::<String>();
                let size_max = prefixes.len() + 64;
                (
                    "ipset restore < RULES && iptables -t raw -A PREROUTING -p udp -m multiport \
                     --dports 5060,10000:20000 -m set ! --match-set allow src -j DROP"
                        .into(),
                    format!("create allow hash:net hashsize 65536 maxelem {size_max}\n{entries}"),
                )
            }
            Contender::Iptables => {
                let ports = ["5060", "10000:20000"];
                let accept = |prefix: &String| {
                    ports
                        .map(|port| format!("-A INPUT -s {prefix} -p udp --dport {port} -j ACCEPT\n"))
                        .concat()
                };
                let accepts = prefixes.iter().map(accept).collect::<String>();
                let drops = ports.map(|port| format!("-A INPUT -p udp --dport {port} -j DROP\n")).concat();
                ("iptables-restore < RULES".into(), format!("*filter\n{accepts}{drops}COMMIT\n"))
            }
            Contender::XdpFilter => {
                let lines = hosts.iter().map(|host| format!("{host}\n")).collect::<String>();
                (
                    format!(
                        "xdp-filter load -p deny -f ipv4 {interface} && \
                         while read -r host; do xdp-filter ip -m src $host || exit; done < RULES"
                    ),
                    lines,
                )
            }
        }
    }

    fn add(self) -> String {
        match self {
            Contender::NftNetdev => format!("nft add element netdev bench allow '{{ {ADDED} }}'"),
            Contender::NftInput => format!("nft add element inet bench allow '{{ {ADDED} }}'"),
            Contender::RawIpset => format!("ipset add allow {ADDED}"),
            Contender::Iptables => format!(
                "iptables -I INPUT -s {ADDED} -p udp --dport 5060 -j ACCEPT && \
                 iptables -I INPUT -s {ADDED} -p udp --dport 10000:20000 -j ACCEPT"
            ),
            Contender::XdpFilter => format!("xdp-filter ip -m src {ADDED}"),
        }
    }
}

impl Standing {
    /// The wire at whose protected end it stands.
    pub fn wire(&self) -> &Wire {
        &self.wire
    }

    /// What loading took, and what adding one address takes.
    pub fn change(&self) -> Result<Change> {
        let started = Instant::now();
        self.shell(&self.contender.add())?;
        Ok(Change {
            subject: self.contender.name().to_owned(),
            size: self.size,
            load_ms: Some(self.took.as_secs_f64() * 1e3),
            add_ms: Some(started.elapsed().as_secs_f64() * 1e3),
            ..Change::default()
        })
    }

    /// xdp-filter pins for the whole machine; in mounts of its own nobody else's are touched, and they go with the keeper.
    fn keep_mounts(&mut self) -> Result<()> {
        let host = self.wire.protected();
        let mut command = host.command("unshare");
        command.args([
            "--mount",
            "sh",
            "-c",
            "mount -t bpf bpf /sys/fs/bpf && echo ready && exec sleep infinity",
        ]);
        let mut keeper = host.spawn("mounts", command)?;
        tests::wait_until(Duration::from_secs(5), "a bpffs of its own", || {
            keeper.still_runs()?;
            Ok(keeper.stdout().contains("ready").then_some(()))
        })?;
        self.keeper = Some(keeper);
        Ok(())
    }

    fn shell(&self, script: &str) -> Result<()> {
        let host = self.ground.lab().pbx();
        let mut command = host.command(if self.keeper.is_some() { "nsenter" } else { "sh" });
        if let Some(keeper) = &self.keeper {
            command.arg(format!("--mount=/proc/{}/ns/mnt", keeper.id())).arg("sh");
        }
        command.args(["-c", script]);
        run_within(host, command, SET_UP).map(drop)
    }
}
