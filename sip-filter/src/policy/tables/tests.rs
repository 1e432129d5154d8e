//! Compiled tables against the longest prefix found by looking at all of them.

mod borders;
mod registered;
mod sites;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use proptest::{collection::vec, prelude::*};
use sip_filter_common::{
    Address, Lines as _, PolicyIndex,
    maps::{Blocks4, Filter6, NEAR, NEAR_LINES6},
    sources::{ipv4 as read4, ipv6 as read6},
};

use super::{Memory, Regions, Tables, ipv4, ipv6};
use crate::{
    host_tables::HostTables,
    policy::{
        change::{Action, List, ListChange},
        registered::RegisteredTrunks,
    },
};

fn read(index: Box<PolicyIndex>, blocks4: Box<Blocks4>, filter6: Box<Filter6>, memory: Memory) -> HostTables {
    HostTables::new(Tables { index, blocks4, filter6, lines: memory.lines, local_addresses: Vec::new() })
}

fn longest<P: Copy>(prefixes: &[(P, u16)], contains: impl Fn(&P) -> bool, length: impl Fn(&P) -> u8) -> u32 {
    let held = prefixes.iter().filter(|(prefix, _)| contains(prefix));
    held.max_by_key(|(prefix, _)| length(prefix)).map_or(0, |(_, class)| u32::from(*class))
}

fn sorted<P: Copy + Ord>(prefixes: Vec<(P, u16)>) -> Vec<(P, u16)> {
    let by_prefix: std::collections::BTreeMap<P, u16> = prefixes.into_iter().collect();
    by_prefix.into_iter().collect()
}

/// Few enough addresses that prefixes meet, at lengths around every border of the tables.
fn prefix4() -> impl Strategy<Value = (Ipv4Net, u16)> {
    let address =
        (0..4_u32, 0..3_u32, any::<u16>()).prop_map(|(a, b, low)| a << 30 | b << 17 | u32::from(low));
    let length = prop_oneof![0..=32_u8, 17..=19_u8, 23..=32_u8, 27..=32_u8];
    (address, length, 1..6_u16)
        .prop_map(|(address, length, class)| (Ipv4Net::new_assert(address.into(), length).trunc(), class))
}

fn prefix6() -> impl Strategy<Value = (Ipv6Net, u16)> {
    let address = (0..4_u128, 0..3_u128, any::<u8>(), 0..4_u128)
        .prop_map(|(top, middle, low, last)| top << 126 | middle << 80 | u128::from(low) << 60 | last);
    (address, 0..=128_u8, 1..6_u16)
        .prop_map(|(address, length, class)| (Ipv6Net::new_assert(address.into(), length).trunc(), class))
}

fn edges4(prefixes: &[(Ipv4Net, u16)]) -> Vec<u32> {
    let bounds =
        prefixes.iter().flat_map(|(prefix, _)| [prefix.network(), prefix.broadcast()].map(u32::from));
    bounds
        .flat_map(|at| [at.wrapping_sub(1), at, at.wrapping_add(1), at ^ 8, at ^ 0x100, at ^ 0x4000])
        .collect()
}

fn edges6(prefixes: &[(Ipv6Net, u16)]) -> Vec<u128> {
    let bounds =
        prefixes.iter().flat_map(|(prefix, _)| [prefix.network(), prefix.broadcast()].map(u128::from));
    bounds.flat_map(|at| [at.wrapping_sub(1), at, at.wrapping_add(1), at ^ 1 << 64, at ^ 1 << 80]).collect()
}

