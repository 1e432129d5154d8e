//! What a host's network stack got, by `tcpdump` on its NIC.
//!
//! A packet that XDP drops never reaches AF_PACKET, so on the PBX the capture holds exactly what the filter
//! let in.
//! What the host itself sends is in the capture too: look at [`Packet::source`].

use std::fs::File;
use std::io::BufReader;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use pcap_file::pcap::PcapReader;

use crate::host::{Family, Host, Transport};
use crate::lab::NOWHERE;
use crate::process::Process;
use crate::wait::wait_until;

const TCPDUMP_MS: u64 = 15_000;

/// An IP packet as it was on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Who sent it.
    pub source: IpAddr,
    /// To whom.
    pub destination: IpAddr,
    /// What it carries.
    pub transport: Transport,
    /// 0 where the transport has no ports.
    pub source_port: u16,
    /// 0 where the transport has no ports.
    pub destination_port: u16,
    /// What UDP or TCP carries, or the IP payload of anything else.
    pub payload: Vec<u8>,
}

impl Packet {
    /// Reads an Ethernet frame, tagged or not; `None` if there is no whole IP packet in it.
    ///
    /// A fragment is [`Transport::Other`] with the number of the protocol that it is a part of.
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let sliced = SlicedPacket::from_ethernet(frame).ok()?;
        let (source, destination) = match sliced.net.as_ref()? {
            NetSlice::Ipv4(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
            NetSlice::Ipv6(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
            NetSlice::Arp(_) => return None,
        };
        let (transport, source_port, destination_port, payload) = match &sliced.transport {
            Some(TransportSlice::Udp(udp)) => {
                (Transport::Udp, udp.source_port(), udp.destination_port(), udp.payload())
            }
            Some(TransportSlice::Tcp(tcp)) => {
                (Transport::Tcp, tcp.source_port(), tcp.destination_port(), tcp.payload())
            }
            _ => {
                let payload = sliced.net.as_ref()?.ip_payload_ref()?;
                (Transport::Other(payload.ip_number.0), 0, 0, payload.payload)
            }
        };
        Some(Self {
            source,
            destination,
            transport,
            source_port,
            destination_port,
            payload: payload.to_vec(),
        })
    }
}

/// A running capture on a host's `eth0`. Dropping it ends it.
#[derive(Debug)]
pub struct Capture {
    host: Host,
    file: PathBuf,
    tcpdump: Process,
}

impl Capture {
    /// Starts capturing and returns once every packet from now on will be captured.
    pub fn start(host: &Host) -> Result<Self> {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let file = host.directory().join(format!("capture-{}.pcap", SERIAL.fetch_add(1, Ordering::Relaxed)));
        let mut command = host.command("tcpdump");
        // -Z root: it would become another user, who may not write here. -n: there is no name server to ask.
        command
            .args(["-i", "eth0", "-n", "-U", "--immediate-mode", "-B", "16384", "-Z", "root", "-w"])
            .arg(&file);
        let mut tcpdump = host.spawn("tcpdump", command)?;
        wait_until(Duration::from_millis(TCPDUMP_MS), "tcpdump to listen", || {
            tcpdump.still_runs()?;
            Ok(tcpdump.stderr().contains("listening on").then_some(()))
        })?;
        Ok(Self { host: host.clone(), file, tcpdump })
    }

    /// The IP packets so far, in both directions, oldest first; the capture goes on.
    pub fn packets(&self) -> Result<Vec<Packet>> {
        Ok(self.frames()?.iter().filter_map(|frame| Packet::parse(frame)).collect())
    }

    /// The frames so far, ARP and all, in both directions, oldest first; the capture goes on.
    ///
    /// Complete: a packet of our own goes out last, and the answer is what was captured before it.
    pub fn frames(&self) -> Result<Vec<Vec<u8>>> {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let nowhere: Ipv4Addr = NOWHERE.parse().context("the address of nobody")?;
        let mark = format!("end of capture {}", SERIAL.fetch_add(1, Ordering::Relaxed));
        let from = SocketAddr::new(self.host.address(Family::V4), 0);
        self.host
            .in_namespace(|| UdpSocket::bind(from)?.send_to(mark.as_bytes(), (nowhere, 9)))?
            .context("mark the end of the capture")?;
        let is_mark = |frame: &[u8]| Packet::parse(frame).filter(|packet| packet.destination == nowhere);
        let mut frames =
            wait_until(Duration::from_millis(TCPDUMP_MS), "tcpdump to write what it captured", || {
                let mut frames = self.read()?;
                let end = frames
                    .iter()
                    .position(|frame| is_mark(frame).is_some_and(|packet| packet.payload == mark.as_bytes()));
                Ok(end.map(|end| {
                    frames.truncate(end);
                    frames
                }))
            })
            .with_context(|| format!("tcpdump printed:\n{}", self.tcpdump.tail()))?;
        frames.retain(|frame| is_mark(frame).is_none());
        Ok(frames)
    }

    /// Ends the capture and returns its packets.
    pub fn stop(self) -> Result<Vec<Packet>> {
        self.packets()
    }

    fn read(&self) -> Result<Vec<Vec<u8>>> {
        let file = File::open(&self.file).with_context(|| format!("open {}", self.file.display()))?;
        // No header yet, or half a packet at the end: tcpdump is still writing.
        let Ok(mut reader) = PcapReader::new(BufReader::new(file)) else { return Ok(Vec::new()) };
        let mut frames = Vec::new();
        while let Some(Ok(packet)) = reader.next_packet() {
            if packet.data.len() < usize::try_from(packet.orig_len)? {
                bail!("tcpdump cut a packet short: {} of {} bytes", packet.data.len(), packet.orig_len);
            }
            frames.push(packet.data.into_owned());
        }
        Ok(frames)
    }
}
