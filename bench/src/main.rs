//! `cargo xtask bench`: measures this filter, bare floors and contenders in one run, and reports side by side.
//! What is measured and how is the library's; here are the options and the order.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use bench::{
    contenders::Contender,
    costs::{FILTER, Manner, PROVING_FILTER, Stage},
    dialogue::Answers,
    filter::{Listed, Running, Strangers},
    floors::{Floor, Floors},
    generator::Generator,
    goals,
    ground::Wire,
    machine::{Machine, Ticks},
    path::Way,
    plan::{Layout, Plan, Version},
    plot, readme, report,
    results::{Dialogue, Results},
    traffic::{Payload, Traffic},
};
use clap::{Parser, builder::PossibleValuesParser};

/// The size at which a known client is heard behind contenders, too; behind the filter it is at every size.
const CONTENDERS_HEARD_AT: usize = 1_000;

/// Measure what the filter costs, beside bare floors and what operators have today.
///
/// Packets run in network namespaces of their own; the machine's interfaces are left alone.
/// Both CPUs are busy while it runs: what else runs makes the figures worse.
#[derive(Parser)]
#[command(name = "bench", bin_name = "cargo xtask bench --")]
struct Options {
    /// About three minutes: one size, few rounds
    #[arg(long)]
    quick: bool,
    /// Sizes of the policy, in prefixes
    #[arg(long, value_delimiter = ',', default_value = "10,1000,100000,1000000")]
    sizes: Vec<usize>,
    /// How often everything has its turn
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long a turn on a wire is, in milliseconds
    #[arg(long, default_value_t = 100)]
    slice_ms: u64,
    /// Only these packets and subjects: "stranger,trunk,sip-filter,nftables netdev"; floors are always there
    #[arg(long, value_delimiter = ',', value_name = "NAMES", value_parser = PossibleValuesParser::new(names()))]
    only: Vec<String>,
    /// Rates of the flood in which a known client is heard, in packets/s; 0 is no flood, the last of the defaults more than a CPU can send
    #[arg(long, value_delimiter = ',', default_value = "0,200000,1000000,2000000,10000000")]
    floods: Vec<u64>,
    /// No new round begins after so many seconds
    #[arg(long, default_value_t = 1_400)]
    budget_s: u64,
    /// Where the figures go [default: target/bench/bench.json]
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where the plot goes [default: target/bench/bench.svg]
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Exit with 1 where a goal is missed
    #[arg(long)]
    strict: bool,
    /// Write the figures into README.md, between its marks
    #[arg(long)]
    update_readme: bool,
}

/// What may be named: packets and subjects.
fn names() -> impl Iterator<Item = &'static str> {
    let packets = Way::ALL.into_iter().map(Way::name);
    packets.chain([FILTER]).chain(Contender::ALL.into_iter().map(Contender::name))
}

impl Options {
    fn wants(&self, name: &str) -> bool {
        let is_way = |name: &str| Way::ALL.iter().any(|way| way.name() == name);
        // Packets and subjects are two questions: naming only the one leaves the other open.
        let named: Vec<&String> = self.only.iter().filter(|other| is_way(other) == is_way(name)).collect();
        named.is_empty() || named.iter().any(|other| *other == name)
    }

    fn hastened(mut self) -> Self {
        if self.quick {
            self.sizes = vec![CONTENDERS_HEARD_AT];
            self.floods = vec![1_000_000];
            (self.rounds, self.slice_ms) = (3, 40);
        }
        self
    }
}

