//! Real Kamailio with a location table, and the lines of its route that its documents ask for.

use std::fs;
use std::time::Duration;

use sip_filter::policy::PbxKind;
use sip_filter::trust::{Report, SipTransport};
use tests::{Account, Family, Host, Lab, Phone, Process, Way, wait_until};

use super::follower::{Follower, flow};

const SNIPPET: &str = include_str!("../../../docs/kamailio-sip-filter.cfg");
const HTTP: &str = "127.0.0.1:8060";
const ALICE: Account<'_> = Account { user: "alice", password: "secret" };
/// Nobody's.
const CONTACT: &str = "sip:alice@203.0.113.77:5071";

/// A registrar; dropping it ends it.
struct Registrar {
    process: Process,
    socket: String,
}

impl Registrar {
    /// With the snippet, or as it was before anybody read the documents.
    fn start(host: &Host, has_snippet: bool) -> Self {
        let run = host.directory().join("registrar");
        fs::create_dir_all(&run).unwrap();
        fs::write(run.join("kamailio-sip-filter.cfg"), SNIPPET).unwrap();
        let include = format!("include_file \"{}/kamailio-sip-filter.cfg\"", run.display());
        let lines = match has_snippet {
            true => [include.as_str(), "fix_nated_register();", "route(SIP_FILTER);"],
            false => ["", "", "exit;"],
        };
        let text = include_str!("registrar.cfg")
            .replace("{{v4}}", &host.address(Family::V4).to_string())
            .replace("{{run}}", &run.display().to_string())
            .replace("{{include}}", lines[0])
            .replace("{{before}}", lines[1])
            .replace("{{after}}", lines[2]);
        let config = run.join("registrar.cfg");
        fs::write(&config, text).unwrap();
        let mut command = host.command("kamailio");
        command.args(["-DD", "-E", "-m", "32", "-M", "8"]).arg("-f").arg(&config);
        command.arg("-w").arg(&run).arg("-Y").arg(&run);
        let mut process = host.spawn("registrar", command).unwrap();
        let socket = run.join("rpc.sock");
        let _ = fs::remove_file(&socket);
        let started = wait_until(Duration::from_secs(15), "kamailio to listen", || {
            process.still_runs()?;
            let tables = ["udp", "tcp"].map(|name| format!("/proc/thread-self/net/{name}"));
            let tables =
                host.in_namespace(|| tables.map(|path| fs::read_to_string(path).unwrap_or_default()))?;
            // SIP and JSON-RPC, as the kernel writes their ports.
            let listens = tables[0].contains(":13C4") && tables[1].contains(":1F7C");
            Ok((listens && socket.exists()).then_some(()))
        });
        started.unwrap_or_else(|error| panic!("{error:#}\n{}", process.tail()));
        Self { process, socket: socket.display().to_string() }
    }
}

#[test]
fn the_documents_lines_tell_where_phones_really_are_as_it_happens() {
    let Some(lab) = Lab::or_skip() else { return };
    let mut registrar = Registrar::start(lab.pbx(), true);
    for address in [registrar.socket.as_str(), HTTP] {
        let mut follower = Follower::start(lab.pbx(), PbxKind::Kamailio, address, "");
        assert_eq!(follower.snapshot(), (vec![], 0));
        let ways = [(Way::Udp, SipTransport::Udp, 40_101), (Way::Tcp, SipTransport::Tcp, 0)];
        for (way, transport, port) in ways {
            let mut phone = Phone::connect(lab.stranger(), way, port, lab.pbx().sip(Family::V4)).unwrap();
            assert_eq!(phone.register(ALICE, CONTACT, 600).unwrap(), 200);
            let binding = follower.registered("alice");
            assert_eq!((binding.flow, binding.contact.as_str()), (flow(phone.local(), transport), CONTACT));
            assert!((590..=600).contains(&binding.lifetime.as_secs()), "{binding:?}");
            phone.register(ALICE, CONTACT, 0).unwrap();
            follower.unregistered("alice");
        }
        let mut phone = Phone::connect(lab.stranger(), Way::Udp, 40_102, lab.pbx().sip(Family::V4)).unwrap();
        phone.register(ALICE, CONTACT, 3).unwrap();
        follower.registered("alice");
        follower.unregistered("alice");
    }
    registrar.process.still_runs().unwrap();
}

#[test]
fn what_is_registered_already_is_known_at_once_and_a_table_that_fits_no_datagram_by_http() {
    let Some(lab) = Lab::or_skip() else { return };
    let registrar = Registrar::start(lab.pbx(), true);
    let mut phone = Phone::connect(lab.stranger(), Way::Udp, 40_131, lab.pbx().sip(Family::V4)).unwrap();
    let mut register = |users: std::ops::Range<u32>| {
        for user in users.map(|number| format!("user{number:04}")) {
            let account = Account { user: &user, password: "secret" };
            assert_eq!(phone.register(account, &format!("sip:{user}@203.0.113.77"), 600).unwrap(), 200);
        }
        flow(phone.local(), SipTransport::Udp)
    };
    for (address, users) in [(registrar.socket.as_str(), 0..100), (HTTP, 100..300)] {
        let at = register(users.clone());
        let (bindings, unplaced) = Follower::start(lab.pbx(), PbxKind::Kamailio, address, "").snapshot();
        assert_eq!((bindings.len(), unplaced), (users.end as usize, 0));
        assert!(bindings.iter().all(|binding| binding.flow == at), "{bindings:?}");
    }
    let follower = Follower::start(lab.pbx(), PbxKind::Kamailio, &registrar.socket, "");
    let patience = Duration::from_secs(30);
    let error = wait_until(patience, "the complaint", || Ok(follower.state().last_error)).unwrap();
    assert!(error.contains("by HTTP"), "{error}");
}

#[test]
fn without_the_documents_lines_nobody_is_placed_and_the_remedy_is_told() {
    let Some(lab) = Lab::or_skip() else { return };
    let registrar = Registrar::start(lab.pbx(), false);
    let mut phone = Phone::connect(lab.stranger(), Way::Udp, 40_111, lab.pbx().sip(Family::V4)).unwrap();
    assert_eq!(phone.register(ALICE, CONTACT, 600).unwrap(), 200);
    let mut follower = Follower::start(lab.pbx(), PbxKind::Kamailio, &registrar.socket, "");
    assert_eq!(follower.snapshot(), (vec![], 1));
    let patience = Duration::from_secs(5);
    let error = wait_until(patience, "the complaint", || Ok(follower.state().last_error)).unwrap();
    assert!(error.contains("docs/kamailio-sip-filter.cfg"), "{error}");
}

#[test]
fn a_kamailio_that_was_started_anew_is_asked_anew() {
    let Some(lab) = Lab::or_skip() else { return };
    let registrar = Registrar::start(lab.pbx(), true);
    let mut follower = Follower::start(lab.pbx(), PbxKind::Kamailio, &registrar.socket, "");
    follower.snapshot();
    let mut phone = Phone::connect(lab.stranger(), Way::Udp, 40_121, lab.pbx().sip(Family::V4)).unwrap();
    phone.register(ALICE, CONTACT, 600).unwrap();
    follower.registered("alice");
    drop(registrar);
    let _registrar = Registrar::start(lab.pbx(), true);
    follower.wait("the loss", |report| (*report == Report::Lost).then_some(()));
    assert_eq!(follower.snapshot(), (vec![], 0));
}
