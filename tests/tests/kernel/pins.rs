//! The bpffs where daemons that start together find none.

use std::path::Path;
use std::sync::Barrier;
use std::thread;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use sip_filter::datapath::Pins;

use super::loaded::may_use_the_kernel;

const BPFFS: &str = "/sys/fs/bpf";
const DAEMONS: usize = 8;
const ROUNDS: usize = 20;

#[test]
fn of_daemons_that_start_together_one_mounts_the_bpffs_and_all_find_their_pins() {
    if !may_use_the_kernel("starting together") {
        return;
    }
    thread::scope(|scope| {
        scope.spawn(|| {
            // In a mount namespace of its own, which the threads that this one starts share.
            unshare(CloneFlags::CLONE_NEWNS).unwrap();
            let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
            for round in 0..ROUNDS {
                while umount2(BPFFS, MntFlags::MNT_DETACH).is_ok() {}
                start_together(round);
            }
        });
    });
}

/// Starts as many at once and looks at what is mounted then.
fn start_together(round: usize) {
    let ready = Barrier::new(DAEMONS);
    thread::scope(|scope| {
        for daemon in 0..DAEMONS {
            let ready = &ready;
            scope.spawn(move || {
                let directory = Path::new(BPFFS).join(format!("sipf-together-{daemon}"));
                ready.wait();
                let pins = Pins::open(&directory);
                ready.wait();
                assert!(directory.exists(), "round {round}: the pins of daemon {daemon} are hidden");
                pins.unwrap();
            });
        }
    });
    let mounted = std::fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    let places = mounted.lines().filter(|line| line.split(' ').nth(4) == Some(BPFFS));
    assert_eq!(places.count(), 1, "round {round}:\n{mounted}");
}
