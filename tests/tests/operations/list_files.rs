//! Lists from files: a hundred thousand prefixes in force, shown in one line, and whole or not at all.

use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::{Value, json};
use tests::{Filter, Lab, POLICY};

use super::asking::{assert_told, done, explained, generation, leaving_all_as_it_was, reason, told};

/// Of addresses from 10.0.0.0 on, every second one, so that no two can be joined.
const PREFIXES: u32 = 100_000;

/// The policy with one more trunk, whose allow list is `big.txt` beside the policy file.
fn with_list_file() -> String {
    format!("{POLICY}\n[[trunk]]\nname = \"many\"\nallow = [\"198.18.0.1\", \"file:big.txt\"]  # the feed\n")
}

fn address(index: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0a00_0000 + index * 2)
}

fn write_list(lab: &Lab, prefixes: u32, more: &str) -> PathBuf {
    let lines: String = (0..prefixes).map(|index| format!("{}\r\n", address(index))).collect();
    let path = lab.directory().join("big.txt");
    fs::write(&path, format!("\u{feff}# the feed\r\n\r\n{lines}{more}")).unwrap();
    path
}

/// The rows of the trunk in `allow list`.
fn rows(filter: &Filter) -> Vec<Value> {
    let entries = filter.json(&["allow", "list"]).unwrap();
    entries.as_array().unwrap().iter().filter(|entry| entry["trunk"] == "many").cloned().collect()
}

#[test]
fn a_long_list_file_is_applied_and_a_broken_one_leaves_it_in_force() {
    let Some(lab) = Lab::or_skip() else { return };
    let filter = Filter::start(&lab, POLICY).unwrap();
    let path = write_list(&lab, PREFIXES, "");
    let config = filter.config().display().to_string();
    let last = address(PREFIXES - 1).to_string();
    assert_eq!(reason(&filter, &last), "stranger");
    filter.write_config(&with_list_file()).unwrap();
    let printed = done(&filter, &format!("apply --config {config}"));
    assert!(printed.contains("\n… trunk many allow: 99,001 more come\n"), "{printed}");
    assert!(printed.lines().count() < 1_010, "{}", printed.lines().count());
    let because = json!({"trunk": "many", "entry": format!("{last}/32")});
    assert_eq!(explained(&filter, &last)["because"], because);
    assert_eq!(reason(&filter, "10.0.0.1"), "stranger");

    let file = path.display().to_string();
    let in_short = json!({"file": file, "prefixes": PREFIXES, "trunk": "many"});
    let own = json!({"prefix": "198.18.0.1/32", "trunk": "many", "saved": true});
    assert_eq!(rows(&filter), [own, in_short]);
    for command in ["allow list", "trunk list"] {
        let printed = done(&filter, command);
        assert!(printed.contains(&format!("file:{file}  100,000 prefixes")), "{command}: {printed}");
    }
    let before = generation(&filter);
    leaving_all_as_it_was(&filter, || {
        write_list(&lab, 10, "10.0.0.300\n");
        let words = [format!("{file}:13:1: "), "10.0.0.300".into(), "write an address or a prefix".into()];
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        for command in ["apply", "apply --dry-run", "check", "replay /dev/null"] {
            assert_told(command, &told(&filter, &format!("{command} --config {config}")), 2, &words);
        }
        let checked = told(&filter, &format!("check --json --config {config}"));
        let answer: Value = serde_json::from_str(&checked.stdout).unwrap();
        let error = &answer["errors"][0];
        assert_eq!((&error["file"], &error["line"], &error["column"]), (&json!(file), &json!(13), &json!(1)));
        fs::remove_file(&path).unwrap();
        let words = [&format!("{config}:"), "there is no list file", file.as_str(), "create it"];
        assert_told("missing", &told(&filter, &format!("apply --config {config}")), 2, &words);
    });
    assert_eq!((generation(&filter), reason(&filter, &last).as_str()), (before, "trunk"));
}

#[test]
fn what_is_no_regular_file_is_refused_without_waiting_for_it() {
    let Some(lab) = Lab::or_skip() else { return };
    let filter = Filter::start(&lab, POLICY).unwrap();
    let config = filter.config().display().to_string();
    let at = |name: &str| lab.directory().join(name).display().to_string();
    mkfifo(at("fifo").as_str(), Mode::S_IRWXU).unwrap();
    fs::create_dir(at("directory")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", at("link")).unwrap();
    std::os::unix::fs::symlink("loop", at("loop")).unwrap();
    leaving_all_as_it_was(&filter, || {
        for (name, words) in [
            ("fifo", "is no regular file"),
            ("directory", "is no regular file"),
            ("link", "is no regular file"),
            ("loop", "cannot read the list file"),
            ("fifo/x", "cannot read the list file"),
        ] {
            filter.write_config(&with_list_file().replace("big.txt", name)).unwrap();
            for command in ["check", "apply"] {
                let outcome = told(&filter, &format!("{command} --config {config}"));
                assert_told(name, &outcome, 2, &[words, &at(name), "file:"]);
            }
        }
    });
}

#[test]
fn live_changes_go_beside_a_list_file_and_are_saved_where_they_can_be() {
    let Some(lab) = Lab::or_skip() else { return };
    let path = write_list(&lab, 10, "");
    let mut filter = Filter::start(&lab, &with_list_file()).unwrap();
    let list = fs::read_to_string(&path).unwrap();
    let file = path.display().to_string();
    let words = ["10.0.0.4/32", "already", "many"];
    assert_told("there", &told(&filter, "allow add 10.0.0.4 --trunk many"), 2, &words);
    leaving_all_as_it_was(&filter, || {
        let outcome = told(&filter, "allow remove 10.0.0.4 --trunk many --save");
        assert_told("in the file", &outcome, 2, &[&file, "remove it there and apply"]);
    });
    done(&filter, "allow remove 10.0.0.4 --trunk many");
    assert_eq!(reason(&filter, "10.0.0.4"), "stranger");
    assert_eq!(rows(&filter)[2], json!({"removed": "10.0.0.4/32", "trunk": "many", "saved": false}));
    assert_eq!(filter.status().unwrap()["unsaved_changes"], 1);
    done(&filter, "allow add 10.0.0.4 --trunk many");
    assert_eq!((reason(&filter, "10.0.0.4").as_str(), rows(&filter).len()), ("trunk", 2));

    done(&filter, "allow add 10.0.0.5 --trunk many --save");
    done(&filter, "allow remove 198.18.0.1 --trunk many --save");
    let saved = fs::read_to_string(filter.config()).unwrap();
    assert!(saved.contains("allow = [\"file:big.txt\", \"10.0.0.5\"]  # the feed\n"), "{saved}");
    assert_eq!(fs::read_to_string(&path).unwrap(), list);
    let before = rows(&filter);
    filter.restart().unwrap();
    assert_eq!(rows(&filter), before);
    assert_eq!(filter.status().unwrap()["unsaved_changes"], 0);
}
