//! What was measured, as it goes into the JSON file, and what follows from it by arithmetic alone.

use serde::Serialize;

use crate::{
    machine::Machine,
    path::Way,
    plan::{Layout, Version},
};

/// Everything of one run.
#[derive(Debug, Default, Serialize)]
pub struct Results {
    /// Where and when.
    pub machine: Machine,
    /// The command, as it was typed.
    pub command: String,
    /// What packets cost.
    pub costs: Vec<Cost>,
    /// What changes cost.
    pub changes: Vec<Change>,
    /// What a known client sees under a flood.
    pub dialogues: Vec<Dialogue>,
    /// What was left out, and why.
    pub notes: Vec<String>,
}

/// How packets come to a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Course {
    /// Handed to its program, one after the other.
    Handed,
    /// Along a wire, through driver and stack.
    Wire,
}

/// One subject on one path at one size.
#[derive(Debug, Serialize)]
pub struct Cost {
    /// The filter or a contender.
    pub subject: String,
    /// How packets came to it.
    pub course: Course,
    /// What became of the packets.
    pub way: Way,
    /// The plan's family.
    pub version: Version,
    /// The plan's layout.
    pub layout: Layout,
    /// How many prefixes.
    pub size: usize,
    /// As measured.
    pub rounds: Vec<Round>,
}

/// Nanoseconds for each packet, all from the same round.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Round {
    /// Whether it counts: of frames that are handed over, where the machine was quiet.
    pub counts: bool,
    /// With the subject.
    pub subject_ns: f64,
    /// With a program that drops or passes at once.
    pub bare_ns: f64,
    /// With a minimal parser.
    pub parse_ns: f64,
    /// With the filter's own parser.
    pub headers_ns: f64,
    /// With a minimal parser and one look into a table of eight bytes for each prefix, up to a million, where that was measured.
    pub look_ns: Option<f64>,
}

impl Round {
    /// What the subject adds to the bare program.
    pub fn added_ns(&self) -> f64 {
        self.subject_ns - self.bare_ns
    }
}

impl Results {
    /// What the minimal parser of a family adds, in nanoseconds.
    ///
    /// A few only, so it is the median of what all paths came to on which packets of the family are dropped.
    pub fn parse_added_ns(&self, course: Course, version: Version) -> f64 {
        self.floor_added_ns(course, version, Way::Stranger, |round| round.parse_ns)
    }

    /// What the filter's own parser adds to packets like this, in nanoseconds: the median of what all paths came to on
    /// which such packets are dropped, or pass, as these are.
    pub fn headers_added_ns(&self, cost: &Cost) -> f64 {
        self.floor_added_ns(cost.course, cost.version, cost.way, |round| round.headers_ns)
    }

    fn floor_added_ns(
        &self,
        course: Course,
        version: Version,
        way: Way,
        floor_ns: impl Fn(&Round) -> f64,
    ) -> f64 {
        let kind = |way: Way| (way.passes(), way == Way::Tagged);
        let of = |cost: &Cost| (cost.course, cost.version, kind(cost.way));
        let is_alike = |cost: &&Cost| of(cost) == (course, version, kind(way));
        let of_cost = |cost: &Cost| cost.median(|round| floor_ns(round) - round.bare_ns);
        median(self.costs.iter().filter(is_alike).map(of_cost).collect())
    }

    /// What a subject adds over what the filter's own parser adds.
    pub fn to_headers(&self, cost: &Cost) -> f64 {
        cost.added_ns() / positive(self.headers_added_ns(cost))
    }

    /// What a subject adds over what the minimal parser of its family adds.
    pub fn to_parse(&self, cost: &Cost) -> f64 {
        cost.added_ns() / positive(self.parse_added_ns(cost.course, cost.version))
    }
}

impl Cost {
    /// The rounds that count.
    pub fn counted(&self) -> impl Iterator<Item = &Round> {
        self.rounds.iter().filter(|round| round.counts)
    }

    /// The median of some figure over the rounds that count.
    pub fn median(&self, figure: impl Fn(&Round) -> f64) -> f64 {
        median(self.counted().map(figure).collect())
    }

    /// What the subject adds, in nanoseconds.
    pub fn added_ns(&self) -> f64 {
        self.median(Round::added_ns)
    }

