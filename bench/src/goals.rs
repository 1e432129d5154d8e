//! What the filter is to reach, held against what was measured. Ratios within a run, so that they mean the same on any machine; times only where an operator waits.

use serde::Serialize;

use crate::{
    costs::{FILTER, PROVING_FILTER},
    floors::Floor,
    path::Way,
    plan::{Layout, Version},
    results::{Cost, Course, Results},
};

/// From here on a list is one of a million.
const MILLION: usize = 1_000_000;
const PEER_TO_STRANGER: f64 = 2.0;
const OTHER_TO_HEADERS: f64 = 1.2;
const V6_TO_V4: f64 = 1.5;
const LOSS_POINTS: f64 = 1.0;
/// Beyond this rate a single CPU loses packets whatever it does with them.
const LOSS_FLOOD_MAX: u64 = 2_000_000;
const DAEMON_MS: f64 = 2_000.0;
const KERNEL_MS: f64 = 100.0;
const SINGLE_CHANGE_MS: f64 = 1.0;
const MEMORY_MIB: f64 = 100.0;

/// One goal and how far it is.
#[derive(Debug, Serialize)]
pub struct Goal {
    /// What is limited.
    pub what: String,
    /// The most that it may be.
    pub limit: f64,
    /// What it is.
    pub measured: f64,
    /// Of both.
    pub unit: &'static str,
}

impl Goal {
    /// Whether it is reached; a figure that is not there reaches nothing.
    pub fn is_met(&self) -> bool {
        self.measured <= self.limit
    }
}

/// Every goal for which the run has a figure.
pub fn of(results: &Results) -> Vec<Goal> {
    let mut goals: Vec<Goal> =
        results.costs.iter().filter(is_ours).flat_map(|cost| of_cost(results, cost)).collect();
    goals.extend(of_dialogues(results));
    goals.extend(of_changes(results));
    goals
}

fn is_ours(cost: &&Cost) -> bool {
    cost.subject == FILTER && cost.course == Course::Handed
}

/// How often the parser's own cost a stranger may add.
fn stranger_limit(cost: &Cost) -> f64 {
    match (cost.size >= MILLION, cost.layout) {
        (false, _) => 2.5,
        (true, Layout::Spread) => 3.0,
        (true, Layout::Packed) => 5.0,
    }
}

fn of_cost(results: &Results, cost: &Cost) -> Vec<Goal> {
    let row = format!("{}, {} {}, {}", cost.way.name(), cost.version.name(), cost.layout.name(), cost.size);
    let ratio = |what: String, limit, measured| Goal { what, limit, measured, unit: "x" };
    let added_by = |way, version| {
        let found = results.costs.iter().filter(is_ours).find(|other| {
            (other.way, other.version, other.layout, other.size) == (way, version, cost.layout, cost.size)
        });
        found.map(Cost::added_ns)
    };
    let mut goals = Vec::new();
    match cost.way {
        Way::Stranger | Way::Denied | Way::Banned if cost.version == Version::V4 => {
            let measured = results.to_parse(cost);
            goals.push(ratio(
                format!("{row}: added, over the minimal parser's"),
                stranger_limit(cost),
                measured,
            ));
        }
        Way::Trunk | Way::Registered => {
            if let Some(stranger) = added_by(Way::Stranger, cost.version) {
                let measured = cost.added_ns() / stranger;
                goals.push(ratio(format!("{row}: added, over a stranger's"), PEER_TO_STRANGER, measured));
            }
        }
        Way::Other => {
            let what = format!("{row}: added, over the own parser's");
            goals.push(ratio(what, OTHER_TO_HEADERS, results.to_headers(cost)));
            let what = format!("{row}: cost per packet, over the own parser's");
            goals.push(ratio(what, OTHER_TO_HEADERS, cost.whole_to_headers()));
        }
        _ => {}
    }
    if cost.version == Version::V6
        && let Some(v4) = added_by(cost.way, Version::V4)
    {
        goals.push(ratio(format!("{row}: added, over IPv4's"), V6_TO_V4, cost.added_ns() / v4));
    }
    goals
}

