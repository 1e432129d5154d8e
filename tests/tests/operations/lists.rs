//! Live changes of the lists: in force at once, saved when asked, refused when they make no sense.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use serde_json::{Value, json};
use tests::{Filter, Lab, POLICY};

use super::asking::{ask, assert_told, done, explained, generation, leaving_all_as_it_was, reason, told};

fn two_trunks() -> String {
    format!(
        "{POLICY}\n[[trunk]]\nname = \"second\"\nallow = [\"198.18.0.0/24\"]\noutbound_proxies = [\"198.18.9.9:5060\"]\n"
    )
}

/// The saved state of an entry; null if it is not on the list.
fn saved(filter: &Filter, list: &str, prefix: &str, trunk: Option<&str>) -> Value {
    let entries = filter.json(&[list, "list"]).unwrap();
    let entries = entries.as_array().unwrap();
    let found = entries.iter().find(|entry| entry["prefix"] == prefix && entry["trunk"] == json!(trunk));
    found.map(|entry| entry["saved"].clone()).unwrap_or_default()
}

#[test]
fn allow_and_deny_are_in_force_at_once_and_deny_wins() {
    let Some(lab) = Lab::or_skip() else { return };
    let filter = Filter::start(&lab, &two_trunks()).unwrap();
    for (address, prefix) in
        [("198.51.100.30", "198.51.100.30/32"), ("2001:db8:5060::30", "2001:db8:5060::/64")]
    {
        assert_eq!(reason(&filter, address), "stranger");
        done(&filter, &format!("allow add {prefix}"));
        assert_eq!(explained(&filter, address)["because"], json!({"list": "allow", "entry": prefix}));
        assert_eq!(saved(&filter, "allow", prefix, None), false);
        done(&filter, &format!("deny add {prefix}"));
        assert_eq!(explained(&filter, address)["because"], json!({"list": "deny", "entry": prefix}));
        done(&filter, &format!("deny remove {prefix}"));
        assert_eq!(reason(&filter, address), "trunk");
        done(&filter, &format!("allow remove {prefix}"));
        assert_eq!(reason(&filter, address), "stranger");
        done(&filter, &format!("allow add {address} --trunk second"));
        let answer = explained(&filter, address);
        assert_eq!((&answer["reason"], &answer["because"]["trunk"]), (&json!("trunk"), &json!("second")));
        done(&filter, &format!("allow remove {address} --trunk second"));
        assert_eq!(reason(&filter, address), "stranger");
    }
    assert_eq!(filter.status().unwrap()["unsaved_changes"], 0);
}

#[test]
fn what_a_ban_or_another_list_outweighs_is_told() {
    let Some(lab) = Lab::or_skip() else { return };
    let filter = Filter::start(&lab, &two_trunks()).unwrap();
    done(&filter, "ban add 198.51.100.30 --for 1h --cause test");
    for (address, word, before) in [
        ("198.51.100.30", "ban remove 198.51.100.30", "banned"),
        ("203.0.113.7", "203.0.113.0/24 on the deny list", "denied"),
    ] {
        let answer = done(&filter, &format!("allow add {address}"));
        assert!(answer.starts_with("note: ") && answer.contains(word), "{answer}");
        assert_eq!(reason(&filter, address), before);
    }
    let answer = done(&filter, "ban remove 198.51.100.30");
    assert_eq!(reason(&filter, "198.51.100.30"), "trunk", "{answer}");
    // Bans do not affect an admin.
    done(&filter, "ban add 192.0.2.10 --for 1h --cause test");
    let answer = done(&filter, "allow add 192.0.2.10");
    assert!(!answer.contains("note: "), "{answer}");
    // Of whom nothing else is said.
    let answer = done(&filter, "allow add 198.51.100.31");
    assert!(!answer.contains("note: "), "{answer}");
}

