//! The embedded object with the floors and the packet generator, and loading from it. What they do is in `sip-filter-ebpf/src/floors.rs`.

use anyhow::{Context, Result};
use aya::{
    Ebpf,
    programs::{Xdp, XdpMode},
};

use crate::ground::Wire;

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
    /// The filter's own parser, drops.
    HeadersDrop,
    /// The filter's own parser, passes.
    HeadersPass,
    /// Reads IPv4 and UDP at fixed offsets, lets one network through and drops the others: what a dialogue needs.
    Known,
}

impl Floor {
    /// Every floor.
    pub const ALL: [Floor; 9] = [
        Floor::Drop,
        Floor::Pass,
        Floor::ParseDrop,
        Floor::ParsePass,
        Floor::Parse6Drop,
        Floor::Parse6Pass,
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
            Floor::HeadersDrop => "floor_headers_drop",
            Floor::HeadersPass => "floor_headers_pass",
            Floor::Known => "floor_known",
        }
    }

    /// Loads it and attaches it in the driver to the protected end of `wire`, until the object is dropped.
    pub fn attach(self, wire: &Wire) -> Result<Ebpf> {
        let mut object = load()?;
        let program = program(&mut object, self.name())?;
        let attached = wire.protected().in_namespace(|| program.attach(wire.name(), XdpMode::Driver))?;
        attached.with_context(|| format!("attach {} to {}", self.name(), wire.name()))?;
        Ok(object)
    }
}

/// A loaded object; no program of it is in the kernel yet.
pub(crate) fn load() -> Result<Ebpf> {
    Ebpf::load(OBJECT).context("load the floors")
}

/// A program of the object, in the kernel.
pub(crate) fn program<'a>(object: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    let program = object.program_mut(name).with_context(|| format!("the object has no program {name}"))?;
    let program: &mut Xdp = program.try_into()?;
    program.load().with_context(|| format!("load the program {name}"))?;
    Ok(program)
}
