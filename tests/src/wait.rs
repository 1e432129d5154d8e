//! Waiting for something to come true. It polls, so that nothing waits longer than it must or guesses how
//! long is enough.

use std::io::{self, ErrorKind};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often [`wait_until`] looks.
const POLL: Duration = Duration::from_millis(5);

/// Calls `probe` until it returns `Some`, and fails when `within` has passed first.
///
/// An error of `probe` ends the wait at once: it is for what can no longer come true. `what` completes
/// "waited for".
pub fn wait_until<T>(
    within: Duration,
    what: &str,
    mut probe: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + within;
    loop {
        if let Some(value) = probe()? {
            return Ok(value);
        }
        if Instant::now() >= deadline {
            bail!("waited {:.1} s in vain for {what}", within.as_secs_f64());
        }
        thread::sleep(POLL);
    }
}

/// Waits once more where a wait for a socket ended early: one with a timeout is not resumed after the process was
/// stopped (signal(7)).
pub(crate) fn uninterrupted<T>(mut wait: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match wait() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::wait_until;
    use std::time::Duration;

    #[test]
    fn what_comes_true_ends_the_wait() {
        let mut calls = 0;
        let value = wait_until(Duration::from_secs(5), "three calls", || {
            calls += 1;
            Ok((calls == 3).then_some(calls))
        });
        assert_eq!(value.unwrap(), 3);
    }

    #[test]
    fn what_never_comes_true_is_named() {
        let error = wait_until::<()>(Duration::ZERO, "godot", || Ok(None)).unwrap_err();
        assert_eq!(error.to_string(), "waited 0.0 s in vain for godot");
    }
}
