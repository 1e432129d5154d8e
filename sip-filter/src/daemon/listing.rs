//! What the lists say now, in an answer that stays readable when list files fill them.
//!
//! Only shows; changes nothing.

use ipnet::IpNet;

use super::Daemon;
use crate::{
    control::{Entry, ListKind, Listed, TrunkEntry},
    policy::{ListName, Trunk, change::List, difference::Owner},
};

impl Daemon {
    /// All allow lists or all deny lists that can be changed or belong to a trunk.
    pub(super) fn list(&self, list: ListKind) -> Vec<Entry> {
        let (own, name) = match list {
            ListKind::Allow => (&self.policy.allow, ListName::Allow),
            ListKind::Deny => (&self.policy.deny, ListName::Deny),
        };
        let mut entries = self.entries(None, name, own);
        for trunk in &self.policy.trunks {
            let prefixes = match list {
                ListKind::Allow => &trunk.allow,
                ListKind::Deny => &trunk.deny,
            };
            entries.extend(self.entries(Some(trunk), name, prefixes));
        }
        entries
    }

    fn entries(&self, owner: Option<&Trunk>, name: ListName, prefixes: &[IpNet]) -> Vec<Entry> {
        let trunk = owner.map(|trunk| trunk.name.clone());
        let on = match (name, &trunk) {
            (ListName::Deny, None) => Some(List::Deny),
            (ListName::Allow, None) => Some(List::Allow),
            (ListName::Allow, Some(trunk)) => Some(List::Trunk(trunk.clone())),
            _ => None,
        };
        let unsaved = self.unsaved.iter().filter(|change| Some(&change.list) == on.as_ref());
        let mut unsaved: Vec<IpNet> = unsaved.map(|change| change.prefix).collect();
        unsaved.sort_unstable();
        let saved = |prefix: &IpNet| unsaved.binary_search(prefix).is_err();
        let entry =
            |prefix: &IpNet| Entry::Prefix { prefix: *prefix, trunk: trunk.clone(), saved: saved(prefix) };
        let owner = trunk.clone().map(Owner::Trunk);
        let Some(sources) = self.policy.sources_of(owner.as_ref(), name) else {
            return prefixes.iter().map(entry).collect();
        };
        let files = sources.files.iter();
        let files = files.map(|source| Entry::File { source: source.clone(), trunk: trunk.clone() });
        let removed = sources.removed.iter();
        let removed = removed.map(|prefix| Entry::Removed {
            removed: *prefix,
            trunk: trunk.clone(),
            saved: saved(prefix),
        });
        sources.own.iter().map(entry).chain(files).chain(removed).collect()
    }

    /// Every trunk with its lists.
    pub(super) fn trunks(&self) -> Vec<TrunkEntry> {
        let name = |index: &usize| self.policy.listeners.get(*index).map(|listener| listener.name.clone());
        let entries = self.policy.trunks.iter().map(|trunk| {
            // Without a media list of its own a trunk takes media from those on its allow list.
            let media = if trunk.media.is_some() { ListName::Media } else { ListName::Allow };
            TrunkEntry {
                name: trunk.name.clone(),
                allow: self.listed(trunk, ListName::Allow, &trunk.allow),
                deny: self.listed(trunk, ListName::Deny, &trunk.deny),
                media: self.listed(trunk, media, trunk.media()),
                outbound_proxies: trunk.outbound_proxies.iter().map(|proxy| proxy.text.clone()).collect(),
                listeners: trunk.listeners.iter().filter_map(name).collect(),
                require_registration: trunk.require_registration,
                registrations: trunk.registrations.clone(),
                registered_at: self.registered.at(&trunk.name).to_vec(),
            }
        });
        entries.collect()
    }

    fn listed(&self, trunk: &Trunk, name: ListName, prefixes: &[IpNet]) -> Vec<Listed> {
        let owner = Owner::Trunk(trunk.name.clone());
        let Some(sources) = self.policy.sources_of(Some(&owner), name) else {
            return prefixes.iter().copied().map(Listed::Prefix).collect();
        };
        let own = sources.own.iter().copied().map(Listed::Prefix);
        let files = sources.files.iter().cloned().map(Listed::File);
        let removed = sources.removed.iter().map(|removed| Listed::Removed { removed: *removed });
        own.chain(files).chain(removed).collect()
    }
}
