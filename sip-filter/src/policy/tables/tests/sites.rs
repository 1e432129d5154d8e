//! IPv6 sites, and what is shorter and longer.

use std::collections::HashMap;

use ipnet::{Ipv4Net, Ipv6Net};
use proptest::prelude::*;
use sip_filter_common::{
    Address, Lines as _,
    maps::{NEAR, SourceIndex},
    sources::{ipv4 as read4, ipv6 as read6},
};

use super::{HostTables, check6, edges6, sorted, tables, tables6};

/// 2001:db8::/32.
const PROVIDER: u128 = 0x2001_0db8 << 96;

fn prefix(number: u128, length: u8) -> Ipv6Net {
    Ipv6Net::new_assert(number.into(), length).trunc()
}

fn named(prefixes: &[(&str, u16)]) -> Vec<(Ipv6Net, u16)> {
    sorted(prefixes.iter().map(|(prefix, class)| (prefix.parse().unwrap(), *class)).collect())
}

/// Pseudorandom numbers, the same in every run.
fn random() -> impl FnMut() -> u128 {
    let mut state = 1_u128;
    move || {
        state = state.wrapping_mul(0xda94_2042_e4dd_58b5_2360_ed05_1fc6_5da5).wrapping_add(1);
        state ^ state >> 64
    }
}

/// As many prefixes as `count`, within another one, of these lengths in turn, and of so many classes.
fn long_list(count: u128, within: Ipv6Net, lengths: &[u8], classes: u128) -> Vec<(Ipv6Net, u16)> {
    let mut random = random();
    let prefixes = (0..count).zip(lengths.iter().cycle()).map(|(number, length)| {
        let address = u128::from(within.network()) | random() & u128::from(within.hostmask());
        (prefix(address, *length), 1 + u16::try_from(number % classes).unwrap())
    });
    sorted(prefixes.collect())
}

/// Like `check6`, for lists that are too long to look at all of them for each address.
fn check_long(prefixes: &[(Ipv6Net, u16)]) -> SourceIndex {
    check_long_in(&tables6(prefixes), prefixes)
}

fn check_long_in(tables: &HostTables, prefixes: &[(Ipv6Net, u16)]) -> SourceIndex {
    let classes: HashMap<Ipv6Net, u16> = prefixes.iter().copied().collect();
    for number in edges6(prefixes) {
        let holders = (0..=128).rev().map(|length| prefix(number, length));
        let expected = holders.filter_map(|prefix| classes.get(&prefix)).next().copied().unwrap_or(0);
        let found = read6::class_number(tables, &Address::from_number(number));
        assert_eq!(found, u32::from(expected), "{}", std::net::Ipv6Addr::from(number));
    }
    *tables.sources()
}

#[test]
fn long_lists_are_told_apart_wherever_they_stand() {
    let provider = prefix(PROVIDER, 32);
    let lengths = [48, 52, 56, 60, 64, 64, 64, 128, 128];
    let index = check_long(&long_list(2_000, provider, &lengths, 3));
    assert_eq!(index.lines6_at, NEAR);
    let index = check_long(&long_list(20_000, provider, &lengths, 3));
    assert_ne!(index.lines6_at, NEAR);
    // Most sites are named, so that there are two filters.
    let index = check_long(&long_list(30_000, prefix(PROVIDER, 36), &lengths, 4_095));
    assert_eq!(index.is_dense6, 1);
    let unicast = prefix(1 << 125, 3);
    let index = check_long(&long_list(30_000, unicast, &[32, 48, 48, 56, 64, 128], 4_095));
    assert_eq!(index.is_dense6, 0);
    check_long(&long_list(
        30_000,
        unicast,
        &[29, 30, 31, 32, 36, 40, 44, 47, 48, 72, 80, 96, 112, 120, 128],
        4_095,
    ));
}