fn of_dialogues(results: &Results) -> impl Iterator<Item = Goal> {
    let ours =
        results.dialogues.iter().filter(|dialogue| [FILTER, PROVING_FILTER].contains(&&*dialogue.subject));
    let ours = ours.filter(|dialogue| dialogue.flood_per_s <= LOSS_FLOOD_MAX);
    ours.filter_map(|ours| {
        let floor = results.dialogues.iter().find(|other| {
            other.subject == Floor::Known.name()
                && (other.size, other.flood_per_s) == (ours.size, ours.flood_per_s)
        })?;
        Some(Goal {
            what: format!(
                "dialogue at {} packets/s, {}, {}: loss above the floor's",
                ours.flood_per_s, ours.subject, ours.size
            ),
            limit: LOSS_POINTS,
            measured: ours.loss_percent() - floor.loss_percent(),
            unit: "points",
        })
    })
}

fn of_changes(results: &Results) -> Vec<Goal> {
    let mut goals = Vec::new();
    for change in results.changes.iter().filter(|change| change.subject == FILTER) {
        let mut goal = |what: &str, limit, measured: Option<f64>, unit| {
            let what = format!("{what}, {}", change.size);
            goals.extend(measured.map(|measured| Goal { what, limit, measured, unit }));
        };
        goal("one address allowed", SINGLE_CHANGE_MS, change.add_ms, "ms");
        goal("one address banned", SINGLE_CHANGE_MS, change.ban_ms, "ms");
        if change.size >= MILLION {
            goal("from file to enforced, the daemon's part", DAEMON_MS, change.daemon_ms, "ms");
            goal("from file to enforced, the kernel's part", KERNEL_MS, change.kernel_ms, "ms");
            goal("memory of kernel and daemon", MEMORY_MIB, change.memory_mib, "MiB");
        }
    }
    goals
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::{Dialogue, Round};

    fn cost(way: Way, version: Version, size: usize, subject_ns: f64) -> Cost {
        let round = Round {
            counts: true,
            subject_ns,
            bare_ns: 100.0,
            parse_ns: 110.0,
            headers_ns: 120.0,
            look_ns: None,
        };
        Cost {
            subject: FILTER.into(),
            course: Course::Handed,
            way,
            version,
            layout: Layout::Packed,
            size,
            rounds: vec![round],
        }
    }

    fn results(costs: Vec<Cost>) -> Results {
        Results { costs, ..Results::default() }
    }

    #[test]
    fn a_stranger_may_cost_more_only_where_a_million_are_packed() {
        for (size, subject_ns, met) in [(10, 124.0, true), (10, 126.0, false), (MILLION, 126.0, true)] {
            let goals = of(&results(vec![cost(Way::Stranger, Version::V4, size, subject_ns)]));
            let [goal] = &goals[..] else { panic!("{goals:?}") };
            assert_eq!(goal.is_met(), met, "{goal:?}");
        }
    }

    #[test]
    fn peers_and_ipv6_are_held_against_the_stranger_and_ipv4_of_the_same_size() {
        let costs = vec![
            cost(Way::Stranger, Version::V4, 10, 120.0),
            cost(Way::Stranger, Version::V6, 10, 131.0),
            cost(Way::Trunk, Version::V4, 10, 141.0),
            cost(Way::Registered, Version::V4, 10, 145.0),
            cost(Way::Stranger, Version::V4, 1_000, 300.0),
        ];
        let missed: Vec<f64> =
            of(&results(costs)).iter().filter(|goal| !goal.is_met()).map(|goal| goal.measured).collect();
        assert_eq!(missed, [1.55, 2.05, 2.25, 20.0]);
    }

    #[test]
    fn loss_is_held_against_the_floor_s_at_the_same_rate() {
        let dialogue = |subject: &str, answered| Dialogue {
            subject: subject.into(),
            size: 10,
            flood_per_s: 1,
            flooded_per_s: 1.0,
            taken_per_s: 1.0,
            sent: 100,
            answered,
            p50_us: 0.0,
            p99_us: 0.0,
        };
        let mut results = results(Vec::new());
        results.dialogues = vec![dialogue(Floor::Known.name(), 97), dialogue(FILTER, 95)];
        let goals = of(&results);
        assert_eq!((goals.len(), goals[0].measured, goals[0].is_met()), (1, 2.0, false));
    }
}
