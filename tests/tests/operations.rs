//! What operators do and what goes wrong: each refusal with its exit code, the words that name the thing and the
//! remedy, and the policy in force left whole.
//!
//! Without root it says what it skips; with `CI=true` it fails instead.

mod asking;
mod bans;
mod configuration;
mod endings;
mod explanations;
mod list_files;
mod lists;
mod printing;
mod replays;
mod sockets;
mod starting;
mod vanishing;
