//! The program that looks at what leaves, on the interfaces.
//!
//! By TCX links where the kernel has them (Linux 6.6), else as a filter of the clsact qdisc.
//! It decides about no packet: without it everything is judged as before, but nothing is learnt from the wire.

use aya::programs::{
    LinkOrder, ProgramError, SchedClassifier, TcAttachType,
    links::FdLink,
    tc::{self, NlOptions, SchedClassifierLink, TcAttachOptions},
};
use sip_filter_common::maps::program;

use super::{Datapath, DatapathError};

/// Where the program of an earlier daemon, or an older kernel's filter, is looked for in the order of filters.
const PRIORITY: u16 = 49_000;

/// The program on one interface.
pub(super) struct Watch {
    interface: String,
    held: Held,
}

impl Watch {
    pub(super) fn interface(&self) -> &str {
        &self.interface
    }
}

/// What keeps it there.
enum Held {
    /// A link, pinned where it is to outlive this process.
    Link(FdLink),
    /// A filter, which goes with this.
    #[expect(dead_code, reason = "held, not read: dropping it removes the filter")]
    Filter(SchedClassifierLink),
    /// A filter that outlives this process.
    Left,
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
            Ok(id) => match FdLink::try_from(classifier.take_link(id)?) {
                Ok(link) => Held::Link(link),
                // A link that was asked for as one of TCX is one of a file descriptor.
                Err(source) => {
                    let path = self.pins.watch(interface);
                    return Err(DatapathError::ForeignPin { path, source: Some(source) });
                }
            },
            Err(ProgramError::SyscallError(_)) => self.filter_outgoing(interface, hold)?,
            Err(error) => return Err(error.into()),
        };
        self.unwatch(interface, false)?;
        let held = match held {
            Held::Link(link) if hold => {
                let path = self.pins.watch(interface);
                let pinned = link.pin(&path);
                let pinned = pinned
                    .map_err(|source| DatapathError::Pin { name: path.display().to_string(), source })?;
                Held::Link(pinned.into())
            }
            held => held,
        };
        self.watches.push(Watch { interface: interface.to_owned(), held });
        Ok(())
    }

    /// Whether what an interface sends is looked at.
    pub fn is_watched(&self, interface: &str) -> bool {
        self.watches.iter().any(|watch| watch.interface == interface)
    }

    /// Looks at what an interface sends no more; `filters` says whether a filter of an older kernel goes too.
    ///
    /// # Errors
    ///
    /// The pin cannot be removed.
    pub fn unwatch(&mut self, interface: &str, filters: bool) -> Result<(), DatapathError> {
        super::attach::remove(self.pins.watch(interface))?;
        let is_left = |watch: &Watch| watch.interface == interface && matches!(watch.held, Held::Left);
        if filters && self.watches.iter().any(is_left) {
            // One that is gone already is as wanted.
            let _: Result<(), tc::TcError> =
                tc::qdisc_detach_program(interface, TcAttachType::Egress, program::WATCH);
        }
        self.watches.retain(|watch| watch.interface != interface);
        Ok(())
    }

    /// The way of kernels before 6.6: a filter, which nothing pins and which stays until it is removed.
    fn filter_outgoing(&mut self, interface: &str, hold: bool) -> Result<Held, DatapathError> {
        // There may be one already; without one the next call says what is wrong.
        let _: Result<(), tc::TcError> = tc::qdisc_add_clsact(interface);
        // Of an earlier daemon.
        let _: Result<(), tc::TcError> =
            tc::qdisc_detach_program(interface, TcAttachType::Egress, program::WATCH);
        let options = TcAttachOptions::Netlink(NlOptions { priority: PRIORITY, ..NlOptions::default() });
        let classifier = self.classifier()?;
        let id = classifier.attach_with_options(interface, TcAttachType::Egress, options)?;
        let link = classifier.take_link(id)?;
        if hold {
            // The filter is the kernel's; to drop the link would remove it.
            std::mem::forget(link);
            return Ok(Held::Left);
        }
        Ok(Held::Filter(link))
    }

    fn classifier(&mut self) -> Result<&mut SchedClassifier, DatapathError> {
        let program = self.ebpf.program_mut(program::WATCH).ok_or(DatapathError::Missing(program::WATCH))?;
        Ok(program.try_into()?)
    }
}
