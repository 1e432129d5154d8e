//! What needs devices that not every kernel has: real 802.1Q interfaces, a lossy network, a flood made in the kernel.
//!
//! `cargo xtask test --kernel` runs these in guests, whose kernels have all of it; there a skip is a failure.
//! Elsewhere each skips itself and says what is missing.

mod facts;
mod flood;
mod netem;
mod vlans;

use std::io::Write as _;

use tests::Lab;

/// Set in a guest of `cargo xtask test --kernel`.
const GUEST_VARIABLE: &str = "SIP_FILTER_GUEST";

/// Whether this program runs in a guest.
pub(crate) fn is_guest() -> bool {
    std::env::var_os(GUEST_VARIABLE).is_some()
}

/// A laboratory whose kernel has `what`, tried by `probe`; `None`, and a word on why, where it has not.
fn lab_with<E: std::fmt::Debug>(what: &str, probe: impl FnOnce(&Lab) -> Result<(), E>) -> Option<Lab> {
    let lab = Lab::or_skip()?;
    let Err(error) = probe(&lab) else { return Some(lab) };
    assert!(!is_guest(), "a guest's kernel has {what}, but {error:?}");
    let name = std::thread::current().name().unwrap_or("a test").to_owned();
    // Past the test harness, which keeps what a passing test prints to itself.
    let _: std::io::Result<()> = writeln!(
        std::io::stderr(),
        "skipped: {name}: this kernel has no {what}; `cargo xtask test --kernel 6.12` boots one that has"
    );
    None
}
