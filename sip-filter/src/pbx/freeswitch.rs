//! FreeSWITCH, by its event socket (ESL), inbound mode.
//!
//! Events only say that something changed; what is believed is `show registrations`, which has the address and the port
//! that each REGISTER came from.
//! `sofia::register_failure` is not reported: it names no transport, and FreeSWITCH takes an answer to a challenge from
//! an address that it never sent one to, so that anybody could have anybody's address banned.

use std::convert::Infallible;
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use tokio::time::{Instant, sleep_until, timeout};

use super::Fault;
use super::aside::aside;
use super::ledger::{Ledger, Row};
use super::link::{Outlet, login_of};
use super::messages::{Bodies, Connection, Message};
use super::sources::{flow, transport};
use crate::policy::Pbx;
use crate::trust::SipTransport;

const PROTOCOL: &str = "ESL";
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a link lasts without a whole message: listing is our keep-alive, and answered.
const SILENCE_MAX: Duration = super::patience(40);
const LIST_INTERVAL: Duration = super::patience(20);
/// A registration is stored a moment before or after its event.
const SETTLING: Duration = Duration::from_millis(200);
/// Listing is to take no more than this part of the time.
const LISTING_SHARE: u32 = 20;

/// How much of an answer that makes no sense is told.
const SAID_BYTES_MAX: usize = 60;

const SUBSCRIBE: &str = "event plain CUSTOM sofia::register sofia::unregister sofia::expire\n\n";
const LIST: &str = "api show registrations as json\n\n";
const LOGIN_REMEDY: &str = "set `secret` in [[pbx]] to the `password` of event_socket.conf.xml";
const ACL_REMEDY: &str = "add this host to `apply-inbound-acl` in event_socket.conf.xml";

pub(super) async fn session(pbx: &Pbx, outlet: &Outlet) -> Result<Infallible, Fault> {
    let mut connection = Connection::open(&pbx.address, Bodies::Announced).await?;
    login(&mut connection, pbx).await?;
    let now = Instant::now();
    let session = Session {
        connection,
        outlet,
        ledger: Ledger::default(),
        listing_since: None,
        list_at: now,
        list_not_before: now,
        heard_at: now,
    };
    session.run().await
}

async fn login(connection: &mut Connection, pbx: &Pbx) -> Result<(), Fault> {
    let (_, secret) = login_of(pbx)?;
    let greeting = answer(connection).await?;
    match greeting.header("Content-Type") {
        Some("auth/request") => {}
        Some("text/rude-rejection") => return Err(refused("access denied", ACL_REMEDY)),
        other => {
            let what = format!("it greets with {other:?}");
            return Err(Fault::Foreign { protocol: PROTOCOL, what });
        }
    }
    for command in [&format!("auth {secret}\n\n"), SUBSCRIBE] {
        connection.write(command).await?;
        let reply = answer(connection).await?;
        let said = reply.header("Reply-Text").unwrap_or_default();
        if !said.starts_with("+OK") {
            return Err(refused(said, LOGIN_REMEDY));
        }
    }
    Ok(())
}

fn refused(said: &str, remedy: &'static str) -> Fault {
    Fault::Refused { said: said.to_owned(), remedy }
}

async fn answer(connection: &mut Connection) -> Result<Message, Fault> {
    let silent = Fault::Silent { awaited: "the answer to the login", within: ANSWER_TIMEOUT };
    timeout(ANSWER_TIMEOUT, connection.message()).await.unwrap_or(Err(silent))
}

struct Session<'a> {
    connection: Connection,
    outlet: &'a Outlet,
    ledger: Ledger,
    /// Since when an answer is awaited.
    listing_since: Option<Instant>,
    list_at: Instant,
    list_not_before: Instant,
    heard_at: Instant,
}

