//! `cargo xtask bench`
use std::time::{Duration, Instant};
use bench::{costs::*};

fn main() -> anyhow::Result<()> {
    let sizes: Vec<usize> = std::env::args().skip(1).map(|a| a.parse().unwrap()).collect();
    let floors = Floors::new()?;
    for size in sizes {
        let start = Instant::now();
        let mut stage = Stage::new(size, &|_| true)?;
        println!("up {:?} {:?}", start.elapsed(), stage.notes);
        let manner = Manner { rounds: 5, slice: Duration::from_millis(60), deadline: start + Duration::from_secs(200) };
        for cost in stage.measure(&floors, manner)? {
            println!("{:22} {:14} {:?} {:?} {:7} added {:6.1} parse {:.2} headers {:.2} whole {:.2} ns {:.0}", cost.subject, cost.way.name(), cost.version, cost.layout, cost.size, cost.added_ns(), cost.to_parse(), cost.to_headers(), cost.whole_to_headers(), cost.median(|r| r.subject_ns));
        }
        for c in &stage.changes { println!("{c:?}"); }
        println!("done {:?} {:?}", start.elapsed(), stage.notes);
    }
    Ok(())
}
