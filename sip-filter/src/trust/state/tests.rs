//! Rows for what happens to the file and to the clocks.

use std::{collections::BTreeSet, net::IpAddr, os::unix::fs::PermissionsExt as _};

use super::*;
use crate::trust::SipTransport;

const NS_PER_S: u64 = 1_000_000_000;

fn stored(seconds: u64) -> Stored {
    Stored {
        aor: "alice@pbx.example".to_owned(),
        contact: "sip:\"ä\n\u{0}@h".to_owned(),
        flow: Flow { address: IpAddr::from([198, 51, 100, 1]), port: 5060, transport: SipTransport::Wss },
        witness: Witness::Pbx("office".to_owned()),
        remaining: Duration::from_secs(seconds),
    }
}

fn at(boot_s: u64, wall_s: u64) -> Now {
    Now { boot_ns: boot_s * NS_PER_S, wall: SystemTime::UNIX_EPOCH + Duration::from_secs(wall_s) }
}

struct Place {
    directory: tempfile::TempDir,
    store: Store,
}

fn place() -> Place {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&directory.path().join("below/state")).unwrap();
    Place { directory, store }
}

#[test]
fn what_was_saved_is_loaded() {
    let Place { store, directory } = place();
    assert_eq!(store.load(at(5, 5)).unwrap(), Loaded::default());
    let other = Stored { witness: Witness::Wire, contact: String::new(), ..stored(30) };
    let all = vec![stored(60), other];
    store.save(1, &all, at(5, 5)).unwrap();
    assert_eq!(store.load(at(5, 5)).unwrap(), Loaded { stored: all, damaged: None });
    store.save(1, &[], at(6, 6)).unwrap();
    assert_eq!(store.load(at(6, 6)).unwrap(), Loaded::default());
    let names = fs::read_dir(directory.path().join("below")).unwrap();
    let names: BTreeSet<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["state", "state.lock"].map(Into::into).into());
    assert!(matches!(Store::open(&store.path), Err(StateError::InUse(path)) if path == store.path));
    let mode = fs::metadata(&store.path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, MODE);
}

#[test]
fn what_stands_there_is_loaded_where_nothing_can_be_written() {
    let Place { store, directory: _directory } = place();
    store.save(1, &[stored(60)], at(5, 5)).unwrap();
    let path = store.path.clone();
    drop(store);
    let lock = path.with_added_extension("lock");
    fs::remove_file(&lock).unwrap();
    fs::create_dir(&lock).unwrap();
    assert_eq!(Store::open(&path).unwrap().load(at(5, 5)).unwrap().stored, [stored(60)]);
}

#[test]
fn a_lifetime_never_grows_whatever_the_clocks_do() {
    let check = |same_boot: bool, now: Now, expected: Option<u64>| {
        let Place { mut store, directory: _directory } = place();
        store.save(1, &[stored(60)], at(1_000, 5_000)).unwrap();
        if !same_boot {
            store.boot_id = "another".to_owned();
        }
        let loaded = store.load(now).unwrap().stored;
        let left = loaded.first().map(|stored| stored.remaining.as_secs());
        assert_eq!(left, expected, "{same_boot} {now:?}");
    };
    check(true, at(1_000, 5_000), Some(60));
    check(true, at(1_020, 5_020), Some(40));
    check(true, at(1_020, 0), Some(40));
    check(true, at(1_020, 5_000_000), Some(40));
    check(true, at(1_060, 0), None);
    check(false, at(3, 5_020), Some(40));
    check(false, at(2_000, 5_020), Some(40));
    check(false, at(3, 0), Some(60));
    check(false, at(3, 5_060), None);
    check(false, at(3, 5_000_000), None);
}

#[test]
fn a_damaged_file_is_moved_aside_and_nothing_of_it_believed() {
    let Place { store, directory: _directory } = place();
    store.save(1, &[stored(60), stored(30)], at(5, 5)).unwrap();
    let whole = fs::read(&store.path).unwrap();
    let aside = store.path.with_added_extension("damaged");
    let damaged = Loaded { stored: Vec::new(), damaged: Some(aside.clone()) };
    let check = |bytes: &[u8], what: &str| {
        fs::write(&store.path, bytes).unwrap();
        assert_eq!(store.load(at(5, 5)).unwrap(), damaged, "{what}");
        assert_eq!(fs::read(&aside).unwrap(), bytes, "{what}");
        assert!(!store.path.exists(), "{what}");
        store.save(1, &[stored(60)], at(5, 5)).unwrap();
        assert_eq!(store.load(at(5, 5)).unwrap().stored, [stored(60)], "{what}");
    };
    for length in 0..whole.len() {
        check(&whole[..length], "cut off");
    }
    let header = whole.iter().position(|byte| *byte == b'\n').unwrap();
    for index in header + 1..whole.len() {
        let mut bytes = whole.clone();
        bytes[index] ^= 1;
        check(&bytes, "a bit has flipped");
    }
    check(b"\x00\xff\n\n", "rubbish");
    let newer = String::from_utf8(whole).unwrap().replacen("\"format\":1", "\"format\":2", 1);
    check(newer.as_bytes(), "of a later version");
}

