//! That no message shows a password.

use super::*;

/// All that anybody is shown, as text and as JSON.
fn shown(text: &str) -> String {
    let mistakes = parse(Path::new("test.toml"), text).unwrap_err();
    format!("{mistakes}\n{}", serde_json::to_string(&mistakes).unwrap())
}

#[test]
fn no_message_shows_a_password_wherever_it_stands() {
    let table = "[[pbx]]\nname = \"a\"\nkind = \"freeswitch\"\naddress = \"k:80\"\n";
    for lines in [
        "secert = \"hunter2\"",
        "password = \"hunter2\"",
        "Secret = 'hunter2'",
        "secret = hunter2",
        "secret = \"hunter2",
        "secret = \"hunter2\" hunter2",
        "secret \"hunter2\"",
        "secret = { text = \"hunter2\" }",
        "secret = [\"hunter2\"]",
        "secret = [\n  \"hunter2\" \"hunter2\",\n]",
        "secret = \"\"\"\nhunter2",
        "secret = \"\"\"\nhunter2\"\"\" hunter2",
        "secret = \"hunter2\"\nsecret = \"hunter2\"",
        "secret = \"hunter2\"\nsecret_file = 3",
    ] {
        let shown = shown(&format!("{table}{lines}\n"));
        assert!(!shown.contains("hunter2") && shown.contains("test.toml:"), "{shown}");
    }
    for (number, kind) in [("12345", "integer"), ("0x3039", "integer"), ("123.45", "floating point")] {
        let shown = shown(&format!("{table}secret = {number}\n"));
        assert!(!shown.contains("123") && !shown.contains("0x") && shown.contains(kind), "{shown}");
    }
    for inline in [
        "pbx = [{ name = \"a\", secret = \"hunter2\", kind = \"3cx\", address = \"k:80\" }]",
        "pbx = [{ name = \"a\", kind = \"3cx\", address = \"k:80\", secret = \"hunter2\" }]",
        "pbx = [{ name = \"a\", kind = \"freeswitch\", secret = \"hunter2\" }]",
        "pbx = [{ name = \"a\", kind = \"freeswitch\", secret = \"hunter2\" }",
        "pbx = [{ name = \"a\", kind = \"freeswitch\", address = \"k:80\", secert = \"hunter2\" }]",
        "pbx = { name = \"a\", secret = \"hunter2\" }",
        "pbx = [\"secret = hunter2\"]",
    ] {
        let shown = shown(inline);
        assert!(!shown.contains("hunter2") && shown.contains("test.toml:1:"), "{shown}");
    }
}

#[test]
fn the_rest_of_such_a_line_is_shown_and_underlined_as_any_other() {
    let table = "[[pbx]]\nname = \"a\"\nkind = \"freeswitch\"\naddress = \"k:80\"\n";
    let check = |lines: &str, expected: &str| {
        let mistakes = parse(Path::new("a.toml"), &format!("{table}{lines}\n")).unwrap_err();
        assert_eq!(mistakes.to_string(), expected);
    };
    check(
        "secret = 12345",
        "error: a.toml:5:10: invalid type: integer, expected a string\n  |\n5 | secret = …\n  |          ^",
    );
    check(
        "secert = \"hunter2\"",
        "error: a.toml:5:1: unknown key \"secert\"\n  |\n5 | secert = …\n  | ^^^^^^\n  = did you mean \"secret\"?",
    );
}
