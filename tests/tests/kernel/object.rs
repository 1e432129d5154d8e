//! What the kernel has after loading: the maps and programs that `sip_filter_common::maps` names.

use aya::maps::{MapInfo, MapType, loaded_maps};
use aya::programs::{ProgramInfo, loaded_programs};
use sip_filter_common::maps::{
    BANS_MAX, BLOCKED_RING_BYTES, Blocks4, CHALLENGED_GROUPS, CHANGES_MAX, CHUNKS_MAX, COUNTERS_MAX,
    ChangeKey, ChangedClass, FLOWS_MAX, FRAGMENTS_MAX, Filter6, FlowKey, LANE_BUCKETS, LANE_TOTALS, Lane,
    LaneTotal, Live, PEER_BUCKETS, POLICY_SLOTS, PeerBucket, RING_BYTES, STREAM_RING_BYTES, Sighting,
    SightingKind, name, program,
};
use sip_filter_common::parse::Packet;
use sip_filter_common::{Address, Ban, Counter, FragmentDecision, FragmentKey, PolicyIndex};

use super::loaded::{Loaded, map_ids, may_use_the_kernel};
use super::packet::udp;
use super::rows::parsed;

/// The kernel gives up at a million; a change that comes near this one is to be looked at.
const VERIFIED_INSTRUCTIONS_MAX: u32 = 160_000;
/// The same for what leaves.
const WATCH_VERIFIED_INSTRUCTIONS_MAX: u32 = 80_000;

/// The name that the kernel keeps of a program or map (`BPF_OBJ_NAME_LEN` less the terminating zero).
fn kept(name: &str) -> &str {
    &name[..name.len().min(15)]
}

#[test]
fn the_loaded_object_is_the_one_that_the_shared_names_describe() {
    if !may_use_the_kernel("the loaded object") {
        return;
    }
    let mut kernel = Loaded::with(&parsed(""));
    let id = kernel.datapath.program_id().unwrap();
    let ids = map_ids(&kernel.datapath);
    // Other tests load programs of the same names: this one's share its maps.
    let own = |name: &str| -> Vec<ProgramInfo> {
        let named = loaded_programs().flatten().filter(|other| other.name_as_str() == Some(kept(name)));
        let own = named.filter(|other| {
            other
                .map_ids()
                .is_ok_and(|others| others.is_some_and(|others| others.iter().any(|id| ids.contains(id))))
        });
        own.collect()
    };
    assert_eq!(own(program::FILTER).iter().map(ProgramInfo::id).collect::<Vec<_>>(), [id]);
    assert!(own(program::EXPLAIN).is_empty(), "verified before it is asked");
    kernel.datapath.explain(&udp().build()).unwrap();
    for (name, verified_max) in [
        (program::FILTER, VERIFIED_INSTRUCTIONS_MAX),
        (program::EXPLAIN, VERIFIED_INSTRUCTIONS_MAX),
        (program::WATCH, WATCH_VERIFIED_INSTRUCTIONS_MAX),
    ] {
        let [program] = &own(name)[..] else { panic!("not one {name}") };
        let verified = program.verified_instruction_count();
        eprintln!("{name}: {verified:?} instructions verified, at most {verified_max} are wanted");
        // Kernels before 5.16 do not tell.
        assert!(verified.is_none_or(|verified| verified < verified_max), "{name}: {verified:?}");
    }
    check_maps(&ids);
}

fn check_maps(ids: &[u32]) {
    let outer = size_of::<u32>();
    let ring = |bytes: usize| u32::try_from(bytes).unwrap();
    let kinds = 2 * u32::try_from(SightingKind::ALL.len()).unwrap();
    let slots = POLICY_SLOTS as usize;
    let expected = [
        (name::LIVE, MapType::Array, outer, size_of::<Live>(), 1),
        (name::POLICIES, MapType::Array, outer, slots * size_of::<PolicyIndex>(), 1),
        (name::BLOCKS4, MapType::Array, outer, size_of::<Blocks4>(), POLICY_SLOTS),
        (name::FILTERS6, MapType::Array, outer, size_of::<Filter6>(), POLICY_SLOTS),
        (name::TABLES, MapType::ArrayOfMaps, outer, outer, POLICY_SLOTS * CHUNKS_MAX),
        // Before the key stands the prefix length.
        (name::CHANGES, MapType::LpmTrie, 4 + size_of::<ChangeKey>(), size_of::<ChangedClass>(), CHANGES_MAX),
        (name::LOCAL_ADDRESSES, MapType::ArrayOfMaps, outer, outer, POLICY_SLOTS),
        (name::BANS, MapType::Hash, size_of::<Address>(), size_of::<Ban>(), BANS_MAX),
        (name::PEERS, MapType::Array, outer, size_of::<PeerBucket>(), PEER_BUCKETS),
        (name::FLOWS, MapType::Hash, size_of::<FlowKey>(), size_of::<u64>(), FLOWS_MAX),
        (name::LANES, MapType::Array, outer, size_of::<Lane>(), LANE_BUCKETS),
        (name::CHALLENGED, MapType::Array, outer, size_of::<u64>(), CHALLENGED_GROUPS),
        (name::LANE_TOTALS, MapType::Array, outer, size_of::<LaneTotal>(), LANE_TOTALS),
        (name::ACCEPTED, MapType::RingBuf, 0, 0, ring(RING_BYTES)),
        (name::REFUSED, MapType::RingBuf, 0, 0, ring(RING_BYTES)),
        (name::STREAMS, MapType::RingBuf, 0, 0, ring(STREAM_RING_BYTES)),
        (name::BLOCKED, MapType::RingBuf, 0, 0, ring(BLOCKED_RING_BYTES)),
        (name::SIGHTINGS, MapType::PerCpuArray, outer, size_of::<Counter>(), kinds),
        // A message, and what is noted while it is looked at; for the filter, for `explain`, for what leaves.
        (name::SCRATCH, MapType::PerCpuArray, outer, size_of::<Sighting>() + 8 + size_of::<Packet>(), 3),
        (
            name::FRAGMENTS,
            MapType::LruHash,
            size_of::<FragmentKey>(),
            size_of::<FragmentDecision>(),
            FRAGMENTS_MAX,
        ),
        (name::COUNTERS, MapType::PerCpuArray, outer, size_of::<Counter>(), COUNTERS_MAX),
        (name::CLOCK, MapType::Array, outer, size_of::<u64>(), 1),
    ];
    let listed = expected.map(|(name, ..)| name);
    assert_eq!(listed, name::ALL, "every map has a row here");
    let maps: Vec<MapInfo> = ids.iter().map(|id| MapInfo::from_id(*id).unwrap()).collect();
    for (name, kind, key, value, entries) in expected {
        // The program does not look into the map of bans, which is for people.
        let unused: Vec<MapInfo> = loaded_maps().flatten().filter(|_| name == name::BANS).collect();
        let map = maps.iter().chain(&unused).find(|map| map.name_as_str() == Some(kept(name)));
        let map = map.unwrap_or_else(|| panic!("the program has no map {name}"));
        assert_eq!(map.map_type().unwrap(), kind, "{name}");
        let sizes = (map.key_size() as usize, map.value_size() as usize, map.max_entries());
        assert_eq!(sizes, (key, value, entries), "{name}");
    }
    for map in &maps {
        let name = map.name_as_str().unwrap_or_default();
        // Constants, and in a debug build what logging needs.
        let is_of_the_build = name.starts_with('.') || name.starts_with("AYA_LOG");
        assert!(
            is_of_the_build || name::ALL.iter().any(|ours| kept(ours) == name),
            "{name} is not in the list of maps"
        );
    }
}
