//! Bans: those that the operator asks for, and how they end.
//!
//! Why somebody is banned without being asked for is decided in [`crate::trust`].

use std::net::IpAddr;

use sip_filter_common::{Ban, maps::BAN_CAUSE_LEN};

use super::{
    Daemon,
    requests::{Misuse, boot_time_ns},
};
use crate::{
    control::{BanEntry, Banned},
    policy::{
        change::{Action, List, ListChange},
        prefix::canonical,
    },
    trust::What,
};

impl Daemon {
    /// Bans an address, as the operator asks.
    pub(super) fn ban(&mut self, address: IpAddr, for_ms: u64, cause: &str) -> anyhow::Result<Banned> {
        if for_ms == 0 {
            return Err(Misuse::new("a ban lasts longer than 0 s").into());
        }
        if cause.len() > BAN_CAUSE_LEN {
            return Err(Misuse::new(format!(
                "the cause has {} bytes; a ban carries {BAN_CAUSE_LEN}",
                cause.len()
            ))
            .into());
        }
        let mut ban =
            Ban { until_ns: boot_time_ns().saturating_add(for_ms.saturating_mul(1_000_000)), cause: [0; _] };
        ban.cause[..cause.len()].copy_from_slice(cause.as_bytes());
        let address = address.to_canonical();
        self.datapath.ban(address, ban)?;
        self.tell(None, What::Banned { address, cause: cause.to_owned() });
        let admin = self.policy.admin.iter().find(|prefix| prefix.contains(&address));
        let warning = admin.map(|prefix| format!("{address} is in admin ({prefix}), which no ban affects"));
        Ok(Banned { ban: entry(address, &ban), warning })
    }

    /// Lifts a ban, as the operator asks.
    pub(super) fn unban(&mut self, address: IpAddr) -> anyhow::Result<()> {
        let address = address.to_canonical();
        if self.datapath.unban(address)? {
            self.tell(None, What::Unbanned { address });
            return Ok(());
        }
        Err(Misuse::new(format!("{address} is not banned")).into())
    }

    /// Why who was put on an allow list is not let in: a ban wins over that.
    pub(super) fn ban_note(&self, change: &ListChange) -> Option<String> {
        let prefix = canonical(change.prefix);
        let may_be_outweighed = change.action == Action::Add && change.list != List::Deny;
        if !may_be_outweighed || prefix.prefix_len() != prefix.max_prefix_len() {
            return None;
        }
        let address = prefix.addr();
        let is_admin = self.policy.admin.iter().any(|admin| admin.contains(&address));
        let is_banned = self.datapath.banned_until_ns(address) > boot_time_ns();
        (is_banned && !is_admin)
            .then(|| format!("{address} is banned; `sip-filter ban remove {address}` ends that"))
    }

    /// The bans in force.
    pub(super) fn bans(&self) -> anyhow::Result<Vec<BanEntry>> {
        let now_ns = boot_time_ns();
        let bans = self.datapath.bans()?.into_iter().filter(|(_, ban)| ban.until_ns > now_ns);
        Ok(bans.map(|(address, ban)| entry(address, &ban)).collect())
    }

    /// Takes expired bans and registrations out of the maps; the kernel ignores them already.
    pub(super) fn sweep(&mut self) {
        let now_ns = boot_time_ns();
        let ended = |(_, until_ns): &(IpAddr, u64)| *until_ns <= now_ns;
        for (address, _) in self.datapath.banned().filter(ended).collect::<Vec<_>>() {
            match self.datapath.unban(address) {
                Ok(_) => self.tell(None, What::Unbanned { address }),
                Err(error) => tracing::warn!("the expired ban of {address} stays in the map: {error}"),
            }
        }
        // Those that trust knows of it has dismissed; an earlier daemon may have left others.
        let ended: Vec<_> = self.datapath.registered().filter(ended).collect();
        for (address, _) in ended {
            if let Err(error) = self.datapath.dismiss(address) {
                tracing::warn!("the ended registration of {address} stays in the map: {error}");
            }
        }
        if let Err(error) = self.datapath.tidy_flows(now_ns) {
            tracing::warn!("flows whose registrations have ended stay in the map: {error}");
        }
        if let Err(error) = self.datapath.tidy_peers() {
            tracing::warn!("the bits of those who left stay in the map: {error}");
        }
    }
}

fn entry(address: IpAddr, ban: &Ban) -> BanEntry {
    let cause = ban.cause.split(|byte| *byte == 0).next().unwrap_or_default();
    BanEntry {
        address,
        remaining_ms: ban.until_ns.saturating_sub(boot_time_ns()) / 1_000_000,
        cause: String::from_utf8_lossy(cause).into_owned(),
    }
}