fn tables(prefixes4: &[(Ipv4Net, u16)], prefixes6: &[(Ipv6Net, u16)]) -> HostTables {
    let (mut index, mut memory) = (bytemuck::zeroed_box::<PolicyIndex>(), Memory::default());
    let (mut blocks4, mut filter6) = (bytemuck::zeroed_box(), bytemuck::zeroed_box());
    let mut regions = Regions::default();
    ipv4::compile(prefixes4.to_vec(), &mut index, &mut blocks4, &mut regions, &mut memory);
    ipv6::compile(prefixes6.to_vec(), &mut index.sources, &mut filter6, &mut regions, &mut memory);
    let PolicyIndex { sources, regions4, .. } = &mut *index;
    regions.place(sources, regions4, &mut memory);
    read(index, blocks4, filter6, memory)
}

fn tables4(prefixes: &[(Ipv4Net, u16)]) -> HostTables {
    tables(prefixes, &[])
}

fn check4(prefixes: &[(Ipv4Net, u16)]) {
    let tables = tables4(prefixes);
    for address in edges4(prefixes) {
        let expected = longest(
            prefixes,
            |prefix| prefix.contains(&std::net::Ipv4Addr::from(address)),
            Ipv4Net::prefix_len,
        );
        let found = read4::class_number(&tables, address.into());
        assert_eq!(found, expected, "{} of {prefixes:?}", std::net::Ipv4Addr::from(address));
    }
}

fn tables6(prefixes: &[(Ipv6Net, u16)]) -> HostTables {
    tables(&[], prefixes)
}

