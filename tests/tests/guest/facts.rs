//! What a guest's kernel made of the program, for the table of kernels.

use serde_json::Value;
use sip_filter::datapath::Features;
use tests::{Filter, Lab, POLICY};

/// Printed for `cargo xtask test --kernel`, which reads it.
const MARK: &str = "guest-fact:";

#[test]
fn the_program_is_in_the_driver_on_this_kernel() {
    let Some(lab) = Lab::or_skip() else { return };
    let filter = Filter::start(&lab, POLICY).unwrap();
    let status: Value = filter.status().unwrap();
    assert_eq!(status["interfaces"][0]["attached"], "native");
    // As the daemon fits it to the kernel.
    let frags = if Features::of_kernel().multi_buffer { "with frags" } else { "without frags" };
    println!("{MARK} native {frags}");
}
