//! Where peers and live changes stand.

use super::{Address, ChangeKey, ChangedClass, Class, Known, Live, PEER_BITS_WORDS, Peer};

impl ChangeKey {
    /// How many bits stand before the network's.
    pub const SPACE_BITS: u32 = u32::BITS;
    /// All bits.
    pub const BITS: u32 = Self::SPACE_BITS + u128::BITS;

    /// The key of one address, or of a network's first one.
    #[inline(always)]
    pub const fn of(slot: u32, address: &Address) -> Self {
        let space = slot << 1 | address.ipv4().is_none() as u32;
        Self { space, network: address.number().to_be_bytes() }
    }

    /// The slot of the policy that is changed.
    pub const fn slot(&self) -> u32 {
        self.space >> 1
    }
}

impl From<Class> for ChangedClass {
    #[expect(clippy::cast_possible_truncation, reason = "each half keeps its own bits of the word")]
    fn from(class: Class) -> Self {
        let words = [class.flags, class.deny, class.allow, class.registering];
        let [a, b, c, d] = words.map(|word| [word as u32, (word >> 32) as u32]);
        Self { halves: [a[0], a[1], b[0], b[1], c[0], c[1], d[0], d[1]] }
    }
}

impl From<ChangedClass> for Class {
    #[inline(always)]
    fn from(changed: ChangedClass) -> Self {
        let word = |at: usize| (changed.halves[at + 1] as u64) << 32 | changed.halves[at] as u64;
        Self { flags: word(0), deny: word(2), allow: word(4), registering: word(6) }
    }
}

impl Live {
    /// In `watch`: somebody is banned or registered.
    pub const PEERS: u64 = 1;

    /// In `watch`: there are live changes. Above the other one, so that either is told by one comparison.
    pub const CHANGES: u64 = 2;

    /// Whether there are live changes.
    #[inline(always)]
    pub const fn has_changes(&self) -> bool {
        self.watch >= Self::CHANGES
    }

    /// Where the presence bit of a peer stands: the word, and the bit in it.
    #[inline(always)]
    pub const fn peer_bit(&self, address: &Address) -> (usize, u64) {
        let key = match ipv4_key(address) {
            Some(key) => key,
            // What stands low decides about the most bits of a product.
            None => address.halves[0] ^ address.halves[1].rotate_left(32),
        };
        let product = key.wrapping_mul(self.salt);
        ((product >> 51) as usize % PEER_BITS_WORDS, 1 << (product >> 45 & 63))
    }

    /// The two buckets in which a peer may stand; `mask` is [`peers_mask`](Self::peers_mask). Under a longer mask each of
    /// them is that bucket or a higher one.
    ///
    /// A product by an odd number that nobody knows spreads 32 bits well enough (Dietzfelbinger et al., "A Reliable
    /// Randomized Algorithm for the Closest-Pair Problem", 1997). Whoever has a network of IPv6 could choose addresses of
    /// which the halves make up for each other.
    #[inline(always)]
    pub const fn peer_buckets(&self, address: &Address, mask: u64) -> [u32; 2] {
        let hash = match ipv4_key(address) {
            Some(key) => key.wrapping_mul(self.salt),
            None => address.hash(self.salt),
        };
        let other = (hash ^ hash >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        [(hash >> 40 & mask) as u32, (other >> 40 & mask) as u32]
    }
}

#[inline(always)]
const fn ipv4_key(address: &Address) -> Option<u64> {
    match address.ipv4_bytes() {
        Some(bytes) => Some(u32::from_ne_bytes(bytes) as u64),
        None => None,
    }
}

impl Peer {
    /// Nobody.
    pub const NOBODY: Self = Self { address: Address { halves: [0; 2] }, known: Known::NOTHING };
}

impl Known {
    /// Nothing.
    pub const NOTHING: Self = Self { banned_until_ns: 0, registered_until_ns: 0 };

    /// Whether there is nothing to know.
    #[inline(always)]
    pub const fn is_nothing(&self) -> bool {
        self.banned_until_ns | self.registered_until_ns == 0
    }
}
