//! Asterisk on a host: registrar on UDP, TCP and TLS, and its manager interface (AMI) on the loopback device.
//!
//! It comes from `target/asterisk`, where `cargo xtask setup` unpacks it, and is started by the loader that it brings:
//! nothing of it is installed, and it sees no file of the machine's own configuration.

use std::env;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use crate::host::Host;
use crate::process::{Process, succeed};
use crate::wait::wait_until;

/// Where AMI answers, inside the host.
pub const AMI: &str = "127.0.0.1:5038";
/// Where it takes SIP over TLS.
pub const TLS_PORT: u16 = 5061;

const START: Duration = Duration::from_secs(30);

/// `{root}`, `{modules}` and `{run}` stand for folders.
const DIRECTORIES: &str = "\
[directories]
astetcdir => {run}
astmoddir => {modules}
astvarlibdir => {run}
astdbdir => {run}
astkeydir => {run}
astdatadir => {root}/usr/share/asterisk
astagidir => {run}
astspooldir => {run}
astrundir => {run}
astlogdir => {run}
astsbindir => {root}/usr/sbin
";

const MODULES: &[&str] = &[
    "res_sorcery_config",
    "res_sorcery_memory",
    "res_sorcery_astdb",
    "res_pjproject",
    "res_pjsip",
    "res_pjsip_session",
    "res_pjsip_authenticator_digest",
    "res_pjsip_registrar",
    "res_pjsip_endpoint_identifier_user",
    "res_pjsip_pubsub",
    "chan_pjsip",
    "res_pjsip_sdp_rtp",
    "res_rtp_asterisk",
    "codec_ulaw",
    "pbx_config",
    "app_echo",
];

/// Whom phones can call.
const EXTENSIONS: &str = "\
[default]
exten => 600,1,Answer()
 same => n,Echo()
";

const SIP: &str = "\
[global]
type=global
contact_expiration_check_interval=1
[udp]
type=transport
protocol=udp
bind=0.0.0.0:5060
[tcp]
type=transport
protocol=tcp
bind=0.0.0.0:5060
[tls]
type=transport
protocol=tls
bind=0.0.0.0:5061
cert_file={run}/certificate.pem
priv_key_file={run}/key.pem
method=tlsv1_2
";

/// What each user of [`Asterisk::start`] has; the password is "secret".
const USER: &str = "\
[{user}]
type=endpoint
auth={user}
aors={user}
disallow=all
allow=ulaw
rtp_symmetric=yes
[{user}]
type=auth
auth_type=userpass
username={user}
password=secret
[{user}]
type=aor
max_contacts=3
minimum_expiration=1
";

/// A running Asterisk. Dropping it ends it.
#[derive(Debug)]
pub struct Asterisk {
    process: Process,
}

impl Asterisk {
    /// Starts it on `host` with these users, and with `[filter]` in manager.conf that may read these classes of events.
    ///
    /// None, with a word on standard error, where it was not unpacked; with `CI=true` it must be there.
    pub fn or_skip(host: &Host, users: &[&str], read: &str) -> Option<Self> {
        let root = root();
        if !root.join("usr/sbin/asterisk").is_file() {
            let must = env::var("CI").is_ok_and(|value| value == "true");
            assert!(!must, "no Asterisk in {}: run `cargo xtask setup`", root.display());
            // Past the test harness; who closed it wants no word.
            let _ =
                writeln!(io::stderr(), "skipped: no Asterisk in {}: run `cargo xtask setup`", root.display());
            return None;
        }
        match Self::start(host, &root, users, read) {
            Ok(asterisk) => Some(asterisk),
            Err(error) => panic!("{error:#}"),
        }
    }

