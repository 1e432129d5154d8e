//! What a stranger may send to prove itself: the bounded lane.

mod connections;
mod limits;

use sip_filter_common::Reason;
use sip_filter_common::text::LOOKED_AT_MAX;

use super::{ADMIN, DENIED, End, Family, LISTED, Peer, Row, STRANGER, both, check};
use crate::kernel::packet::{
    ACK, AUTHENTICATION, DESTINATION_OPTIONS, HOP_BY_HOP, Packet, ROUTING, SYN, tcp, udp,
};
use crate::kernel::request::{KEEP_ALIVES, reply, request, request_of_len, with_header, with_headers};

/// Strangers may register, and nobody comes near a limit.
pub(super) const PROVING: &str = r#"
mode = "enforce"
admin = ["192.0.2.10", "2001:db8:a::10"]

[[listener]]
name = "sip-udp"
kind = "signalling"
transport = "udp"
ports = ["5060"]

[[listener]]
name = "sip-tcp"
kind = "signalling"
transport = "tcp"
ports = ["5060"]

[[listener]]
name = "rtp"
kind = "media"
transport = "udp"
ports = ["10000-20000"]

[[listener]]
name = "web"
kind = "other"
transport = "tcp"
ports = ["8088"]
allow = ["10.0.0.0/8"]

[[listener]]
name = "office"
kind = "signalling"
transport = "udp"
ports = ["5070"]
vlans = [10]

[deny]
sources = ["203.0.113.0/24", "2001:db8:bad::/48"]

[allow]
sources = ["192.0.2.128/25", "2001:db8:128::/48"]

[strangers]
signalling = "prove"

[strangers.prove]
rate = "100000/s"
burst = 10000
total_rate = "500000/s"
"#;

/// A row for each family under [`PROVING`].
pub(super) fn proving(name: &str, make: impl Fn(Family) -> Packet, reason: Reason) -> Vec<Row> {
    both(name, make, reason).into_iter().map(|row| row.under(PROVING)).collect()
}

/// A stranger's datagram for the SIP server.
fn says(name: &str, payload: &[u8], reason: Reason) -> Vec<Row> {
    proving(name, |of| udp().between(of, STRANGER, 5060).payload(payload.to_vec()), reason)
}

fn registers(of: Family, peer: Peer, port: u16) -> Packet {
    udp().between(of, peer, port).payload(request("REGISTER"))
}

#[test]
fn a_stranger_may_register_and_ask_what_is_there() {
    let mut rows = says("REGISTER", &request("REGISTER"), Reason::Probation);
    rows.extend(says("OPTIONS", &request("OPTIONS"), Reason::Probation));
    for method in ["INVITE", "ACK", "BYE", "CANCEL", "SUBSCRIBE", "MESSAGE", "UPDATE"] {
        rows.extend(says(method, &request(method), Reason::Stranger));
    }
    for status in ["100 Trying", "200 OK", "401 Unauthorized"] {
        rows.extend(says(status, &reply(status), Reason::Stranger));
    }
    for (name, peer, reason) in [
        ("an administrator", ADMIN, Reason::Admin),
        ("a denied peer", DENIED, Reason::Denied),
        ("a listed peer", LISTED, Reason::Trunk),
    ] {
        rows.extend(proving(name, |of| registers(of, peer, 5060), reason));
    }
    for (row, source) in proving("banned", |of| registers(of, STRANGER, 5060), Reason::Banned)
        .into_iter()
        .zip([STRANGER.0, STRANGER.1])
    {
        rows.push(row.banned(source, End::Ahead));
    }
    for (row, source) in proving("no longer banned", |of| registers(of, STRANGER, 5060), Reason::Probation)
        .into_iter()
        .zip([STRANGER.0, STRANGER.1])
    {
        rows.push(row.banned(source, End::Past));
    }
    check("the rows of methods", &rows);
}

