//! What holds for every policy.

use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;
use proptest::prelude::*;
use proptest::sample::Index;

use super::{POLICY, parsed};
use crate::policy::change::{Action, ChangeError, List, ListChange};
use crate::policy::difference::Difference;
use crate::policy::mistake::Mistakes;
use crate::policy::prefix::{self, canonical};
use crate::policy::{Policy, Trunk, edit, file};

/// Prefixes out of a small space, so that they meet often.
fn prefix() -> impl Strategy<Value = IpNet> {
    let v4 =
        (0u8..8, 24u8..=32).prop_map(|(low, length)| IpNet::new(IpAddr::from([10, 0, 0, low << 4]), length));
    let v6 = (0u16..4, 120u8..=128)
        .prop_map(|(low, length)| IpNet::new(IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, low << 5]), length));
    prop_oneof![3 => v4, 1 => v6].prop_map(|net| canonical(net.unwrap()))
}

fn prefixes(count_max: usize) -> impl Strategy<Value = Vec<IpNet>> {
    proptest::collection::btree_set(prefix(), 0..=count_max).prop_map(|set| set.into_iter().collect())
}

fn trunk() -> impl Strategy<Value = (Vec<IpNet>, Vec<IpNet>, Option<Vec<IpNet>>, Vec<usize>)> {
    let listeners = proptest::sample::subsequence(vec![0usize, 1, 2], 1..=3);
    (prefixes(4), prefixes(1), proptest::option::of(prefixes(3)), listeners)
}

/// A policy whose trunks may well overlap.
fn any_policy() -> impl Strategy<Value = Policy> {
    let trunks = proptest::collection::vec(trunk(), 0..4);
    (prefixes(1), prefixes(2), prefixes(3), trunks).prop_map(|(admin, deny, allow, trunks)| {
        let mut policy = Policy { admin, deny, allow, ..parsed(POLICY) };
        policy.warnings = Mistakes::default();
        let named = trunks.into_iter().enumerate().map(|(index, (allow, deny, media, listeners))| Trunk {
            name: format!("trunk{index}"),
            allow,
            deny,
            media,
            outbound_proxies: Vec::new(),
            listeners,
            require_registration: false,
            registrations: Vec::new(),
        });
        policy.trunks = named.collect();
        policy
    })
}

/// The text of a policy of [`any_policy`].
fn written(policy: &Policy, multi_line: bool) -> String {
    let list = |prefixes: &[IpNet]| {
        let quoted: Vec<String> = prefixes.iter().map(|prefix| format!("\"{prefix}\"")).collect();
        if multi_line {
            format!("[\n    {},  # last\n]", quoted.join(", # one\n    "))
        } else {
            format!("[{}]", quoted.join(", "))
        }
    };
    let list = |prefixes: &[IpNet]| if prefixes.is_empty() { "[]".to_owned() } else { list(prefixes) };
    let (head, rest) = POLICY.split_once("[deny]").unwrap();
    assert!(rest.contains("[allow]"));
    let mut text = head.replace("[\"192.0.2.10\"]", &list(&policy.admin));
    text +=
        &format!("[deny]\nsources = {}\n[allow]\nsources = {}\n", list(&policy.deny), list(&policy.allow));
    for trunk in &policy.trunks {
        let names: Vec<&str> =
            trunk.listeners.iter().map(|index| policy.listeners[*index].name.as_str()).collect();
        text += &format!(
            "[[trunk]]\nname = \"{}\"\nallow = {}\ndeny = {}\n",
            trunk.name,
            list(&trunk.allow),
            list(&trunk.deny)
        );
        text += &format!("listeners = {names:?}\n");
        if let Some(media) = &trunk.media {
            text += &format!("media = {}\n", list(media));
        }
    }
    text
}

/// Every address for itself: the spaces of [`prefix`] are small enough for that.
fn overlaps_naively(policy: &Policy) -> bool {
    let v4 = (0u8..=255).map(|low| IpAddr::from([10, 0, 0, low]));
    let v6 = (0u16..256).map(|low| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, low]));
    v4.chain(v6).any(|address| {
        let holds = |list: &[IpNet]| list.iter().any(|entry| entry.contains(&address));
        (0..policy.listeners.len()).any(|listener| {
            let kind = policy.listeners[listener].kind;
            let trunks = || policy.trunks.iter().filter(|trunk| trunk.listeners.contains(&listener));
            let settled =
                holds(&policy.admin) || holds(&policy.deny) || trunks().any(|trunk| holds(&trunk.deny));
            !settled && trunks().filter(|trunk| holds(trunk.allow_at(kind))).count() > 1
        })
    })
}

