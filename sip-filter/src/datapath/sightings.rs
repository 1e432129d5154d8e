//! What the kernel program has seen of SIP, read from its rings.

use std::{io, net::IpAddr, os::fd::AsFd as _};

use aya::maps::{Map, MapData, PerCpuArray, RingBuf};
use sip_filter_common::{
    Counter,
    maps::{SightingHeader, SightingKind, name},
};
use tokio::io::unix::AsyncFd;

use super::{Datapath, DatapathError};

/// How many messages are taken from a ring before others have their turn.
const BATCH_MAX: usize = 64;

/// A message that was seen.
#[derive(Debug)]
pub struct Seen {
    /// When, in nanoseconds of CLOCK_BOOTTIME: it may have waited in its ring for a daemon.
    pub seen_ns: u64,
    /// What was seen in it.
    pub kind: SightingKind,
    /// Where a reply went to, or where a request came from.
    pub peer: (IpAddr, u16),
    /// The port of the listener.
    pub local_port: u16,
    /// The IP protocol.
    pub protocol: u8,
    /// The number of its first byte, for TCP.
    pub sequence: u32,
    /// Its bytes, or the first of them.
    pub text: Vec<u8>,
}

/// One of the rings.
pub struct Ring(AsyncFd<RingBuf<MapData>>);

impl Ring {
    /// Waits for messages, and takes some.
    ///
    /// # Errors
    ///
    /// The system cannot tell when there are any.
    pub async fn read(&mut self) -> io::Result<Vec<Seen>> {
        loop {
            let mut ready = self.0.readable_mut().await?;
            let mut batch = Vec::new();
            while let Some(record) = ready.get_inner_mut().next() {
                batch.extend(seen(&record));
                if batch.len() == BATCH_MAX {
                    return Ok(batch);
                }
            }
            ready.clear_ready();
            if !batch.is_empty() {
                return Ok(batch);
            }
        }
    }
}

/// A record as the kernel program writes it; none where it is another version's.
fn seen(record: &[u8]) -> Option<Seen> {
    let (header, text) = record.split_at_checked(size_of::<SightingHeader>())?;
    let header: SightingHeader = bytemuck::pod_read_unaligned(header);
    let kind = SightingKind::ALL.get(usize::from(header.kind))?;
    Some(Seen {
        seen_ns: header.seen_ns,
        kind: *kind,
        peer: (IpAddr::from(header.peer), header.peer_port),
        local_port: header.local_port,
        protocol: u8::try_from(header.protocol).ok()?,
        sequence: header.sequence,
        text: text.get(..usize::try_from(header.text_len).ok()?)?.to_vec(),
    })
}

impl Datapath {
    /// The rings, the one that carries promotions first.
    ///
    /// # Errors
    ///
    /// A map cannot be opened.
    pub fn rings(&self) -> Result<Vec<Ring>, DatapathError> {
        let open = |name| {
            let Some(Map::RingBuf(ring)) = self.ebpf.map(name) else {
                return Err(DatapathError::Missing(name));
            };
            let fd = ring.fd().as_fd().try_clone_to_owned().map_err(DatapathError::Ring)?;
            let ring = RingBuf::try_from(Map::RingBuf(MapData::from_fd(fd)?))?;
            #[expect(
                deprecated,
                reason = "the ring keeps its descriptor open for as long as it is registered"
            )]
            let ring = AsyncFd::new(ring).map_err(DatapathError::Ring)?;
            Ok(Ring(ring))
        };
        [name::ACCEPTED, name::REFUSED, name::STREAMS, name::BLOCKED].into_iter().map(open).collect()
    }

    /// How many messages of each kind were written, and how many found their ring full.
    ///
    /// # Errors
    ///
    /// The map cannot be read.
    pub fn sightings(&self) -> Result<Vec<(SightingKind, u64, u64)>, DatapathError> {
        let map: PerCpuArray<_, Counter> = self.map(name::SIGHTINGS)?;
        let sum = |place: u32| -> Result<u64, DatapathError> {
            Ok(map.get(&place, 0)?.iter().map(|counter| counter.packets).sum())
        };
        let kinds = SightingKind::ALL.iter();
        kinds.map(|kind| Ok((*kind, sum(2 * *kind as u32)?, sum(2 * *kind as u32 + 1)?))).collect()
    }
}
