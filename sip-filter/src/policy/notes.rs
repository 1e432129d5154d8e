//! What else the policy says about a prefix whose entry came or went, where that outweighs the change.

use ipnet::IpNet;

use super::{
    Policy,
    change::{Action, List, ListChange},
    prefix::{canonical, longest_cover},
};

impl Policy {
    /// Why a change that was made does not do all that one may expect of it, each a clause; none for most.
    pub fn notes(&self, change: &ListChange) -> Vec<String> {
        let prefix = canonical(change.prefix);
        let outweighed = match (change.action, &change.list) {
            (Action::Add, List::Deny) => self.never_denied(prefix),
            (Action::Add, _) => self.denied_anyway(prefix),
            (Action::Remove, List::Deny) => named(&self.deny, &List::Deny, prefix),
            (Action::Remove, _) => self.allowed_anyway(prefix),
        };
        outweighed.into_iter().chain(self.own_media(&change.list)).collect()
    }

    fn never_denied(&self, prefix: IpNet) -> Option<String> {
        let entry = longest_cover(&self.admin, &prefix)?;
        Some(format!("{prefix} is let in as before: {entry} in admin wins over the deny list"))
    }

    fn denied_anyway(&self, prefix: IpNet) -> Option<String> {
        if longest_cover(&self.admin, &prefix).is_some() {
            return None;
        }
        if let Some(entry) = longest_cover(&self.deny, &prefix) {
            return Some(format!(
                "{prefix} is refused as before: {entry} on the deny list wins over every allow"
            ));
        }
        self.trunks.iter().find_map(|trunk| {
            let entry = longest_cover(&trunk.deny, &prefix)?;
            let name = &trunk.name;
            Some(format!(
                "{prefix} is refused at the listeners of trunk \"{name}\" as before: its deny has {entry}"
            ))
        })
    }

    fn allowed_anyway(&self, prefix: IpNet) -> Option<String> {
        if longest_cover(&self.deny, &prefix).is_some() {
            return None;
        }
        let of_trunks = self
            .trunks
            .iter()
            .find_map(|trunk| named(&trunk.allow, &List::Trunk(trunk.name.clone()), prefix));
        named(&self.allow, &List::Allow, prefix).or(of_trunks)
    }

    /// A trunk with a media list of its own does not follow its allow list.
    fn own_media(&self, list: &List) -> Option<String> {
        let List::Trunk(name) = list else { return None };
        let trunk = self.trunks.iter().find(|trunk| trunk.name == *name)?;
        trunk.media.as_ref()?;
        Some(format!("trunk \"{name}\" has a media list of its own, which stays as it is"))
    }
}

/// That a list still holds what was taken off one.
fn named(entries: &[IpNet], list: &List, prefix: IpNet) -> Option<String> {
    let entry = longest_cover(entries, &prefix)?;
    Some(format!("{entry} is still on {list}, and holds {prefix}"))
}
