//! Policies that begin, or cease, to let strangers prove themselves while the filter runs.

use std::fs;

use aya::programs::{SchedClassifier, TcAttachType};
use tests::{Family, Handset, POLICY, Transport};

use super::{Scene, prove};

const AN_HOUR_S: u32 = 3_600;

#[test]
fn a_policy_that_lets_strangers_prove_themselves_does_so_as_soon_as_it_is_applied() {
    let Some(scene) = Scene::or_skip(POLICY) else { return };
    let address = scene.somewhere(40, Family::V4);
    let phone = Handset::new(scene.lab.trunk(), address, Transport::Udp, "alice");
    let apply = |policy: &str| {
        fs::write(scene.filter.config(), policy).unwrap();
        let config = scene.filter.config().display().to_string();
        scene.filter.done(&["apply", "--config", &config]).unwrap();
    };
    apply(&prove(""));
    assert!(phone.register(AN_HOUR_S).unwrap().complete);
    scene.assert_let_in(address);
    assert!(is_looked_at(&scene));
    apply(POLICY);
    scene.assert_shut_out(address);
    assert!(!is_looked_at(&scene), "nothing is to be learnt from what the server sends");
    apply(&prove(""));
    scene.assert_let_in(address);
}

#[test]
fn what_looks_at_replies_goes_with_the_rest() {
    for with_daemon in [true, false] {
        let Some(mut scene) = Scene::or_skip(&prove("").replace("\"open\"", "\"hold\"")) else { return };
        assert!(is_looked_at(&scene));
        if !with_daemon {
            scene.filter.kill(nix::sys::signal::Signal::SIGKILL).unwrap();
            assert!(is_looked_at(&scene), "the kernel goes on");
        }
        scene.filter.done(&["detach"]).unwrap();
        assert!(!is_looked_at(&scene), "with a daemon: {with_daemon}");
    }
}

/// Whether a program looks at what the protected host sends.
fn is_looked_at(scene: &Scene) -> bool {
    let query = || SchedClassifier::query_tcx("eth0", TcAttachType::Egress);
    let (_, programs) = scene.lab.pbx().in_namespace(query).unwrap().unwrap();
    programs.iter().any(|program| program.name_as_str() == Some("sip_watch"))
}