fn check6(prefixes: &[(Ipv6Net, u16)]) {
    let tables = tables6(prefixes);
    for address in edges6(prefixes) {
        let address = std::net::Ipv6Addr::from(address);
        let expected = longest(prefixes, |prefix| prefix.contains(&address), Ipv6Net::prefix_len);
        let found = read6::class_number(&tables, &Address::from_ipv6(address.octets()));
        assert_eq!(found, expected, "{address} of {prefixes:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn ipv4_tables_find_the_longest_prefix(prefixes in vec(prefix4(), 0..60)) {
        check4(&sorted(prefixes));
    }

    #[test]
    fn a_crowded_region_of_ipv4_is_told_apart(
        prefixes in vec((any::<u16>(), 22..=32_u8), 0..300),
        classes in 1..4_u16,
    ) {
        let prefix = |(number, (low, length)): (usize, (u16, u8))| {
            let address = 16 << 24 | u32::from(low);
            (Ipv4Net::new_assert(address.into(), length).trunc(), 1 + u16::try_from(number).unwrap() % classes)
        };
        check4(&sorted(prefixes.into_iter().enumerate().map(prefix).collect()));
    }

    #[test]
    fn ipv6_tables_find_the_longest_prefix(
        prefixes in vec(prefix6(), 0..200),
        lengths in vec(0..=128_u8, 1..30),
    ) {
        // Of all lengths, and of few: either are looked for in an order of their own.
        let of_few = prefixes.iter().map(|(prefix, class)| {
            let length = lengths[usize::from(prefix.prefix_len()) % lengths.len()];
            (Ipv6Net::new_assert(prefix.network(), length).trunc(), *class)
        });
        check6(&sorted(of_few.collect()));
        check6(&sorted(prefixes));
    }

    #[test]
    fn what_a_change_will_say_is_what_the_changed_policy_says(
        lists in vec(vec(prefix4(), 0..20), 3),
        (around, _) in prefix4(),
        is_added in any::<bool>(),
    ) {
        let mut policy = crate::policy::file::parse(std::path::Path::new("empty"), POLICY).unwrap();
        let mut lists = lists.into_iter().map(|list| {
            sorted(list).into_iter().map(|(prefix, _)| IpNet::from(prefix)).collect::<Vec<_>>()
        });
        policy.admin = lists.next().unwrap();
        policy.deny = lists.next().unwrap();
        policy.allow = lists.next().unwrap();
        policy.allow.retain(|prefix| *prefix != around.into());
        let mut after = policy.clone();
        after.allow.push(around.into());
        after.allow.sort_unstable();
        let action = if is_added { Action::Add } else { Action::Remove };
        let change = ListChange { list: List::Allow, prefix: around.into(), action };
        if !is_added {
            std::mem::swap(&mut policy, &mut after);
        }
        let part = super::classes_after(&policy, &RegisteredTrunks::default(), &change, usize::MAX - 1).unwrap();
        let policy = after;
        prop_assert_eq!(part[0].0, IpNet::from(around));
        let whole = HostTables::new(Tables::compile(&policy, &RegisteredTrunks::default()).unwrap());
        let all: Vec<(Ipv4Net, u16)> = [&policy.admin, &policy.deny, &policy.allow].into_iter().flatten()
            .filter_map(|prefix| if let IpNet::V4(prefix) = prefix { Some((*prefix, 1)) } else { None })
            .chain([(around, 1)])
            .collect();
        for address in edges4(&all) {
            let address = std::net::Ipv4Addr::from(address);
            if !around.contains(&address) {
                continue;
            }
            let held = part.iter().filter(|(prefix, _)| prefix.contains(&std::net::IpAddr::from(address)));
            let (_, by_part) = held.max_by_key(|(prefix, _)| prefix.prefix_len()).unwrap();
            let number = read4::class_number(&whole, address);
            let by_whole = sip_filter_common::Tables::index(&whole).classes[number as usize].class;
            prop_assert_eq!(*by_part, by_whole, "{}", address);
        }
    }
}

const POLICY: &str = r#"
[[listener]]
name = "sip"
kind = "signalling"
transport = "udp"
ports = [5060]
"#;

#[test]
fn where_most_blocks_are_named_strangers_elsewhere_are_told_by_larger_ones() {
    // All /64 of a /50: 64 of its /56, and 1,024 of its /60, which are few. No prefix is shorter.
    let site = 0x2001_0db8_u128 << 96;
    let named = 1 << 14;
    let prefixes = (0..named).map(|number| (Ipv6Net::new_assert((site | number << 64).into(), 64), 1));
    let tables = tables6(&prefixes.collect::<Vec<_>>());
    assert_eq!(tables.sources().is_dense6, 1);
    assert_eq!(tables.sources().near6[1].mask, (u64::MAX << 4).to_be());
    for (number, class) in [(0, 1), (named - 1, 1), (named, 0), (named << 4, 0)] {
        let address = Address::from_number(site | number << 64 | 5);
        assert_eq!(read6::class_number(&tables, &address), class, "network {number}");
    }
}

/// Networks of one site, in each fourth a host, and beside these as many prefixes as `lengths` has, around a host
/// elsewhere.
fn check_many6(networks: u128, lengths: std::ops::Range<u8>) -> HostTables {
    let site = 0x2001_0db8_u128 << 96;
    let elsewhere = 0x3fff_u128 << 112;
    let network = |number: u128| (Ipv6Net::new_assert((site | number << 64).into(), 64), 1);
    let host = |number: u128| (Ipv6Net::new_assert((site | number << 64 | 7).into(), 128), 2);
    let around = |length: u8| (Ipv6Net::new_assert(elsewhere.into(), length), u16::from(length));
    let prefixes = (0..networks).map(network).chain((0..networks).step_by(4).map(host));
    let tables = tables6(&sorted(prefixes.chain(lengths.clone().map(around)).collect()));
    for number in (0..2 * networks).step_by(3) {
        let in_network = u32::from(number < networks);
        let of_host = if number % 4 == 0 { 2 * in_network } else { in_network };
        for (last, class) in [(7, of_host), (8, in_network)] {
            let address = Address::from_number(site | number << 64 | last);
            assert_eq!(read6::class_number(&tables, &address), class, "network {number}, host {last}");
        }
    }
    for length in lengths {
        // The last bit that a prefix one longer would have to share.
        let address = Address::from_number(elsewhere | 1 << (127 - length));
        assert_eq!(read6::class_number(&tables, &address), u32::from(length), "length {length}");
    }
    tables
}

#[test]
fn entries_of_ipv6_are_found_however_many_they_are() {
    let near = NEAR_LINES6 as u128;
    // Sparse, as full as there is room near, and in table memory.
    for (networks, is_sparse, is_near) in
        [(near / 2, true, true), (7 * near, false, true), (30 * near, false, false)]
    {
        // Few lengths, and more than are looked for one after the other.
        for lengths in [20..20, 20..25, 20..26, 20..60] {
            let tables = check_many6(networks, lengths);
            let index = tables.sources();
            // A host in each fourth network, and three in a full line.
            assert_eq!(u128::from(index.hosts6) > networks / 4 / 2, is_sparse, "{networks}");
            assert_eq!(index.lines6_at == NEAR, is_near, "{networks}: {} {}", index.sites6, index.hosts6);
        }
    }
}

#[test]
fn every_length_of_ipv6_at_once_is_told_apart() {
    let address = 0x2001_0db8_1234_5678_9abc_def0_1234_5678_u128;
    let prefixes = (0..=128_u8)
        .map(|length| (Ipv6Net::new_assert(address.into(), length).trunc(), u16::from(length) + 1));
    check6(&sorted(prefixes.collect()));
}

/// More blocks than a filter of blocks is made for, from 16.0.0.0 on: of five, one is nobody's, and of `one_in`, one
/// names a single host; the others are named as a whole.
fn check_long_list(one_in: u32) {
    const BLOCKS: u32 = 330_000;
    let block = |number: u32| (16 << 24) + (number << 8);
    let class = |number: u32, octet: u32| match number {
        number if number >= BLOCKS || number % 5 == 4 => 0,
        number if number % one_in == 1 => u32::from(octet == 77),
        _ => 2,
    };
    let prefixes: Vec<(Ipv4Net, u16)> = (0..BLOCKS)
        .filter_map(|number| {
            let (octet, length, class) = match (class(number, 0), class(number, 77)) {
                (0, 0) => return None,
                (0, _) => (77, 32, 1),
                _ => (0, 24, 2),
            };
            Some((Ipv4Net::new_assert((block(number) + octet).into(), length), class))
        })
        .collect();
    let tables = tables4(&prefixes);
    assert_eq!(tables.sources().near4_salt, 0, "a filter of blocks says too little of so many");
    assert_eq!(tables.sources().buckets_at == NEAR, one_in > 2, "where the buckets stand");
    for number in (0..BLOCKS + 100_000).step_by(7) {
        for octet in [0, 76, 77, 80, 255] {
            let found = read4::class_number(&tables, (block(number) + octet).into());
            assert_eq!(found, class(number, octet), "block {number}, octet {octet}, one in {one_in}");
        }
    }
}

#[test]
fn strangers_between_the_peers_of_a_long_list_are_told_from_them() {
    // Half of the blocks in part, and few.
    check_long_list(2);
    check_long_list(100);
}

#[test]
fn the_block_behind_a_named_one_is_not_named() {
    // Each of them ends with its block, the last one also with its group of 64.
    let ends = ["10.0.0.0/24", "10.0.2.128/25", "10.0.4.255/32", "10.0.63.0/24"];
    let prefixes = sorted(ends.map(|prefix| (prefix.parse().unwrap(), 1)).to_vec());
    let tables = tables4(&prefixes);
    let named: u32 = tables.blocks4().unwrap().present.iter().map(|bits| bits.count_ones()).sum();
    assert_eq!(named, 4);
}

#[test]
fn beside_blocks_that_are_named_whole_nobody_is_known() {
    let whole = (1..64_u32).map(|block| (Ipv4Net::new_assert((block << 8).into(), 24), 1));
    let tables = tables4(&sorted(whole.chain([(Ipv4Net::new_assert(7.into(), 32), 2)]).collect()));
    // So many that the filter of blocks lets some by.
    for block in 64..100_000_u32 {
        assert_eq!(read4::class_number(&tables, (block << 8 | 7).into()), 0, "block {block}");
    }
}
