//! Attaching to interfaces, taking over links of an earlier daemon, letting go.

use std::path::PathBuf;

use aya::programs::{
    ProgramError, Xdp, XdpMode,
    links::{FdLink, PinnedLink},
    loaded_programs,
    xdp::XdpLink,
};
use nix::libc;
use sip_filter_common::maps::{name, program};

use super::{Attachment, Datapath, DatapathError};

/// How the program came onto an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttachMode {
    /// The link of an earlier daemon goes on, with this program.
    TakenOver,
    /// In the driver.
    Native,
    /// In the network stack, after the kernel has made a socket buffer; with the driver's reason.
    Generic(String),
}

/// Why the program cannot be attached.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// Another XDP program is there; it is not replaced.
    #[error(
        "interface {interface} has an XDP program already: {program}; sip-filter does not replace it: detach it first \
         (`ip link set dev {interface} {flag} off` for a program without a link)"
    )]
    Occupied {
        /// Where.
        interface: String,
        /// Its name and number.
        program: String,
        /// What `ip link` calls the way it is attached.
        flag: &'static str,
    },
    /// Neither the driver nor the network stack takes it.
    #[error("cannot attach to interface {interface}")]
    Refused {
        /// Where.
        interface: String,
        /// What the kernel said last.
        #[source]
        source: ProgramError,
    },
    /// The kernel gives no link that could be kept.
    #[error("interface {0} cannot be attached to by a link: the kernel is older than 5.9")]
    NoLink(String),
    /// Anything about programs, maps or pins.
    #[error(transparent)]
    Datapath(#[from] DatapathError),
}

impl Datapath {
    /// Judges what an interface receives from now on; `program` is the XDP program that is on it now.
    ///
    /// With `hold` the link is pinned and outlives this process.
    /// A link of an earlier daemon gets this program without a gap.
    ///
    /// # Errors
    ///
    /// See [`AttachError`]; nothing is changed then.
    pub fn attach(
        &mut self,
        interface: &str,
        index: u32,
        program: Option<u32>,
        hold: bool,
    ) -> Result<AttachMode, AttachError> {
        let (link, mode) = match self.own_link(interface, index, program)? {
            Some(link) => (link, AttachMode::TakenOver),
            None => self.attach_anew(interface, index)?,
        };
        let (link, result) = match self.keep(interface, link, hold) {
            Ok(link) => (link, Ok(mode)),
            // The link went with the attempt; what was judged before is to stay so.
            Err(error) if matches!(mode, AttachMode::TakenOver) => match self.attach_anew(interface, index) {
                Ok((link, _)) => (link, Err(error.into())),
                Err(_) => return Err(error.into()),
            },
            Err(error) => return Err(error.into()),
        };
        self.links.retain(|held| held.interface != interface);
        self.links.push(Attachment { interface: interface.to_owned(), index, link });
        result
    }

    /// Makes every link outlive this process, or end with it.
    ///
    /// # Errors
    ///
    /// A pin cannot be made or removed; the interfaces are judged all the same.
    pub fn hold(&mut self, hold: bool) -> Result<(), AttachError> {
        let mut result = Ok(());
        for Attachment { interface, index, link } in std::mem::take(&mut self.links) {
            let kept = self.keep(&interface, link, hold).or_else(|error| {
                result = Err(error.into());
                // The link went with the attempt; one without a pin is better than none.
                self.attach_anew(&interface, index).map(|(link, _)| link)
            });
            match kept {
                Ok(link) => self.links.push(Attachment { interface, index, link }),
                Err(error) => result = Err(error),
            }
        }
        result
    }