#[test]
fn the_policy_says_which_methods_prove_something() {
    let policy: &'static str = PROVING.replace("rate = \"100", "methods = [\"INVITE\"]\nrate = \"100").leak();
    let mut rows = says("INVITE", &request("INVITE"), Reason::Probation);
    rows.extend(says("REGISTER", &request("REGISTER"), Reason::Stranger));
    rows.extend(says("OPTIONS", &request("OPTIONS"), Reason::Stranger));
    let rows: Vec<Row> = rows.into_iter().map(|row| row.under(policy)).collect();
    check("the rows of other methods", &rows);
}

#[test]
fn keep_alives_prove_nothing_and_garbage_is_not_sip() {
    let mut rows = Vec::new();
    for keep_alive in KEEP_ALIVES {
        rows.extend(says(&format!("{keep_alive:?}"), keep_alive, Reason::Stranger));
    }
    let longer = b"\r\n\r\n\r\n";
    let odd_stun = [0x40, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    for garbage in [
        &b"x"[..],
        b"\r\n\rx",
        longer,
        b"GET / HTTP/1.1\r\n\r\n",
        b"register sip:example.org SIP/2.0\r\n\r\n",
        b"REGISTERED sip:example.org SIP/2.0\r\n\r\n",
        b" REGISTER sip:example.org SIP/2.0\r\n\r\n",
        b"\r\nREGISTER sip:example.org SIP/2.0\r\n\r\n",
        b"SIP/2.0 2x0 OK\r\n\r\n",
        b"SIP/1.0 200 OK\r\n\r\n",
        b"OPTIONS x",
        &odd_stun,
        &[0xff; 200],
    ] {
        rows.extend(says(&String::from_utf8_lossy(garbage), garbage, Reason::NotSip));
    }
    check("the rows of what is no request", &rows);
}

#[test]
fn a_request_is_what_its_first_line_promises() {
    let register = |headers: &[&str]| with_headers("REGISTER", headers);
    let mut rows = Vec::new();
    for (name, payload, reason) in [
        ("folded and in small letters", register(&["cseq :\r\n 1 REGISTER"]), Reason::Probation),
        (
            "a line that ends by CR alone",
            register(&["Subject: x\rY: z", "CSeq: 1 REGISTER"]),
            Reason::Malformed,
        ),
        ("another start line", register(&["CSeq: 1 REGISTER", "INVITE sip:x SIP/2.0"]), Reason::Malformed),
        ("another version in Via", register(&["CSeq: 1 REGISTER", "v: sip/2.0/TLS x"]), Reason::Probation),
        ("CSeq of another method", register(&["CSeq: 1 INVITE"]), Reason::Malformed),
        ("CSeq of a method that goes on", register(&["CSeq: 1 REGISTERED"]), Reason::Malformed),
        ("two CSeqs", register(&["CSeq: 1 REGISTER", "CSeq: 1 REGISTER"]), Reason::Malformed),
        (
            "a second CSeq of another method",
            register(&["CSeq: 1 REGISTER", "cseq: 1 INVITE"]),
            Reason::Malformed,
        ),
        ("no CSeq", register(&[]), Reason::Malformed),
        ("two Call-IDs", register(&["CSeq: 1 REGISTER", "i: x"]), Reason::Malformed),
        (
            "a second Call-ID at the very end",
            b"REGISTER sip:x SIP/2.0\r\nCall-ID: 1\r\nCSeq: 1 REGISTER\r\ni:x\r\n\r\n".to_vec(),
            Reason::Malformed,
        ),
        (
            "CSeq behind the headers",
            [register(&[]), b"CSeq: 1 REGISTER\r\n".to_vec()].concat(),
            Reason::Malformed,
        ),
        ("no request line", b"REGISTER\r\nCSeq: 1 REGISTER\r\n\r\n".to_vec(), Reason::Malformed),
        (
            "a word too many",
            b"REGISTER sip:x SIP/2.0 x\r\nCSeq: 1 REGISTER\r\n\r\n".to_vec(),
            Reason::Malformed,
        ),
        ("line ends without CR", b"REGISTER sip:x SIP/2.0\nCSeq: 1 REGISTER\n\n".to_vec(), Reason::Probation),
        ("no blank line", b"REGISTER sip:x SIP/2.0\r\nCSeq: 1 REGISTER\r\n".to_vec(), Reason::Probation),
        ("as long as may be", request_of_len("REGISTER", LOOKED_AT_MAX), Reason::Probation),
        ("longer", request_of_len("REGISTER", LOOKED_AT_MAX + 1), Reason::Malformed),
        ("longer than a copy", request_of_len("REGISTER", 3_000), Reason::Malformed),
    ] {
        rows.extend(says(name, &payload, reason));
    }
    check("the rows of CSeq", &rows);
}

const SCANNERS: [&str; 4] = [
    "User-Agent: friendly-scanner",
    "user-agent : sipcli/v1.8",
    "USER-AGENT:PPLSIP",
    "Contact: <sip:100@1.1.1.1:5060>",
];

#[test]
fn a_scanner_may_register_only_to_be_challenged() {
    let mut rows = Vec::new();
    for header in SCANNERS {
        rows.extend(says(header, &with_header("OPTIONS", header), Reason::Scanner));
        rows.extend(says(header, &with_header("REGISTER", header), Reason::Probation));
        rows.extend(says(header, &with_header("INVITE", header), Reason::Stranger));
    }
    let honest = with_header("OPTIONS", "Subject: friendly-scanner");
    rows.extend(says("a scanner's name elsewhere", &honest, Reason::Probation));
    check("the rows of scanners", &rows);
}

#[test]
fn a_policy_may_drop_all_that_scanners_send() {
    let policy: &'static str = PROVING.replace("rate = \"100", "scanners = \"drop\"\nrate = \"100").leak();
    let mut rows = Vec::new();
    for header in SCANNERS {
        rows.extend(says(header, &with_header("REGISTER", header), Reason::Scanner));
        rows.extend(says(header, &with_header("OPTIONS", header), Reason::Scanner));
    }
    rows.extend(says("an honest phone", &request("REGISTER"), Reason::Probation));
    let rows: Vec<Row> = rows.into_iter().map(|row| row.under(policy)).collect();
    check("the rows of scanners that are dropped", &rows);
}

#[test]
fn a_stranger_may_ask_for_a_connection() {
    let mut rows = Vec::new();
    let mut add = |name: &str, flags: u8, payload: &[u8], reason: Reason| {
        let make = |of| tcp().between(of, STRANGER, 5060).flags(flags).payload(payload.to_vec());
        rows.extend(proving(name, make, reason));
    };
    add("SYN", SYN, b"", Reason::Probation);
    add("SYN with data", SYN, &request("REGISTER"), Reason::Stranger);
    add("SYN with a byte", SYN, b"x", Reason::Stranger);
    add("SYN and ACK without a connection", SYN | ACK, b"", Reason::Stranger);
    add("a segment without a connection", ACK, &request("REGISTER"), Reason::Stranger);
    add("an empty segment without a connection", ACK, b"", Reason::Stranger);
    add("no flag", 0, &request("REGISTER"), Reason::Stranger);
    check("the rows of connections", &rows);
}

#[test]
fn whatever_stands_before_a_request_it_is_found() {
    let mut rows = proving("a tag", |of| registers(of, STRANGER, 5060).vlan(7), Reason::Probation);
    rows.extend(proving(
        "two tags",
        |of| registers(of, STRANGER, 5060).service_vlan(7).vlan(8),
        Reason::Probation,
    ));
    rows.extend(proving("its VLAN", |of| registers(of, STRANGER, 5070).vlan(10), Reason::Probation));
    rows.extend(proving("another VLAN", |of| registers(of, STRANGER, 5070).vlan(11), Reason::WrongVlan));
    let [four, six]: [Family; 2] = super::FAMILIES;
    let options = registers(four, STRANGER, 5060).options(10);
    rows.push(super::row("IPv4 options", options, Reason::Probation).under(PROVING));
    let extended = |packet: Packet| packet.extension(HOP_BY_HOP).extension(ROUTING).extension(AUTHENTICATION);
    let headers = extended(registers(six, STRANGER, 5060)).extension_of(DESTINATION_OPTIONS, 20);
    rows.push(super::row("IPv6 extension headers", headers.clone(), Reason::Probation).under(PROVING));
    rows.push(
        super::row("with tags too", headers.vlan(1).vlan(2).vlan(3).vlan(4), Reason::Probation)
            .under(PROVING),
    );
    let invites = extended(registers(six, STRANGER, 5060).payload(request("INVITE")));
    rows.push(super::row("INVITE behind extension headers", invites, Reason::Stranger).under(PROVING));
    let whole = registers(six, STRANGER, 5060).fragment(9, 0, false);
    rows.push(super::row("a fragment that is all there is", whole, Reason::Probation).under(PROVING));
    let connects = extended(tcp().between(six, STRANGER, 5060).payload(Vec::new()));
    rows.push(super::row("SYN behind extension headers", connects, Reason::Probation).under(PROVING));
    check("the rows of what stands before a request", &rows);
}

#[test]
fn a_request_in_pieces_proves_nothing() {
    let mut rows = proving("a first piece", |of| registers(of, STRANGER, 5060).first(7), Reason::Stranger);
    for (row, of) in proving("a later piece", |of| registers(of, STRANGER, 5060).later(8), Reason::Fragment)
        .into_iter()
        .zip(super::FAMILIES)
    {
        rows.push(row.after(registers(of, STRANGER, 5060).first(8), Reason::Stranger));
    }
    check("the rows of requests in pieces", &rows);
}

#[test]
fn a_length_that_lies_proves_nothing() {
    let all = u16::try_from(8 + request("REGISTER").len()).unwrap();
    let mut rows = Vec::new();
    for (name, len, reason) in [
        ("the truth", all, Reason::Probation),
        ("a byte more than there is", all + 1, Reason::Stranger),
        ("the most that can be said", u16::MAX, Reason::Stranger),
        ("less than the header", 7, Reason::Stranger),
        ("nothing", 0, Reason::Stranger),
        ("the header alone", 8, Reason::Stranger),
        ("no more than a method", 8 + 9, Reason::NotSip),
        ("not as far as CSeq", 8 + 100, Reason::Malformed),
    ] {
        rows.extend(proving(name, |of| registers(of, STRANGER, 5060).udp_len(len), reason));
    }
    for (name, cut, reason) in [
        ("the frame ends early", 300, Reason::Malformed),
        ("the frame ends within the method", 14 + 40 + 8 + 5, Reason::NotSip),
        ("the frame ends within the UDP header", 14 + 40 + 6, Reason::Stranger),
    ] {
        let six = super::FAMILIES[1];
        rows.push(super::row(name, registers(six, STRANGER, 5060).cut(cut), reason).under(PROVING));
    }
    check("the rows of lengths", &rows);
}

#[test]
fn what_an_earlier_message_said_is_no_part_of_this_one() {
    // As far as the method that CSeq names, which stands there in the message before.
    let whole = request("REGISTER");
    let len = whole.windows(8).position(|bytes| bytes == b"CSeq: 1 ").unwrap() + 8;
    let cut = |of| udp().between(of, STRANGER, 5060).payload(whole[..len].to_vec());
    let rows: Vec<Row> = proving("without a method in CSeq", cut, Reason::Malformed)
        .into_iter()
        .zip(super::FAMILIES)
        .map(|(row, of)| row.after(registers(of, STRANGER, 5060), Reason::Probation))
        .collect();
    check("the row of an earlier message", &rows);
}

#[test]
fn strangers_prove_themselves_where_sip_is_spoken() {
    let mut rows = Vec::new();
    for (name, port, reason) in
        [("at a media listener", 10_000, Reason::Stranger), ("at no listener", 5_059, Reason::NotProtected)]
    {
        rows.extend(proving(name, |of| registers(of, STRANGER, port), reason));
    }
    let connects = |of| tcp().between(of, STRANGER, 8_088).payload(Vec::new());
    rows.extend(proving("at a listener of another kind", connects, Reason::Stranger));
    let dropped = both("where strangers are dropped", |of| registers(of, STRANGER, 5060), Reason::Stranger);
    rows.extend(dropped);
    check("the rows of listeners where nothing is proved", &rows);
}
