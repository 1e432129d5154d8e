//! Phones at addresses that nobody listed.

use tests::{Family, Lab, Pbx, Phone, Transport};

#[test]
fn the_laboratory_registers_and_calls() {
    let Some(lab) = Lab::or_skip() else { return };
    let _pbx = Pbx::start_registrar(lab.pbx()).unwrap();
    for transport in [Transport::Udp, Transport::Tcp] {
        for family in Family::ALL {
            let phone = Phone::new(lab.trunk(), lab.trunk().address(family), transport, "alice");
            let registered = phone.register(60).unwrap();
            assert!(registered.complete, "{}", registered.log);
            let registered = phone.register_after(2, 60).unwrap();
            assert!(registered.complete, "{}", registered.log);
            let call = phone.call().unwrap();
            assert!(call.complete, "{}", call.log);
            let gone = phone.deregister_all().unwrap();
            assert!(gone.complete, "{}", gone.log);
        }
    }
    let phone = Phone::new(lab.trunk(), lab.trunk().address(Family::V4), Transport::Udp, "bob").behind_nat();
    let many = phone.register_many(1_000, 60, std::time::Duration::from_secs(30)).unwrap();
    assert!(many.complete, "{}", many.log);
    eprintln!("{:?}", many.took);
    let before = std::time::Instant::now();
    let cracked = tests::attack::crack(lab.stranger(), lab.pbx().sip(Family::V4), "alice", 200).unwrap();
    eprintln!("{cracked:?} {:?}", before.elapsed());
    let war = tests::attack::war(lab.stranger(), lab.pbx().sip(Family::V4), "100-200").unwrap();
    eprintln!("{war:?} {:?}", before.elapsed());
}
