//! What attackers do: they guess passwords by `svcrack` and accounts by `svwar`, and flood with forged sources.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::frames::write_pcap;
use crate::host::{Family, Host};
use crate::process::{Outcome, Process};

/// It gives up by itself where nobody answers; the rest is for a machine under load.
const TOOL_MS: u64 = 60_000;
/// The longest flood.
const FLOOD_S: u32 = 120;

/// Starts to guess the password of an account by `svcrack`, with so many words, none of them right.
///
/// It ends by itself some 20 s after nobody answers any more.
pub fn crack(from: &Host, to: SocketAddr, user: &str, words: usize) -> Result<Process> {
    let path = from.directory().join("words.txt");
    let list: String = (0..words).map(|number| format!("guess{number}\n")).collect();
    std::fs::write(&path, list).with_context(|| format!("write {}", path.display()))?;
    let mut command = from.command("svcrack");
    command.env("HOME", from.directory()).args(["-u", user, "-d"]).arg(&path);
    command.args(["-p", &to.port().to_string(), &to.ip().to_string()]);
    from.spawn("svcrack", command)
}

/// Looks for accounts by `svwar`, with requests of this method for the numbers of this range: "100-200".
///
/// It asks for a number that nobody has first, and gives up where no answer comes to that within three seconds.
pub fn war(from: &Host, to: SocketAddr, method: &str, range: &str) -> Result<Outcome> {
    let mut command = from.command("svwar");
    command.env("HOME", from.directory()).args(["-m", method, "-e", range, "--force"]);
    command.args(["-p", &to.port().to_string(), &to.ip().to_string()]);
    from.run("svwar", command, Duration::from_millis(TOOL_MS))
}

/// Frames that are sent again and again, as fast as it goes, until it is dropped or two minutes are over.
#[derive(Debug)]
pub struct Flood(Process);

impl Flood {
    /// Starts sending from the NIC of a host.
    pub fn start(from: &Host, frames: &[Vec<u8>]) -> Result<Self> {
        let file = from.directory().join("flood.pcap");
        write_pcap(&file, frames, Duration::ZERO)?;
        let mut command = from.command("tcpreplay");
        command.args(["--intf1=eth0", "--topspeed", "--preload-pcap", "--quiet", "--loop=0"]);
        command.arg(format!("--duration={FLOOD_S}")).arg(&file);
        Ok(Self(from.spawn("tcpreplay", command)?))
    }

    /// Fails if it has ended.
    pub fn still_runs(&mut self) -> Result<()> {
        self.0.still_runs()
    }
}

/// UDP packets to the SIP port of a host with this payload, each from an address of its own that nobody has.
pub fn forged(from: &Host, to: &Host, payload: &str, count: u32) -> Result<Vec<Vec<u8>>> {
    let std::net::IpAddr::V4(target) = to.address(Family::V4) else { unreachable!("an address of IPv4") };
    let frame = |number: u32| {
        // Spread as forged sources are, and in a network for tests (RFC 2544): 198.18.0.0/15.
        let source = 0xc612_0000_u32 | number.wrapping_mul(0x9e37_79b1) >> 15;
        let builder = etherparse::PacketBuilder::ethernet2(from.hardware_address(), to.hardware_address())
            .ipv4(source.to_be_bytes(), target.octets(), 64)
            .udp(5060, crate::pbx::SIP_PORT);
        let mut frame = Vec::with_capacity(builder.size(payload.len()));
        builder.write(&mut frame, payload.as_bytes())?;
        Ok(frame)
    };
    (0..count).map(frame).collect()
}
