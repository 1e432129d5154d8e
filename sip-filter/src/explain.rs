//! A question about a packet, as the frame that the loaded program is asked about.
//!
//! Builds frames; who decides is the kernel program, what decided is looked up in the policy.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::{PacketBuilder, PacketBuilderStep, UdpHeader, VlanId};

use crate::control::{Question, TransportName};

/// What a frame may carry: the largest UDP payload over IPv4.
pub const PAYLOAD_BYTES_MAX: usize = 65_507;

/// Stands for a local address where no listener is tied to one (RFC 5737).
pub const ANY_IPV4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 255));
/// Stands for a local address where no listener is tied to one (RFC 3849).
pub const ANY_IPV6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0xff));

/// Addresses of a frame that nobody sends: from the documentation range of RFC 7042.
const SOURCE_MAC: [u8; 6] = [0x00, 0x00, 0x5e, 0x00, 0x53, 0x01];
const DESTINATION_MAC: [u8; 6] = [0x00, 0x00, 0x5e, 0x00, 0x53, 0x02];
const TIME_TO_LIVE: u8 = 64;
const WINDOW: u16 = 64_240;

/// Why a question has no frame.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum QuestionError {
    /// IPv4 to IPv6 or the other way.
    #[error("--from {from} and --to {to} are of different IP versions")]
    Families {
        /// Source.
        from: IpAddr,
        /// Destination.
        to: IpAddr,
    },
    /// Larger than a datagram.
    #[error("the payload has {0} bytes; a datagram carries at most {PAYLOAD_BYTES_MAX}")]
    Payload(usize),
    /// Not a 12-bit number.
    #[error("{0} is no VLAN ID: choose 1 to 4094, or none for an untagged frame")]
    Vlan(u16),
}

/// The frame for a question: Ethernet, a VLAN tag if asked for, IP, and UDP or the SYN of TCP.
///
/// # Errors
///
/// See [`QuestionError`].
pub fn frame(question: &Question) -> Result<Vec<u8>, QuestionError> {
    let Question { from, to, transport, vlan, payload } = question;
    if payload.len() > PAYLOAD_BYTES_MAX {
        return Err(QuestionError::Payload(payload.len()));
    }
    let vlan = match VlanId::try_new(*vlan) {
        Ok(id) if id.value() < 4_095 => id,
        _ => return Err(QuestionError::Vlan(*vlan)),
    };
    let link = PacketBuilder::ethernet2(SOURCE_MAC, DESTINATION_MAC);
    let ip = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) if vlan.value() == 0 => {
            link.ipv4(from.octets(), to.octets(), TIME_TO_LIVE)
        }
        (IpAddr::V6(from), IpAddr::V6(to)) if vlan.value() == 0 => {
            link.ipv6(from.octets(), to.octets(), TIME_TO_LIVE)
        }
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            link.single_vlan(vlan).ipv4(from.octets(), to.octets(), TIME_TO_LIVE)
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            link.single_vlan(vlan).ipv6(from.octets(), to.octets(), TIME_TO_LIVE)
        }
        (from, to) => return Err(QuestionError::Families { from, to }),
    };
    let mut frame = Vec::new();
    let written = match transport {
        TransportName::Udp => {
            let step: PacketBuilderStep<UdpHeader> = ip.udp(from.port(), to.port());
            step.write(&mut frame, payload)
        }
        TransportName::Tcp => ip.tcp(from.port(), to.port(), 0, WINDOW).syn().write(&mut frame, payload),
    };
    // Only a payload that no length field can hold fails, which the check above excludes up to header sizes.
    written.map_err(|_| QuestionError::Payload(payload.len()))?;
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use sip_filter_common::parse::{Part, ethernet};

    use super::*;

    #[test]
    fn the_frame_is_the_packet_that_was_asked_about() {
        let check = |from: &str, to: &str, transport, vlan| {
            let question = Question {
                from: from.parse().unwrap(),
                to: to.parse().unwrap(),
                transport,
                vlan,
                payload: vec![1, 2],
            };
            let frame = frame(&question).unwrap();
            let packet = ethernet(&frame[..]).continue_value().unwrap();
            assert_eq!(IpAddr::from(packet.source), question.from.ip(), "{from}");
            assert_eq!(IpAddr::from(packet.destination), question.to.ip(), "{to}");
            assert_eq!(
                (packet.port, packet.vlan, packet.part),
                (question.to.port(), vlan, Part::Whole),
                "{from} {to}"
            );
        };
        check("192.0.2.1:1", "192.0.2.2:5060", TransportName::Udp, 0);
        check("192.0.2.1:1", "192.0.2.2:5060", TransportName::Tcp, 10);
        check("[2001:db8::1]:1", "[2001:db8::2]:5061", TransportName::Tcp, 0);
        check("[2001:db8::1]:1", "[2001:db8::2]:5061", TransportName::Udp, 4_094);
    }

    #[test]
    fn what_no_frame_can_be_is_refused() {
        let question = |from: &str, vlan, len| Question {
            from: from.parse().unwrap(),
            to: "192.0.2.2:5060".parse().unwrap(),
            transport: TransportName::Udp,
            vlan,
            payload: vec![0; len],
        };
        assert!(matches!(frame(&question("[2001:db8::1]:1", 0, 0)), Err(QuestionError::Families { .. })));
        assert_eq!(frame(&question("192.0.2.1:1", 4_095, 0)), Err(QuestionError::Vlan(4_095)));
        assert_eq!(frame(&question("192.0.2.1:1", 0, 65_508)), Err(QuestionError::Payload(65_508)));
    }
}
