//! thin
use std::time::Duration;
use bench::{floors::Floor, generator::Generator, ground::Ground, inline, plan::*, traffic::Traffic};

fn main() -> anyhow::Result<()> {
    let mut ground = Ground::new()?;
    let mut generator = Generator::new(Traffic::short(Plan::new(Version::V4, Layout::Packed, 10).strangers))?;
    let mut floors = vec![];
    for floor in Floor::ALL {
        let wire = ground.wire()?;
        let object = floor.attach(&wire)?;
        floors.push((floor, wire, object));
    }
    for _ in 0..5 {
        for (floor, wire, _) in &floors {
            if floor.name().contains('6') { continue; }
            let ns = inline::ns_per_frame(&mut generator, wire, Duration::from_millis(100));
            println!("{} {ns:?}", floor.name());
        }
    }
    Ok(())
}
