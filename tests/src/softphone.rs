//! A phone that speaks SIP over TLS, by `baresip`: it registers by itself, calls, and says back what it hears.

use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;

use crate::host::Host;
use crate::phone::Account;
use crate::process::Process;
use crate::wait::wait_until;

/// Where it takes commands, inside the host: one phone a host.
const CONTROL: &str = "127.0.0.1:4444";
/// For each step; it tries again by itself.
const WITHIN: Duration = Duration::from_secs(30);

const CONFIG: &str = "\
module_path /usr/lib/baresip/modules
module g711.so
module aubridge.so
module_app account.so
module_app menu.so
module_app ctrl_tcp.so
module_tmp uuid.so
audio_source aubridge,nil
audio_player aubridge,nil
audio_alert aubridge,nil
ctrl_tcp_listen ";

/// A running phone. Dropping it ends it without a word to the registrar.
#[derive(Debug)]
pub struct Softphone<'a> {
    host: &'a Host,
    process: Process,
    server: SocketAddr,
}

impl<'a> Softphone<'a> {
    /// Starts it; it goes on trying to register with the server until it is dropped.
    pub fn start(host: &'a Host, account: Account<'_>, server: SocketAddr) -> Result<Self> {
        let folder = host.directory().join("softphone");
        fs::create_dir_all(&folder)?;
        let Account { user, password } = account;
        let account = format!(
            "<sip:{user}@{server};transport=tls>;auth_pass={password};regint=600;audio_codecs=PCMU\n"
        );
        for (name, text) in [("config", format!("{CONFIG}{CONTROL}\n")), ("accounts", account)] {
            fs::write(folder.join(name), text).with_context(|| format!("write {name}"))?;
        }
        fs::write(folder.join("contacts"), "")?;
        let mut command = host.command("baresip");
        command.args(["-4", "-f"]).arg(&folder);
        Ok(Self { host, process: host.spawn("baresip", command)?, server })
    }

    /// Waits until the registrar has accepted it.
    pub fn registered(&self) -> Result<()> {
        self.said("200 OK")
    }

    /// Calls an extension of the server and waits until the call stands; it stands until the phone is dropped.
    pub fn call(&self, extension: &str) -> Result<()> {
        let to = format!("sip:{extension}@{};transport=tls", self.server);
        let command = json!({ "command": "dial", "params": to }).to_string();
        let mut control = self.host.in_namespace(|| TcpStream::connect(CONTROL))??;
        // A netstring.
        write!(control, "{}:{command},", command.len())?;
        self.said("Call established")
    }

    fn said(&self, text: &str) -> Result<()> {
        let what = format!("the phone to say \"{text}\"");
        let said = || Ok((self.process.stdout().contains(text)).then_some(()));
        wait_until(WITHIN, &what, said).with_context(|| format!("it printed:\n{}", self.process.tail()))
    }
}
