//! What the kernel program may cost, as numbers that hold on any machine: verified instructions, and its time as a ratio to a floor's in the same rounds.

use aya::programs::loaded_programs;
use bench::{
    budget::medians_ns,
    floors::{Floor, Floors},
};

use crate::kernel::{
    loaded::{Loaded, may_use_the_kernel},
    packet::udp,
    rows::parsed,
};

/// The verifier gives up at a million; a change that doubles its work is to be looked at.
const VERIFIED_INSTRUCTIONS_MAX: u32 = 60_000;
/// How often the time of a program that only parses, and drops, a stranger's packet may take.
const STRANGER_TO_HEADERS_MAX: f64 = 3.0;
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

#[test]
fn a_stranger_costs_no_more_of_the_parser_than_the_budget_says() {
    if !may_use_the_kernel("the budget of a stranger") {
        return;
    }
    let mut kernel = Loaded::with(&parsed(POLICY));
    let frame = udp().from("192.0.2.9").to("198.51.100.1:5060").build();
    let (reason, _) = kernel.judge(&frame).unwrap();
    assert_eq!(reason, sip_filter_common::Reason::Stranger);
    let mut floors = Floors::new().unwrap();
    let floor = floors.program_id(Floor::HeadersDrop).unwrap();
    let medians = medians_ns(&[kernel.datapath.program_id().unwrap(), floor], &frame, ROUNDS).unwrap();
    let ratio = medians[0] / medians[1];
    eprintln!("{medians:?} ns, {ratio:.2} to one, at most {STRANGER_TO_HEADERS_MAX} are wanted");
    assert!(ratio <= STRANGER_TO_HEADERS_MAX, "{medians:?} ns, {ratio:.2} to one");
}
