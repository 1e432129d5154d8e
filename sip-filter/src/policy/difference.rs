//! What changes when one policy replaces another, as a value to print before anything is done.
//!
//! For people and scripts; the maps are brought up to date by comparing their contents, not by this.

mod settings;

use std::borrow::Cow;
use std::fmt;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use self::settings::{
    Settings, listener_settings, pbx_settings, policy_settings, prove_settings, trunk_settings,
};
use super::{ListName, Listener, Pbx, Policy, Trunk};

/// How many prefixes of one list are listed one by one.
const LISTED_MAX: usize = 1_000;

/// All changes from one policy to another.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Difference {
    changes: Vec<Change>,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Change {
    /// A prefix comes onto a list.
    Insert {
        /// Whose list; `None`: the policy's own.
        #[serde(flatten)]
        owner: Option<Owner>,
        /// Which of its lists.
        list: ListName,
        /// What.
        prefix: IpNet,
    },
    /// A prefix leaves a list.
    Remove {
        /// Whose list; `None`: the policy's own.
        #[serde(flatten)]
        owner: Option<Owner>,
        /// Which of its lists.
        list: ListName,
        /// What.
        prefix: IpNet,
    },
    /// More prefixes come onto a list or leave it than are listed, each as a change of its own.
    More {
        /// Whose list; `None`: the policy's own.
        #[serde(flatten)]
        owner: Option<Owner>,
        /// Which of its lists.
        list: ListName,
        /// How many come that are not listed.
        inserted: usize,
        /// How many leave that are not listed.
        removed: usize,
    },
    /// A listener, trunk or PBX is new; its prefixes follow, each as an [`Change::Insert`].
    Added {
        /// Which.
        #[serde(flatten)]
        owner: Owner,
        /// Its settings in short.
        settings: String,
    },
    /// A listener, trunk or PBX is gone, after its prefixes.
    Removed {
        /// Which.
        #[serde(flatten)]
        owner: Owner,
    },
    /// A setting has another value.
    Set {
        /// Whose setting; `None`: the policy's own.
        #[serde(flatten)]
        owner: Option<Owner>,
        /// The key, as in the file.
        setting: Cow<'static, str>,
        /// Its value so far.
        old: String,
        /// Its value from now on.
        new: String,
    },
}

/// What a list or a setting belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Owner {
    /// The listener of this name.
    Listener(String),
    /// The trunk of this name.
    Trunk(String),
    /// The PBX of this name.
    Pbx(String),
}

impl Difference {
    /// What is different in `new`; takes time near-linear in the number of entries.
    pub fn between(old: &Policy, new: &Policy) -> Difference {
        let mut difference = Difference::default();
        difference.settings(None, policy_settings(old), policy_settings(new));
        difference.prove(old, new);
        difference.list(None, ListName::Admin, &old.admin, &new.admin);
        difference.list(None, ListName::Deny, &old.deny, &new.deny);
        difference.list(None, ListName::Allow, &old.allow, &new.allow);
        for listener in &old.listeners {
            let successor = new.listeners.iter().find(|candidate| candidate.name == listener.name);
            difference.listener(Some(listener), successor);
        }
        for listener in &new.listeners {
            if !old.listeners.iter().any(|candidate| candidate.name == listener.name) {
                difference.listener(None, Some(listener));
            }
        }
        for trunk in &old.trunks {
            let successor = new.trunks.iter().find(|candidate| candidate.name == trunk.name);
            difference.trunk(old, Some(trunk), new, successor);
        }
        for trunk in &new.trunks {
            if !old.trunks.iter().any(|candidate| candidate.name == trunk.name) {
                difference.trunk(old, None, new, Some(trunk));
            }
        }
        for pbx in &old.pbxs {
            difference.pbx(Some(pbx), new.pbxs.iter().find(|candidate| candidate.name == pbx.name));
        }
        for pbx in &new.pbxs {
            if !old.pbxs.iter().any(|candidate| candidate.name == pbx.name) {
                difference.pbx(None, Some(pbx));
            }
        }
        difference
    }

