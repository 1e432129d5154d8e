//! Logging in to AMI, by challenge: the password never crosses the wire.

use md5::{Digest as _, Md5};

use super::super::fault::Fault;
use super::super::link::login_of;
use super::super::messages::{Connection, Message};
use super::{Actions, PROTOCOL, answer};
use crate::policy::Pbx;

const GREETING: &str = "Asterisk Call Manager/";

/// Greets, proves that we know the password, and asks for events.
pub(super) async fn login(connection: &mut Connection, pbx: &Pbx) -> Result<Actions, Fault> {
    let (user, secret) = login_of(pbx)?;
    let user = user.ok_or(Fault::NoLogin("user"))?;
    let greeting = answer("its greeting", connection.line()).await?;
    if !greeting.starts_with(GREETING) {
        let what = format!("it greets with {:?}", greeting.chars().take(40).collect::<String>());
        return Err(Fault::Foreign { protocol: PROTOCOL, what });
    }
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|error| Fault::Broken(error.into()))?;
    let mut actions = Actions { secret: u64::from_ne_bytes(random), count: 0 };
    let challenged = ask(connection, &mut actions, "Action: Challenge\r\nAuthType: MD5\r\n").await?;
    let Some(challenge) = challenged.header("Challenge") else {
        return Err(refused(&challenged, "allow this host in manager.conf (`permit`)"));
    };
    let key = hexadecimal(&Md5::digest(format!("{challenge}{secret}")));
    let login = format!("Action: Login\r\nAuthType: MD5\r\nUsername: {user}\r\nKey: {key}\r\nEvents: on\r\n");
    let reply = ask(connection, &mut actions, &login).await?;
    match reply.header("Response") {
        Some("Success") => Ok(actions),
        _ => Err(refused(
            &reply,
            "set `user` and `secret` in [[pbx]] to those of a section of manager.conf that permits this host and has \
             `read = security,system` and `write = system`",
        )),
    }
}

fn refused(reply: &Message, remedy: &'static str) -> Fault {
    let said = reply.header("Message").unwrap_or("no reason given").to_owned();
    Fault::Refused { said, remedy }
}

/// The response to one action; events before it are of no interest yet.
async fn ask(connection: &mut Connection, actions: &mut Actions, action: &str) -> Result<Message, Fault> {
    let id = actions.next();
    connection.write(&format!("{action}ActionID: {id}\r\n\r\n")).await?;
    let response = async {
        loop {
            let message = connection.message().await?;
            if message.header("Response").is_some() && message.header("ActionID") == Some(&id) {
                return Ok(message);
            }
        }
    };
    answer("the response to a login", response).await
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
