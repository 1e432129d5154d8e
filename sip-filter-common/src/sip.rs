//! What of SIP the packet path knows: the names of methods.

macro_rules! methods {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $name:literal;)*) => {
        /// A SIP method that the packet path can tell apart: those of RFC 3261 and its extensions.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Method {
            $($(#[$doc])* $variant = $number,)*
        }

        impl Method {
            /// All of them, each at its number.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// As it stands in a request line; methods are case-sensitive (RFC 3261 section 7.1).
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

methods! {
    /// RFC 3261.
    Register = 0, "REGISTER";
    /// RFC 3261.
    Options = 1, "OPTIONS";
    /// RFC 3261.
    Invite = 2, "INVITE";
    /// RFC 3261.
    Ack = 3, "ACK";
    /// RFC 3261.
    Bye = 4, "BYE";
    /// RFC 3261.
    Cancel = 5, "CANCEL";
    /// RFC 3262.
    Prack = 6, "PRACK";
    /// RFC 6665.
    Subscribe = 7, "SUBSCRIBE";
    /// RFC 6665.
    Notify = 8, "NOTIFY";
    /// RFC 3903.
    Publish = 9, "PUBLISH";
    /// RFC 6086.
    Info = 10, "INFO";
    /// RFC 3515.
    Refer = 11, "REFER";
    /// RFC 3428.
    Message = 12, "MESSAGE";
    /// RFC 3311.
    Update = 13, "UPDATE";
}

impl Method {
    /// The method's bit in a set of methods.
    pub const fn bit(self) -> u32 {
        1 << self as u32
    }

    /// The method of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|method| method.name() == name)
    }
}
