//! A live change to one list, and the policy that comes of it.
//!
//! Says what a change means and why one is refused; where it is saved is [`super::edit`]'s business.

use std::fmt;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::difference::Owner;
use super::overlap::{Overlap, Pending};
use super::prefix::{canonical, longest_cover};
use super::{ListName, Policy, Trunk};

/// One prefix, added to or removed from one list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListChange {
    /// Where.
    pub list: List,
    /// What.
    pub prefix: IpNet,
    /// Whether it comes or goes.
    pub action: Action,
}

/// A list that can be changed while the daemon runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum List {
    /// `[deny] sources`.
    Deny,
    /// `[allow] sources`.
    Allow,
    /// The `allow` of the trunk of this name.
    Trunk(String),
}

/// Whether a prefix comes or goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It is put on the list.
    Add,
    /// It is taken off the list.
    Remove,
}

impl fmt::Display for List {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            List::Deny => formatter.write_str("the deny list"),
            List::Allow => formatter.write_str("the allow list"),
            List::Trunk(name) => write!(formatter, "the allow list of trunk \"{name}\""),
        }
    }
}

impl fmt::Display for ListChange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.action {
            Action::Add => write!(formatter, "{} added to {}", self.prefix, self.list),
            Action::Remove => write!(formatter, "{} removed from {}", self.prefix, self.list),
        }
    }
}

/// Why a live change is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// The policy has no trunk of this name.
    #[error("there is no trunk \"{name}\"; {}", known_trunks(.known))]
    UnknownTrunk {
        /// The name that was given.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// To be added, but already on the list.
    #[error("{prefix} is already on {list}")]
    AlreadyThere {
        /// Where.
        list: List,
        /// What.
        prefix: IpNet,
    },
    /// To be removed, but not on the list.
    #[error("{prefix} is not on {list}{}", covered_by(.covering))]
    NotThere {
        /// Where.
        list: List,
        /// What.
        prefix: IpNet,
        /// The entry that holds it, if there is one: the list goes on matching.
        covering: Option<IpNet>,
    },
    /// To be removed, but the trunk sends calls there.
    #[error(
        "{prefix} is on {list} for its outbound proxy {proxy}; remove that from outbound_proxies in the file and apply it"
    )]
    OutboundProxy {
        /// Where.
        list: List,
        /// What.
        prefix: IpNet,
        /// The proxy, as the file names it.
        proxy: String,
    },
    /// Two trunks would claim the same address.
    #[error("{0}; take the address from one of them first")]
    Overlap(Overlap),
}

fn known_trunks(known: &[String]) -> String {
    if known.is_empty() {
        "the policy has none".to_owned()
    } else {
        format!("known trunks: {}", known.join(", "))
    }
}

fn covered_by(covering: &Option<IpNet>) -> String {
    match covering {
        Some(entry) => format!(", only as a part of {entry}; remove {entry} and add what shall remain of it"),
        None => String::new(),
    }
}

impl List {
    /// The owner and the name by which a policy file knows this list.
    pub fn named(&self) -> (Option<Owner>, ListName) {
        match self {
            List::Deny => (None, ListName::Deny),
            List::Allow => (None, ListName::Allow),
            List::Trunk(name) => (Some(Owner::Trunk(name.clone())), ListName::Allow),
        }
    }
}

impl Policy {
    /// Whether the policy has what this change brings about.
    pub fn agrees_with(&self, change: &ListChange) -> bool {
        let prefixes = match &change.list {
            List::Deny => Some(&self.deny),
            List::Allow => Some(&self.allow),
            List::Trunk(name) => {
                self.trunks.iter().find(|trunk| trunk.name == *name).map(|trunk| &trunk.allow)
            }
        };
        let has = prefixes.is_some_and(|prefixes| prefixes.binary_search(&change.prefix).is_ok());
        has == (change.action == Action::Add)
    }

