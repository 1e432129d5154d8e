//! Rounds over everything that has a cost for each packet: floors, this filter and contenders in turn, slice by slice.
//! What is slow in one round is so for all of them, so figures are compared within a round only.

use std::time::{Duration, Instant};

use anyhow::Result;
use aya::programs::ProgramFd;

use crate::{
    contenders::{Contender, Standing},
    filter::{Listed, Running},
    floors::Floors,
    generator::Generator,
    ground::Wire,
    handed::{self, Program, Turn},
    inline::{self, Target},
    path::Way,
    plan::{Layout, Plan, Version},
    results::{Change, Cost, Course, Round},
};

/// The filter's name in reports.
pub const FILTER: &str = "sip-filter";
/// The same where strangers may try to register.
pub const PROVING_FILTER: &str = "sip-filter, prove";

/// How often in a round programs have their turns: what neighbours do to a machine lasts for seconds, and should do it to all.
const VISITS: u32 = 10;
/// Turns at a time: to begin takes the kernel as long as one of them.
const TURNS: usize = 6;
/// Quiet turns that are enough; where they are fewer, there are up to as many rounds again.
const QUIET_TURNS: usize = 20;

/// How it is measured.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// How often everything has its turn.
    pub rounds: usize,
    /// How long one turn on a wire is.
    pub slice: Duration,
    /// When no new round begins any more.
    pub deadline: Instant,
}

/// One path with everybody who is measured on it.
struct Path {
    way: Way,
    version: Version,
    layout: Layout,
    generator: Generator,
    subjects: Subjects,
    turns: Vec<Turn>,
}

/// Who is measured beside the floors.
enum Subjects {
    /// This filter's program, to which frames are handed as if they came along its wire.
    Program(ProgramFd, Wire),
    /// Whoever stands at the end of a wire.
    Wires(Vec<(String, Wire)>),
}

/// Everything of one size, standing.
pub struct Stage {
    size: usize,
    paths: Vec<Path>,
    filters: Vec<Running>,
    contenders: Vec<Standing>,
    /// What it took to get there.
    pub changes: Vec<Change>,
    /// Who did not get there, and why.
    pub notes: Vec<String>,
}

impl Stage {
    /// Sets up this filter for every plan, and on a wire it and the contenders for strangers of the packed IPv4 plan.
    pub fn new(size: usize, wants: &impl Fn(&str) -> bool) -> Result<Self> {
        let mut stage = Self {
            size,
            paths: Vec::new(),
            filters: Vec::new(),
            contenders: Vec::new(),
            changes: Vec::new(),
            notes: Vec::new(),
        };
        let plans = [
            (Version::V4, Layout::Packed),
            (Version::V4, Layout::Spread),
            (Version::V6, Layout::Packed),
            (Version::V6, Layout::Spread),
        ];
        for (version, layout) in plans {
            let plan = Plan::new(version, layout, size);
            let is_first = (version, layout) == plans[0];
            let own: &[&[Way]] = if is_first { &[&[Way::Denied], &[Way::Request]] } else { &[] };
            for ways in [Way::of(version, layout)].iter().chain(own).filter(|_| wants(FILTER)) {
                let wanted: Vec<Way> = ways.iter().copied().filter(|way| wants(way.name())).collect();
                stage.add_filter(&plan, version, layout, &wanted)?;
            }
            if is_first {
                stage.add_wires(&plan, wants)?;
            }
        }
        Ok(stage)
    }

