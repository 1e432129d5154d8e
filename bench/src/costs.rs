//! Rounds over everything that has a cost for each packet: floors, this filter and contenders in turn, slice by slice.
//! What is slow in one round is so for all of them, so figures are compared within a round only.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::{
    contenders::{Contender, Standing},
    filter::{Listed, Running, Strangers},
    floors::Floors,
    generator::Generator,
    ground::Wire,
    inline::{Target, ns_per_frame},
    path::Way,
    plan::{Layout, Plan, Version},
    results::{Change, Cost, Round},
};

/// The filter's name in reports.
pub const FILTER: &str = "sip-filter";
/// The same where strangers may try to register.
pub const PROVING_FILTER: &str = "sip-filter, prove";

/// How it is measured.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// How often everything has its turn.
    pub rounds: usize,
    /// How long one turn is.
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
    subjects: Vec<(String, Wire)>,
    rounds: Vec<Vec<Round>>,
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
    /// Sets up this filter for every plan, and the contenders beside it on the packed IPv4 plan.
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
            let ways: Vec<Way> =
                Way::of(version, layout).iter().copied().filter(|way| wants(way.name())).collect();
            if wants(FILTER) && !ways.is_empty() {
                stage.add_filter(&plan, version, layout, &ways)?;
                if is_first && wants(Way::Denied.name()) {
                    stage.add_filter(&plan, version, layout, &[Way::Denied])?;
                }
            }
            if is_first {
                stage.add_contenders(&plan, wants)?;
            }
        }
        Ok(stage)
    }

    fn add_filter(&mut self, plan: &Plan, version: Version, layout: Layout, ways: &[Way]) -> Result<()> {
        let listed = ways.first().map_or(Listed::Allow, |way| way.listed());
        let filter = match Running::start(&plan.prefixes, listed, Strangers::Drop) {
            Ok(filter) => filter,
            Err(error) => {
                let note = format!("{FILTER} with {} prefixes: {error:#}", self.size);
                if !self.notes.contains(&note) {
                    self.notes.push(note);
                }
                return Ok(());
            }
        };
        if version == Version::V4 && layout == Layout::Packed && listed == Listed::Allow {
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
            let subjects = vec![(FILTER.to_owned(), filter.wire().clone())];
            self.paths.push(Path { way, version, layout, generator, subjects, rounds: Vec::new() });
        }
        self.filters.push(filter);
        Ok(())
    }

    fn add_contenders(&mut self, plan: &Plan, wants: &impl Fn(&str) -> bool) -> Result<()> {
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
            let is_strangers = |path: &&mut Path| {
                (path.way, path.version, path.layout) == (Way::Stranger, Version::V4, Layout::Packed)
            };
            let subject = (contender.name().to_owned(), standing.wire().clone());
            match self.paths.iter_mut().find(is_strangers) {
                Some(path) => path.subjects.push(subject),
                None => self.paths.push(Path {
                    way: Way::Stranger,
                    version: Version::V4,
                    layout: Layout::Packed,
                    generator: Generator::new(Way::Stranger.traffic(plan))?,
                    subjects: vec![subject],
                    rounds: Vec::new(),
                }),
            }
            self.contenders.push(standing);
        }
        Ok(())
    }

    /// Who can be asked by a known client over IPv4: the filter with its list packed, and the contenders.
    pub fn dialogue_subjects(&self) -> Vec<(String, Wire)> {
        let is_strangers = |path: &&Path| {
            (path.way, path.version, path.layout) == (Way::Stranger, Version::V4, Layout::Packed)
        };
        self.paths.iter().find(is_strangers).map(|path| path.subjects.clone()).unwrap_or_default()
    }

    /// Measures all of it in rounds.
    pub fn measure(&mut self, floors: &mut Floors, manner: Manner) -> Result<Vec<Cost>> {
        floors.size_table(self.size)?;
        for _ in 0..manner.rounds {
            if Instant::now() > manner.deadline {
                self.notes
                    .push(format!("{} prefixes: fewer rounds than asked for, the time was up", self.size));
                break;
            }
            for path in &mut self.paths {
                let round = path.round(floors, manner.slice)?;
                path.rounds.push(round);
            }
        }
        // What had no round has no figure.
        let measured = self.paths.iter().filter(|path| !path.rounds.is_empty());
        Ok(measured.flat_map(|path| path.costs(self.size)).collect())
    }
}

impl Path {
    /// One turn of everybody.
    fn round(&mut self, floors: &mut Floors, slice: Duration) -> Result<Vec<Round>> {
        let names = self.way.floors(self.version);
        let of_floors = names.iter().copied().map(Target::Floor);
        let of_subjects = self.subjects.iter().map(|(_, wire)| Target::Wire(wire));
        let targets: Vec<Target<'_>> = of_floors.chain(of_subjects).collect();
        let figures = ns_per_frame(&mut self.generator, floors, &targets, slice)?;
        let (of_floors, subjects) = figures.split_at(names.len());
        let [bare_ns, parse_ns, headers_ns, rest @ ..] = of_floors else { return Ok(Vec::new()) };
        let (bare_ns, parse_ns, headers_ns, look_ns) =
            (*bare_ns, *parse_ns, *headers_ns, rest.first().copied());
        let of_subject = |&subject_ns: &f64| Round { subject_ns, bare_ns, parse_ns, headers_ns, look_ns };
        Ok(subjects.iter().map(of_subject).collect())
    }

    fn costs(&self, size: usize) -> Vec<Cost> {
        let of = |(index, (name, _)): (usize, &(String, Wire))| Cost {
            subject: name.clone(),
            way: self.way,
            version: self.version,
            layout: self.layout,
            size,
            rounds: self.rounds.iter().map(|round| round[index]).collect(),
        };
        self.subjects.iter().enumerate().map(of).collect()
    }
}