impl Session<'_> {
    async fn run(mut self) -> Result<Infallible, Fault> {
        loop {
            let silent_at = self.listing_since.unwrap_or(self.heard_at) + SILENCE_MAX;
            let wake = if self.listing_since.is_none() { self.list_at.min(silent_at) } else { silent_at };
            let message = tokio::select! {
                message = self.connection.message() => Some(message?),
                () = sleep_until(wake) => None,
            };
            let now = Instant::now();
            match message {
                Some(message) => {
                    self.heard_at = now;
                    self.hear(message, now).await?;
                }
                None if now >= silent_at => {
                    return Err(Fault::Silent { awaited: "an answer or an event", within: SILENCE_MAX });
                }
                None => {
                    self.listing_since = Some(now);
                    self.list_at = now + LIST_INTERVAL;
                    self.connection.write(LIST).await?;
                }
            }
        }
    }

    async fn hear(&mut self, message: Message, now: Instant) -> Result<(), Fault> {
        match message.header("Content-Type") {
            Some("text/event-plain") => {
                let event = Message::parse(&String::from_utf8_lossy(&message.body));
                // Its values are URL-encoded.
                if event.header("Event-Subclass").is_some_and(|name| name.starts_with("sofia%3A%3A")) {
                    self.outlet.count_event();
                    self.list_at = self.list_at.min((now + SETTLING).max(self.list_not_before));
                }
                Ok(())
            }
            Some("api/response") => self.listed(message.body, now).await,
            Some("text/disconnect-notice") => Err(Fault::Closed),
            _ => Ok(()),
        }
    }

    async fn listed(&mut self, body: Vec<u8>, now: Instant) -> Result<(), Fault> {
        let Some(since) = self.listing_since.take() else { return Ok(()) };
        self.list_not_before = now + (now - since) * LISTING_SHARE;
        let rows = aside(move || rows(&body)).await??;
        self.outlet.listed(&mut self.ledger, rows, now).await
    }
}

fn rows(body: &[u8]) -> Result<Vec<Row>, Fault> {
    let table: Table = serde_json::from_slice(body).map_err(|_| Fault::Unanswered {
        asked: "show registrations",
        said: String::from_utf8_lossy(&body[..body.len().min(SAID_BYTES_MAX)]).into_owned(),
        remedy: "is this a FreeSWITCH of 1.4 or newer with mod_commands loaded?",
    })?;
    let clock = SystemTime::now();
    Ok(table.rows.into_iter().filter_map(|entry| entry.row(clock)).collect())
}

/// What `show registrations as json` prints; without rows it leaves them out.
#[derive(Deserialize)]
struct Table {
    #[serde(default)]
    rows: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    reg_user: String,
    realm: String,
    url: String,
    /// UNIX time, as text.
    expires: String,
    network_ip: String,
    network_port: String,
    network_proto: String,
}

impl Entry {
    fn row(self, now: SystemTime) -> Option<Row> {
        let expires = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(self.expires.parse().ok()?))?;
        let lifetime = expires.duration_since(now).ok().filter(|left| !left.is_zero())?;
        let by = self.websocket().or_else(|| transport(&self.network_proto))?;
        Some(Row {
            aor: format!("{}@{}", self.reg_user, self.realm),
            flow: flow(&self.network_ip, &self.network_port, by),
            contact: self.url,
            lifetime,
        })
    }

    /// `network_proto` says "udp" of WebSockets too; FreeSWITCH's own `fs_path`, behind what the phone wrote, knows better.
    fn websocket(&self) -> Option<SipTransport> {
        let (_, path) = self.url.rsplit_once(";fs_path=")?;
        let path = path.split([';', '>']).next()?;
        let (_, named) = path.rsplit_once("transport%3D").or_else(|| path.rsplit_once("transport%3d"))?;
        let named = named.split(|end: char| !end.is_ascii_alphabetic()).next()?;
        transport(named).filter(|by| matches!(by, SipTransport::Ws | SipTransport::Wss))
    }
}

#[cfg(test)]
mod tests;
