//! Texts before and after a change.

use super::*;

fn change(list: &str, action: Action, prefix: &str) -> ListChange {
    let list = match list {
        "deny" => List::Deny,
        "allow" => List::Allow,
        trunk => List::Trunk(trunk.to_owned()),
    };
    ListChange { list, prefix: parse_prefix(prefix).unwrap(), action }
}

#[test]
fn an_entry_is_added_in_the_layout_of_the_list() {
    let check = |text: &str, list: &str, expected: &str| {
        assert_eq!(edit(text, &change(list, Action::Add, "192.0.2.1")).unwrap(), expected);
    };
    check("[deny]\nsources = []\n", "deny", "[deny]\nsources = [\"192.0.2.1\"]\n");
    check("[deny]\nsources = [ ] # none\n", "deny", "[deny]\nsources = [ \"192.0.2.1\" ] # none\n");
    check(
        "[deny]\nsources = [\"10.0.0.1\"] # bad\n",
        "deny",
        "[deny]\nsources = [\"10.0.0.1\", \"192.0.2.1\"] # bad\n",
    );
    check(
        "[deny]\nsources = [ \"10.0.0.1\" ]\n",
        "deny",
        "[deny]\nsources = [ \"10.0.0.1\", \"192.0.2.1\" ]\n",
    );
    check(
        "[deny]\nsources = [\"10.0.0.1\",]\n",
        "deny",
        "[deny]\nsources = [\"10.0.0.1\", \"192.0.2.1\",]\n",
    );
    check("[allow]\nsources = [\n]\n", "allow", "[allow]\nsources = [\n    \"192.0.2.1\"\n]\n");
    check(
        "[allow]\nsources = [\n  \"10.0.0.1\", # one\n  # \"10.0.0.2\",\n]\n",
        "allow",
        "[allow]\nsources = [\n  \"10.0.0.1\", # one\n  # \"10.0.0.2\",\n  \"192.0.2.1\",\n]\n",
    );
    check(
        "[allow]\nsources = [\n  \"10.0.0.1\",\n  \"10.0.0.2\" # two\n] # end\n",
        "allow",
        "[allow]\nsources = [\n  \"10.0.0.1\",\n  \"10.0.0.2\", # two\n  \"192.0.2.1\"\n] # end\n",
    );
    check(
        "[allow]\nsources = [\"10.0.0.1\",\n  \"10.0.0.2\"]\n",
        "allow",
        "[allow]\nsources = [\"10.0.0.1\",\n  \"10.0.0.2\",\n    \"192.0.2.1\"]\n",
    );
    check("deny.sources = []\n", "deny", "deny.sources = [\"192.0.2.1\"]\n");
    check("deny = { sources = [] }\n", "deny", "deny = { sources = [\"192.0.2.1\"] }\n");
}

#[test]
fn what_is_missing_in_the_file_is_created() {
    let check = |text: &str, list: &str, expected: &str| {
        assert_eq!(edit(text, &change(list, Action::Add, "192.0.2.0/24")).unwrap(), expected);
    };
    check("", "allow", "\n[allow]\nsources = [\"192.0.2.0/24\"]\n");
    check(
        "mode = \"enforce\" # now",
        "deny",
        "mode = \"enforce\" # now\n\n[deny]\nsources = [\"192.0.2.0/24\"]\n",
    );
    check(
        "[[trunk]]\nname = \"a\"\n# b\n[[trunk]]\nname = \"b\" # it\n\n[strangers]\n",
        "b",
        "[[trunk]]\nname = \"a\"\n# b\n[[trunk]]\nname = \"b\" # it\nallow = [\"192.0.2.0/24\"]\n\n[strangers]\n",
    );
    check(
        "[[trunk]]\nname = \"a\"\n\n[strangers]\nmedia = \"drop\"\n",
        "allow",
        "[[trunk]]\nname = \"a\"\n\n[strangers]\nmedia = \"drop\"\n\n[allow]\nsources = [\"192.0.2.0/24\"]\n",
    );
    check("trunk = [{ name = \"a\" }]\n", "a", "trunk = [{ name = \"a\" , allow = [\"192.0.2.0/24\"] }]\n");
}

#[test]
fn an_entry_is_removed_with_its_own_comment_only() {
    let check = |text: &str, expected: &str| {
        let text = format!("[deny]\nsources = {text}\n");
        let edited = edit(&text, &change("deny", Action::Remove, "192.0.2.1")).unwrap();
        assert_eq!(edited, format!("[deny]\nsources = {expected}\n"), "{text}");
    };
    check("[\"192.0.2.1\"]", "[]");
    check("[ \"192.0.2.1/32\" ]", "[ ]");
    check("[\"::ffff:192.0.2.1\", \"10.0.0.1\", \"192.0.2.1\"]", "[\"10.0.0.1\"]");
    check("[ \"10.0.0.1\", \"192.0.2.1\" ] # x", "[ \"10.0.0.1\" ] # x");
    check("[\n  \"192.0.2.1\",\n]", "[\n]");
    check("[\n  # all\n  \"192.0.2.1\", # one\n]", "[\n  # all\n]");
    check(
        "[\n  \"10.0.0.1\", # a\n  \"192.0.2.1\", # b\n  \"10.0.0.2\", # c\n]",
        "[\n  \"10.0.0.1\", # a\n  \"10.0.0.2\", # c\n]",
    );
    check(
        "[\n  \"10.0.0.1\", # a\n  # heading\n  \"192.0.2.1\" # b\n]",
        "[\n  \"10.0.0.1\" # a\n  # heading\n]",
    );
    check("[\n  \"192.0.2.1\", \"10.0.0.1\",\n]", "[\n  \"10.0.0.1\",\n]");
    check("[ \"192.0.2.1\" # a\n, \"10.0.0.1\" # b\n]", "[ \"10.0.0.1\" # b\n]");
}

#[test]
fn a_change_that_changes_nothing_is_an_error() {
    let check = |text: &str, list: &str, action: Action, expected: &str| {
        let refused = edit(text, &change(list, action, "192.0.2.1")).unwrap_err();
        assert_eq!(refused.to_string(), expected);
    };
    let listed = "[deny]\nsources = [\"192.0.2.1\"]\n";
    check(listed, "deny", Action::Add, "the file already has 192.0.2.1/32 on the deny list");
    check(listed, "allow", Action::Remove, "the file does not have 192.0.2.1/32 on the allow list");
    check("[deny]\n", "deny", Action::Remove, "the file does not have 192.0.2.1/32 on the deny list");
    check(listed, "a", Action::Add, "the file has no trunk \"a\"; add a [[trunk]] of this name to it");
    check("deny = 1\n", "deny", Action::Add, "`deny` in the file is not what it should be; `check` says why");
    check("deny = \n", "deny", Action::Add, "the file is not valid; `check` says where");
}
