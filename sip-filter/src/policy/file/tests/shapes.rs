//! Values and tables of another shape than the file has.

use super::*;

/// What is found wrong where, and what to do.
fn check(text: &str, place: &str, message: &str, remedy: &str) {
    let found = parse(Path::new("test.toml"), text).map(drop).unwrap_err().to_string();
    let expected = [format!("test.toml:{place}: {message}\n"), format!("= {remedy}")];
    assert!(expected.iter().all(|part| found.contains(part)), "{found}\n{expected:?}");
}

#[test]
fn what_is_of_another_shape_is_told_with_what_to_write() {
    let in_listener = |line: &str| format!("{}{line}\n", SIP.trim_end_matches('\n').to_owned() + "\n");
    let below = "on a line of its own, and its keys below it";

    check(
        "\n[trunk]\nname = \"a\"\n",
        "2:1",
        "there may be several of [trunk]",
        "write [[trunk]], and its name below it",
    );
    check(
        "[trunk.a]\nallow = []\n",
        "1:2",
        "there may be several of [trunk]",
        "write [[trunk]], and its name below it",
    );
    check("[[deny]]\nsources = []\n", "1:1", "there is only one [deny]", "write [deny], once");
    check(
        "[[strangers]]\nsignalling = \"drop\"\n",
        "1:1",
        "there is only one [strangers]",
        "write [strangers], once",
    );
    check("listener = \"sip\"\n", "1:12", "\"listener\" is no value", &format!("write [[listener]] {below}"));
    check("deny = [\"192.0.2.1\"]\n", "1:9", "\"deny\" is no value", &format!("write [deny] {below}"));
    // In a trunk it is one.
    check(
        "[[trunk]]\nname = \"a\"\ndeny = \"192.0.2.1\"\n",
        "3:8",
        "invalid type: string \"192.0.2.1\", expected a list",
        "write a list: [\"192.0.2.1\"]",
    );
    check("mode = 5\n", "1:8", "invalid type: integer `5`, expected a string", "write it in quotes: \"5\"");
    check(
        "mode = enforce\n",
        "1:8",
        "string values must be quoted, expected literal string",
        "write it in quotes: \"enforce\"",
    );
    check(
        "admin = [192.0.2.1]\n",
        "1:15",
        "invalid float, expected nothing",
        "what is no number, such as an address, stands in quotes",
    );
    check(
        "admin = [\"192.0.2.1\"\nmode = \"monitor\"\n",
        "2:1",
        "missing comma between array elements, expected `,`",
        "put a comma between the entries, or ] behind the last one",
    );
    check("mode = \"monitor\"\nmode = \"enforce\"\n", "2:1", "duplicate key", "keep one of them");
    check(
        &in_listener("encrypted = \"yes\""),
        "7:13",
        "invalid type: string \"yes\", expected a boolean",
        "write true or false, without quotes",
    );
    check(
        &in_listener("vlans = [\"10\"]"),
        "7:10",
        "invalid type: string \"10\", expected a whole number",
        "write the number alone, without quotes",
    );
}

#[test]
fn several_values_where_one_stands_are_told_with_what_to_write() {
    let of_one = "one value stands here, without brackets";
    for (list, remedy) in
        [("[\"udp\"]", "write it without brackets: \"udp\""), ("[\"udp\", \"tcp\"]", of_one), ("[5]", of_one)]
    {
        let text = SIP.replace("\"udp\"", list);
        check(&text, "5:13", "invalid type: list, expected a string", remedy);
    }
    for (list, remedy) in [("[ true, ]", "write it without brackets: true"), ("[\"true\"]", of_one)] {
        let text = SIP.replace("ports", &format!("encrypted = {list}\nports"));
        check(&text, "6:13", "invalid type: list, expected a boolean", remedy);
    }
    let table = SIP.replace("\"udp\"", "{ only = \"udp\" }");
    check(&table, "5:13", "invalid type: table, expected a string", "one value stands here, in quotes");
    // Whoever reads the error is not to read the password.
    let secret = "[[pbx]]\nname = \"a\"\nkind = \"asterisk\"\nsecret = [\"hunter2\"]\n";
    check(secret, "4:10", "invalid type: list, expected a string", of_one);
    assert!(!parse(Path::new("test.toml"), secret).map(drop).unwrap_err().to_string().contains("hunter2"));
}

#[test]
fn a_table_within_one_of_several_is_not_taken_for_one_of_them() {
    let text = "[[listener]]\n[listener.name]\nx = 1\n";
    let remedy = "a key of this name has a value, in quotes, and no table";
    check(text, "2:1", "invalid type: table, expected a string", remedy);
}