#[test]
fn a_write_that_was_interrupted_leaves_what_was_before() {
    let Place { store, directory: _directory } = place();
    store.save(1, &[stored(60)], at(5, 5)).unwrap();
    fs::write(store.path.with_added_extension("new"), "{\"format\":1,").unwrap();
    assert_eq!(store.load(at(5, 5)).unwrap().stored, [stored(60)]);
    store.save(1, &[stored(30)], at(5, 5)).unwrap();
    assert_eq!(store.load(at(5, 5)).unwrap().stored, [stored(30)]);
}

#[test]
fn a_full_disk_is_an_error_that_leaves_what_was_before() {
    let Place { store, directory: _directory } = place();
    store.save(1, &[stored(60)], at(5, 5)).unwrap();
    let new = store.path.with_added_extension("new");
    std::os::unix::fs::symlink("/dev/full", &new).unwrap();
    let error = store.save(1, &[stored(30)], at(5, 5)).unwrap_err().to_string();
    assert!(error.contains("cannot write") && error.contains("No space left"), "{error}");
    assert_eq!(store.load(at(5, 5)).unwrap().stored, [stored(60)]);
    fs::remove_file(new).unwrap();
    store.save(1, &[stored(30)], at(5, 5)).unwrap();
    assert_eq!(store.load(at(5, 5)).unwrap().stored, [stored(30)]);
}

#[test]
fn what_is_older_is_not_written_over_what_is_newer() {
    let Place { store, directory: _directory } = place();
    store.save(2, &[stored(60)], at(5, 5)).unwrap();
    store.clone().save(1, &[], at(5, 5)).unwrap();
    assert_eq!(store.load(at(5, 5)).unwrap().stored, [stored(60)]);
    store.clone().save(2, &[stored(30)], at(5, 5)).unwrap();
    assert_eq!(store.load(at(5, 5)).unwrap().stored, [stored(30)]);
}

#[test]
fn many_that_write_at_once_leave_a_whole_file() {
    let Place { store, directory: _directory } = place();
    std::thread::scope(|scope| {
        for revision in 0..8 {
            let store = store.clone();
            // Of lengths that differ, so that two in one file would damage it.
            let all = vec![stored(60); usize::try_from(revision).unwrap() * 50 + 1];
            scope.spawn(move || {
                for _ in 0..10 {
                    store.save(revision, &all, at(5, 5)).unwrap();
                }
            });
        }
    });
    let loaded = store.load(at(5, 5)).unwrap();
    assert_eq!(loaded, Loaded { stored: vec![stored(60); 7 * 50 + 1], damaged: None });
}

#[test]
fn no_line_is_longer_than_what_is_reckoned_with() {
    let longest = Stored {
        aor: "\u{1}".repeat(TEXT_MAX),
        contact: "\u{1}".repeat(TEXT_MAX),
        flow: Flow { address: IpAddr::from([0xffff; 8]), port: u16::MAX, transport: SipTransport::Tcp },
        witness: Witness::Pbx("n".repeat(64)),
        remaining: Duration::from_millis(u64::MAX),
    };
    let line = serde_json::to_vec(&longest).unwrap();
    assert!(line.len() < LINE_MAX, "{}", line.len());
    let Place { store, directory: _directory } = place();
    let now = Now { boot_ns: u64::MAX, wall: SystemTime::UNIX_EPOCH + Duration::from_nanos(u64::MAX) };
    store.save(1, &[], now).unwrap();
    assert!(fs::metadata(&store.path).unwrap().len() <= HEADER_MAX as u64);
}

#[test]
fn saving_takes_a_small_part_of_the_time() {
    let mut pace = Pace::default();
    assert!(!pace.is_due(0, at(1, 0)));
    assert!(pace.is_due(1, at(1, 0)));
    pace.saved(1, Duration::from_millis(1), at(2, 0));
    assert!(!pace.is_due(1, at(9, 0)));
    assert!(!pace.is_due(2, Now { boot_ns: 3 * NS_PER_S - 1, ..at(0, 0) }));
    assert!(pace.is_due(2, at(3, 0)));
    pace.saved(2, Duration::from_secs(1), at(3, 0));
    assert!(!pace.is_due(3, at(22, 0)));
    assert!(pace.is_due(3, at(23, 0)));
    pace.failed(at(23, 0));
    assert!(!pace.is_due(3, at(32, 0)));
    assert!(pace.is_due(3, at(33, 0)));
}
