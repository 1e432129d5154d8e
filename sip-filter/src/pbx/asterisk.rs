//! Asterisk, by its manager interface (AMI).
//!
//! Asterisk's list of contacts does not say where a REGISTER came from: `Uri` is the Contact, rewritten at best, and
//! `ViaAddr` is the Via's sent-by, which the phone makes up. The security event `SuccessfulAuth` has the packet's
//! source, and the same Call-ID; so a contact is placed where its account proved itself under the contact's Call-ID.
//! A refresh raises no event about the contact, so every proof is followed by another look at the list; and a phone
//! that was started anew refreshes its contact under another Call-ID than the list shows (`sources.rs`).
//!
//! Over UDP a failure is not reported: Asterisk 22 raises `ChallengeResponseFailed` also where the nonce was made up,
//! or sent to another address, so that anybody could have anybody's address banned. The wire's witness knows better.

mod contacts;
mod login;

use std::convert::Infallible;
use std::mem::take;
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, sleep_until, timeout};

use self::contacts::{Expiries, Listing};
use super::Fault;
use super::aside::aside;
use super::ledger::Ledger;
use super::link::Outlet;
use super::messages::{Bodies, Connection, Message};
use super::sources::{Sources, flow, is_proved, transport};
use crate::policy::Pbx;
use crate::trust::{Flow, Report};

const PROTOCOL: &str = "AMI";
/// How often Asterisk is asked whether it is still there.
const PING_INTERVAL: Duration = super::patience(15);
/// How long without a whole message a link lasts.
const SILENCE_MAX: Duration = super::patience(40);
/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// A contact is stored a moment after its REGISTER was authenticated.
const SETTLING: Duration = Duration::from_millis(200);
/// Listing contacts is to take no more than this part of the time.
const LISTING_SHARE: u32 = 20;
/// The longest time between two listings, whatever was heard.
const LISTING_INTERVAL: Duration = Duration::from_secs(60);

const NO_SECURITY_EVENTS: &str = "connected, but Asterisk sends no security events, so that no contact can be placed: \
     give the user `read = security,system` in manager.conf";

/// What is known of an Asterisk from one connection to the next.
#[derive(Default)]
pub(super) struct Asterisk {
    sources: Sources,
}

impl Asterisk {
    pub(super) async fn session(&mut self, pbx: &Pbx, outlet: &Outlet) -> Result<Infallible, Fault> {
        let mut connection = Connection::open(&pbx.address, Bodies::Never).await?;
        let actions = login::login(&mut connection, pbx).await?;
        let now = Instant::now();
        let session = Session {
            connection,
            outlet,
            actions,
            sources: &mut self.sources,
            ledger: Ledger::default(),
            expiries: Expiries::default(),
            listing: None,
            list_at: now,
            list_not_before: now,
            ping_at: now + PING_INTERVAL,
            heard_at: now,
            hears_security: false,
        };
        session.run().await
    }
}

/// The names of actions: nobody who only gets text into events can guess them.
struct Actions {
    secret: u64,
    count: u64,
}

impl Actions {
    fn next(&mut self) -> String {
        self.count += 1;
        format!("{:016x}-{}", self.secret, self.count)
    }
}

struct Session<'a> {
    connection: Connection,
    outlet: &'a Outlet,
    actions: Actions,
    sources: &'a mut Sources,
    ledger: Ledger,
    expiries: Expiries,
    /// The listing that is under way.
    listing: Option<Listing>,
    /// When to list next.
    list_at: Instant,
    /// So that listing does not become all that Asterisk does.
    list_not_before: Instant,
    ping_at: Instant,
    /// When the last whole message came.
    heard_at: Instant,
    hears_security: bool,
}