#[test]
fn a_change_that_makes_no_sense_is_refused_and_changes_nothing() {
    let Some(lab) = Lab::or_skip() else { return };
    let filter = Filter::start(&lab, &two_trunks()).unwrap();
    done(&filter, "allow add 192.0.2.64/26");
    let file = fs::read_to_string(filter.config()).unwrap();
    leaving_all_as_it_was(&filter, || {
        for (command, words) in [
            ("allow add 192.0.2.64/26", vec!["192.0.2.64/26", "already", "the allow list"]),
            ("deny add 203.0.113.0/24", vec!["203.0.113.0/24", "already", "the deny list"]),
            ("allow add 198.51.100.20 --trunk carrier", vec!["198.51.100.20/32", "already", "carrier"]),
            (
                "allow remove 192.0.2.65",
                vec!["192.0.2.65/32", "only as a part of 192.0.2.64/26", "remove 192.0.2.64/26"],
            ),
            ("deny remove 203.0.113.128/25", vec!["only as a part of 203.0.113.0/24"]),
            ("allow remove 192.0.2.1", vec!["192.0.2.1/32 is not on the allow list"]),
            ("deny remove 192.0.2.0/24", vec!["192.0.2.0/24 is not on the deny list"]),
            ("allow add 192.0.2.1 --trunk third", vec!["no trunk \"third\"", "carrier, second"]),
            ("allow remove 192.0.2.1 --trunk third", vec!["no trunk \"third\"", "carrier, second"]),
            ("allow add 198.18.0.7 --trunk carrier", vec!["198.18.0", "carrier", "second"]),
            ("allow remove 198.18.9.9 --trunk second", vec!["198.18.9.9", "outbound_proxies"]),
        ] {
            assert_told(command, &told(&filter, command), 2, &words);
        }
    });
    assert_eq!(fs::read_to_string(filter.config()).unwrap(), file);
}

#[test]
fn a_change_that_is_in_force_can_be_saved_afterwards() {
    let Some(lab) = Lab::or_skip() else { return };
    let filter = Filter::start(&lab, &two_trunks()).unwrap();
    let before = fs::read_to_string(filter.config()).unwrap();
    done(&filter, "allow add 192.0.2.64/26");
    done(&filter, "allow add 192.0.2.64/26 --save");
    assert!(fs::read_to_string(filter.config()).unwrap().contains("192.0.2.64/26"));
    assert_eq!(filter.status().unwrap()["unsaved_changes"], 0);
    assert_told("again", &told(&filter, "allow add 192.0.2.64/26 --save"), 2, &["already"]);
    done(&filter, "allow remove 192.0.2.64/26");
    done(&filter, "allow remove 192.0.2.64/26 --save");
    assert!(!fs::read_to_string(filter.config()).unwrap().contains("192.0.2.64/26"), "as before: {before}");
    // What was never in the file is taken back, and the file has nothing to forget.
    done(&filter, "allow add 192.0.2.128/26");
    done(&filter, "allow remove 192.0.2.128/26 --save");
    assert_eq!(filter.status().unwrap()["unsaved_changes"], 0);
}

#[test]
fn save_writes_the_change_into_the_file_and_leaves_every_comment_where_it_was() {
    let Some(lab) = Lab::or_skip() else { return };
    let policy = two_trunks()
        .replace("[deny]", "# never again\n[deny] # since the flood")
        .replace("allow = [\"198.51.100.20\"", "allow = [ # the carrier's\n  \"198.51.100.20\"");
    let mut filter = Filter::start(&lab, &policy).unwrap();
    for (command, address, before, after) in [
        ("deny add 198.51.100.30 --save", "198.51.100.30", "stranger", "denied"),
        ("deny remove 198.51.100.30 --save", "198.51.100.30", "denied", "stranger"),
        ("allow add 198.51.100.31 --trunk carrier --save", "198.51.100.31", "stranger", "trunk"),
        ("allow add 2001:db8:7::/48 --trunk second --save", "2001:db8:7::1", "stranger", "trunk"),
        ("allow add 198.51.100.32 --save", "198.51.100.32", "stranger", "trunk"),
        ("deny remove 203.0.113.0/24 --save", "203.0.113.9", "denied", "stranger"),
    ] {
        let text = fs::read_to_string(filter.config()).unwrap();
        assert_eq!(reason(&filter, address), before, "{command}");
        let printed = done(&filter, command);
        assert!(printed.contains(&filter.config().display().to_string()), "{command}: {printed}");
        assert_eq!(reason(&filter, address), after, "{command}");
        let changed = fs::read_to_string(filter.config()).unwrap();
        let gone: Vec<_> = text.lines().filter(|line| !changed.lines().any(|other| other == *line)).collect();
        assert!(gone.len() <= 1 && changed != text, "{command}: {gone:?}\n{changed}");
        for comment in
            ["# What the demo shows", "# never again\n[deny] # since the flood", "# the carrier's\n"]
        {
            assert!(changed.contains(comment), "{command}: no {comment} in\n{changed}");
        }
    }
    assert_eq!(filter.status().unwrap()["unsaved_changes"], 0);
    let lists = |filter: &Filter| ["allow", "deny"].map(|list| filter.json(&[list, "list"]).unwrap());
    let before = lists(&filter);
    filter.restart().unwrap();
    assert_eq!(lists(&filter), before);
}

