//! What a stranger may send in a connection that this host has: one request that fills its segment.
//!
//! Judged without the model, which knows no connections; they are real ones, in a network namespace of their own.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::panic;
use std::process::Command;
use std::thread;

use nix::sched::{CloneFlags, unshare};
use sip_filter::host_tables::HostTables;
use sip_filter::policy::registered::RegisteredTrunks;
use sip_filter::policy::tables::Tables;
use sip_filter_common::{Mode, Reason, judge};

use super::PROVING;
use crate::kernel::loaded::{Clean, Loaded, may_use_the_kernel, now_ns};
use crate::kernel::packet::{ACK, Packet, SYN, URG, tcp};
use crate::kernel::request::{reply, request, with_header, with_headers};
use crate::kernel::rows::{action, parsed};

const ENCRYPTED: &str = r#"
[[listener]]
name = "sips"
kind = "signalling"
transport = "tcp"
ports = ["5061"]
encrypted = true
"#;

/// Runs code in a network namespace that goes with its thread.
fn in_a_namespace(work: impl FnOnce() + Send) {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            assert!(Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap().success());
            work();
        });
        thread.join().unwrap_or_else(|payload| panic::resume_unwind(payload));
    });
}

/// A connection to a port of this host, and a segment of the one that asked for it.
struct Connection {
    from: SocketAddr,
    to: SocketAddr,
    // Held, for the kernel to find them.
    _sockets: (TcpListener, TcpStream, TcpStream),
}

impl Connection {
    fn to(address: &str) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let client = TcpStream::connect(address).unwrap();
        let (server, from) = listener.accept().unwrap();
        Self { from, to: address.parse().unwrap(), _sockets: (listener, client, server) }
    }

    fn segment(&self, payload: &[u8]) -> Packet {
        let packet = tcp().with_source(self.from.ip()).source_port(self.from.port());
        packet.with_destination(self.to).flags(ACK).payload(payload.to_vec())
    }
}

/// What a segment may hold, and what becomes of it.
fn segments() -> Vec<(&'static str, Vec<u8>, Reason)> {
    let whole = request("REGISTER");
    let half = whole[..whole.len() / 2].to_vec();
    let rest = whole[whole.len() / 2..].to_vec();
    let scanner = with_header("OPTIONS", "User-Agent: friendly-scanner");
    vec![
        ("nothing", Vec::new(), Reason::Probation),
        ("REGISTER", whole.clone(), Reason::Probation),
        ("OPTIONS", request("OPTIONS"), Reason::Probation),
        ("INVITE", request("INVITE"), Reason::Stranger),
        ("a reply", reply("200 OK"), Reason::Stranger),
        ("a keep-alive", b"\r\n\r\n".to_vec(), Reason::Probation),
        ("half a keep-alive", b"\r\n".to_vec(), Reason::Probation),
        ("a keep-alive and REGISTER", [b"\r\n\r\n", &*whole].concat(), Reason::Probation),
        ("half a keep-alive and REGISTER", [b"\r\n", &*whole].concat(), Reason::Probation),
        ("a keep-alive and INVITE", [b"\r\n\r\n", &*request("INVITE")].concat(), Reason::Stranger),
        ("STUN", [0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42].into_iter().chain([0; 12]).collect(), Reason::Stranger),
        ("a reply that a header hides", with_header("REGISTER", "X: SIP/2.0 200 OK"), Reason::Malformed),
        ("a call that a header hides", with_header("REGISTER", "INVITE sip:x SIP/2.0"), Reason::Malformed),
        ("garbage", vec![0x16; 40], Reason::NotSip),
        ("a scanner's OPTIONS", scanner, Reason::Scanner),
        ("no CSeq", with_headers("REGISTER", &[]), Reason::Malformed),
        ("a second request behind it", [whole, request("INVITE")].concat(), Reason::Malformed),
        ("half a request", half, Reason::Malformed),
        ("the rest of one", rest, Reason::NotSip),
    ]
}

/// Judges by the host's pipeline and by the kernel.
fn check(host: &HostTables, kernel: &mut Loaded, name: &str, packet: &Packet, reason: Reason) {
    check_frame(host, kernel, name, &packet.build(), reason);
}

fn check_frame(host: &HostTables, kernel: &mut Loaded, name: &str, frame: &[u8], reason: Reason) {
    assert_eq!(judge(frame, host), reason, "by the host's pipeline: {name}");
    let expected = Ok((reason, action(Mode::Enforce, reason)));
    assert_eq!(kernel.judge(frame), expected, "by the kernel: {name}");
}

#[test]
fn in_a_connection_a_segment_is_one_request_that_proves_something() {
    if !may_use_the_kernel("segments of real connections") {
        return;
    }
    let policy = parsed(&format!("{PROVING}{ENCRYPTED}"));
    in_a_namespace(|| {
        let mut host = HostTables::new(Tables::compile(&policy, &RegisteredTrunks::default()).unwrap());
        host.set_now_ns(now_ns());
        let mut kernel = Clean::with(&policy);
        for (plain, encrypted) in [("127.0.0.1:5060", "127.0.0.1:5061"), ("[::1]:5060", "[::1]:5061")] {
            let (plain, encrypted) = (Connection::to(plain), Connection::to(encrypted));
            host.set_has_connections(true);
            for (what, payload, reason) in segments() {
                check(&host, &mut kernel, what, &plain.segment(&payload), reason);
                let name = format!("{what}, encrypted");
                check(&host, &mut kernel, &name, &encrypted.segment(&payload), Reason::Probation);
            }
            let padded = [plain.segment(b"").build(), b"\r\n\r\n".to_vec(), request("INVITE")].concat();
            check_frame(&host, &mut kernel, "nothing, in a frame with more", &padded, Reason::Probation);
            let syn = plain.segment(&request("REGISTER")).flags(SYN);
            check(&host, &mut kernel, "SYN with data", &syn, Reason::Stranger);
            let urgent = plain.segment(&request("REGISTER")).flags(ACK | URG);
            check(&host, &mut kernel, "urgent data", &urgent, Reason::Stranger);
            // A listening socket is no connection.
            host.set_has_connections(false);
            let other_port = plain.from.port() ^ 1;
            let stray = plain.segment(&request("REGISTER")).source_port(other_port);
            check(&host, &mut kernel, "from another port", &stray, Reason::Stranger);
            let empty = encrypted.segment(b"").source_port(1);
            check(&host, &mut kernel, "nothing, from another port", &empty, Reason::Stranger);
        }
    });
}
