//! Live changes: what stands before the tables in force until they are compiled with it.

use std::{collections::HashSet, net::IpAddr};

use aya::maps::{LpmTrie, MapData, MapError, lpm_trie::Key};
use ipnet::IpNet;
use sip_filter_common::{
    Address, Class,
    maps::{CHANGES_MAX, ChangeKey, ChangedClass, Live, name},
};

use super::{Datapath, DatapathError, tables::no_room};

/// The bits before an IPv4 address in an [`Address`].
const MAPPED_BITS: u32 = 96;

impl Datapath {
    /// Changes the policy in force at once: what it says about the addresses of these prefixes.
    ///
    /// The first prefix holds all others. Every packet is judged by the policy before or by the one after.
    /// All packets take a longer way until the next [`settle`](Self::settle).
    ///
    /// # Errors
    ///
    /// There is no room for so many; nothing is changed then, or [`apply`](Self::apply) can put it right.
    pub fn change(&mut self, classes: &[(IpNet, Class)]) -> Result<(), DatapathError> {
        self.leave()?;
        let slot = self.slot();
        let bytes = size_of::<ChangeKey>() * classes.len();
        if self.tables.changes.len() + classes.len() > CHANGES_MAX as usize {
            // Before anything is changed: half a change is none.
            return Err(no_room("live changes", bytes)(MapError::OutOfBounds {
                index: CHANGES_MAX,
                max_entries: CHANGES_MAX,
            }));
        }
        let (watch, before) = (self.tables.live.watch, self.tables.changes.clone());
        // First, since there is nothing to take back where this fails.
        self.change_live(|live| {
            live.generation += 1;
            live.watch |= Live::CHANGES;
        })?;
        // From the last to the first: what lies within stands before what is around it.
        for (prefix, class) in classes.iter().rev() {
            let inserted = self.changes_mut()?.insert(&key(slot, prefix), ChangedClass::from(*class), 0);
            if let Err(error) = inserted {
                // Half a change is none.
                for prefix in self.tables.changes.difference(&before).copied().collect::<Vec<_>>() {
                    self.changes_mut()?.remove(&key(slot, &prefix))?;
                    self.tables.changes.remove(&prefix);
                }
                self.change_live(|live| {
                    live.generation -= 1;
                    live.watch = watch;
                })?;
                return Err(no_room("live changes", bytes)(error));
            }
            self.tables.changes.insert(*prefix);
        }
        // What earlier changes said there, and this one does not, goes last.
        let new: HashSet<IpNet> = classes.iter().map(|(prefix, _)| *prefix).collect();
        let around = classes.first().map(|(prefix, _)| *prefix);
        let is_stale =
            |prefix: &&IpNet| around.is_some_and(|around| around.contains(*prefix)) && !new.contains(*prefix);
        let stale: Vec<IpNet> = self.tables.changes.iter().filter(is_stale).copied().collect();
        for prefix in stale {
            self.changes_mut()?.remove(&key(slot, &prefix))?;
            self.tables.changes.remove(&prefix);
        }
        Ok(())
    }

    /// Whether live changes wait for [`settle`](Self::settle).
    pub fn is_changed(&self) -> bool {
        !self.tables.changes.is_empty()
    }

    /// Removes all of a slot that no packet uses, which are those that are known.
    pub(super) fn remove_changes(&mut self, slot: u32) -> Result<(), DatapathError> {
        while let Some(prefix) = self.tables.changes.first().copied() {
            self.changes_mut()?.remove(&key(slot, &prefix))?;
            self.tables.changes.remove(&prefix);
        }
        Ok(())
    }

    /// Reads those of an earlier daemon to the policy in force, and removes others.
    pub(super) fn take_over_changes(&mut self) -> Result<(), DatapathError> {
        let changes: LpmTrie<_, ChangeKey, ChangedClass> = self.map(name::CHANGES)?;
        let keys: Vec<_> = changes.keys().flatten().collect();
        let (current, stale): (Vec<_>, Vec<_>) =
            keys.into_iter().partition(|key| key.data().slot() == self.slot());
        for key in stale {
            self.changes_mut()?.remove(&key)?;
        }
        self.tables.changes = current.iter().filter_map(prefix_of).collect();
        Ok(())
    }

    fn changes_mut(&mut self) -> Result<LpmTrie<&mut MapData, ChangeKey, ChangedClass>, DatapathError> {
        self.map_mut(name::CHANGES)
    }
}

fn key(slot: u32, prefix: &IpNet) -> Key<ChangeKey> {
    let bits_before = if matches!(prefix, IpNet::V4(_)) { MAPPED_BITS } else { 0 };
    let length = ChangeKey::SPACE_BITS + bits_before + u32::from(prefix.prefix_len());
    Key::new(length, ChangeKey::of(slot, &Address::from(prefix.network())))
}

/// Back from [`key`].
fn prefix_of(key: &Key<ChangeKey>) -> Option<IpNet> {
    let address = IpAddr::from(Address::from_ipv6(key.data().network));
    let bits_before = if address.is_ipv4() { MAPPED_BITS } else { 0 };
    let length = key.prefix_len().checked_sub(ChangeKey::SPACE_BITS + bits_before)?;
    IpNet::new(address, u8::try_from(length).ok()?).ok()
}