fn main() -> ExitCode {
    let options = Options::parse().hastened();
    match run(&options) {
        Ok(missed) if options.strict && missed > 0 => ExitCode::FAILURE,
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// How many goals are missed.
fn run(options: &Options) -> Result<usize> {
    let results = measure(options)?;
    println!("{}", report::text(&results));
    let output = |file: &Option<PathBuf>, name: &str| {
        file.clone().unwrap_or_else(|| root().join("target/bench").join(name))
    };
    let goals = goals::of(&results);
    let mut document = serde_json::to_value(&results)?;
    document["goals"] = serde_json::to_value(&goals)?;
    write(&output(&options.json, "bench.json"), &serde_json::to_string_pretty(&document)?)?;
    if let Some(svg) = plot::svg(&results) {
        write(&output(&options.svg, "bench.svg"), &svg)?;
    }
    if options.update_readme {
        let readme = root().join("README.md");
        let document = fs::read_to_string(&readme).with_context(|| format!("read {}", readme.display()))?;
        write(&readme, &readme::updated(&document, &results)?)?;
    }
    Ok(goals.iter().filter(|goal| !goal.is_met()).count())
}

fn measure(options: &Options) -> Result<Results> {
    let (started, ticks) = (Instant::now(), Ticks::now());
    let mut floors = Floors::new()?;
    let manner = Manner {
        rounds: options.rounds,
        slice: Duration::from_millis(options.slice_ms),
        deadline: started + Duration::from_secs(options.budget_s),
    };
    let mut results = Results { command: command(), ..Results::default() };
    for &size in &options.sizes {
        let tell =
            |what: &str| eprintln!("{:>5.0} s  {size} prefixes: {what}", started.elapsed().as_secs_f64());
        if Instant::now() > manner.deadline {
            results.notes.push(format!("{size} prefixes: left out, the time was up"));
            continue;
        }
        tell("setting up");
        let mut stage = Stage::new(size, &|name| options.wants(name))?;
        tell("measuring");
        results.costs.extend(stage.measure(&mut floors, manner)?);
        tell("listening to a known client under a flood");
        results.dialogues.extend(dialogues(options, size, &stage, &mut floors)?);
        results.changes.append(&mut stage.changes);
        results.notes.append(&mut stage.notes);
    }
    results.machine = Machine::observed_since(ticks);
    Ok(results)
}

/// What the known client hears from the filter at every size, and from contenders at one.
fn dialogues(options: &Options, size: usize, stage: &Stage, floors: &mut Floors) -> Result<Vec<Dialogue>> {
    let plan = Plan::new(Version::V4, Layout::Packed, size);
    // What strangers may send to prove themselves: where they may, each packet to the SIP port is looked through.
    let traffic = Traffic { payload: Payload::Options, ..Way::Stranger.traffic(&plan) };
    let mut generator = Generator::new(traffic)?;
    let mut subjects = vec![(Floor::Known.name().to_owned(), floors.stand(Floor::Known)?.clone())];
    let is_heard = |(name, _): &&(String, Wire)| size == CONTENDERS_HEARD_AT || name == FILTER;
    subjects.extend(stage.dialogue_subjects().iter().filter(is_heard).cloned());
    let wanted =
        options.wants(FILTER).then(|| Running::start(&plan.prefixes, Listed::Allow, Strangers::Prove));
    let proving = wanted.transpose()?;
    subjects.extend(proving.iter().map(|filter| (PROVING_FILTER.to_owned(), filter.wire().clone())));
    let length = Duration::from_millis(options.slice_ms * 10);
    let mut dialogues = Vec::new();
    for &flood_per_s in &options.floods {
        let mut answers: Vec<Answers> = subjects.iter().map(|_| Answers::default()).collect();
        for _ in 0..options.rounds {
            for ((_, wire), answers) in subjects.iter().zip(&mut answers) {
                answers.add(&mut generator, wire, flood_per_s, length)?;
            }
        }
        let reports = subjects.iter().zip(answers);
        dialogues.extend(reports.map(|((name, _), answers)| answers.report(name, size, flood_per_s)));
    }
    Ok(dialogues)
}

/// The workspace.
fn root() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package)
}

/// As it was typed, but for writing the README.
fn command() -> String {
    let arguments = env::args().skip(1).filter(|argument| argument != "--update-readme");
    // As one would have to type it.
    let arguments: Vec<String> = arguments
        .map(|argument| if argument.contains(' ') { format!("\"{argument}\"") } else { argument })
        .collect();
    let separator = if arguments.is_empty() { "" } else { " -- " };
    format!("cargo xtask bench{separator}{}", arguments.join(" "))
}

fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    }
    fs::write(path, text).with_context(|| format!("write {}", path.display()))?;
    eprintln!("wrote {}", path.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn naming_packets_leaves_the_subjects_open() {
        let options = Options::parse_from(["bench", "--only", "trunk"]);
        assert!(options.wants("trunk") && options.wants(FILTER) && !options.wants("stranger"));
    }
}