    fn add_filter(&mut self, plan: &Plan, version: Version, layout: Layout, ways: &[Way]) -> Result<()> {
        let Some(first) = ways.first() else { return Ok(()) };
        let (listed, strangers) = (first.listed(), first.strangers());
        let filter = match Running::start(&plan.prefixes, listed, strangers) {
            Ok(filter) => filter,
            Err(error) => {
                let note = format!("{FILTER} with {} prefixes: {error:#}", self.size);
                if !self.notes.contains(&note) {
                    self.notes.push(note);
                }
                return Ok(());
            }
        };
        let is_plain = version == Version::V4 && layout == Layout::Packed && listed == Listed::Allow;
        if is_plain && self.changes.is_empty() {
            self.changes.push(crate::changes::of_filter(&filter, plan)?);
        }
        for &way in ways {
            let mut peers = way.peers(plan).addresses().into_iter();
            match way {
                Way::Banned => peers.try_for_each(|peer| filter.ban(peer).map(drop))?,
                Way::Registered => peers.try_for_each(|peer| filter.register(peer))?,
                _ => {}
            }
            let mut generator = Generator::new(way.traffic(plan))?;
            way.check(&mut generator, &filter)?;
            let subjects = Subjects::Program(filter.program()?, filter.wire().clone());
            self.paths.push(Path { way, version, layout, generator, subjects, turns: Vec::new() });
        }
        self.filters.push(filter);
        Ok(())
    }

    /// Strangers of the packed IPv4 plan, on wires: for the filter that was set up first, and for contenders.
    fn add_wires(&mut self, plan: &Plan, wants: &impl Fn(&str) -> bool) -> Result<()> {
        let filter = self.filters.first().filter(|_| wants(Way::Stranger.name()));
        let mut wires: Vec<_> =
            filter.map(|filter| (FILTER.to_owned(), filter.wire().clone())).into_iter().collect();
        for contender in Contender::ALL {
            if !wants(contender.name()) || self.size > contender.size_max() {
                continue;
            }
            let standing = match contender.set_up(plan) {
                Ok(standing) => standing,
                Err(error) => {
                    self.notes.push(format!("{} with {} prefixes: {error:#}", contender.name(), self.size));
                    continue;
                }
            };
            self.changes.push(standing.change()?);
            wires.push((contender.name().to_owned(), standing.wire().clone()));
            self.contenders.push(standing);
        }
        if !wires.is_empty() {
            self.paths.push(Path {
                way: Way::Stranger,
                version: Version::V4,
                layout: Layout::Packed,
                generator: Generator::new(Way::Stranger.traffic(plan))?,
                subjects: Subjects::Wires(wires),
                turns: Vec::new(),
            });
        }
        Ok(())
    }

    /// Who can be asked by a known client over IPv4: the filter with its list packed, and the contenders.
    pub fn dialogue_subjects(&self) -> &[(String, Wire)] {
        let wires = self.paths.iter().find_map(|path| match &path.subjects {
            Subjects::Wires(wires) => Some(&wires[..]),
            Subjects::Program(..) => None,
        });
        wires.unwrap_or_default()
    }

    /// Measures all of it in rounds.
    pub fn measure(&mut self, floors: &mut Floors, manner: Manner) -> Result<Vec<Cost>> {
        floors.size_table(self.size)?;
        for round in 0..2 * manner.rounds {
            let is_extra = round >= manner.rounds;
            if is_extra && self.paths.iter().all(Path::has_enough) {
                break;
            }
            if Instant::now() > manner.deadline {
                if !is_extra {
                    let note =
                        format!("{} prefixes: fewer rounds than asked for, the time was up", self.size);
                    self.notes.push(note);
                }
                break;
            }
            for visit in 0..VISITS {
                let has_turn = |path: &&mut Path| {
                    if is_extra { !path.has_enough() } else { visit == 0 || path.is_handed() }
                };
                for path in self.paths.iter_mut().filter(has_turn) {
                    path.take_turns(floors, manner.slice)?;
                }
            }
        }
        let lacking = self.paths.iter().filter(|path| !path.has_enough());
        self.notes.extend(lacking.map(|path| path.note(self.size)));
        // What had no turn has no figure.
        let measured = self.paths.iter().filter(|path| !path.turns.is_empty());
        Ok(measured.flat_map(|path| path.costs(self.size)).collect())
    }
}