#[test]
fn a_block_of_networks_of_every_size_is_told_from_its_site() {
    for length in 48..=64 {
        for number in [0, 1, u128::from(u16::MAX)] {
            let block = prefix(PROVIDER | number << 64, length);
            check6(&[(block, 1)]);
            check6(&sorted(vec![(prefix(PROVIDER, 40), 2), (block, 1)]));
            check6(&sorted(vec![(prefix(PROVIDER, 40), 1), (prefix(PROVIDER, 48), 2), (block, 1)]));
        }
    }
    // All but a block, and blocks that are none together.
    check6(&named(&[("2001:db8::/48", 1), ("2001:db8:0:4000::/50", 0)]));
    check6(&named(&[("2001:db8:0:1::/64", 1), ("2001:db8:0:2::/64", 1)]));
    check6(&named(&[("2001:db8:0:1::/64", 1), ("2001:db8:0:2::/63", 1), ("2001:db8:0:4::/64", 1)]));
}

#[test]
fn hosts_are_not_taken_for_sites() {
    // The fourth group of the first address is what stands for a site's length, that of the second has the bits of what
    // stands for a site.
    let hosts = (1..400_u128)
        .step_by(2)
        .flat_map(|host| [0x30_u128, 0x70].map(|network| (prefix(PROVIDER | network << 64 | host, 128), 1)));
    check6(&sorted(hosts.collect()));
}

#[test]
fn hosts_of_many_networks_in_a_row_find_their_places() {
    for (networks, hosts) in [(256_u128, 7_u128), (7, 220), (64, 64), (3_000, 3)] {
        let host = |number: u128| PROVIDER | (number / hosts) << 64 | (1 + number % hosts);
        let prefixes = (0..networks * hosts).map(|number| (prefix(host(number), 128), 1)).collect();
        let index = check_long(&sorted(prefixes));
        let places = u128::from(index.hosts6) * read6::HOSTS_IN_LINE as u128;
        assert!(places < 4 * networks * hosts, "{places} places for {networks} times {hosts} hosts");
    }
}

#[test]
fn both_families_stand_beside_each_other() {
    // IPv4 takes table memory; both have regions with borders.
    let prefixes4: Vec<(Ipv4Net, u16)> = (0..330_000_u32)
        .filter(|number| number % 5 != 4)
        .map(|number| (Ipv4Net::new_assert(((16 << 24) + (number << 8) + 77).into(), 32), 1))
        .collect();
    let prefixes6 = long_list(20_000, prefix(PROVIDER, 36), &[48, 52, 56, 60, 64, 64, 128], 2);
    let tables = tables(&prefixes4, &prefixes6);
    let index = check_long_in(&tables, &prefixes6);
    assert!(index.lines6_at > 0 && index.lines6_at != NEAR, "{}", index.lines6_at);
    for number in (0..330_000_u32).step_by(7) {
        let address = (16 << 24) + (number << 8) + 77;
        let found = [address, address + 1].map(|address| read4::class_number(&tables, address.into()));
        assert_eq!(found, [u32::from(number % 5 != 4), 0], "{number}");
    }
}

#[test]
fn where_no_host_of_a_network_with_hosts_is_found_its_class_counts() {
    let hosts = ["2001:db8:1:2::5/128", "2001:db8:1:2::8/125", "2001:db8:1:2:8000::/66"];
    let around = ["2001:db8:1:2::/64", "2001:db8:1::/56", "2001:db8:1::/48", "2001:db8::/40", "::/0"];
    for around in around {
        let prefixes = hosts.into_iter().zip([1, 2, 3]).chain([(around, 4)]);
        check6(&named(&prefixes.collect::<Vec<_>>()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn crowded_sites_are_told_apart(
        prefixes in proptest::collection::vec((0..3_u128, any::<u16>(), 0..4_u128, 44..=70_u8), 0..150),
        classes in 1..4_u16,
        of_one in any::<bool>(),
    ) {
        let prefixes = prefixes.into_iter().enumerate().map(|(number, (site, network, host, length))| {
            let network = if of_one { network & 0xf } else { network };
            let address = PROVIDER | site << 80 | u128::from(network) << 64 | host << 60;
            (prefix(address, length), 1 + u16::try_from(number).unwrap() % classes)
        });
        check6(&sorted(prefixes.collect()));
    }
}
