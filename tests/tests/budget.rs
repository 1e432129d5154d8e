//! What the kernel program may cost, as numbers that hold on any machine: verified instructions, and its time as a ratio to a floor's in the same rounds.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::{Duration, Instant};
use std::{hint, iter, mem, thread};

use aya::programs::{TestRun as _, TestRunOptions, Xdp, loaded_programs};
use aya_obj::programs::XdpAttachType;
use bench::{
    budget::medians_ns,
    costs::{FILTER, Manner, Stage},
    floors::{Floor, Floors},
    path::Way,
    results::{Course, Results},
};

use sip_filter_common::{Reason, maps::program};

use crate::kernel::{
    loaded::{Loaded, may_use_the_kernel},
    packet::udp,
    request::request,
    rows::parsed,
};

/// The verifier gives up at a million; a change that comes near this is to be looked at. On Linux 6.18 it is some 123,000.
const VERIFIED_INSTRUCTIONS_MAX: u32 = 125_000;
/// The kernel gives up at 512 bytes, over all calls together; one unit is left.
const STACK_BYTES_MAX: usize = 480;
/// How much of the stack a function takes at once (`MAX_BPF_STACK` is counted in these).
const STACK_UNIT_BYTES: usize = 32;
/// How often the time of a program that only parses, and drops, a stranger's packet may take.
const STRANGER_TO_HEADERS_MAX: f64 = 1.8;
/// How often what a program that only parses adds to an empty one a packet may add, from sources at random: a
/// list has a thousand prefixes, and a thousand addresses each are banned and registered.
const ADDED_TO_HEADERS_MAX: [(Way, f64); 7] = [
    (Way::Stranger, 1.7),
    (Way::Trunk, 3.0),
    (Way::Registered, 3.0),
    (Way::Banned, 3.0),
    (Way::Denied, 3.0),
    (Way::Other, 1.2),
    (Way::Request, 12.0),
];
/// Packets of a flood: half a second.
const FLOOD: u32 = 8_000_000;
/// Rounds of the measurement.
const ROUNDS: usize = 15;

const POLICY: &str = r#"
mode = "enforce"

[[listener]]
name = "sip-udp"
kind = "signalling"
transport = "udp"
ports = ["5060"]

[[trunk]]
name = "carrier"
allow = ["203.0.113.0/24"]
"#;

#[test]
fn the_verifier_has_no_more_to_look_at_than_the_budget_says() {
    if !may_use_the_kernel("the budget of the verifier") {
        return;
    }
    let kernel = Loaded::with(&parsed(POLICY));
    let id = kernel.datapath.program_id().unwrap();
    let program = loaded_programs().flatten().find(|program| program.id() == id).unwrap();
    let verified = program.verified_instruction_count();
    eprintln!("{verified:?} instructions verified, at most {VERIFIED_INSTRUCTIONS_MAX} are wanted");
    // Kernels before 5.16 do not tell.
    assert!(verified.is_none_or(|verified| verified <= VERIFIED_INSTRUCTIONS_MAX), "{verified:?}");
}

/// A function of a program: what it takes of the stack, and which ones it calls.
#[derive(Default)]
struct Function {
    stack_bytes: usize,
    calls: BTreeSet<String>,
}

/// The functions of a program, by name; the main one's stands first.
fn functions(program_id: u32) -> (String, BTreeMap<String, Function>) {
    let mut bpftool = Command::new("bpftool");
    bpftool.args(["prog", "dump", "xlated", "id", &program_id.to_string()]);
    let dump = bpftool.output().unwrap();
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    let text = String::from_utf8(dump.stdout).unwrap();
    let mut functions: BTreeMap<String, Function> = BTreeMap::new();
    let (mut main, mut name) = (None, String::new());
    for line in text.lines() {
        // `int sip_filter(struct xdp_md * ctx):`, and instructions below it.
        if let Some((before, _)) = line.split_once('(')
            && !line.starts_with(' ')
            && line.ends_with(':')
        {
            before.rsplit([' ', '*']).next().unwrap_or_default().clone_into(&mut name);
            main.get_or_insert_with(|| name.clone());
        }
        let depths = line.split("r10 -").skip(1).filter_map(|rest| {
            rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse::<usize>().ok()
        });
        let function = functions.entry(name.clone()).or_default();
        function.stack_bytes = depths.fold(function.stack_bytes, usize::max);
        // `call pc+20#bpf_prog_a6901028ef815fb4_sip_untag`
        let called = line.split_once("#bpf_prog_").and_then(|(_, rest)| rest.split_once('_'));
        function.calls.extend(called.map(|(_, called)| called.to_owned()));
    }
    (main.unwrap_or_else(|| panic!("no function in\n{text}")), functions)
}

/// The stack of a function and of the deepest way through those that it calls; the verifier takes no recursion.
fn stack_bytes(functions: &BTreeMap<String, Function>, name: &str) -> usize {
    let function = functions.get(name).unwrap_or_else(|| panic!("no function {name}"));
    let own = function.stack_bytes.max(1).next_multiple_of(STACK_UNIT_BYTES);
    own + function.calls.iter().map(|called| stack_bytes(functions, called)).max().unwrap_or(0)
}

