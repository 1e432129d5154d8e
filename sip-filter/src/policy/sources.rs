//! Where the prefixes of a list come from, for lists that name list files.
//!
//! Remembers the files and what stands beside them, but not which prefix came from which file: that would be as large as the list.

use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::difference::Owner;
use super::{ListName, Policy};

/// The sources of one list that names at least one list file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListSources {
    /// Whose list; `None`: the policy's own.
    pub owner: Option<Owner>,
    /// Which of its lists.
    pub list: ListName,
    /// The list files, in the order of the policy file.
    pub files: Vec<ListSource>,
    /// What the policy file names itself, and what live changes added; sorted.
    pub own: Vec<IpNet>,
    /// What live changes took away although a list file names it; sorted.
    pub removed: Vec<IpNet>,
}

/// A list file and what it gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListSource {
    /// Its path.
    pub file: PathBuf,
    /// How many prefixes it named when it was read.
    pub prefixes: usize,
}

impl ListSources {
    /// Follows a live change that put a prefix on the list.
    pub(super) fn added(&mut self, prefix: IpNet) {
        if let Ok(place) = self.removed.binary_search(&prefix) {
            self.removed.remove(place);
        } else if let Err(place) = self.own.binary_search(&prefix) {
            self.own.insert(place, prefix);
        }
    }

    /// Follows a live change that took a prefix off the list.
    pub(super) fn taken(&mut self, prefix: IpNet) {
        if let Ok(place) = self.own.binary_search(&prefix) {
            self.own.remove(place);
        } else if let Err(place) = self.removed.binary_search(&prefix) {
            self.removed.insert(place, prefix);
        }
    }
}

impl Policy {
    /// The sources of a list; `None` when it names no list file, and all its prefixes are its own.
    pub fn sources_of(&self, owner: Option<&Owner>, list: ListName) -> Option<&ListSources> {
        self.sources.iter().find(|sources| sources.owner.as_ref() == owner && sources.list == list)
    }
}