impl Session<'_> {
    async fn run(mut self) -> Result<Infallible, Fault> {
        loop {
            let list_at = if self.listing.is_none() { self.list_at } else { self.ping_at };
            let silent_at = self.heard_at + SILENCE_MAX;
            let wake = list_at.min(self.ping_at).min(silent_at);
            let message = tokio::select! {
                message = self.connection.message() => Some(message?),
                () = sleep_until(wake) => None,
            };
            let now = Instant::now();
            if let Some(message) = message {
                self.heard_at = now;
                self.hear(&message).await?;
            } else if now >= silent_at {
                return Err(Fault::Silent { awaited: "an answer or an event", within: SILENCE_MAX });
            } else if now >= self.ping_at {
                self.ping(now).await?;
            } else {
                self.list(now).await?;
            }
        }
    }

    async fn ping(&mut self, now: Instant) -> Result<(), Fault> {
        // Asterisk raises one for our own login, so that silence is no matter of luck.
        if self.outlet.is_connected() {
            self.outlet.complain((!self.hears_security).then_some(NO_SECURITY_EVENTS));
        }
        if self.listing.as_ref().is_some_and(|listing| now - listing.began > SILENCE_MAX) {
            return Err(Fault::Silent { awaited: "the list of contacts", within: SILENCE_MAX });
        }
        self.ping_at = now + PING_INTERVAL;
        let id = self.actions.next();
        self.connection.write(&format!("Action: Ping\r\nActionID: {id}\r\n\r\n")).await
    }

    async fn list(&mut self, now: Instant) -> Result<(), Fault> {
        let id = self.actions.next();
        let action = format!("Action: PJSIPShowContacts\r\nActionID: {id}\r\n\r\n");
        self.listing = Some(Listing::new(id, now, self.sources.now()));
        self.list_at = now + LISTING_INTERVAL;
        self.connection.write(&action).await
    }

    /// Something changed: list as soon as that is settled and affordable.
    fn list_soon(&mut self) {
        self.list_at = self.list_at.min((Instant::now() + SETTLING).max(self.list_not_before));
    }

    async fn hear(&mut self, message: &Message) -> Result<(), Fault> {
        if let Some(listing) = &mut self.listing
            && message.header("ActionID") == Some(&listing.id)
        {
            if listing.hear(message)? {
                self.listed().await?;
            }
            return Ok(());
        }
        self.hears_security |= message.header("Privilege") == Some("security,all");
        match message.header("Event") {
            Some("ContactStatus") => self.contact_status(message).await,
            Some(event) => match Peer::of(message) {
                Some(peer) => self.security_event(event, peer, message).await,
                None => Ok(()),
            },
            None => Ok(()),
        }
    }

    /// The list is complete.
    async fn listed(&mut self) -> Result<(), Fault> {
        let Some(listing) = self.listing.take() else { return Ok(()) };
        let now = Instant::now();
        self.list_not_before = now + (now - listing.began) * LISTING_SHARE;
        let (mut expiries, mut sources) = (take(&mut self.expiries), take(self.sources));
        let work = move || {
            let rows = listing.rows(&mut expiries, &mut sources, SystemTime::now());
            (rows, expiries, sources)
        };
        let rows;
        (rows, self.expiries, *self.sources) = aside(work).await?;
        self.outlet.listed(&mut self.ledger, rows, now).await
    }

    async fn contact_status(&mut self, message: &Message) -> Result<(), Fault> {
        let header = |name| message.header(name);
        let (Some(aor), Some(uri), Some(status)) = (header("AOR"), header("URI"), header("ContactStatus"))
        else {
            return Ok(());
        };
        self.outlet.count_event();
        if status != "Removed" {
            self.list_soon();
            return Ok(());
        }
        // It may stand in the part of a list that has come already.
        if let Some(listing) = &mut self.listing {
            listing.forget(aor, uri);
        }
        match self.ledger.remove(aor, uri) {
            Some(report) => self.outlet.report(report).await,
            None => Ok(()),
        }
    }

    async fn security_event(&mut self, event: &str, peer: Peer<'_>, message: &Message) -> Result<(), Fault> {
        let report = match event {
            // Endpoints that are known by their address "authenticate" without a password.
            "SuccessfulAuth" if message.header("UsingPassword") == Some("1") => {
                self.sources.learn(peer.account, peer.call_id, peer.flow);
                self.list_soon();
                Report::Authenticated(peer.flow)
            }
            "ChallengeSent" => Report::Challenged(peer.flow),
            "ChallengeResponseFailed" | "InvalidPassword" if is_proved(peer.flow.transport) => {
                Report::Failed(peer.flow)
            }
            _ => return Ok(()),
        };
        self.outlet.count_event();
        self.outlet.report(report).await
    }
}

/// Whom a security event is about.
struct Peer<'a> {
    account: &'a str,
    call_id: &'a str,
    flow: Flow,
}

impl<'a> Peer<'a> {
    /// None unless every header that Asterisk writes is there exactly once.
    ///
    /// A stranger gets 36 characters of a From header into `AccountID`, line breaks included: enough for a header that
    /// is there twice then, or to break an event in two, but not for all of these.
    fn of(message: &'a Message) -> Option<Self> {
        for name in ["EventTV", "Severity", "EventVersion", "LocalAddress"] {
            message.header(name)?;
        }
        let is_sip = matches!(message.header("Service")?, "PJSIP" | "SIP");
        if !is_sip || message.header("Privilege")? != "security,all" {
            return None;
        }
        let flow = parse_address(message.header("RemoteAddress")?)?;
        Some(Self { account: message.header("AccountID")?, call_id: message.header("SessionID")?, flow })
    }
}

/// `IPV4/UDP/203.0.113.9/5060`.
fn parse_address(text: &str) -> Option<Flow> {
    let mut parts = text.split('/');
    let (_family, by, address, port) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() { None } else { flow(address, port, transport(by)?) }
}

/// Waits for an answer no longer than is reasonable.
async fn answer<T>(
    awaited: &'static str,
    coming: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    let within = ANSWER_TIMEOUT;
    timeout(within, coming).await.unwrap_or(Err(Fault::Silent { awaited, within }))
}

#[cfg(test)]
mod tests;
