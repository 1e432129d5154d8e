//! What a known client sees while strangers flood: OPTIONS requests in the midst of the flood, answered by a small SIP server behind the filter.
//! The requests are written by the generator itself, so they meet the same ring as the flood; two CPUs, one for each side.

use std::{
    hint,
    io::IoSliceMut,
    net::{Ipv4Addr, UdpSocket},
    os::fd::AsRawFd,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use nix::{
    sys::{
        socket::{ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, setsockopt, sockopt},
        time::TimeValLike,
    },
    time::{ClockId, clock_gettime},
    unistd::gettid,
};

use crate::{
    generator::{CLIENT_PORT, Generator, Pace},
    ground::Wire,
    inline::{CPU, find_thread, pin},
    results::{Dialogue, quantile},
    traffic::NUMBER_MARK,
};

/// Requests of the known client a second.
const REQUESTS_PER_S: u64 = 200;
/// Where the protected side runs.
const PROTECTED_CPU: usize = 1;
/// Real-time priorities: the receiver runs before everything that is not, the server before the receiver. A softirq is no less urgent on a real machine.
const SENDER: [&str; 2] = ["--fifo", "1"];
const RECEIVER: [&str; 2] = ["--fifo", "10"];
const SERVER: [&str; 2] = ["--fifo", "20"];
/// For what runs where nothing else wants to.
const IDLE: [&str; 2] = ["--idle", "0"];
/// Runs of the generator in the first call, and in any.
const FIRST_RUNS: u32 = 1 << 20;
const RUNS_MAX: u32 = 1 << 25;
/// How long one call is to last: starting one takes a millisecond or two in which nothing is sent.
const CALL: Duration = Duration::from_millis(100);
/// One frame in so many is written anew, the others leave with their headers still shared between the caches, as a NIC's are.
const REUSE_BITS: u32 = 3;
/// How long answers are waited for after the last request.
const LAST_ANSWERS: Duration = Duration::from_millis(100);
const BUFFER_BYTES: usize = 8 << 20;
const SIP_PORT: u16 = 5060;

/// All answers of one subject at one rate, over several rounds.
#[derive(Debug, Default)]
pub struct Answers {
    sent: u64,
    flooded: u64,
    taken: u64,
    time: Duration,
    delays_us: Vec<f64>,
}

impl Answers {
    /// What becomes of them in the report.
    pub fn report(self, subject: &str, size: usize, flood_per_s: u64) -> Dialogue {
        Dialogue {
            subject: subject.to_owned(),
            size,
            flood_per_s,
            flooded_per_s: self.flooded as f64 / self.time.as_secs_f64(),
            taken_per_s: self.taken as f64 / self.time.as_secs_f64(),
            sent: self.sent,
            answered: self.delays_us.len() as u64,
            p50_us: quantile(self.delays_us.clone(), 0.5),
            p99_us: quantile(self.delays_us, 0.99),
        }
    }

    /// One round more: a flood of `flood_per_s` packets for `length`, with requests in it.
    pub fn add(
        &mut self,
        generator: &mut Generator,
        wire: &Wire,
        flood_per_s: u64,
        length: Duration,
    ) -> Result<()> {
        let [client, server] = wire.addresses();
        let _awake = stay_awake();
        let _server = serve(wire, server)?;
        let receiver = Receiver::start(wire)?;
        let bind = || UdpSocket::bind((client, CLIENT_PORT));
        let socket = wire.sender().in_namespace(bind)?.context("bind the known client's socket")?;
        socket.set_nonblocking(true)?;
        setsockopt(&socket, sockopt::RcvBufForce, &BUFFER_BYTES)?;
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
        let pace = Pace {
            frames_per_s: flood_per_s,
            requests_per_s: REQUESTS_PER_S,
            quiet: flood_per_s == 0,
            reuse_bits: REUSE_BITS,
        };
        let before = wire.received()?;
        let mut aim = generator.aim(wire, pace)?;
        wire.sender().in_namespace(|| -> Result<()> {
            pin(CPU)?;
            // Else the flood has pauses where the machine has other work, and comes in gushes after them.
            schedule(gettid().as_raw(), SENDER)?;
            let started = Instant::now();
            let mut runs = FIRST_RUNS;
            while started.elapsed() < length {
                let call = Instant::now();
                aim.run(runs)?;
                runs = fitting(runs, call.elapsed());
            }
            self.time += started.elapsed();
            Ok(())
        })??;
        // No event says that nothing more will come.
        thread::sleep(LAST_ANSWERS);
        drop(receiver);
        let (flooded, requests) = aim.sent()?;
        self.flooded += flooded;
        self.taken += wire.received()? - before;
        let departures = aim.departures_ns(requests)?;
        self.sent += requests;
        self.collect(&socket, &departures)
    }

    /// Reads the answers; the kernel noted when each arrived.
    fn collect(&mut self, socket: &UdpSocket, departures_ns: &[u64]) -> Result<()> {
        let skew_ns = clock_ns(ClockId::CLOCK_REALTIME)? - clock_ns(ClockId::CLOCK_MONOTONIC)?;
        let mut answered = vec![false; departures_ns.len()];
        while let Some((number, arrived_ns)) = answer(socket)? {
            let Some(&left_ns) = departures_ns.get(number) else { continue };
            if !std::mem::replace(&mut answered[number], true) {
                let delay_ns = arrived_ns - skew_ns - i64::try_from(left_ns)?;
                self.delays_us.push(delay_ns as f64 / 1e3);
            }
        }
        Ok(())
    }
}

/// Runs for a call of the wanted length, after so many took so long.
fn fitting(runs: u32, took: Duration) -> u32 {
    let runs = f64::from(runs) * CALL.as_secs_f64() / took.as_secs_f64();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to what fits")]
    let runs = runs.clamp(f64::from(FIRST_RUNS), f64::from(RUNS_MAX)) as u32;
    runs
}

/// The number in the next answer and when it arrived; none where there is no more.
fn answer(socket: &UdpSocket) -> Result<Option<(usize, i64)>> {
    let mut bytes = [0; 2_048];
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let mut control = nix::cmsg_space!(nix::sys::time::TimeSpec);
    let flags = MsgFlags::MSG_DONTWAIT;
    let message = match recvmsg::<SockaddrIn>(socket.as_raw_fd(), &mut parts, Some(&mut control), flags) {
        Ok(message) => message,
        Err(nix::errno::Errno::EAGAIN) => return Ok(None),
        Err(error) => return Err(error).context("read an answer"),
    };
    let length = message.bytes;
    let arrived = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::ScmTimestampns(time) => Some(time.num_nanoseconds()),
        _ => None,
    });
    let arrived = arrived.context("the kernel noted no time of arrival")?;
    let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
    ensure!(
        text.starts_with("SIP/2.0 200"),
        "an answer that is none: {}",
        text.lines().next().unwrap_or_default()
    );
    let number = text.split_once(NUMBER_MARK).and_then(|(_, rest)| rest.get(..8));
    let number = usize::from_str_radix(number.context("an answer without its number")?, 16)?;
    Ok(Some((number, arrived)))
}

