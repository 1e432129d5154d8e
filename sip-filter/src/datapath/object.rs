//! The embedded kernel object: loading it, and telling whether pinned maps are its own.

use std::{io::ErrorKind, time::Duration};

use aya::{
    Ebpf, EbpfLoader,
    maps::MapInfo,
    programs::{Program, ProgramError},
};
use sip_filter_common::maps::name;

use super::{DatapathError, Pins, features::Features, tables::InPlace};

/// Built by `build.rs` for the BPF target.
pub(super) static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/sip-filter"));

/// How much of a verifier log people are shown; all of it with `-v`.
const LOG_LINES_SHOWN: usize = 12;
/// How often loading is tried again when a signal came between.
const INTERRUPTIONS_MAX: usize = 10;
/// How often the kernel program's log is read.
const LOG_INTERVAL: Duration = Duration::from_millis(100);

/// Loads maps and programs, with the pinned maps where their contents are `kept`.
pub(super) fn load(
    pins: &Pins,
    kept: Option<&InPlace>,
    is_verbose: bool,
    features: Features,
) -> Result<Ebpf, DatapathError> {
    let mut loader = EbpfLoader::new();
    let paths: Vec<_> = name::ALL.iter().map(|map| (*map, pins.path(map))).collect();
    if let Some(kept) = kept {
        for (map, path) in &paths {
            loader.map_pin_path(map, path.as_path());
        }
        // aya writes what a section of data holds, zeros else, over what its map holds: the same, then.
        loader.override_global(name::pin(name::LIVE), kept.live.as_ref(), true);
        loader.override_global(name::pin(name::POLICIES), kept.indices.as_ref(), true);
    }
    // Without readers the verifier removes every trace of logging from a debug build's program.
    let level: u8 = if is_verbose { 4 } else { 0 };
    loader.override_global("AYA_LOG_LEVEL", &level, false);
    let object = features.fit(OBJECT, &mut loader);
    loader.load(&object).map_err(|error| DatapathError::Load(Box::new(error)))
}

/// Has the verifier check one program.
pub(super) fn load_program(ebpf: &mut Ebpf, name: &'static str) -> Result<(), DatapathError> {
    let mut load = || -> Result<(), ProgramError> {
        match ebpf.program_mut(name) {
            Some(Program::Xdp(program)) => program.load(),
            Some(Program::SchedClassifier(program)) => program.load(),
            _ => Err(ProgramError::UnexpectedProgramType),
        }
    };
    let mut loaded = load();
    // The verifier gives up where a signal waits for this thread, and says so only by its number.
    for _ in 0..INTERRUPTIONS_MAX {
        match &loaded {
            Err(ProgramError::LoadError { io_error, .. }) if io_error.kind() == ErrorKind::WouldBlock => {
                loaded = load();
            }
            _ => break,
        }
    }
    match loaded {
        Err(ProgramError::LoadError { io_error, verifier_log }) => {
            let log = verifier_log.to_string();
            tracing::debug!("{log}");
            let lines: Vec<_> = log.lines().collect();
            let log = lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n");
            Err(DatapathError::Verifier { program: name, log, source: io_error })
        }
        other => Ok(other?),
    }
}

/// Which object this is: what its programs take the contents of the maps for may be another one's nonsense.
pub(super) fn checksum() -> u64 {
    crc32fast::hash(OBJECT).into()
}

/// What an earlier daemon has left in place, where its maps are those of this object; where they are another's, or not
/// all there, none.
pub(super) fn kept(pins: &Pins) -> Result<Option<InPlace>, DatapathError> {
    if !is_pinned_with_this_layout(pins)? {
        return Ok(None);
    }
    Ok(Some(InPlace::pinned(pins)?).filter(|kept| kept.live.object == checksum()))
}

/// Whether every map is pinned and laid out as this version's object says.
///
/// The kernel hands out a pinned map whatever it looks like, so a difference would go unnoticed.
fn is_pinned_with_this_layout(pins: &Pins) -> Result<bool, DatapathError> {
    let object = aya_obj::Object::parse(OBJECT)?;
    for &name in name::ALL {
        let wanted = object.maps.get(name).ok_or(DatapathError::Missing(name))?;
        let Ok(pinned) = MapInfo::from_pin(pins.path(name)) else { return Ok(false) };
        let is_same = pinned.key_size() == wanted.key_size()
            && pinned.value_size() == wanted.value_size()
            && pinned.max_entries() == wanted.max_entries()
            && pinned.map_flags() == wanted.map_flags();
        if !is_same {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Forwards what a debug build's program logs.
pub(super) fn start_log(ebpf: &mut Ebpf) {
    if ebpf.map("AYA_LOGS").is_none() {
        return;
    }
    match aya_log::EbpfLogger::init(ebpf) {
        Ok(mut logger) => {
            tokio::spawn(async move {
                let mut interval = tokio::time::interval(LOG_INTERVAL);
                loop {
                    interval.tick().await;
                    logger.flush();
                }
            });
        }
        Err(error) => tracing::warn!(%error, "the kernel program's log cannot be read"),
    }
}