    /// What a minimal parser adds that also looks once into a table of eight bytes for each prefix, in nanoseconds.
    pub fn look_added_ns(&self) -> Option<f64> {
        let added = |round: &Round| Some(round.look_ns? - round.bare_ns);
        Some(median(self.counted().map(added).collect::<Option<_>>()?))
    }

    /// The whole cost over that with the filter's own parser.
    pub fn whole_to_headers(&self) -> f64 {
        self.median(|round| round.subject_ns / round.headers_ns)
    }
}

/// What it takes to change what one subject does.
#[derive(Debug, Default, Serialize)]
pub struct Change {
    /// The filter or a contender.
    pub subject: String,
    /// How many prefixes.
    pub size: usize,
    /// From nothing to enforcing, in milliseconds.
    pub load_ms: Option<f64>,
    /// `apply` of the whole file with one entry changed, from command to prompt, in milliseconds.
    pub apply_ms: Option<f64>,
    /// Of that, what the daemon took, in milliseconds.
    pub daemon_ms: Option<f64>,
    /// Of that, what writing to the kernel took, in milliseconds.
    pub kernel_ms: Option<f64>,
    /// One address more, asked and answered, in milliseconds.
    pub add_ms: Option<f64>,
    /// One ban, asked and answered, in milliseconds.
    pub ban_ms: Option<f64>,
    /// Memory of kernel and daemon, in MiB.
    pub memory_mib: Option<f64>,
}

/// A known client's requests under a flood of strangers.
#[derive(Debug, Serialize)]
pub struct Dialogue {
    /// The filter, a floor or a contender.
    pub subject: String,
    /// How many prefixes.
    pub size: usize,
    /// Packets of strangers a second, as asked for.
    pub flood_per_s: u64,
    /// The same as the generator managed.
    pub flooded_per_s: f64,
    /// Packets a second that the protected side took off its ring, on its one CPU.
    pub taken_per_s: f64,
    /// Requests sent in all rounds.
    pub sent: u64,
    /// Requests answered.
    pub answered: u64,
    /// From request to answer, in microseconds: the median.
    pub p50_us: f64,
    /// From request to answer, in microseconds: all but one in a hundred.
    pub p99_us: f64,
}

impl Dialogue {
    /// Requests without an answer, in percent.
    pub fn loss_percent(&self) -> f64 {
        100.0 * (self.sent - self.answered) as f64 / self.sent.max(1) as f64
    }
}

/// The middle one; the lower middle one of an even number. Not a number where there is none.
pub fn median(values: Vec<f64>) -> f64 {
    quantile(values, 0.5)
}

/// The value below which this share of the values lies.
pub fn quantile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1) as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index of the list")]
    let index = (last * share) as usize;
    values.get(index).copied().unwrap_or(f64::NAN)
}

/// A difference that noise can make nothing of is taken as one nanosecond.
fn positive(ns: f64) -> f64 {
    ns.max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one() {
        assert_eq!(median(vec![9.0, 1.0, 2.0]), 2.0);
        assert!(median(Vec::new()).is_nan());
    }

    #[test]
    fn what_a_subject_adds_is_taken_within_a_round() {
        let round = |noise: f64| Round {
            counts: noise < 1_000.0,
            subject_ns: 120.0 + noise,
            bare_ns: 100.0 + noise,
            parse_ns: 110.0 + noise,
            headers_ns: 140.0 + noise,
            look_ns: Some(150.0 + noise),
        };
        let busy = Round { subject_ns: 1_900.0, ..round(1_000.0) };
        let cost = Cost {
            subject: "x".into(),
            course: Course::Handed,
            way: Way::Stranger,
            version: Version::V4,
            layout: Layout::Packed,
            size: 1,
            // Most were made on a busy machine.
            rounds: [vec![round(0.0), round(100.0), round(30.0)], vec![busy; 4]].concat(),
        };
        // What passes is held against what passes.
        let passing = Round { headers_ns: 110.0, ..round(0.0) };
        let other = Cost { subject: "x".into(), way: Way::Other, rounds: vec![passing], ..cost };
        let results = Results { costs: vec![cost, other], ..Results::default() };
        assert_eq!(results.to_headers(&results.costs[1]), 2.0);
        let cost = &results.costs[0];
        assert_eq!((cost.added_ns(), results.to_parse(cost), results.to_headers(cost)), (20.0, 2.0, 0.5));
        assert_eq!(cost.look_added_ns(), Some(50.0));
    }
}