fn clock_ns(clock: ClockId) -> Result<i64> {
    Ok(clock_gettime(clock).context("read a clock")?.num_nanoseconds())
}

/// A thread of this module's on the protected side's CPU, until dropped.
struct Aside {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Aside {
    /// Calls `turn` again and again.
    fn start(scheduled: [&'static str; 2], mut turn: impl FnMut() + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            // Without these the figures are worse, not wrong.
            let _ = pin(PROTECTED_CPU);
            let _ = schedule(gettid().as_raw(), scheduled);
            while !asked.load(Ordering::Relaxed) {
                turn();
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic in there is one answer too few, which the report shows.
            let _ = thread.join();
        }
    }
}

/// Keeps the protected side's CPU from halting: a virtual one comes back only when its host has time for it, and meanwhile
/// the ring overflows, whatever program judges what is in it.
fn stay_awake() -> Aside {
    Aside::start(IDLE, || (0..1_000).for_each(|_| hint::spin_loop()))
}

/// A SIP server that knows OPTIONS and answers 200 (RFC 3261 section 11.2).
fn serve(wire: &Wire, address: Ipv4Addr) -> Result<Aside> {
    let socket = wire.protected().in_namespace(|| UdpSocket::bind((address, SIP_PORT)))?;
    let socket = socket.with_context(|| format!("bind {address}:{SIP_PORT}"))?;
    socket.set_read_timeout(Some(Duration::from_millis(20)))?;
    let mut bytes = [0; 2_048];
    Ok(Aside::start(SERVER, move || {
        let Ok((length, from)) = socket.recv_from(&mut bytes) else { return };
        if let Some(response) = response(&bytes[..length]) {
            let _ = socket.send_to(response.as_bytes(), from);
        }
    }))
}

/// The 200 to an OPTIONS request: its own Via, From, To, Call-ID and CSeq (RFC 3261 section 8.2.6.2).
fn response(request: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(request).ok()?;
    let mut lines = text.split("\r\n");
    lines.next()?.strip_prefix("OPTIONS ")?;
    let copied = ["Via:", "From:", "To:", "Call-ID:", "CSeq:"];
    let mut response = String::from("SIP/2.0 200 OK\r\n");
    for line in lines.filter(|line| copied.iter().any(|name| line.starts_with(name))) {
        response += line;
        response += if line.starts_with("To:") { ";tag=pbx\r\n" } else { "\r\n" };
    }
    Some(response + "Content-Length: 0\r\n\r\n")
}

/// The protected end's receiving as a thread on the other CPU, until dropped.
struct Receiver {
    wire: Wire,
}

impl Receiver {
    fn start(wire: &Wire) -> Result<Self> {
        set_threaded(wire, true)?;
        let receiver = Self { wire: wire.clone() };
        let name = format!("napi/{}-", wire.name());
        let id = ::tests::wait_until(Duration::from_secs(2), "the receiving thread", || find_thread(&name))?;
        let id = i32::try_from(id)?;
        let mut command = Command::new("taskset");
        command.args(["-p", "-c", &PROTECTED_CPU.to_string(), &id.to_string()]);
        quietly(&mut command)?;
        schedule(id, RECEIVER)?;
        Ok(receiver)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if let Err(error) = set_threaded(&self.wire, false) {
            eprintln!("{} goes on receiving in a thread: {error:#}", self.wire.name());
        }
    }
}

/// `/sys/class/net` is that of the namespace in which it was mounted, so this mounts its own, as `ip netns exec` does.
fn set_threaded(wire: &Wire, threaded: bool) -> Result<()> {
    let mut command = Command::new("ip");
    let value = u8::from(threaded);
    let script = format!("echo {value} > /sys/class/net/{}/threaded", wire.name());
    command.args(["netns", "exec", wire.protected().namespace(), "sh", "-c", &script]);
    quietly(&mut command)
}

fn schedule(id: i32, [policy, priority]: [&str; 2]) -> Result<()> {
    quietly(Command::new("chrt").args([policy, "--pid", priority, &id.to_string()]))
}

fn quietly(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("start {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?} failed: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::OPTIONS;

    #[test]
    fn the_server_answers_with_the_request_s_own_headers() {
        let response = response(OPTIONS.as_bytes()).unwrap();
        assert!(response.starts_with("SIP/2.0 200 OK\r\n"), "{response}");
        for line in
            ["Call-ID: dialogue-00000000\r\n", "CSeq: 1 OPTIONS\r\n", ";tag=pbx\r\n", "branch=z9hG4bK"]
        {
            assert!(response.contains(line), "{line} is not in {response}");
        }
        assert_eq!(super::response(b"INVITE sip:x SIP/2.0\r\n\r\n"), None);
    }
}