fn any_change() -> impl Strategy<Value = ListChange> {
    let list = prop_oneof![
        Just(List::Deny),
        Just(List::Allow),
        (0u8..3).prop_map(|index| List::Trunk(format!("trunk{index}")))
    ];
    let action = prop_oneof![Just(Action::Add), Just(Action::Remove)];
    (list, prefix(), action).prop_map(|(list, prefix, action)| ListChange { list, prefix, action })
}

proptest! {
    #[test]
    fn overlaps_are_those_that_a_look_at_every_address_finds(policy in any_policy()) {
        prop_assert_eq!(policy.overlap().is_some(), overlaps_naively(&policy));
    }

    #[test]
    fn a_change_is_refused_for_an_overlap_exactly_where_there_would_be_one(
        policy in any_policy(),
        changes in proptest::collection::vec((any_change(), any::<Index>(), any::<bool>()), 1..12),
    ) {
        prop_assume!(policy.overlap().is_none());
        let mut policy = policy;
        for (mut change, index, takes_a_deny) in changes {
            if takes_a_deny && !policy.deny.is_empty() {
                let prefix = *index.get(&policy.deny);
                change = ListChange { list: List::Deny, prefix, action: Action::Remove };
            }
            let mut forced = policy.clone();
            let list = match &change.list {
                List::Deny => Some(&mut forced.deny),
                List::Allow => Some(&mut forced.allow),
                List::Trunk(name) => {
                    forced.trunks.iter_mut().find(|trunk| trunk.name == *name).map(|trunk| &mut trunk.allow)
                }
            };
            if let Some(list) = list {
                list.retain(|prefix| *prefix != change.prefix);
                if change.action == Action::Add {
                    list.push(change.prefix);
                    list.sort_unstable();
                }
            }
            let before = policy.clone();
            match policy.change(&change) {
                Ok(()) => prop_assert!(!overlaps_naively(&forced) && policy == forced && policy != before),
                Err(ChangeError::Overlap(overlap)) => {
                    prop_assert!(overlaps_naively(&forced) && policy == before);
                    let (one, other) = (overlap.first.entry, overlap.second.entry);
                    prop_assert!(one.contains(&other) || other.contains(&one), "{}", overlap);
                    prop_assert!(overlap.first.trunk < overlap.second.trunk, "{}", overlap);
                }
                Err(_) => prop_assert!(policy == before && (forced == before || before.trunks.len() < 3)),
            }
        }
    }

    #[test]
    fn the_longest_cover_is_the_one_that_a_look_at_every_entry_finds(
        entries in prefixes(12),
        prefix in prefix(),
    ) {
        let naive = entries.iter().filter(|entry| entry.contains(&prefix)).max_by_key(|entry| entry.prefix_len());
        prop_assert_eq!(prefix::longest_cover(&entries, &prefix), naive);
        let inside = entries.iter().filter(|entry| prefix.contains(*entry) && **entry != prefix);
        prop_assert_eq!(prefix::parts(&entries, &prefix), inside.copied().collect::<Vec<_>>());
        let cover = prefix::Cover::of(&entries[..entries.len() / 2]);
        let held: Vec<&IpNet> = cover.held(&entries).collect();
        prop_assert_eq!(held, entries.iter().filter(|entry| cover.holds(entry)).collect::<Vec<_>>());
    }

    #[test]
    fn a_policy_differs_from_others_only(one in any_policy(), other in any_policy()) {
        prop_assert!(Difference::between(&one, &one).is_empty());
        prop_assert_eq!(Difference::between(&one, &other).is_empty(), one == other);
    }

    #[test]
    fn a_changed_file_reads_as_the_changed_policy(
        policy in any_policy(),
        changes in proptest::collection::vec(any_change(), 1..8),
        multi_line: bool,
    ) {
        prop_assume!(policy.overlap().is_none());
        let mut text = written(&policy, multi_line);
        let mut policy = Policy { warnings: Mistakes::default(), ..policy };
        prop_assert_eq!(Policy { warnings: Mistakes::default(), ..parsed(&text) }, policy.clone());
        for change in changes {
            if policy.change(&change).is_err() {
                continue;
            }
            text = edit::edit(&text, &change).unwrap();
            prop_assert_eq!(Policy { warnings: Mistakes::default(), ..parsed(&text) }, policy.clone(), "{}", text);
        }
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "(\\PC|\n|[a-z_]+ = |\\[\\[(trunk|listener)\\]\\]|\"10\\.0\\.0\\.0/8\"){0,30}") {
        if let Err(mistakes) = file::parse(Path::new("test.toml"), &text) {
            prop_assert!(!mistakes.is_empty());
        }
    }
}
