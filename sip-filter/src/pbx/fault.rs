//! Why a link to a PBX ended, and what its operator can do about it.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why a link to a PBX ended.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// Nobody takes the connection.
    #[error("cannot connect to {address}: is the PBX running, and its `address` in [[pbx]] right?")]
    Unreachable {
        /// The `address` of `[[pbx]]`.
        address: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The connection broke.
    #[error("the connection to the PBX broke")]
    Broken(#[source] io::Error),
    /// The peer closed it.
    #[error("the PBX closed the connection")]
    Closed,
    /// It lost what it knew of us.
    #[error("the PBX was started anew, or another sip-filter follows it")]
    Restarted,
    /// Nothing whole came for too long.
    #[error("the PBX said nothing for {} s while {awaited} was awaited", .within.as_secs())]
    Silent {
        /// What.
        awaited: &'static str,
        /// How long.
        within: Duration,
    },
    /// What came is longer than anything that such a PBX sends.
    #[error("the peer sent {what} of more than {limit}: is this a PBX of that kind?")]
    TooLong {
        /// Of what.
        what: &'static str,
        /// In bytes, or in pieces.
        limit: usize,
    },
    /// What came makes no sense.
    #[error("the peer does not speak {protocol}: {what}; is `kind` in [[pbx]] right?")]
    Foreign {
        /// Which was expected.
        protocol: &'static str,
        /// What came.
        what: String,
    },
    /// `user` or `secret` is missing in `[[pbx]]`.
    #[error("this kind of PBX asks for a login: set `{0}` in [[pbx]]")]
    NoLogin(&'static str),
    /// The file with the password cannot be read.
    #[error("cannot read the password from the first line of {path}")]
    NoSecret {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The PBX knows us not.
    #[error("the PBX refuses the login: {said}; {remedy}")]
    Refused {
        /// What it said.
        said: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The PBX knows us, but does not answer what was asked.
    #[error("the PBX does not answer {asked}: {said}; {remedy}")]
    Unanswered {
        /// What.
        asked: &'static str,
        /// What it said.
        said: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The reports have no receiver any more.
    #[error("nobody receives the reports")]
    Unwanted,
}

impl Fault {
    /// Whether trying again soon is of no use, and may look like an attack.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, Fault::Refused { .. } | Fault::NoLogin(_) | Fault::NoSecret { .. })
    }

    /// The whole chain in one line.
    pub(super) fn with_causes(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        text
    }
}