    /// True when both policies mean the same.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The changes, settings before lists before listeners before trunks before PBXs.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    fn listener(&mut self, old: Option<&Listener>, new: Option<&Listener>) {
        let Some(name) = new.or(old).map(|listener| &listener.name) else {
            return;
        };
        let owner = Owner::Listener(name.clone());
        let [old_allow, new_allow] = [old, new].map(|it| it.map(|it| &it.allow[..]).unwrap_or_default());
        self.owned(&owner, old.map(listener_settings), new.map(listener_settings), |difference, owner| {
            difference.list(owner, ListName::Allow, old_allow, new_allow);
        });
    }

    fn trunk(&mut self, old_policy: &Policy, old: Option<&Trunk>, new_policy: &Policy, new: Option<&Trunk>) {
        let Some(name) = new.or(old).map(|trunk| &trunk.name) else {
            return;
        };
        let owner = Owner::Trunk(name.clone());
        let old_settings = old.map(|trunk| trunk_settings(old_policy, trunk));
        let new_settings = new.map(|trunk| trunk_settings(new_policy, trunk));
        self.owned(&owner, old_settings, new_settings, |difference, owner| {
            for name in [ListName::Allow, ListName::Deny, ListName::Media] {
                let [old, new] =
                    [old, new].map(|trunk| trunk.map(|it| trunk_list(it, name)).unwrap_or_default());
                difference.list(owner, name, old, new);
            }
        });
    }

    /// Where only one of the two lets strangers prove themselves, what is not the default is worth a word.
    fn prove(&mut self, old: &Policy, new: &Policy) {
        if old.strangers.prove.is_none() && new.strangers.prove.is_none() {
            return;
        }
        let [old, new] =
            [old, new].map(|policy| prove_settings(&policy.strangers.prove.clone().unwrap_or_default()));
        self.settings(None, old, new);
    }

    fn pbx(&mut self, old: Option<&Pbx>, new: Option<&Pbx>) {
        let Some(name) = new.or(old).map(|pbx| &pbx.name) else {
            return;
        };
        let owner = Owner::Pbx(name.clone());
        self.owned(
            &owner,
            old.map(|pbx| pbx_settings(pbx, None)),
            new.map(|pbx| pbx_settings(pbx, old)),
            |_, _| {},
        );
    }

    fn owned(
        &mut self,
        owner: &Owner,
        old: Option<Settings>,
        new: Option<Settings>,
        lists: impl FnOnce(&mut Difference, Option<&Owner>),
    ) {
        let gone = new.is_none();
        match (old, new) {
            (Some(old), Some(new)) => self.settings(Some(owner), old, new),
            (None, Some(new)) => {
                let settings = new.iter().filter(|(_, value)| !value.is_empty());
                let settings: Vec<String> = settings.map(|(key, value)| format!("{key} {value}")).collect();
                self.changes.push(Change::Added { owner: owner.clone(), settings: settings.join(", ") });
            }
            (_, None) => {}
        }
        lists(self, Some(owner));
        if gone {
            self.changes.push(Change::Removed { owner: owner.clone() });
        }
    }

    fn settings(&mut self, owner: Option<&Owner>, old: Settings, new: Settings) {
        for ((setting, old), (_, new)) in old.into_iter().zip(new) {
            if old != new {
                self.changes.push(Change::Set {
                    owner: owner.cloned(),
                    setting: Cow::Borrowed(setting),
                    old,
                    new,
                });
            }
        }
    }

    fn list(&mut self, owner: Option<&Owner>, list: ListName, old: &[IpNet], new: &[IpNet]) {
        let (removed, inserted) = (only_in(old, new), only_in(new, old));
        let both = removed.len() + inserted.len();
        // Where there are too many of both, each has half of the room.
        let shown = |these: usize, others: usize| match both > LISTED_MAX {
            true => these.min((LISTED_MAX / 2).max(LISTED_MAX.saturating_sub(others))),
            false => these,
        };
        let removed_shown = shown(removed.len(), inserted.len());
        let inserted_shown = shown(inserted.len(), removed.len());
        let owner = || owner.cloned();
        let removals = removed[..removed_shown].iter();
        self.changes.extend(removals.map(|prefix| Change::Remove { owner: owner(), list, prefix: *prefix }));
        let insertions = inserted[..inserted_shown].iter();
        self.changes.extend(insertions.map(|prefix| Change::Insert {
            owner: owner(),
            list,
            prefix: *prefix,
        }));
        if both > LISTED_MAX {
            let (inserted, removed) = (inserted.len() - inserted_shown, removed.len() - removed_shown);
            self.changes.push(Change::More { owner: owner(), list, inserted, removed });
        }
    }
}

/// What the first of two sorted lists has and the second does not.
fn only_in(these: &[IpNet], others: &[IpNet]) -> Vec<IpNet> {
    let mut others = others.iter().peekable();
    let is_missing = |prefix: &&IpNet| {
        while others.next_if(|other| other < prefix).is_some() {}
        others.next_if_eq(prefix).is_none()
    };
    these.iter().filter(is_missing).copied().collect()
}

fn trunk_list(trunk: &Trunk, name: ListName) -> &[IpNet] {
    match name {
        ListName::Allow => &trunk.allow,
        ListName::Deny => &trunk.deny,
        ListName::Media => trunk.media.as_deref().unwrap_or_default(),
        ListName::Admin => &[],
    }
}

/// A number with its thousands set apart: "998,000".
pub fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let groups = digits.as_bytes().rchunks(3).rev().map(|group| String::from_utf8_lossy(group).into_owned());
    groups.collect::<Vec<_>>().join(",")
}

impl fmt::Display for Owner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Owner::Listener(name) => write!(formatter, "listener {name}"),
            Owner::Trunk(name) => write!(formatter, "trunk {name}"),
            Owner::Pbx(name) => write!(formatter, "pbx {name}"),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefixed =
            |owner: &Option<Owner>| owner.as_ref().map(|owner| format!("{owner} ")).unwrap_or_default();
        let shown = |value: &str| if value.is_empty() { "default".to_owned() } else { value.to_owned() };
        match self {
            Change::Insert { owner, list, prefix } => {
                write!(formatter, "+ {}{list} {prefix}", prefixed(owner))
            }
            Change::Remove { owner, list, prefix } => {
                write!(formatter, "- {}{list} {prefix}", prefixed(owner))
            }
            Change::More { owner, list, inserted, removed } => {
                let counts = [(inserted, "come"), (removed, "leave")];
                let counts = counts.iter().filter(|(count, _)| **count > 0);
                let counts = counts.map(|(count, verb)| format!("{} more {verb}", thousands(**count)));
                write!(formatter, "… {}{list}: {}", prefixed(owner), counts.collect::<Vec<_>>().join(" and "))
            }
            Change::Added { owner, settings } => write!(formatter, "+ {owner}: {settings}"),
            Change::Removed { owner } => write!(formatter, "- {owner}"),
            Change::Set { owner, setting, old, new } => {
                write!(formatter, "~ {}{setting} {} -> {}", prefixed(owner), shown(old), shown(new))
            }
        }
    }
}

impl fmt::Display for Difference {
    /// One line for each change, without a line break at the end.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, change) in self.changes.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(formatter, "{separator}{change}")?;
        }
        Ok(())
    }
}
