//! A whole call by `sipp`: INVITE with SDP, ACK, one second of audio, BYE along the recorded route.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use etherparse::PacketBuilder;

use crate::capture::Packet;
use crate::frames::write_pcap;
use crate::host::{Family, Host, Role, Transport};
use crate::pbx::{MEDIA_PORTS, SIP_PORT};

/// RTP packets that the caller sends in a call; the phone echoes each.
pub const MEDIA_PACKETS: usize = 50;
/// Time between two of them, as for 20 ms of G.711 a packet.
const MEDIA_SPACING_MS: u64 = 20;

/// A call that was tried, and what came of it.
#[derive(Clone, Debug)]
pub struct Call {
    /// Everything from INVITE to the answer to BYE went through.
    pub complete: bool,
    /// How long it took, or how long it was tried.
    pub took: Duration,
    /// What `sipp` says went wrong; empty for a complete call.
    pub log: String,
    /// Where the caller's media came from.
    pub media_source: SocketAddr,
}

impl Call {
    /// Calls the PBX from `from` and waits for the end of the call; a call takes 1.3 s.
    ///
    /// A call that fails within `within` (whole seconds) is no error but `complete == false`.
    pub fn place(from: &Host, transport: Transport, family: Family, within: Duration) -> Result<Self> {
        Self::by(from, from.address(family), transport, include_str!("scenarios/call.xml"), within)
    }

    /// The same from one of the host's other addresses, by another scenario.
    pub(crate) fn by(
        from: &Host,
        address: IpAddr,
        transport: Transport,
        scenario: &str,
        within: Duration,
    ) -> Result<Self> {
        // Even, as RTP ports are, and above the policy's media listener, so that nobody takes it for a port
        // of the PBX.
        static NEXT_PORT: AtomicU16 = AtomicU16::new(0);
        let media_port = 30_000 + NEXT_PORT.fetch_add(4, Ordering::Relaxed) % 20_000;
        let directory = from.directory().join(format!("call-{media_port}"));
        fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
        prepare(&directory, scenario)?;
        let mut command = from.command("sipp");
        command.current_dir(&directory).args(["-sf", "call.xml", "-m", "1", "-bind_local"]);
        command.args([
            "-i",
            &address.to_string(),
            "-mi",
            &address.to_string(),
            "-mp",
            &media_port.to_string(),
        ]);
        command.args(["-t", sipp_transport(transport)?, "-f", "3600", "-nostdin", "-timeout_error"]);
        command.args(["-timeout", &within.as_secs().max(1).to_string()]);
        command.args(["-trace_err", "-error_file", "errors.log"]);
        command.arg(SocketAddr::new(Role::Pbx.address(Family::of(address)), SIP_PORT).to_string());
        let started = Instant::now();
        let outcome = from.run("sipp", command, within + Duration::from_secs(10))?;
        let errors = fs::read_to_string(directory.join("errors.log")).unwrap_or_default();
        Ok(Self {
            complete: outcome.succeeded(),
            took: started.elapsed(),
            log: if outcome.succeeded() { String::new() } else { errors + &outcome.stderr },
            media_source: SocketAddr::new(address, media_port),
        })
    }

    /// Whether a packet is media of this call on its way to the PBX.
    pub fn is_media(&self, packet: &Packet) -> bool {
        packet.transport == Transport::Udp
            && SocketAddr::new(packet.source, packet.source_port) == self.media_source
            && MEDIA_PORTS.contains(&packet.destination_port)
    }
}

pub(crate) fn sipp_transport(transport: Transport) -> Result<&'static str> {
    match transport {
        Transport::Udp => Ok("u1"),
        Transport::Tcp => Ok("t1"),
        Transport::Other(number) => bail!("no SIP over IP protocol {number}: call over UDP or TCP"),
    }
}

/// Puts the scenario and its audio where `sipp` looks for them: in the directory it runs in.
fn prepare(directory: &Path, scenario: &str) -> Result<()> {
    let path = directory.join("call.xml");
    fs::write(&path, scenario).with_context(|| format!("write {}", path.display()))?;
    let frames = (0..MEDIA_PACKETS).map(audio).collect::<Result<Vec<_>>>()?;
    write_pcap(&directory.join("audio.pcap"), &frames, Duration::from_millis(MEDIA_SPACING_MS))
}

/// One packet of silence, PCMA (RFC 3551). `sipp` replaces addresses and ports by those of the call.
fn audio(index: usize) -> Result<Vec<u8>> {
    const SAMPLES: u32 = 160;
    let sequence = u16::try_from(index)?;
    let mut payload = vec![0x80, 8];
    payload.extend(sequence.to_be_bytes());
    payload.extend((u32::from(sequence) * SAMPLES).to_be_bytes());
    payload.extend(0x51f0_u32.to_be_bytes());
    payload.extend([0xd5; SAMPLES as usize]);
    let builder = PacketBuilder::ethernet2([0; 6], [0; 6]).ipv4([198, 51, 100, 20], [198, 51, 100, 10], 64);
    let mut frame = Vec::new();
    builder.udp(4000, 4002).write(&mut frame, &payload)?;
    Ok(frame)
}
