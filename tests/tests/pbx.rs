//! The connectors against real PBXs with real phones, in a laboratory.
//!
//! What a PBX of another kind sends is played beside the connectors themselves; here nothing is played.
//! Without root, or without Asterisk, it says what it skips; with `CI=true` it fails instead.

mod asterisk;
mod follower;
mod kamailio;
