//! Borders between classes, in buckets and lists.

use ipnet::Ipv4Net;
use sip_filter_common::{
    Lines as _, PolicyIndex,
    maps::NEAR,
    sources::{borders, ipv4 as read4},
};

use super::{Memory, check4, read, sorted, tables4};

#[test]
fn a_list_may_name_every_address_of_a_region() {
    // Three classes in turn, but for no border where a part of any size begins: none would be spared by smaller ones.
    let class = |host: u16| 1 + (host - u16::from(host.is_multiple_of(16) && host > 0)) % 3;
    let address = |host: u16| 0xffff_0000 | u32::from(host);
    let prefixes = (0..=u16::MAX).map(|host| (Ipv4Net::new_assert(address(host).into(), 32), class(host)));
    let tables = tables4(&prefixes.collect::<Vec<_>>());
    assert_eq!(tables.regions4().regions[0xffff] >> 27 & 15, 15, "two lists of half of them");
    for host in 0..=u16::MAX {
        assert_eq!(read4::class_number(&tables, address(host).into()), u32::from(class(host)), "host {host}");
    }
    for outside in [address(0) - 1, 0] {
        assert_eq!(read4::class_number(&tables, outside.into()), 0);
    }
}

#[test]
fn lists_of_every_length_are_searched_to_their_ends() {
    let lens = [1, 2, 3, 16_384, 16_385, 32_767, 32_768_u16];
    // One list behind the other: each border is the number of the entry, and each class tells it, too.
    let class = |number: u16| 1 + number % 4_000;
    let entries: Vec<u32> = lens
        .iter()
        .flat_map(|len| (0..*len).map(|number| borders::bucket::entry(number, class(number))))
        .collect();
    let mut index = bytemuck::zeroed_box::<PolicyIndex>();
    let mut memory = Memory::default();
    memory.place([7]);
    index.sources.lists_at = memory.place(super::super::memory::packed(&entries));
    let tables = read(index, bytemuck::zeroed_box(), bytemuck::zeroed_box(), memory);
    let mut first = 0;
    for len in lens {
        for address in [0, 1, 2, len / 2, len - 1, 32_767] {
            let found = borders::listed(&tables, first, len.into(), address.into());
            assert_eq!(found, u32::from(class(address.min(len - 1))), "address {address} of {len}");
        }
        first += u32::from(len);
    }
}

#[test]
fn the_ends_of_the_address_space_belong_to_it() {
    let named = |prefixes: &[&str]| {
        let prefixes = prefixes.iter().zip(1..).map(|(prefix, class)| (prefix.parse().unwrap(), class));
        check4(&sorted(prefixes.collect()));
    };
    named(&["0.0.0.0/32", "255.255.255.255/32"]);
    named(&["0.0.0.0/0", "0.0.0.0/32", "255.255.255.255/32"]);
    named(&["0.0.0.0/1", "255.255.0.0/16"]);
    named(&[]);
}

#[test]
fn buckets_of_every_size_and_for_parts_of_every_size_are_found() {
    // Of `hosts` in each of so many parts of a region, every second address, so that there are two borders each.
    let mut shapes = std::collections::BTreeSet::new();
    for (part_bits, hosts) in (4..16_u32).flat_map(|part_bits| (1..16).map(move |hosts| (part_bits, hosts))) {
        let parts = 1_u32 << (16 - part_bits);
        let address =
            |part: u32, host: u32| (16 << 24 | part << part_bits) + (2 * host + 1) % (1 << part_bits);
        let prefixes = (0..parts).flat_map(|part| {
            (0..hosts.min(1 << (part_bits - 1)))
                .map(move |host| (Ipv4Net::from(std::net::Ipv4Addr::from(address(part, host))), 1))
        });
        let tables = tables4(&sorted(prefixes.collect()));
        let region = tables.regions4().regions[16 << 8];
        shapes.insert((region >> 27 & 15, region >> 25 & 3));
        for part in 0..parts {
            for host in 0..hosts.min(1 << (part_bits - 1)) {
                let here = address(part, host);
                let around = [here - 1, here, here + 1];
                let found = around.map(|address| read4::class_number(&tables, address.into()));
                assert_eq!(found, [0, 1, 0], "part {part} of {part_bits} bits, host {host} of {hosts}");
            }
        }
    }
    for part_bits in 4..16 {
        assert!(shapes.iter().any(|(bits, _)| *bits == part_bits), "{part_bits}: {shapes:?}");
    }
    for size in 0..4 {
        assert!(shapes.iter().any(|(_, of)| *of == size), "{size}: {shapes:?}");
    }
}

#[test]
fn everybody_but_a_few_takes_no_more_room_than_the_few() {
    let few = (0..1_000_u32).map(|number| (Ipv4Net::new_assert((number << 20 | 1).into(), 32), 2));
    let prefixes = sorted(few.chain([(Ipv4Net::default(), 1)]).collect());
    let tables = tables4(&prefixes);
    // All that is not beside the regions.
    assert!(tables.sources().buckets_at == NEAR && tables.line(10).is_none());
    let buckets = tables.regions4().buckets.as_flattened();
    let len = buckets.iter().rposition(|word| *word != 0).unwrap();
    assert!(len < 1_000 * 4, "{len} words");
    check4(&prefixes);
}

#[test]
fn a_policy_that_buckets_would_make_too_large_has_lists() {
    // Neighbours of two classes in each fifth of a block: to tell them apart by buckets takes 4,096 words a region.
    let host = |region: u32, number: u32| (16 << 24 | region << 16) + number / 2 * 48 + number % 2 * 16 + 5;
    let class = |number: u32| 1 + u16::from(number % 2 == 1);
    let (regions, hosts) = (1_100_u32, 1_300_u32);
    let prefixes: Vec<(Ipv4Net, u16)> = (0..regions)
        .flat_map(|region| (0..hosts).map(move |number| (host(region, number), class(number))))
        .map(|(address, class)| (Ipv4Net::from(std::net::Ipv4Addr::from(address)), class))
        .collect();
    let tables = tables4(&prefixes);
    let lists_at = tables.sources().lists_at;
    assert!(lists_at < 1 << 19, "{lists_at} lines of buckets");
    for region in (0..regions).step_by(101) {
        for number in 0..hosts {
            let here = host(region, number);
            let found =
                [here - 1, here, here + 1].map(|address| read4::class_number(&tables, address.into()));
            assert_eq!(found, [0, class(number).into(), 0], "region {region}, host {number}");
        }
    }
}
