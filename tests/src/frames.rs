//! Sending what a socket would not: crafted frames (tags, fragments, broken headers), and packets at a steady
//! pace.

use std::fs::File;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use pcap_file::pcap::{PcapPacket, PcapWriter};

use crate::host::Host;

const REPLAY_MS: u64 = 30_000;

/// Sends whole Ethernet frames, as they are, from a host's NIC, and returns when they are sent.
///
/// Only to a hardware address do they get anywhere: [`Host::hardware_address`].
pub fn send_frames(from: &Host, frames: &[Vec<u8>]) -> Result<()> {
    static SERIAL: AtomicU32 = AtomicU32::new(0);
    let file = from.directory().join(format!("frames-{}.pcap", SERIAL.fetch_add(1, Ordering::Relaxed)));
    write_pcap(&file, frames, Duration::ZERO)?;
    let mut command = from.command("tcpreplay");
    command.args(["--intf1=eth0", "--topspeed", "--quiet"]).arg(&file);
    let outcome = from.run("tcpreplay", command, Duration::from_millis(REPLAY_MS))?;
    if !outcome.succeeded() {
        bail!("tcpreplay failed (code {:?}): {}", outcome.code, outcome.stderr.trim());
    }
    Ok(())
}

/// Writes frames to a capture file, `spacing` apart.
pub fn write_pcap(path: &Path, frames: &[Vec<u8>], spacing: Duration) -> Result<()> {
    let file = File::create(path).with_context(|| format!("create {}", path.display()))?;
    let mut writer = PcapWriter::new(file).with_context(|| format!("write {}", path.display()))?;
    let mut at = Duration::ZERO;
    for frame in frames {
        let packet = PcapPacket::new(at, u32::try_from(frame.len())?, frame);
        writer.write_packet(&packet).with_context(|| format!("write {}", path.display()))?;
        at += spacing;
    }
    Ok(())
}

/// A thread that sends UDP packets from inside a host at a steady pace until it is stopped.
#[derive(Debug)]
pub struct PacedSender {
    sent: Arc<AtomicU64>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl PacedSender {
    /// Starts sending: every `every`, from `from` (port 0: any) to `to`, what `payload` makes of the packet's
    /// number.
    ///
    /// The numbers count from 0 without a gap, so a receiver can tell which packets were lost.
    pub fn start(
        host: &Host,
        from: SocketAddr,
        to: SocketAddr,
        every: Duration,
        mut payload: impl FnMut(u64) -> Vec<u8> + Send + 'static,
    ) -> Result<Self> {
        let socket = host.in_namespace(|| UdpSocket::bind(from))?.with_context(|| format!("bind {from}"))?;
        let sent = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&sent);
        let (stop, stopped) = mpsc::channel();
        let thread = thread::spawn(move || {
            let started = Instant::now();
            for number in 0_u64.. {
                socket
                    .send_to(&payload(number), to)
                    .with_context(|| format!("send packet {number} to {to}"))?;
                counter.store(number + 1, Ordering::Release);
                // Against the start and not the packet before, so that the pace does not drift; but what a stalled
                // machine has missed is not sent in one burst, for which a veth's ring of 256 has no room.
                let due = every.mul_f64((number + 1) as f64);
                let wait = due.saturating_sub(started.elapsed()).max(every / 2);
                if stopped.recv_timeout(wait) != Err(RecvTimeoutError::Timeout) {
                    break;
                }
            }
            Ok(())
        });
        Ok(Self { sent, stop: Some(stop), thread: Some(thread) })
    }

    /// Packets sent so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Acquire)
    }

    /// Stops, and returns how many packets were sent in all.
    pub fn stop(mut self) -> Result<u64> {
        self.end()?;
        Ok(self.sent())
    }

    fn end(&mut self) -> Result<()> {
        drop(self.stop.take());
        self.thread
            .take()
            .map_or(Ok(()), |thread| thread.join().map_err(|_| anyhow!("the paced sender panicked"))?)
    }
}

impl Drop for PacedSender {
    fn drop(&mut self) {
        // Whoever wants to know of an error calls `stop`.
        let _ = self.end();
    }
}
