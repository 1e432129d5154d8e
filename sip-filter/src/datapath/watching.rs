//! The program that looks at what leaves, on the interfaces.
//!
//! By TCX links where the kernel has them (Linux 6.6), else as a filter of the clsact qdisc.
//! It decides about no packet: without it everything is judged as before, but nothing is learnt from the wire.

use std::path::Path;

use aya::programs::{
    LinkOrder, ProgramError, SchedClassifier, TcAttachType,
    links::FdLink,
    tc::{self, NlOptions, SchedClassifierLink, TcAttachOptions},
};
use sip_filter_common::maps::program;

use super::{Datapath, DatapathError};

/// Where the filter stands among others: late, since it only looks.
const PRIORITY: u16 = 49_000;

/// The program on one interface.
pub(super) struct Watch {
    interface: String,
    hold: bool,
    _held: Held,
}

impl Watch {
    pub(super) fn interface(&self) -> &str {
        &self.interface
    }
}

/// What keeps it there; dropped, it goes.
#[expect(dead_code, reason = "held, not read")]
enum Held {
    /// A link, which its pin keeps too where it is to outlive this process.
    Link(FdLink),
    /// A filter.
    Filter(SchedClassifierLink),
    /// The kernel, until the filter is removed.
    Elsewhere,
}

fn pinned(link: FdLink, path: &Path) -> Result<FdLink, DatapathError> {
    let pinned = link.pin(path);
    let pinned = pinned.map_err(|source| DatapathError::Pin { name: path.display().to_string(), source })?;
    Ok(pinned.into())
}

/// Removes what an older kernel has in place of a link, with or without a daemon; one that is gone is as wanted.
pub(super) fn remove_filter(interface: &str) {
    let _: Result<(), tc::TcError> =
        tc::qdisc_detach_program(interface, TcAttachType::Egress, program::WATCH);
}

impl Datapath {
    /// Looks at what an interface sends from now on; with `hold` also when this process has ended.
    ///
    /// What an earlier daemon left there is replaced; for a moment both may look.
    ///
    /// # Errors
    ///
    /// The kernel refuses it; packets are judged all the same.
    pub fn watch(&mut self, interface: &str, hold: bool) -> Result<(), DatapathError> {
        let classifier = self.classifier()?;
        let order = TcAttachOptions::TcxOrder(LinkOrder::default());
        let held = match classifier.attach_with_options(interface, TcAttachType::Egress, order) {
            Ok(id) => {
                let path = self.pins.watch(interface);
                // What was asked for as a link of TCX is one with a descriptor.
                let foreign = |source| DatapathError::ForeignPin { path: path.clone(), source: Some(source) };
                let link = FdLink::try_from(self.classifier()?.take_link(id)?).map_err(foreign)?;
                self.unwatch(interface)?;
                Held::Link(if hold { pinned(link, &path)? } else { link })
            }
            // A filter has no link that could be exchanged: for a moment nobody looks.
            Err(ProgramError::SyscallError(_)) => {
                self.unwatch(interface)?;
                self.filter_outgoing(interface, hold)?
            }
            Err(error) => return Err(error.into()),
        };
        self.watches.push(Watch { interface: interface.to_owned(), hold, _held: held });
        Ok(())
    }

    /// Whether what an interface sends is looked at, and with `hold` also when this process has ended.
    pub fn is_watched(&self, interface: &str, hold: bool) -> bool {
        self.watches.iter().any(|watch| watch.interface == interface && watch.hold == hold)
    }

    /// Looks at what an interface sends no more, whoever began to.
    ///
    /// # Errors
    ///
    /// The pin cannot be removed.
    pub fn unwatch(&mut self, interface: &str) -> Result<(), DatapathError> {
        super::attach::remove(self.pins.watch(interface))?;
        remove_filter(interface);
        self.watches.retain(|watch| watch.interface != interface);
        Ok(())
    }

    /// Looks at nothing that other interfaces send than those that this process watches: an earlier daemon may have,
    /// under a name that the interface had then.
    ///
    /// # Errors
    ///
    /// A pin cannot be removed.
    pub fn unwatch_others(&mut self) -> Result<(), DatapathError> {
        for interface in self.pins.watches() {
            if !self.watches.iter().any(|watch| watch.interface == interface) {
                self.unwatch(&interface)?;
            }
        }
        Ok(())
    }

    /// The way of kernels before 6.6: a filter, which nothing pins and which stays until it is removed.
    fn filter_outgoing(&mut self, interface: &str, hold: bool) -> Result<Held, DatapathError> {
        // There may be one already; without one the next call says what is wrong.
        let _: Result<(), tc::TcError> = tc::qdisc_add_clsact(interface);
        let options = TcAttachOptions::Netlink(NlOptions { priority: PRIORITY, ..NlOptions::default() });
        let classifier = self.classifier()?;
        let id = classifier.attach_with_options(interface, TcAttachType::Egress, options)?;
        let link = classifier.take_link(id)?;
        if hold {
            // The filter is the kernel's; to drop the link would remove it.
            std::mem::forget(link);
            return Ok(Held::Elsewhere);
        }
        Ok(Held::Filter(link))
    }

    fn classifier(&mut self) -> Result<&mut SchedClassifier, DatapathError> {
        let program = self.ebpf.program_mut(program::WATCH).ok_or(DatapathError::Missing(program::WATCH))?;
        Ok(program.try_into()?)
    }
}
