//! How long to wait before a PBX is tried again.

use std::time::Duration;

const SHORTEST: Duration = Duration::from_secs(1);
/// The longest pause, and how long a link stands before it counts as a good one.
pub(super) const LONGEST: Duration = Duration::from_secs(60);

/// Doubles from try to try.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The pause before the next try; the longest where the PBX refused, for guessing on looks like an attack.
    ///
    /// A random part of up to a half keeps several hosts apart that lost the same PBX at the same moment.
    pub(super) fn next(&mut self, is_refusal: bool) -> Duration {
        let doubled = SHORTEST.saturating_mul(1 << self.failures.min(6));
        let pause = if is_refusal { LONGEST } else { doubled.min(LONGEST) };
        self.failures = self.failures.saturating_add(1);
        let mut random = [0];
        // Without randomness the pause is merely the same for all.
        let _: Result<(), getrandom::Error> = getrandom::fill(&mut random);
        (pause - (pause / 2) * u32::from(random[0]) / 255).max(SHORTEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_from_a_second_to_a_minute_and_stay_there() {
        let mut backoff = Backoff::default();
        for whole_s in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
            let pause = backoff.next(false);
            let whole = Duration::from_secs(whole_s);
            assert!(pause <= whole && pause >= (whole / 2).max(SHORTEST), "{pause:?} of {whole:?}");
        }
    }

    #[test]
    fn a_refused_login_is_tried_again_after_half_a_minute_at_the_earliest() {
        assert!(Backoff::default().next(true) >= Duration::from_secs(30));
    }
}
