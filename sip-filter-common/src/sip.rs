//! What of SIP the packet path knows: the names of methods, and how a message begins.

use crate::frame::Frame;

/// How many bytes tell a method: the longest name and what ends it.
pub const METHOD_BYTES: usize = 10;

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

            /// The method of this number.
            #[inline(always)]
            pub const fn from_number(number: u16) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)* _ => None }
            }

            /// The method whose name these bytes begin with, up to a space or the end of a line.
            #[inline(always)]
            pub fn at_start_of(bytes: &[u8; METHOD_BYTES]) -> Option<Self> {
                let [start @ .., _, _] = *bytes;
                let start = u64::from_le_bytes(start);
                $({
                    const NAME: &[u8] = $name.as_bytes();
                    const MASK: u64 = first_word(NAME).0;
                    const WORD: u64 = first_word(NAME).1;
                    let is_whole = NAME.len() < 9 || bytes[8] == NAME[NAME.len() - 1];
                    if start & MASK == WORD && is_whole && bytes[NAME.len()] <= b' ' {
                        return Some(Self::$variant);
                    }
                })*
                None
            }

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

/// The first eight bytes of a name as a word, and the mask of those that it has.
const fn first_word(name: &[u8]) -> (u64, u64) {
    let (mut mask, mut word, mut at) = (0, 0, 0);
    while at < name.len() && at < 8 {
        mask |= 0xff << (8 * at);
        word |= (name[at] as u64) << (8 * at);
        at += 1;
    }
    (mask, word)
}

const _: () = {
    let mut at = 0;
    while at < Method::ALL.len() {
        assert!(Method::ALL[at].name().len() < METHOD_BYTES, "a name and its end fit");
        assert!(Method::ALL[at] as usize == at, "methods stand in the order of their numbers");
        at += 1;
    }
};

/// The method of the request that begins at `at`.
#[inline(always)]
pub fn method_at<F: Frame + ?Sized>(frame: &F, at: usize, len: usize) -> Option<Method> {
    if len < METHOD_BYTES {
        return None;
    }
    Method::at_start_of(&frame.read(at)?)
}

/// The status code of the reply that begins at `at` (RFC 3261 section 7.2).
#[inline(always)]
pub fn status_at<F: Frame + ?Sized>(frame: &F, at: usize, len: usize) -> Option<u16> {
    if len < 12 {
        return None;
    }
    let [b'S', b'I', b'P', b'/', b'2', b'.', b'0', b' ', hundreds, tens, ones, _] = frame.read::<12>(at)?
    else {
        return None;
    };
    let digit = |byte: u8| byte.wrapping_sub(b'0') as u16;
    (digit(hundreds) < 10 && digit(tens) < 10 && digit(ones) < 10)
        .then(|| digit(hundreds) * 100 + digit(tens) * 10 + digit(ones))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_is_told_by_its_whole_name() {
        let of = |text: &str| Method::at_start_of(text.as_bytes().first_chunk().unwrap());
        for method in Method::ALL {
            let line = std::format!("{} sip:example.org SIP/2.0", method.name());
            assert_eq!(of(&line), Some(*method), "{line}");
            assert_eq!(of(&std::format!("{}\r\n         ", method.name())), Some(*method));
            assert_eq!(of(&std::format!("{}X         ", method.name())), None);
        }
        for other in ["register sip:x", "SUBSCRIBX sip:x", "SUBSCRIB  sip:x", "          ", "SIP/2.0 200 OK"]
        {
            assert_eq!(of(other), None, "{other}");
        }
    }

    #[test]
    fn a_reply_has_a_status_of_three_digits() {
        let of = |text: &str| status_at(text.as_bytes(), 0, text.len());
        assert_eq!(of("SIP/2.0 200 OK\r\n"), Some(200));
        assert_eq!(of("SIP/2.0 407 \r\n"), Some(407));
        for other in ["SIP/2.0 2x0 OK", "SIP/1.0 200 OK", "sip/2.0 200 OK", "SIP/2.0 200", "REGISTER sip:x"] {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