    /// Pins the maps and the filter, over those of another object.
    ///
    /// # Errors
    ///
    /// A pin cannot be made.
    pub fn pin(&mut self) -> Result<(), DatapathError> {
        // First to go and last to be there: it says whose all the others are.
        if !self.maps_are_pinned {
            self.remove_pin(name::LIVE)?;
        }
        for &name in name::ALL.iter().rev() {
            if self.maps_are_pinned && self.pins.has(name) {
                continue;
            }
            self.remove_pin(name)?;
            let map = self.ebpf.map(name).ok_or(DatapathError::Missing(name))?;
            let pinned = map.pin(self.pins.path(name));
            pinned.map_err(|source| DatapathError::Pin { name: name.to_owned(), source })?;
        }
        self.maps_are_pinned = true;
        // Earlier builds pinned it, and with it the maps that it uses.
        self.remove_pin(program::EXPLAIN)?;
        let name = program::FILTER;
        self.remove_pin(name)?;
        let path = self.pins.path(name);
        let program = self.ebpf.program_mut(name).ok_or(DatapathError::Missing(name))?;
        program.pin(path).map_err(|source| DatapathError::Pin { name: name.to_owned(), source })
    }

    /// Lets an interface go; false if it was not attached.
    ///
    /// # Errors
    ///
    /// The pin cannot be removed.
    pub fn detach(&mut self, interface: &str) -> Result<bool, super::PinsError> {
        let pinned = self.pins.remove_link(interface)?;
        if let Err(error) = self.unwatch(interface) {
            tracing::warn!("{interface}: what it sends is still looked at: {error}");
        }
        let before = self.links.len();
        self.links.retain(|held| held.interface != interface);
        Ok(pinned || self.links.len() < before)
    }

    /// Lets every interface go and removes every pin.
    ///
    /// # Errors
    ///
    /// A pin cannot be removed.
    pub fn detach_all(&mut self) -> Result<(), super::PinsError> {
        // At once, for whoever waits for the directory to be gone; to let go of a link takes a grace period.
        self.pins.remove_all()?;
        self.links.clear();
        for interface in self.watches.iter().map(|watch| watch.interface().to_owned()).collect::<Vec<_>>() {
            if let Err(error) = self.unwatch(&interface) {
                tracing::warn!("{interface}: what it sends is still looked at: {error}");
            }
        }
        Ok(())
    }

    /// The interfaces that are attached, and those whose links an earlier daemon left.
    pub fn attached(&self) -> Vec<String> {
        let mut interfaces: Vec<_> =
            self.links.iter().map(|held| held.interface.clone()).chain(self.pins.links()).collect();
        interfaces.sort_unstable();
        interfaces.dedup();
        interfaces
    }

    /// Whether an interface is among [`attached`](Self::attached).
    pub fn is_attached(&self, interface: &str) -> bool {
        self.links.iter().any(|held| held.interface == interface) || self.pins.has_link(interface)
    }

    /// The link by which this daemon or an earlier one judges an interface, with this program on it.
    ///
    /// A name says nothing: interfaces are renamed, made anew and moved away.
    fn own_link(
        &mut self,
        interface: &str,
        index: u32,
        program: Option<u32>,
    ) -> Result<Option<FdLink>, AttachError> {
        let path = self.pins.link(interface);
        let foreign = |source| DatapathError::ForeignPin { path: path.clone(), source };
        let open = |path| PinnedLink::from_pin(path).map(FdLink::from);
        let pinned = path.exists().then(|| open(&path)).transpose();
        let pinned = pinned.map_err(|source| DatapathError::PinnedLink { path: path.clone(), source })?;
        let pinned = match pinned {
            Some(link) => Some((super::pins::interface_index(&link).ok_or_else(|| foreign(None))?, link)),
            None => None,
        };
        let Some(program) = program else {
            self.remove_link_pin(interface)?;
            return Ok(None);
        };
        let held = self.links.iter().position(|held| held.index == index);
        if let Some(position) = held.filter(|_| self.program_id().is_ok_and(|own| own == program)) {
            let held = self.links.swap_remove(position);
            if held.interface != interface {
                self.remove_link_pin(&held.interface)?;
                self.remove_link_pin(interface)?;
            }
            return Ok(Some(held.link));
        }
        let Some((pinned_index, link)) = pinned else { return Ok(None) };
        let pinned_program = link.info().map_err(|error| foreign(Some(error)))?.program_id();
        if (pinned_index, pinned_program) != (index, program) {
            self.remove_link_pin(interface)?;
            return Ok(None);
        }
        let link = XdpLink::try_from(link).map_err(|error| foreign(Some(error)))?;
        let filter = self.filter_program()?;
        let refused = |source| AttachError::Refused { interface: interface.to_owned(), source };
        let id = filter.attach_to_link(link).map_err(refused)?;
        let link = filter.take_link(id).map_err(DatapathError::Program)?;
        Ok(Some(fd_link(interface, link)?))
    }