#[test]
fn the_stack_is_no_deeper_than_the_budget_says() {
    if !may_use_the_kernel("the budget of the stack") {
        return;
    }
    let kernel = Loaded::with(&parsed(POLICY));
    let (main, functions) = functions(kernel.datapath.program_id().unwrap());
    let bytes = stack_bytes(&functions, &main);
    eprintln!("{bytes} bytes of stack, at most {STACK_BYTES_MAX} are wanted");
    // A program without functions of its own was not read.
    assert!(functions.len() > 1, "{main} alone");
    assert!(bytes <= STACK_BYTES_MAX, "{bytes} bytes");
}

#[test]
fn a_stranger_costs_no_more_of_the_parser_than_the_budget_says() {
    if !may_use_the_kernel("the budget of a stranger") {
        return;
    }
    let mut kernel = Loaded::with(&parsed(POLICY));
    let frame = udp().from("192.0.2.9").to("198.51.100.1:5060").build();
    let (reason, _) = kernel.judge(&frame).unwrap();
    assert_eq!(reason, Reason::Stranger);
    let mut floors = Floors::new().unwrap();
    let floor = floors.program_id(Floor::HeadersDrop).unwrap();
    let medians = medians_ns(&[kernel.datapath.program_id().unwrap(), floor], &frame, ROUNDS).unwrap();
    let ratio = medians[0] / medians[1];
    eprintln!("{medians:?} ns, {ratio:.2} to one, at most {STRANGER_TO_HEADERS_MAX} are wanted");
    assert!(ratio <= STRANGER_TO_HEADERS_MAX, "{medians:?} ns, {ratio:.2} to one");
}

#[test]
fn a_packet_adds_no_more_to_the_parser_than_the_budget_says() {
    if !may_use_the_kernel("the budget of known peers") {
        return;
    }
    let wants = |name: &str| name == FILTER || ADDED_TO_HEADERS_MAX.iter().any(|(way, _)| way.name() == name);
    let manner = Manner {
        rounds: 2,
        slice: Duration::from_millis(10),
        deadline: Instant::now() + Duration::from_secs(60),
    };
    let mut stage = Stage::new(1_000, &wants).unwrap();
    let results =
        Results { costs: stage.measure(&mut Floors::new().unwrap(), manner).unwrap(), ..Results::default() };
    let handed = results.costs.iter().filter(|cost| cost.course == Course::Handed);
    let told = handed.map(|cost| {
        let (_, most) = ADDED_TO_HEADERS_MAX.into_iter().find(|(way, _)| *way == cost.way).unwrap();
        let ratio = results.to_headers(cost);
        let path = (cost.way.name(), cost.version, cost.layout);
        eprintln!("{path:?}: {:.1} ns, {ratio:.2} to one, at most {most} are wanted", cost.added_ns());
        assert!(ratio <= most, "{path:?}: {ratio:.2} to one");
        cost.way
    });
    let told: BTreeSet<Way> = told.collect();
    assert_eq!(told.len(), ADDED_TO_HEADERS_MAX.len(), "{told:?}");
}

/// Requests within this time are let through at once, and how long it takes strangers to earn one.
const AT_ONCE: Duration = Duration::from_micros(200);
const REQUEST_NS: u64 = 500_000;

/// All that is earned between two ticks of the kernel's timer, let through at once, would keep the CPU from its ring.
#[test]
fn a_flood_of_requests_gets_no_more_at_once_than_the_budget_says() {
    if !may_use_the_kernel("the budget of strangers' requests") {
        return;
    }
    let limits = "[strangers]\nsignalling = \"prove\"\n\
                  [strangers.prove]\nrate = \"2000/s\"\nburst = 1000\ntotal_rate = \"2000/s\"\n";
    let mut kernel = Loaded::with(&parsed(&format!("{POLICY}{limits}")));
    kernel.datapath.pin().unwrap();
    let filter = Xdp::from_pin(kernel.pin(program::FILTER), XdpAttachType::Interface).unwrap();
    let frame = udp().from("192.0.2.9").to("198.51.100.1:5060").payload(request("REGISTER")).build();
    let (reason, _) = kernel.judge(&frame).unwrap();
    assert_eq!(reason, Reason::Probation);
    let at_once: Vec<u64> = thread::scope(|scope| {
        let flood = scope.spawn(|| {
            let options = TestRunOptions { data_in: Some(&frame), repeat: FLOOD, ..TestRunOptions::new() };
            filter.test_run(options).unwrap();
        });
        let mut spent_ns = kernel.spent_by_strangers_ns();
        let grown = iter::from_fn(|| {
            let asked = Instant::now();
            while asked.elapsed() < AT_ONCE {
                hint::spin_loop();
            }
            let before_ns = mem::replace(&mut spent_ns, kernel.spent_by_strangers_ns());
            (!flood.is_finished()).then_some((spent_ns - before_ns) / REQUEST_NS)
        });
        grown.filter(|requests| *requests > 0).collect()
    });
    let all: u64 = at_once.iter().sum();
    let bunched: u64 = at_once.iter().filter(|requests| **requests > 2).sum();
    eprintln!("of {all} requests {bunched} with two others, at most half are wanted");
    // What is earned in a tick at most kernels' rate is eight.
    assert!(all > 100 && bunched <= all / 2, "of {all} requests {bunched} with two others");
}
