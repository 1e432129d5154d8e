//! A live change to one list, and the policy that comes of it.
//!
//! Says what a change means and why one is refused; where it is saved is [`super::edit`]'s business.

use std::fmt;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::mistake::Mistakes;
use super::overlap::Overlap;
use super::prefix::{canonical, longest_cover};
use super::{Policy, Trunk};

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

    /// The policy with this change made; the one at hand stays as it is.
    ///
    /// # Errors
    ///
    /// A [`ChangeError`] when the list does not exist, nothing would change, or two trunks would come into conflict.
    pub fn with(&self, change: &ListChange) -> Result<Policy, ChangeError> {
        let ListChange { list, action, .. } = change;
        let prefix = canonical(change.prefix);
        let mut policy = Policy { warnings: Mistakes::default(), ..self.clone() };
        let entries = match list {
            List::Deny => &mut policy.deny,
            List::Allow => &mut policy.allow,
            List::Trunk(name) => {
                let trunk = policy.trunks.iter_mut().find(|trunk| trunk.name == *name);
                let trunk = trunk.ok_or_else(|| self.unknown_trunk(name))?;
                if *action == Action::Remove {
                    refuse_proxy(trunk, list, prefix)?;
                }
                &mut trunk.allow
            }
        };
        match (action, entries.binary_search(&prefix)) {
            (Action::Add, Err(place)) => entries.insert(place, prefix),
            (Action::Remove, Ok(place)) => drop(entries.remove(place)),
            (Action::Add, Ok(_)) => return Err(ChangeError::AlreadyThere { list: list.clone(), prefix }),
            (Action::Remove, Err(_)) => {
                let covering = longest_cover(entries, &prefix).copied();
                return Err(ChangeError::NotThere { list: list.clone(), prefix, covering });
            }
        }
        // To remove a deny can bring an overlap to light as well.
        match policy.overlap() {
            Some(overlap) => Err(ChangeError::Overlap(overlap)),
            None => Ok(policy),
        }
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
