//! Real packets of real SIP software through the filter, on virtual wires.
//!
//! It sees the filter only as operators and peers do, and holds what they would notice.
//! Without root it says what it skips; with `CI=true` it fails instead.

mod calls;
mod fragments;
mod interfaces;
mod lifetimes;
mod switching;
pub(crate) mod traffic;
mod vlans;
