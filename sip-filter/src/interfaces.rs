//! What the kernel says about network interfaces, by netlink.
//!
//! Asks and listens only; attaching is the datapath's.

use ethtool::{EthtoolAttr, EthtoolFeatureAttr};
use futures_util::{StreamExt as _, TryStreamExt as _, stream::BoxStream};
use rtnetlink::{
    MulticastGroup,
    packet_core::NetlinkPayload,
    packet_route::{
        RouteNetlinkMessage,
        link::{InfoKind, LinkAttribute, LinkInfo, LinkLayerType, LinkMessage, LinkXdp, XdpAttached},
    },
};
use serde::{Deserialize, Serialize};

/// The kernel's name for `rx-vlan-offload` (NETIF_F_HW_VLAN_CTAG_RX).
///
/// An 802.1ad tag may be stripped: VLAN rules are about the innermost tag, which is an 802.1Q one behind it.
const VLAN_STRIPPING: &str = "rx-vlan-hw-parse";

/// How an XDP program stands on an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attached {
    /// In the driver.
    Native,
    /// In the network stack.
    Generic,
    /// On the card.
    Offloaded,
    /// More than one, or a way that this version does not know.
    Other,
}

/// One interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name now.
    pub name: String,
    /// Its number, which outlives a change of name.
    pub index: u32,
    /// The XDP program on it, and how it stands there.
    pub xdp: Option<(Attached, u32)>,
    /// Whether VLAN tags are taken off before XDP sees the frame.
    pub strips_vlan_tags: bool,
}

impl Interface {
    /// Whether this is the program on it.
    pub fn runs(&self, program_id: u32) -> bool {
        self.xdp.is_some_and(|(_, id)| id == program_id)
    }
}

/// Why an interface cannot be filtered.
#[derive(Debug, thiserror::Error)]
pub enum InterfaceError {
    /// No interface has this name.
    #[error("there is no interface {name}; this host has {}", .known.join(", "))]
    Missing {
        /// As asked for.
        name: String,
        /// Those there are.
        known: Vec<String>,
    },
    /// WireGuard, tun, PPP: no link layer, so no place where XDP would see what it expects.
    #[error(
        "interface {name} has no Ethernet header (link type {link_type}): attach to the interface whose frames carry \
         its packets"
    )]
    NotEthernet {
        /// As asked for.
        name: String,
        /// The kernel's name of its type.
        link_type: String,
    },
    /// Netlink failed.
    #[error("cannot ask the kernel about interfaces")]
    Netlink(#[from] rtnetlink::Error),
    /// No netlink socket.
    #[error("cannot open a netlink socket")]
    Socket(#[from] std::io::Error),
}

/// A connection to the kernel's routing and ethtool netlink families.
pub struct Interfaces {
    routes: rtnetlink::Handle,
    ethtool: Option<ethtool::EthtoolHandle>,
}

impl Interfaces {
    /// Connects, and listens to what happens to interfaces; the stream yields the name of each that changed.
    ///
    /// # Errors
    ///
    /// [`InterfaceError::Socket`].
    pub fn connect() -> Result<(Self, BoxStream<'static, String>), InterfaceError> {
        let (connection, routes, messages) = rtnetlink::new_multicast_connection(&[MulticastGroup::Link])?;
        tokio::spawn(connection);
        // A kernel without ethtool's netlink family has drivers too old to matter here; tags then count as visible.
        let ethtool = ethtool::new_connection().ok().map(|(connection, handle, _)| {
            tokio::spawn(connection);
            handle
        });
        let changes = messages.filter_map(|(message, _)| async move {
            match message.payload {
                NetlinkPayload::InnerMessage(
                    RouteNetlinkMessage::NewLink(link) | RouteNetlinkMessage::DelLink(link),
                ) => name_of(&link),
                _ => None,
            }
        });
        Ok((Self { routes, ethtool }, changes.boxed()))
    }

    /// Looks an interface up and refuses what cannot be filtered.
    ///
    /// # Errors
    ///
    /// See [`InterfaceError`].
    pub async fn describe(&self, name: &str) -> Result<Interface, InterfaceError> {
        let Some(link) = self.link(name).await? else {
            return Err(InterfaceError::Missing { name: name.to_owned(), known: self.names().await? });
        };
        // The loopback device has an Ethernet header too.
        if !matches!(link.header.link_layer_type, LinkLayerType::Ether | LinkLayerType::Loopback) {
            let link_type = link.header.link_layer_type.to_string();
            return Err(InterfaceError::NotEthernet { name: name.to_owned(), link_type });
        }
        Ok(Interface {
            name: name.to_owned(),
            index: link.header.index,
            xdp: xdp_of(&link),
            strips_vlan_tags: is_vlan_device(&link) || self.strips_vlan_tags(name).await,
        })
    }

    async fn link(&self, name: &str) -> Result<Option<LinkMessage>, InterfaceError> {
        match self.routes.link().get().match_name(name.to_owned()).execute().try_next().await {
            Ok(link) => Ok(link),
            Err(rtnetlink::Error::NetlinkError(error)) if error.raw_code() == -nix::libc::ENODEV => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn names(&self) -> Result<Vec<String>, InterfaceError> {
        let links: Vec<_> = self.routes.link().get().execute().try_collect().await?;
        Ok(links.iter().filter_map(name_of).collect())
    }

    async fn strips_vlan_tags(&self, name: &str) -> bool {
        let Some(ethtool) = &self.ethtool else { return false };
        let mut ethtool = ethtool.clone();
        let mut replies = ethtool.feature().get(Some(name)).execute().await;
        while let Ok(Some(reply)) = replies.try_next().await {
            if reply.payload.nlas.iter().any(is_stripping) {
                return true;
            }
        }
        false
    }
}

fn is_stripping(attribute: &EthtoolAttr) -> bool {
    let EthtoolAttr::Feature(EthtoolFeatureAttr::Active(features)) = attribute else { return false };
    features.iter().any(|feature| feature.value && feature.name == VLAN_STRIPPING)
}

fn name_of(link: &LinkMessage) -> Option<String> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    })
}

/// On a VLAN's own device the tag is gone in any case.
fn is_vlan_device(link: &LinkMessage) -> bool {
    link.attributes.iter().any(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => {
            infos.iter().any(|info| matches!(info, LinkInfo::Kind(InfoKind::Vlan)))
        }
        _ => false,
    })
}

fn xdp_of(link: &LinkMessage) -> Option<(Attached, u32)> {
    let xdp = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Xdp(xdp) => Some(xdp),
        _ => None,
    })?;
    let attached = xdp.iter().find_map(|attribute| match attribute {
        LinkXdp::Attached(XdpAttached::None) => None,
        LinkXdp::Attached(XdpAttached::Driver) => Some(Attached::Native),
        LinkXdp::Attached(XdpAttached::SocketBuffer) => Some(Attached::Generic),
        LinkXdp::Attached(XdpAttached::Hardware) => Some(Attached::Offloaded),
        LinkXdp::Attached(_) => Some(Attached::Other),
        _ => None,
    })?;
    let program = xdp.iter().find_map(|attribute| match attribute {
        LinkXdp::ProgId(id) => Some(*id),
        _ => None,
    });
    Some((attached, program.unwrap_or(0)))
}