    fn attach_anew(&mut self, interface: &str, index: u32) -> Result<(FdLink, AttachMode), AttachError> {
        let filter = self.filter_program()?;
        let (id, mode) = match filter.attach_to_if_index(index, XdpMode::Driver) {
            Ok(id) => (id, AttachMode::Native),
            Err(error) if is_final(&error) => return Err(refused(interface, error)),
            Err(driver) => match filter.attach_to_if_index(index, XdpMode::Skb) {
                Ok(id) => (id, AttachMode::Generic(reason(&driver))),
                Err(error) => return Err(refused(interface, error)),
            },
        };
        let link = filter.take_link(id).map_err(DatapathError::Program)?;
        Ok((fd_link(interface, link)?, mode))
    }

    /// Pins a link, or takes its pin away; leaves alone what is as wanted.
    fn keep(&self, interface: &str, link: FdLink, hold: bool) -> Result<FdLink, DatapathError> {
        match (hold, self.pins.has_link(interface)) {
            (true, true) | (false, false) => Ok(link),
            (false, true) => {
                self.remove_link_pin(interface)?;
                Ok(link)
            }
            (true, false) => {
                let path = self.pins.link(interface);
                let directory = path.parent().unwrap_or(&path);
                std::fs::create_dir_all(directory)
                    .map_err(|source| DatapathError::PinFile { path: directory.to_path_buf(), source })?;
                let pinned = link.pin(&path);
                let pinned =
                    pinned.map_err(|source| DatapathError::Pin { name: interface.to_owned(), source })?;
                Ok(pinned.into())
            }
        }
    }

    fn remove_link_pin(&self, interface: &str) -> Result<(), DatapathError> {
        remove(self.pins.link(interface))
    }

    fn filter_program(&mut self) -> Result<&mut Xdp, DatapathError> {
        let program =
            self.ebpf.program_mut(program::FILTER).ok_or(DatapathError::Missing(program::FILTER))?;
        Ok(program.try_into()?)
    }

    fn remove_pin(&self, name: &str) -> Result<(), DatapathError> {
        remove(self.pins.path(name))
    }
}

/// Removes a pin if it is there.
pub(super) fn remove(path: PathBuf) -> Result<(), DatapathError> {
    match std::fs::remove_file(&path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(DatapathError::PinFile { path, source })
        }
        _ => Ok(()),
    }
}

/// What an XDP program that is not ours is called.
pub fn program_name(id: u32) -> String {
    let found = loaded_programs().flatten().find(|program| program.id() == id);
    let name = found.and_then(|program| program.name_as_str().map(str::to_owned)).unwrap_or_default();
    format!("{name} (program {id})")
}

/// Errors that the other mode would meet too.
fn is_final(error: &ProgramError) -> bool {
    let ProgramError::SyscallError(error) = error else { return false };
    matches!(error.io_error.raw_os_error(), Some(libc::EBUSY | libc::EEXIST | libc::EPERM | libc::ENODEV))
}

fn refused(interface: &str, error: ProgramError) -> AttachError {
    if let ProgramError::SyscallError(call) = &error
        && matches!(call.io_error.raw_os_error(), Some(libc::EBUSY | libc::EEXIST))
    {
        let program = "it came while sip-filter started".to_owned();
        return AttachError::Occupied { interface: interface.to_owned(), program, flag: "xdp" };
    }
    AttachError::Refused { interface: interface.to_owned(), source: error }
}

fn reason(error: &ProgramError) -> String {
    match error {
        ProgramError::SyscallError(error) => error.io_error.to_string(),
        other => other.to_string(),
    }
}

fn fd_link(interface: &str, link: XdpLink) -> Result<FdLink, AttachError> {
    FdLink::try_from(link).map_err(|_| AttachError::NoLink(interface.to_owned()))
}