    /// Whether [`Policy::change`] would make this change; takes time logarithmic in the number of entries.
    ///
    /// What the prefix holds on other lists is looked at one by one.
    ///
    /// # Errors
    ///
    /// A [`ChangeError`] when the list does not exist, nothing would change, or two trunks would come into conflict.
    pub fn check_change(&self, change: &ListChange) -> Result<(), ChangeError> {
        let ListChange { list, action, .. } = change;
        let prefix = canonical(change.prefix);
        let (entries, pending) = match list {
            // To remove a deny can bring an overlap to light as well.
            List::Deny => (&self.deny, (*action == Action::Remove).then_some(Pending::Undenied { prefix })),
            List::Allow => (&self.allow, None),
            List::Trunk(name) => {
                let index = self.trunks.iter().position(|trunk| trunk.name == *name);
                let index = index.ok_or_else(|| self.unknown_trunk(name))?;
                let trunk = &self.trunks[index];
                if *action == Action::Remove {
                    refuse_proxy(trunk, list, prefix)?;
                }
                let claimed = Pending::Claimed { trunk: index, prefix };
                (&trunk.allow, (*action == Action::Add).then_some(claimed))
            }
        };
        match (action, entries.binary_search(&prefix)) {
            (Action::Add, Err(_)) | (Action::Remove, Ok(_)) => {}
            (Action::Add, Ok(_)) => return Err(ChangeError::AlreadyThere { list: list.clone(), prefix }),
            (Action::Remove, Err(_)) => {
                let covering = longest_cover(entries, &prefix).copied();
                return Err(ChangeError::NotThere { list: list.clone(), prefix, covering });
            }
        }
        match pending.and_then(|pending| self.overlap_by(&pending)) {
            Some(overlap) => Err(ChangeError::Overlap(overlap)),
            None => Ok(()),
        }
    }

    /// Makes a change; the same with the other action takes it back.
    ///
    /// # Errors
    ///
    /// As [`Policy::check_change`]; nothing is changed then.
    pub fn change(&mut self, change: &ListChange) -> Result<(), ChangeError> {
        self.check_change(change)?;
        let prefix = canonical(change.prefix);
        let entries = match &change.list {
            List::Deny => Some(&mut self.deny),
            List::Allow => Some(&mut self.allow),
            List::Trunk(name) => {
                self.trunks.iter_mut().find(|trunk| trunk.name == *name).map(|trunk| &mut trunk.allow)
            }
        };
        let (owner, list) = change.list.named();
        let mut sources = self.sources.iter_mut();
        let sources = sources.find(|sources| sources.owner == owner && sources.list == list);
        // The check above has found the list, and the prefix on it or not, as the action needs.
        if let Some(entries) = entries {
            match (change.action, entries.binary_search(&prefix)) {
                (Action::Add, Ok(_)) | (Action::Remove, Err(_)) => {}
                (Action::Add, Err(place)) => entries.insert(place, prefix),
                (Action::Remove, Ok(place)) => drop(entries.remove(place)),
            }
        }
        match (sources, change.action) {
            (Some(sources), Action::Add) => sources.added(prefix),
            (Some(sources), Action::Remove) => sources.taken(prefix),
            (None, _) => {}
        }
        Ok(())
    }

    fn unknown_trunk(&self, name: &str) -> ChangeError {
        let known = self.trunks.iter().map(|trunk| trunk.name.clone()).collect();
        ChangeError::UnknownTrunk { name: name.to_owned(), known }
    }
}

fn refuse_proxy(trunk: &Trunk, list: &List, prefix: IpNet) -> Result<(), ChangeError> {
    match trunk.outbound_proxies.iter().find(|proxy| proxy.prefix == prefix) {
        Some(proxy) => {
            Err(ChangeError::OutboundProxy { list: list.clone(), prefix, proxy: proxy.text.clone() })
        }
        None => Ok(()),
    }
}