    fn start(host: &Host, root: &Path, users: &[&str], read: &str) -> Result<Self> {
        let run = host.directory().join("asterisk");
        fs::create_dir_all(&run).with_context(|| format!("create {}", run.display()))?;
        let modules = find(&root.join("usr/lib"), "asterisk")?.join("modules");
        let fill = |text: &str| {
            let text = text.replace("{run}", &run.display().to_string());
            text.replace("{root}", &root.display().to_string())
                .replace("{modules}", &modules.display().to_string())
        };
        let manager = format!(
            "[general]\nenabled=yes\nbindaddr=127.0.0.1\nport=5038\n[filter]\nsecret=hush\nread={read}\nwrite=system\n"
        );
        let load = MODULES.iter().map(|module| format!("load={module}.so\n")).collect::<String>();
        let users = users.iter().map(|user| USER.replace("{user}", user)).collect::<String>();
        for (name, text) in [
            ("asterisk.conf", fill(DIRECTORIES)),
            ("modules.conf", format!("[modules]\nautoload=no\n{load}")),
            ("manager.conf", manager),
            ("logger.conf", "[logfiles]\nconsole => notice,warning,error\n".to_owned()),
            ("pjsip.conf", fill(SIP) + &users),
            ("extensions.conf", EXTENSIONS.to_owned()),
            ("rtp.conf", "[general]\nrtpstart=10000\nrtpend=10019\n".to_owned()),
        ] {
            fs::write(run.join(name), text).with_context(|| format!("write {name}"))?;
        }
        succeed(Command::new("openssl").current_dir(&run).args(["req", "-x509", "-newkey", "ec"]).args([
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "30",
            "-subj",
            "/CN=pbx",
            "-keyout",
            "key.pem",
            "-out",
            "certificate.pem",
        ]))?;
        let libraries =
            modules.parent().and_then(Path::parent).context("the modules are in no library folder")?;
        let mut command = host.command(find(libraries, "ld-linux")?);
        command.arg("--library-path").arg(libraries).arg(root.join("usr/sbin/asterisk"));
        command.args(["-f", "-C"]).arg(run.join("asterisk.conf"));
        let mut process = host.spawn("asterisk", command)?;
        wait_until(START, "asterisk to listen", || {
            process.still_runs()?;
            // It listens before it knows what to do with what it gets.
            if !process.stdout().contains("Asterisk Ready") {
                return Ok(None);
            }
            let tables = host.in_namespace(|| fs::read_to_string("/proc/thread-self/net/tcp"))?;
            // AMI and TLS, as the kernel writes their ports.
            Ok([":13AE", ":13C5"]
                .into_iter()
                .all(|port| tables.as_ref().is_ok_and(|all| all.contains(port)))
                .then_some(()))
        })
        .with_context(|| format!("asterisk printed:\n{}", process.tail()))?;
        Ok(Self { process })
    }

    /// The last lines that it printed, for an error.
    pub fn tail(&self) -> String {
        self.process.tail()
    }

    /// Ends it as an operator does, so that it keeps what it knows for the next one on the same host.
    pub fn stop(self) -> Result<()> {
        self.process.stop(Signal::SIGTERM, START).map(drop)
    }

    /// Fails, with what it printed, if it is no longer running.
    pub fn still_runs(&mut self) -> Result<()> {
        self.process.still_runs()
    }
}

fn root() -> PathBuf {
    // Programs stand in target/PROFILE, tests in target/PROFILE/deps.
    let program = env::current_exe().unwrap_or_default();
    let folders = program.ancestors().map(|folder| folder.join("asterisk/root"));
    let mut folders = folders.filter(|folder| folder.is_dir());
    folders.next().unwrap_or_else(|| Path::new("target/asterisk/root").to_owned())
}

/// The first file or folder below `folder` whose name begins so, one folder deep at most.
fn find(folder: &Path, name: &str) -> Result<PathBuf> {
    let entries = |folder: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    };
    let near = entries(folder);
    let all = near.iter().cloned().chain(near.iter().flat_map(|folder| entries(folder)));
    let is_named =
        |path: &PathBuf| path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(name));
    let context =
        || format!("no {name} in {}: remove target/asterisk and run `cargo xtask setup`", folder.display());
    all.into_iter().find(is_named).with_context(context)
}
