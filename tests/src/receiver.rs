//! The other end of a [`PacedSender`](crate::PacedSender): a UDP socket inside a host that notes which numbers of
//! whom arrived.
//!
//! What is missing was not lost here: the socket's buffer holds many seconds of traffic.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::socket::{setsockopt, sockopt};

use crate::host::Host;
use crate::wait::wait_until;

const BUFFER_BYTES: usize = 64 << 20;
/// How often the thread looks whether it is to stop.
const STOP_POLL: Duration = Duration::from_millis(20);
/// How many missing packets an error names.
const MISSING_NAMED: usize = 20;

type Arrivals = Arc<Mutex<HashMap<IpAddr, Vec<u64>>>>;

/// A socket that receives until it is dropped.
#[derive(Debug)]
pub struct Receiver {
    arrivals: Arrivals,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Receiver {
    /// Binds inside `host` and receives from then on. It answers nothing.
    pub fn start(host: &Host, at: SocketAddr) -> Result<Self> {
        let socket = host.in_namespace(|| UdpSocket::bind(at))?.with_context(|| format!("bind {at}"))?;
        setsockopt(&socket, sockopt::RcvBufForce, &BUFFER_BYTES).context("enlarge the receive buffer")?;
        socket.set_read_timeout(Some(STOP_POLL))?;
        let (arrivals, stop) = (Arrivals::default(), Arc::new(AtomicBool::new(false)));
        let (kept, stopped) = (Arc::clone(&arrivals), Arc::clone(&stop));
        let thread = thread::spawn(move || receive(&socket, &kept, &stopped));
        Ok(Self { arrivals, stop, thread: Some(thread) })
    }

    /// The numbers that arrived from an address, in the order of their arrival.
    pub fn numbers(&self, from: IpAddr) -> Vec<u64> {
        let arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        arrivals.get(&from).cloned().unwrap_or_default()
    }

    /// Waits until `count` packets of an address have arrived, and returns their numbers.
    pub fn wait_for(&self, from: IpAddr, count: u64, within: Duration) -> Result<Vec<u64>> {
        let count = usize::try_from(count)?;
        let what = || {
            let numbers = self.numbers(from);
            let missing = (0..count as u64).filter(|number| !numbers.contains(number));
            let first: Vec<u64> = missing.take(MISSING_NAMED).collect();
            format!(
                "{count} packets of {from}; {} arrived, the first missing ones are {first:?}",
                numbers.len()
            )
        };
        wait_until(
            within,
            "packets",
            || Ok(Some(self.numbers(from)).filter(|numbers| numbers.len() >= count)),
        )
        .with_context(what)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // A thread that panicked has nothing more to end.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn receive(socket: &UdpSocket, arrivals: &Arrivals, stop: &AtomicBool) {
    let mut buffer = [0; 2048];
    while !stop.load(Ordering::Acquire) {
        match socket.recv_from(&mut buffer) {
            Ok((length, from)) => {
                // A packet without a number is nobody's who counts.
                let Ok(number) = <[u8; 8]>::try_from(&buffer[..length]) else { continue };
                let mut arrivals = arrivals.lock().unwrap_or_else(PoisonError::into_inner);
                arrivals.entry(from.ip()).or_default().push(u64::from_be_bytes(number));
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => return,
        }
    }
}
