//! What the packet generator and the program that starts it agree on: plain words by their index, so that neither needs unsafe code.
//! Compiled into both; nothing but constants stands here.

/// Settings, each one `u64` of the value of `SETTINGS`.
pub mod setting {
    /// The interface to which frames are redirected, by index.
    pub const INTERFACE: usize = 0;
    /// How many sources of the pool are used, from the first on.
    pub const SOURCES: usize = 1;
    /// The IPv4 header's sum without source, identification and checksum; as 16-bit words of this machine.
    pub const HEADER_SUM: usize = 2;
    /// The destination port of every second frame, as a number.
    pub const PORT: usize = 3;
    /// The other frames' destination ports: this one ...
    pub const PORT_RANGE_BASE: usize = 4;
    /// ... and those behind it, by a mask of low bits.
    pub const PORT_RANGE_MASK: usize = 5;
    /// Nanoseconds for each frame of the flood; 0 sends flat out.
    pub const GAP_NS: usize = 6;
    /// Nanoseconds between two requests of the known client; 0 sends none.
    pub const REQUEST_GAP_NS: usize = 7;
    /// The known client's IPv4 address, as it stands in memory.
    pub const CLIENT: usize = 8;
    /// The known client's port, as a number.
    pub const CLIENT_PORT: usize = 9;
    /// Where in the UDP payload the request's number stands, as eight hexadecimal digits.
    pub const NUMBER_OFFSET: usize = 10;
    /// Not 0: the known client's requests only, no flood.
    pub const QUIET: usize = 11;
    /// One frame in so many less one bits is written anew, the others leave as they left before; 0 writes each.
    pub const REUSE_MASK: usize = 12;
    /// How many programs frames are handed to, turn by turn.
    pub const TARGETS: usize = 13;
    /// Frames that each of them has before those that count, from the first program's on.
    pub const WARM_UP: usize = 14;
    /// How many there are.
    pub const WORDS: usize = WARM_UP + super::TARGETS_MAX;
}

/// What the generator keeps between two frames, each one `u64` of the value of `STATE`.
pub mod state {
    /// Of the random numbers; never 0.
    pub const RANDOM: usize = 0;
    /// The next source of the pool.
    pub const NEXT_SOURCE: usize = 1;
    /// When the next burst is due, on the monotonic clock.
    pub const NEXT_BURST_NS: usize = 2;
    /// What is left of the burst.
    pub const BURST: usize = 3;
    /// When the next request is due, on the monotonic clock.
    pub const NEXT_REQUEST_NS: usize = 4;
    /// Frames of the flood so far.
    pub const SENT: usize = 5;
    /// Requests so far.
    pub const REQUESTS: usize = 6;
    /// The program whose turn it is.
    pub const TARGET: usize = 7;
    /// Frames that it has had in this turn, also to warm up.
    pub const TURN_FRAMES: usize = 8;
    /// When the turn began to count, on the monotonic clock.
    pub const TURN_STARTED_NS: usize = 9;
    /// Turns that are over.
    pub const TURNS: usize = 10;
    /// How many there are.
    pub const WORDS: usize = 11;
}

/// Frames that leave together when the flood is paced, as interrupt coalescing makes them arrive.
pub const BURST_FRAMES: u64 = 64;
/// Slots of the pool; each holds one IPv6 or four IPv4 sources, in memory order.
pub const POOL_SLOTS: usize = 1 << 16;
/// Words of a line of the table in which a floor looks: a cache line, and a word for each prefix.
pub const LOOK_LINE_WORDS: usize = 8;
/// Lines of that table at most: what a million prefixes need.
pub const LOOK_LINES_MAX: usize = 1 << 17;
/// Requests of which the time of sending is kept.
pub const REQUESTS_MAX: usize = 1 << 14;
/// Frames that stand behind one another where they are handed to a program, behind room for one more.
pub const RING_FRAMES: usize = 16;
/// Bytes from one of them to the next.
pub const RING_STRIDE: usize = 128;
/// Programs to which frames can be handed, turn by turn.
pub const TARGETS_MAX: usize = 8;
/// Frames of a turn: half a millisecond, so that programs which take turns see the same machine. Whole rings, as below.
pub const TURN_FRAMES: u64 = 8_000;
/// Turns of which the time is kept.
pub const TURNS_MAX: usize = 64;
