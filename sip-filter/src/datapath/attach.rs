//! Attaching to interfaces, taking over links of an earlier daemon, letting go.

use aya::programs::{
    ProgramError, Xdp, XdpMode,
    links::{FdLink, PinnedLink},
    loaded_programs,
    xdp::XdpLink,
};
use nix::libc;
use sip_filter_common::maps::{name, program};

use super::{Datapath, DatapathError, HeldLink};

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
    /// Judges what interface `index` named `interface` receives from now on.
    ///
    /// With `hold` the link is pinned and outlives this process.
    /// A pinned link of an earlier daemon gets this program without a gap.
    ///
    /// # Errors
    ///
    /// See [`AttachError`]; nothing is changed then.
    pub fn attach(&mut self, interface: &str, index: u32, hold: bool) -> Result<AttachMode, AttachError> {
        let (link, mode) = match self.take_over(interface)? {
            Some(link) => (link, AttachMode::TakenOver),
            None => self.attach_anew(interface, index)?,
        };
        let link = self.keep(interface, link, hold)?;
        self.links.retain(|(name, _)| name != interface);
        self.links.push((interface.to_owned(), link));
        Ok(mode)
    }

    /// Makes every link outlive this process, or end with it.
    ///
    /// # Errors
    ///
    /// A pin cannot be made or removed.
    pub fn hold(&mut self, hold: bool) -> Result<(), DatapathError> {
        for (interface, link) in std::mem::take(&mut self.links) {
            let link = match link {
                HeldLink::Open(link) => link,
                HeldLink::Pinned(link) => FdLink::from(link),
            };
            let link = self.keep(&interface, link, hold)?;
            self.links.push((interface, link));
        }
        Ok(())
    }

    /// Pins the maps and programs, over those of a version whose layout differs.
    ///
    /// # Errors
    ///
    /// A pin cannot be made.
    pub fn pin(&mut self) -> Result<(), DatapathError> {
        for &name in name::ALL.iter().filter(|_| !self.maps_are_pinned) {
            self.remove_pin(name)?;
            let map = self.ebpf.map(name).ok_or(DatapathError::Missing(name))?;
            let pinned = map.pin(self.pins.path(name));
            pinned.map_err(|source| DatapathError::Pin { name: name.to_owned(), source })?;
        }
        self.maps_are_pinned = true;
        for name in [program::FILTER, program::EXPLAIN] {
            self.remove_pin(name)?;
            let path = self.pins.path(name);
            let program = self.ebpf.program_mut(name).ok_or(DatapathError::Missing(name))?;
            program.pin(path).map_err(|source| DatapathError::Pin { name: name.to_owned(), source })?;
        }
        Ok(())
    }

    /// Lets an interface go; false if it was not attached.
    ///
    /// # Errors
    ///
    /// The pin cannot be removed.
    pub fn detach(&mut self, interface: &str) -> Result<bool, super::PinsError> {
        let pinned = self.pins.remove_link(interface)?;
        let before = self.links.len();
        self.links.retain(|(name, _)| name != interface);
        Ok(pinned || self.links.len() < before)
    }

    /// Lets every interface go and removes every pin.
    ///
    /// # Errors
    ///
    /// A pin cannot be removed.
    pub fn detach_all(&mut self) -> Result<(), super::PinsError> {
        self.links.clear();
        self.pins.remove_all()
    }

    /// The interfaces that are attached, and those whose links an earlier daemon left.
    pub fn attached(&self) -> Vec<String> {
        let mut interfaces: Vec<_> =
            self.links.iter().map(|(name, _)| name.clone()).chain(self.pins.links()).collect();
        interfaces.sort_unstable();
        interfaces.dedup();
        interfaces
    }

    /// Whether an interface is among [`attached`](Self::attached).
    pub fn is_attached(&self, interface: &str) -> bool {
        self.links.iter().any(|(name, _)| name == interface) || self.pins.has_link(interface)
    }

    fn take_over(&mut self, interface: &str) -> Result<Option<FdLink>, AttachError> {
        let path = self.pins.link(interface);
        if !path.exists() {
            return Ok(None);
        }
        let foreign = |source| DatapathError::ForeignPin { path: path.clone(), source };
        let pinned = PinnedLink::from_pin(&path).map_err(foreign)?;
        let link = XdpLink::try_from(FdLink::from(pinned)).map_err(foreign)?;
        let filter = self.filter_program()?;
        match filter.attach_to_link(link) {
            Ok(id) => {
                let link = filter.take_link(id).map_err(DatapathError::Program)?;
                Ok(Some(fd_link(interface, link)?))
            }
            Err(ProgramError::SyscallError(error))
                if error.io_error.raw_os_error() == Some(libc::ENOLINK) =>
            {
                tracing::warn!(interface, "the link of an earlier daemon lost its interface: attaching anew");
                Ok(None)
            }
            Err(source) => Err(AttachError::Refused { interface: interface.to_owned(), source }),
        }
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

    fn keep(&self, interface: &str, link: FdLink, hold: bool) -> Result<HeldLink, DatapathError> {
        let path = self.pins.link(interface);
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(DatapathError::PinFile { path, source });
            }
            _ => {}
        }
        if !hold {
            return Ok(HeldLink::Open(link));
        }
        let pinned = link.pin(&path);
        Ok(HeldLink::Pinned(
            pinned.map_err(|source| DatapathError::Pin { name: interface.to_owned(), source })?,
        ))
    }

    fn filter_program(&mut self) -> Result<&mut Xdp, DatapathError> {
        let program =
            self.ebpf.program_mut(program::FILTER).ok_or(DatapathError::Missing(program::FILTER))?;
        Ok(program.try_into()?)
    }

    fn remove_pin(&self, name: &str) -> Result<(), DatapathError> {
        let path = self.pins.path(name);
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                Err(DatapathError::PinFile { path, source })
            }
            _ => Ok(()),
        }
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