#[test]
fn a_change_that_cannot_be_saved_is_not_put_in_force() {
    let Some(lab) = Lab::or_skip() else { return };
    let filter = Filter::start(&lab, POLICY).unwrap();
    let config = filter.config().display().to_string();
    let broken = POLICY.replace("mode = \"enforce\"", "mode = \"enforced\"");
    let without = POLICY.replace("\"carrier\"", "\"courier\"");
    leaving_all_as_it_was(&filter, || {
        let add = "allow add 198.51.100.31 --trunk carrier --save";
        for (title, text, words) in [
            ("a mistake", &broken, vec![":3:8: ", "enforced"]),
            ("no such trunk", &without, vec!["no trunk \"carrier\""]),
        ] {
            fs::write(filter.config(), text).unwrap();
            let outcome = told(&filter, add);
            assert_told(title, &outcome, outcome.code.filter(|code| *code != 0).unwrap_or(2), &words);
            assert_eq!(&fs::read_to_string(filter.config()).unwrap(), text, "{title}");
        }
        fs::remove_file(filter.config()).unwrap();
        let outcome = told(&filter, add);
        assert_told("no file", &outcome, outcome.code.filter(|code| *code != 0).unwrap_or(2), &[&config]);
    });
}

#[test]
fn save_keeps_a_link_and_the_permissions_of_the_file() {
    let Some(lab) = Lab::or_skip() else { return };
    let filter = Filter::prepare(&lab, POLICY).unwrap();
    let real = lab.directory().join("real.toml");
    fs::rename(filter.config(), &real).unwrap();
    fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
    symlink(&real, filter.config()).unwrap();
    let mut filter = filter;
    filter.run().unwrap();
    done(&filter, "deny add 198.51.100.30 --save");
    assert!(fs::symlink_metadata(filter.config()).unwrap().is_symlink());
    assert!(fs::read_to_string(&real).unwrap().contains("198.51.100.30"));
    assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o640);
    let names = fs::read_dir(lab.directory()).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = names.filter(|name| name.to_string_lossy().starts_with(".tmp")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn apply_takes_no_file_that_has_changed_since_it_was_read() {
    let Some(lab) = Lab::or_skip() else { return };
    let filter = Filter::start(&lab, &two_trunks()).unwrap();
    let text = fs::read_to_string(filter.config()).unwrap();
    done(&filter, "allow add 192.0.2.64/26 --save");
    let request = json!({"command": "apply", "path": filter.config(), "text": text, "dry_run": false});
    leaving_all_as_it_was(&filter, || {
        let answer = ask(&filter, &request);
        assert!(answer["error"]["message"].as_str().unwrap().contains("apply it once more"), "{answer}");
    });
}

#[test]
fn apply_names_the_unsaved_changes_that_end_with_it_and_a_dry_run_changes_nothing() {
    let Some(lab) = Lab::or_skip() else { return };
    let filter = Filter::start(&lab, POLICY).unwrap();
    done(&filter, "allow add 198.51.100.30");
    done(&filter, "deny add 198.18.0.0/15");
    assert_eq!(filter.status().unwrap()["unsaved_changes"], 2);
    let next = POLICY
        .replace("\"203.0.113.0/24\"", "\"203.0.113.0/25\", \"198.18.0.0/15\"")
        .replace("mode = \"enforce\"", "mode = \"monitor\"");
    filter.write_config(&next).unwrap();
    let config = filter.config().display().to_string();
    let difference = ["- deny 203.0.113.0/24", "+ deny 203.0.113.0/25", "~ mode enforce -> monitor"];
    let printed =
        leaving_all_as_it_was(&filter, || done(&filter, &format!("apply --dry-run --config {config}")));
    for line in
        difference.iter().chain(&["would be dropped", "198.51.100.30/32 added to the allow list", "dry run"])
    {
        assert!(printed.contains(line), "no {line} in {printed}");
    }
    let answer =
        leaving_all_as_it_was(&filter, || filter.json(&["apply", "--dry-run", "--config", &config]).unwrap());
    assert_eq!(
        (&answer["applied"], answer["dropped_changes"].as_array().map(Vec::len)),
        (&json!(false), Some(1))
    );

    let before = generation(&filter);
    let printed = done(&filter, &format!("apply --config {config}"));
    let applied = format!("applied: generation {}", before + 1);
    for line in difference.iter().chain(&["dropped, since it was not saved: 198.51.100.30/32", &applied]) {
        assert!(printed.contains(line), "no {line} in {printed}");
    }
    assert!(!printed.contains("saved: 198.18.0.0/15"), "what the file has is not dropped: {printed}");
    assert_eq!(reason(&filter, "198.51.100.30"), "stranger");
    assert_eq!(filter.status().unwrap()["unsaved_changes"], 0);
    let printed = done(&filter, &format!("apply --config {config}"));
    assert!(printed.contains("no difference"), "{printed}");
}
