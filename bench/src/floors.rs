//! The embedded object with the floors and the packet generator, and loading from it. What they do is in `sip-filter-ebpf/src/floors.rs`.

use anyhow::{Context, Result};
use aya::{
    Ebpf, EbpfLoader,
    maps::Array,
    programs::{Xdp, XdpMode, xdp::XdpLinkId},
};

use crate::{
    generator::settings::{LOOK_LINE_WORDS, LOOK_LINES_MAX},
    ground::{Ground, Wire},
    handed::Program,
};

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/floors"));

/// A program that does the least which some part of the work needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Floor {
    /// Drops at once.
    Drop,
    /// Passes at once.
    Pass,
    /// Reads IPv4 and UDP at fixed offsets, drops.
    ParseDrop,
    /// Reads IPv4 and UDP at fixed offsets, passes.
    ParsePass,
    /// Reads IPv6 and UDP at fixed offsets, drops.
    Parse6Drop,
    /// Reads IPv6 and UDP at fixed offsets, passes.
    Parse6Pass,
    /// Reads IPv4 and UDP at fixed offsets and one word of a table at random, drops.
    LookDrop,
    /// The same, passes.
    LookPass,
    /// The filter's own parser, drops.
    HeadersDrop,
    /// The filter's own parser, passes.
    HeadersPass,
    /// Reads IPv4 and UDP at fixed offsets, lets one network through and drops the others: what a dialogue needs.
    Known,
}

impl Floor {
    /// Every floor.
    pub const ALL: [Floor; 11] = [
        Floor::Drop,
        Floor::Pass,
        Floor::ParseDrop,
        Floor::ParsePass,
        Floor::Parse6Drop,
        Floor::Parse6Pass,
        Floor::LookDrop,
        Floor::LookPass,
        Floor::HeadersDrop,
        Floor::HeadersPass,
        Floor::Known,
    ];

    /// The program's name in the object, and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Floor::Drop => "floor_drop",
            Floor::Pass => "floor_pass",
            Floor::ParseDrop => "floor_parse_drop",
            Floor::ParsePass => "floor_parse_pass",
            Floor::Parse6Drop => "floor_parse6_drop",
            Floor::Parse6Pass => "floor_parse6_pass",
            Floor::LookDrop => "floor_look_drop",
            Floor::LookPass => "floor_look_pass",
            Floor::HeadersDrop => "floor_headers_drop",
            Floor::HeadersPass => "floor_headers_pass",
            Floor::Known => "floor_known",
        }
    }
}

/// Every floor, taking turns on one wire: two wires are never quite alike, and the kernel reaches each attached XDP program by a search among all.
pub struct Floors {
    object: Ebpf,
    standing: Option<(Floor, XdpLinkId)>,
    wire: Wire,
    _ground: Ground,
}

impl Floors {
    /// Loads them all; none stands yet.
    pub fn new() -> Result<Self> {
        let (ground, wire) = Ground::with_wire()?;
        let mut object = load(u32::try_from(LOOK_LINES_MAX)?)?;
        for floor in Floor::ALL {
            program(&mut object, floor.name())?;
        }
        Ok(Self { object, standing: None, wire, _ground: ground })
    }

    /// Makes the table in which one of them looks as large as eight bytes for each of so many prefixes, which are made
    /// a power of two; no larger than for a million.
    pub fn size_table(&mut self, prefixes: usize) -> Result<()> {
        let lines = prefixes.div_ceil(LOOK_LINE_WORDS).next_power_of_two().min(LOOK_LINES_MAX);
        let map = self.object.map_mut("LOOK_MASK").context("the object has no map LOOK_MASK")?;
        let mut mask: Array<_, u32> = map.try_into()?;
        mask.set(0, u32::try_from(lines - 1)?, 0).context("size the table of a floor")
    }

    /// Their wire.
    pub fn wire(&self) -> &Wire {
        &self.wire
    }

    /// The number of a floor's program in the kernel.
    pub fn program_id(&mut self, floor: Floor) -> Result<u32> {
        Ok(loaded(&mut self.object, floor)?.info()?.id())
    }

    /// A floor's program, for frames to be handed to.
    pub fn program(&mut self, floor: Floor) -> Result<Program> {
        let program = loaded(&mut self.object, floor)?.fd()?.try_clone()?;
        Ok(Program { program, has_tables: matches!(floor, Floor::LookDrop | Floor::LookPass) })
    }

    /// Puts this floor in the place of the one that stands, between two packets.
    pub fn stand(&mut self, floor: Floor) -> Result<&Wire> {
        let id = match self.standing.take() {
            Some((standing, id)) if standing == floor => id,
            Some((standing, id)) => {
                let link = loaded(&mut self.object, standing)?.take_link(id)?;
                loaded(&mut self.object, floor)?.attach_to_link(link)?
            }
            None => {
                let program = loaded(&mut self.object, floor)?;
                let attach = || program.attach(self.wire.name(), XdpMode::Driver);
                self.wire.protected().in_namespace(attach)?.context("attach the first floor")?
            }
        };
        self.standing = Some((floor, id));
        Ok(&self.wire)
    }
}

fn loaded(object: &mut Ebpf, floor: Floor) -> Result<&mut Xdp> {
    let program = object.program_mut(floor.name()).context("every floor is in the object")?;
    Ok(program.try_into()?)
}

/// A loaded object, with so many lines in the table in which floors look; no program of it is in the kernel yet.
pub(crate) fn load(look_lines: u32) -> Result<Ebpf> {
    EbpfLoader::new().map_max_entries("LOOK_LINES", look_lines).load(OBJECT).context("load the floors")
}

/// A program of the object, in the kernel.
pub(crate) fn program<'a>(object: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    let program = object.program_mut(name).with_context(|| format!("the object has no program {name}"))?;
    let program: &mut Xdp = program.try_into()?;
    program.load().with_context(|| format!("load the program {name}"))?;
    Ok(program)
}
