//! Everything that needs the real kernel or the real binary, in one program.

// For clippy, which takes helpers of tests for tests only so.
#[cfg(test)]
mod budget;
#[cfg(test)]
mod documents;
#[cfg(test)]
mod guest;
#[cfg(test)]
mod kernel;
#[cfg(test)]
mod lab;
#[cfg(test)]
mod operations;
#[cfg(test)]
mod pbx;
#[cfg(test)]
mod wire;
