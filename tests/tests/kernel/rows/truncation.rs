//! Frames cut at every length, and bytes that nobody would send: nothing panics, and all agree.

use std::cell::RefCell;

use proptest::prelude::{ProptestConfig, Strategy, any};
use proptest::test_runner::TestRunner;
use proptest::{prop_assert_eq, prop_oneof};
use sip_filter::host_tables::HostTables;
use sip_filter::policy::registered::RegisteredTrunks;
use sip_filter::policy::tables::Tables;
use sip_filter_common::{Reason, judge};

use super::{Clean, FAMILIES, HOUR_NS, Model, Packet, STRANGER, action, may_use_the_kernel, parsed};
use crate::kernel::packet::{AUTHENTICATION, DESTINATION_OPTIONS, HOP_BY_HOP, tcp, udp};

/// Frames of a stranger, each with the length from which on it shows its ports.
fn frames() -> Vec<(Packet, usize)> {
    let [four, six] = FAMILIES;
    let mut frames = Vec::new();
    for packet in [udp(), tcp()] {
        let (four, six) = (packet.clone().between(four, STRANGER, 5060), packet.between(six, STRANGER, 5060));
        frames.push((four.clone(), 14 + 20 + 4));
        frames.push((four.clone().vlan(10), 18 + 20 + 4));
        frames.push((four.clone().service_vlan(100).vlan(10), 22 + 20 + 4));
        frames.push((four.options(10), 14 + 60 + 4));
        frames.push((six.clone(), 14 + 40 + 4));
        frames.push((six.clone().service_vlan(100).vlan(10), 22 + 40 + 4));
        frames.push((six.clone().extension(HOP_BY_HOP).extension(AUTHENTICATION), 14 + 40 + 8 + 24 + 4));
        frames.push((six.clone().extension_of(DESTINATION_OPTIONS, 9), 14 + 40 + 80 + 4));
        frames.push((six.fragment(9, 0, false), 14 + 40 + 8 + 4));
    }
    frames
}

#[test]
fn a_frame_cut_before_its_ports_is_truncated_and_behind_them_is_judged() {
    let policy = parsed(super::POLICY);
    let host = HostTables::new(Tables::compile(&policy, &RegisteredTrunks::default()).unwrap());
    let mut model = Model::new(&policy);
    let mut kernel = may_use_the_kernel("frames cut at every length").then(|| Clean::with(&policy));
    for (packet, len_min) in frames() {
        let whole = packet.build();
        for len in 0..=whole.len() {
            let frame = &whole[..len];
            let expected = if len < len_min { Reason::Truncated } else { Reason::Stranger };
            assert_eq!(judge(frame, &host), expected, "{packet:?} cut to {len} bytes");
            assert_eq!(model.judge(frame), expected, "{packet:?} cut to {len} bytes, by the model");
            if let Some(kernel) = kernel.as_mut().filter(|kernel| kernel.takes(frame)) {
                let answer = kernel.judge(frame);
                assert_eq!(
                    answer,
                    Ok((expected, action(policy.mode, expected))),
                    "{packet:?} cut to {len} bytes, by the kernel"
                );
            }
        }
    }
}

fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let bytes = proptest::collection::vec(any::<u8>(), 0..200);
    let kind = proptest::sample::select(vec![
        &[8, 0][..],
        &[0x86, 0xdd],
        &[0x81, 0, 0, 0, 8, 0],
        &[0x88, 0xa8, 0, 7, 0x86, 0xdd],
    ]);
    let headed = (kind, bytes.clone()).prop_map(|(kind, bytes)| {
        let version = if kind.ends_with(&[8, 0]) { 0x45 } else { 0x60 };
        [&[0; 12], kind, &[version], &bytes].concat()
    });
    let built = proptest::sample::select(frames());
    let changes = proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..12);
    let changed = (built, changes, 0usize..200).prop_map(|((packet, _), changes, len)| {
        let mut frame = packet.build();
        for (index, byte) in changes {
            let at = index.index(frame.len().min(120));
            frame[at] = byte;
        }
        frame.truncate(len.max(14));
        frame
    });
    prop_oneof![bytes, headed, changed]
}

#[test]
fn any_bytes_have_a_reason() {
    let policy = parsed(super::POLICY);
    let judges = RefCell::new((
        HostTables::new(Tables::compile(&policy, &RegisteredTrunks::default()).unwrap()),
        Model::new(&policy),
    ));
    let config = ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() };
    let frames = proptest::collection::vec(any_frame(), 1..4);
    let result = TestRunner::new(config).run(&frames, |frames| {
        let (host, model) = &mut *judges.borrow_mut();
        // Each case begins with nothing to follow.
        model.now_ns += HOUR_NS;
        host.set_now_ns(model.now_ns);
        for frame in frames {
            prop_assert_eq!(judge(&*frame, host), model.judge(&frame), "{:02x?}", frame);
        }
        Ok(())
    });
    result.unwrap_or_else(|failure| panic!("{failure}"));
}