impl Path {
    fn is_handed(&self) -> bool {
        matches!(self.subjects, Subjects::Program(..))
    }

    fn has_enough(&self) -> bool {
        !self.is_handed() || self.quiet() >= QUIET_TURNS
    }

    /// How many turns were quiet.
    fn quiet(&self) -> usize {
        let quietest_ns = handed::quietest_ns(&self.turns);
        self.turns.iter().filter(|turn| turn.is_quiet(quietest_ns)).count()
    }

    /// What is to be known of figures of a busy machine.
    fn note(&self, size: usize) -> String {
        let Self { way, version, layout, .. } = self;
        let (quiet, all) = (self.quiet(), self.turns.len());
        format!(
            "{size} prefixes, {}, {} {}: the machine was quiet in {quiet} of {all} turns only",
            way.name(),
            version.name(),
            layout.name()
        )
    }

    /// A turn of everybody, `slice` long on a wire, or a few that are short.
    fn take_turns(&mut self, floors: &mut Floors, slice: Duration) -> Result<()> {
        let [empty, others @ ..] = self.way.floors(self.version) else { return Ok(()) };
        match &self.subjects {
            Subjects::Program(program, wire) => {
                let empty = floors.program(*empty)?.program;
                let mut programs: Vec<_> =
                    others.iter().map(|&floor| floors.program(floor)).collect::<Result<_>>()?;
                programs.push(Program { program: program.try_clone()?, has_tables: true });
                self.turns.extend(handed::turns(&mut self.generator, wire, &empty, &programs, TURNS)?);
            }
            Subjects::Wires(wires) => {
                let of_floors = [empty].into_iter().chain(others).copied().map(Target::Floor);
                let targets: Vec<Target<'_>> =
                    of_floors.chain(wires.iter().map(|(_, wire)| Target::Wire(wire))).collect();
                let mut ns = inline::ns_per_frame(&mut self.generator, floors, &targets, slice)?;
                self.turns.push(Turn { empty_ns: [ns.remove(0); 2], ns });
            }
        }
        Ok(())
    }

    fn costs(&self, size: usize) -> Vec<Cost> {
        let (course, names) = match &self.subjects {
            Subjects::Program(..) => (Course::Handed, vec![FILTER]),
            Subjects::Wires(wires) => (Course::Wire, wires.iter().map(|(name, _)| &**name).collect()),
        };
        let quietest_ns = handed::quietest_ns(&self.turns);
        // On a wire a turn is long, and what it takes of a processor's time counts.
        let has_quiet = self.is_handed() && self.quiet() > 0;
        let floors = self.way.floors(self.version).len() - 1;
        let rounds: Vec<Vec<Round>> = self
            .turns
            .iter()
            .map(|turn| rounds_of(turn, floors, !has_quiet || turn.is_quiet(quietest_ns)))
            .collect();
        let of = |(index, name): (usize, &str)| Cost {
            subject: name.to_owned(),
            course,
            way: self.way,
            version: self.version,
            layout: self.layout,
            size,
            rounds: rounds.iter().map(|round| round[index]).collect(),
        };
        names.into_iter().enumerate().map(of).collect()
    }
}

/// A round of each subject, from one turn: the figures of the floors stand first, of which the third may be missing.
fn rounds_of(turn: &Turn, floors: usize, counts: bool) -> Vec<Round> {
    let (of_floors, subjects) = turn.ns.split_at(floors);
    let &[parse_ns, headers_ns, ref rest @ ..] = of_floors else { return Vec::new() };
    let look_ns = rest.first().copied();
    // Both, since one that was chosen for being low would make differences high.
    let bare_ns = turn.empty_ns.iter().sum::<f64>() / 2.0;
    let of_subject = |&subject_ns: &f64| Round { counts, subject_ns, bare_ns, parse_ns, headers_ns, look_ns };
    subjects.iter().map(of_subject).collect()
}
