//! The controller of sip-filter: from the operator's policy to the kernel's tables, and back to the operator.
//!
//! `policy` is pure and never names the kernel; `datapath` is the only module that does; the daemon brings them together.

pub mod cli;
pub mod control;
mod cuckoo;
pub mod daemon;
pub mod datapath;
pub mod explain;
pub mod host_tables;
pub mod interfaces;
pub mod list_files;
pub mod pbx;
pub mod policy;
pub mod replay;
pub mod sip;
pub mod trust;
