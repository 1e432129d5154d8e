//! An address as two words: from packets, numbers and standard types, and back.

use super::Address;

impl Address {
    const IPV4_MAPPED: u32 = 0x0000_ffff;

    /// The address of an IPv4 header.
    #[inline(always)]
    pub const fn from_ipv4(octets: [u8; 4]) -> Self {
        let [a, b, c, d] = octets;
        Self { halves: [0, u64::from_ne_bytes([0, 0, 0xff, 0xff, a, b, c, d])] }
    }

    /// The address of an IPv6 header.
    #[inline(always)]
    pub const fn from_ipv6(octets: [u8; 16]) -> Self {
        let number = u128::from_be_bytes(octets);
        Self::from_number(number)
    }

    /// The address whose first bit is the highest of `number`.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "each half keeps its own bits of the number")]
    pub const fn from_number(number: u128) -> Self {
        Self { halves: [((number >> 64) as u64).to_be(), (number as u64).to_be()] }
    }

    /// Back from [`from_number`](Self::from_number).
    #[inline(always)]
    pub const fn number(&self) -> u128 {
        (u64::from_be(self.halves[0]) as u128) << 64 | u64::from_be(self.halves[1]) as u128
    }

    /// The four bytes of an IPv4 address as a number, if it is one.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the lower half is what is asked for")]
    pub const fn ipv4(&self) -> Option<u32> {
        let low = u64::from_be(self.halves[1]);
        if self.halves[0] == 0 && (low >> 32) as u32 == Self::IPV4_MAPPED { Some(low as u32) } else { None }
    }

    /// The four bytes of an IPv4 address as they stand in a header, if it is one.
    #[inline(always)]
    pub const fn ipv4_bytes(&self) -> Option<[u8; 4]> {
        match self.halves[1].to_ne_bytes() {
            [0, 0, 0xff, 0xff, a, b, c, d] if self.halves[0] == 0 => Some([a, b, c, d]),
            _ => None,
        }
    }

    /// The first address of the /64 that an IPv6 address is of, which is one subscriber's (RFC 4291 section 2.5.1); an IPv4
    /// address itself, and one that was translated (RFC 6052).
    #[inline(always)]
    pub const fn network(&self) -> Self {
        const TRANSLATED: u64 = 0x0064_ff9b_0000_0000_u64.to_be();
        if self.ipv4().is_some() || self.halves[0] == TRANSLATED {
            *self
        } else {
            Self { halves: [self.halves[0], 0] }
        }
    }

    /// Two words' hash, of which all bits can be used; `salt` is any number.
    #[inline(always)]
    pub const fn hash(&self, salt: u64) -> u64 {
        let [high, low] = self.halves;
        let mixed = (high ^ salt).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = (mixed ^ mixed >> 32 ^ low).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 29).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 32
    }
}

impl From<core::net::IpAddr> for Address {
    fn from(address: core::net::IpAddr) -> Self {
        match address {
            core::net::IpAddr::V4(address) => Self::from_ipv4(address.octets()),
            core::net::IpAddr::V6(address) => Self::from_ipv6(address.octets()),
        }
    }
}

impl From<Address> for core::net::IpAddr {
    fn from(address: Address) -> Self {
        match address.ipv4() {
            Some(number) => Self::V4(number.into()),
            None => Self::V6(address.number().into()),
        }
    }
}
