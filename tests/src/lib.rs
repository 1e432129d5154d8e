//! The laboratory: three hosts on a switch, in network namespaces, with real SIP software on them, and the
//! filter under test.
//!
//! It needs root, and it must not touch the root namespace's interfaces, the network outside, or a process it
//! did not start.
//!
//! ```text
//!   trunk ──┐                    trunk     198.51.100.20  2001:db8:5060::20   sipp, places calls
//!           ├── switch ── pbx    stranger  198.51.100.30  2001:db8:5060::30   svmap, probes
//! stranger ─┘                    pbx       198.51.100.10  2001:db8:5060::10   Kamailio, phones, the filter
//! ```
//!
//! Each host has one NIC, `eth0`. There is no route out. Any number of laboratories may stand at once, in one
//! process or many.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use std::time::Duration;
//! use tests::{Call, Capture, Family, Filter, Lab, Pbx, Transport};
//!
//! let lab = Lab::new()?; //                             first, so that it is dropped last
//! let _pbx = Pbx::start(lab.pbx())?;
//! let filter = Filter::start(&lab, include_str!("demo-policy.toml"))?;
//! let capture = Capture::start(lab.pbx())?;
//! let call = Call::place(lab.trunk(), Transport::Udp, Family::V6, Duration::from_secs(8))?;
//! assert!(call.complete, "{}", call.log);
//! assert!(capture.packets()?.iter().any(|packet| call.is_media(packet)));
//! assert_eq!(filter.counter("stranger")?, 0);
//! # Ok(())
//! # }
//! ```
//!
//! | module | for |
//! | --- | --- |
//! | [`lab`], [`host`] | namespaces, addresses, commands and code inside a host |
//! | [`process`], [`wait`] | programs with their output in files; polling with a deadline |
//! | [`filter`] | the `sip-filter` under test, by its commands and JSON only |
//! | [`pbx`], [`call`], [`scan`] | Kamailio and phones; calls; `svmap` sweeps and single probes |
//! | [`asterisk`], [`phone`], [`softphone`] | a PBX that reports who registers; phones that register, over TLS too |
//! | [`handset`], [`attack`] | phones that register and call; `svcrack`, `svwar` and floods |
//! | [`capture`], [`frames`], [`receiver`] | what the kernel's stack got; frames and paced packets to send and to receive |
//! | [`report`] | the table that the demo prints |

pub mod asterisk;
pub mod attack;
pub mod call;
pub mod capture;
pub mod filter;
pub mod frames;
pub mod handset;
pub mod host;
pub mod lab;
pub mod pbx;
pub mod phone;
pub mod process;
pub mod receiver;
pub mod report;
pub mod scan;
pub mod softphone;
pub mod wait;

/// The policy of the demo, in force on `eth0`: SIP over UDP and TCP, media, one trunk, mode `enforce`, on exit `open`.
///
/// Tests change it by [`str::replace`], so that each shows the lines that matter to it.
pub const POLICY: &str = include_str!("demo-policy.toml");

pub use asterisk::Asterisk;
pub use attack::Flood;
pub use call::Call;
pub use capture::{Capture, Packet};
pub use filter::Filter;
pub use frames::{PacedSender, send_frames};
pub use handset::Handset;
pub use host::{Family, Host, Role, Transport};
pub use lab::Lab;
pub use pbx::Pbx;
pub use phone::{Account, Phone, Way};
pub use process::{Outcome, Process};
pub use receiver::Receiver;
pub use report::Report;
pub use scan::{Sweep, ask_from, invite_with_body, options, sweep};
pub use softphone::Softphone;
pub use wait::wait_until;
