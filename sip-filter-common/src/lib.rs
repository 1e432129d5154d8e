//! What the kernel program and the controller share: the contract between them and the packet pipeline.
//!
//! The pipeline is written once, here, and runs in the kernel, in `replay`, in tests and under fuzzing.
//! Nothing in this crate allocates, logs, does input or output, or names a BPF map or helper:
//! it asks a [`Frame`] for bytes and [`Tables`] for everything else.

#![no_std]
#[cfg(test)]
extern crate std;

#[macro_use]
mod unrolled;

pub mod frame;
pub mod lane;
pub mod maps;
pub mod parse;
pub mod pipeline;
pub mod reason;
pub mod sip;
pub mod sources;
pub mod tables;
pub mod text;

pub use frame::Frame;
pub use maps::{
    Address, Ban, Class, Counter, FragmentDecision, FragmentKey, LISTENERS_MAX, Mode, Peer, PolicyIndex,
    Transport,
};
pub use pipeline::judge;
pub use reason::{Reason, Verdict};
pub use tables::{Lines, Tables};
