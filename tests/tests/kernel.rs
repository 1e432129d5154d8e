//! The kernel program's verdicts: rows, random frames against a naive model, and what the loaded object is.
//!
//! What needs root says so and is skipped without it; with `CI=true` it fails instead.

mod differential;
pub(crate) mod loaded;
pub(crate) mod model;
mod object;
pub(crate) mod packet;
mod pins;
pub(crate) mod random;
pub(crate) mod request;
pub(crate) mod rows;
mod spreading;
mod switching;
