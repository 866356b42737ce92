use super::*;
use crate::entropy::{Entropy, SeededEntropy};
use alloc::format;
use alloc::string::ToString;
use alloc::vec;

/// Whether another parser takes it: one that judges syntax alone.
fn is_json(text: &[u8]) -> bool {
    serde_json::from_slice::<&serde_json::value::RawValue>(text).is_ok()
}

#[test]
fn values_of_every_sort_pass() {
    for json in [
        "0",
        "-0",
        "12",
        "-1.5e+10",
        "1E400",
        "123456789012345678901234567890",
        "true",
        "false",
        "null",
        "\"\"",
        "[]",
        "{}",
        "[ 1 , [ ] , { } ]",
        "{\"a\":1,\"a\":[2,{\"b\":null}]}",
        "\"\\u00e9\\ud800 \\\\ \\/ \\\"\"",
        "\"é\u{1f600}\u{7f}\"",
        "[\n\t\"a\"\r,{ \"k\" : \"v\" }\n]",
    ] {
        assert_eq!(check(json.as_bytes(), 10), Ok(()), "{json}");
        assert!(is_json(json.as_bytes()), "{json}");
    }
}

#[test]
fn what_is_not_one_value_fails() {
    for json in [
        "",
        " ",
        " 1",
        "1 ",
        "[1] ",
        "1 2",
        "[1]2",
        "01",
        "-",
        "+1",
        ".5",
        "1.",
        "1e",
        "1e+",
        "0x1",
        "tru",
        "truee",
        "nul",
        "NaN",
        "\"",
        "\"\\\"",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "\"\n\"",
        "\"\u{1f}\"",
        "[",
        "]",
        "[1",
        "[1,",
        "[1,]",
        "[,1]",
        "[1 2]",
        "[1}",
        "{",
        "}",
        "{1:2}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{\"a\":1]",
        "{,}",
        "{\"a\" 1}",
        "'a'",
        "[1]]",
        "{\"a\":1}}",
        "// 1",
        "\u{feff}1",
    ] {
        assert_eq!(check(json.as_bytes(), 10), Err(Cause::JsonMalformed), "{json:?}");
        assert!(!is_json(json.as_bytes()) || json.trim() != json, "{json:?}");
    }
}

#[test]
fn long_strings_are_looked_at_to_their_last_byte() {
    for len in 0..100 {
        let plain = "x".repeat(len);
        assert_eq!(check(format!("\"{plain}\"").as_bytes(), 0), Ok(()), "{len}");
        assert_eq!(check(format!("\"{plain}\\n{plain}\"").as_bytes(), 0), Ok(()), "{len}");
        for bad in ["\"{}", "\"{}\n\"", "\"{}\\\"", "\"{}\"\"", "\"{}\\q{}\""] {
            let json = bad.replace("{}", &plain);
            assert_eq!(check(json.as_bytes(), 0), Err(Cause::JsonMalformed), "{json:?}");
        }
    }
}

#[test]
fn depth_is_bounded_by_the_caller_and_by_what_can_be_kept_track_of() {
    let nested = |depth: usize| {
        let inner = if depth.is_multiple_of(2) { "1" } else { "[]" };
        [&"[{\"a\":".repeat(depth / 2), inner, &"}]".repeat(depth / 2)].concat()
    };
    for depth in [1, 2, 3, 63, 64, 65, 127, 128, 129, DEPTH_MAX] {
        assert_eq!(check(nested(depth).as_bytes(), depth), Ok(()), "{depth}");
        assert_eq!(check(nested(depth).as_bytes(), depth - 1), Err(Cause::JsonTooDeep), "{depth}");
        assert!(is_json(nested(depth).as_bytes()), "{depth}");
    }
    assert_eq!(check(nested(DEPTH_MAX + 1).as_bytes(), usize::MAX), Err(Cause::JsonTooDeep));
    assert_eq!(check("[".repeat(1_000_000).as_bytes(), usize::MAX), Err(Cause::JsonTooDeep));
    assert_eq!(check(b"1", 0), Ok(()));
}

#[test]
fn any_text_is_judged_as_by_another_parser() {
    const PIECES: [&str; 24] = [
        "[",
        "]",
        "{",
        "}",
        ",",
        ":",
        "\"",
        "\"a\"",
        "\"num\":",
        "1",
        "-0.5",
        "e1",
        "true",
        "null",
        " ",
        "\n",
        "\\",
        "\\u00",
        "é",
        "{}",
        "[]",
        "\"\\ud83d\"",
        "0",
        "{\"b\":2}",
    ];
    let mut entropy = SeededEntropy::from_number(7);
    let mut valid = 0;
    for _ in 0..50_000 {
        let count = 1 + entropy.below(8);
        let text: String = (0..count).map(|_| PIECES[entropy.below(24) as usize]).collect();
        let expected = is_json(text.as_bytes()) && text.trim_matches([' ', '\n']) == text;
        assert_eq!(check(text.as_bytes(), 20).is_ok(), expected, "{text:?}");
        valid += usize::from(expected);
    }
    assert!(valid > 300, "{valid}");
}

#[test]
fn arrays_and_objects_are_cut_at_their_outermost_commas() {
    let cut = |json: &'static str| -> Vec<&str> {
        elements(json.as_bytes()).map(|element| core::str::from_utf8(element).unwrap()).collect()
    };
    assert_eq!(cut("[]"), [""; 0]);
    assert_eq!(cut("[ ]"), [""; 0]);
    assert_eq!(cut("[\"a,]\"]"), ["\"a,]\""]);
    assert_eq!(
        cut("[ 1 ,[2, 3] , {\"a\":[4,\"}\"]},\"\\\"\",null ]"),
        ["1", "[2, 3]", "{\"a\":[4,\"}\"]}", "\"\\\"\"", "null"]
    );
    assert_eq!(cut("{\"a\":1}"), [""; 0]);
    assert_eq!(cut("1"), [""; 0]);
    let pairs = |json: &'static str| -> Vec<(String, String)> {
        let text = |part: &[u8]| String::from_utf8(part.to_vec()).unwrap();
        members(json.as_bytes()).map(|(name, value)| (text(name), text(value))).collect()
    };
    let pair = |name: &str, value: &str| (name.to_string(), value.to_string());
    assert_eq!(pairs("{}"), []);
    assert_eq!(
        pairs("{ \"a\" : 1 , \"b:\":{\"c\":2},\"\":[]}"),
        [pair("\"a\"", "1"), pair("\"b:\"", "{\"c\":2}"), pair("\"\"", "[]")]
    );
    assert_eq!(pairs("[1,2]"), []);
}

#[test]
fn members_are_found_by_what_their_names_say() {
    let object = br#"{"pid":"x","n":{"pid":1},"\u0070id":"y","offset":""}"#;
    assert_eq!(member(object, "pid"), Some(&b"\"y\""[..]));
    assert_eq!(member(object, "offset").and_then(string), Some("".into()));
    assert_eq!(member(object, "none"), None);
    assert_eq!(without(object, &["pid", "offset"]), br#"{"n":{"pid":1}}"#);
    assert_eq!(without(object, &["n"]), br#"{"pid":"x","\u0070id":"y","offset":""}"#);
    assert_eq!(without(b"{ }", &["n"]), b"{}");
}

#[test]
fn strings_say_what_was_written() {
    for text in [
        "",
        "plain",
        "\"\\/\u{8}\u{c}\n\r\t\u{0}\u{1f}\u{7f}",
        "é\u{2028}\u{1f600}",
        &"long enough for a stride \" and more".repeat(3),
    ] {
        let mut json = Vec::new();
        write_string(&mut json, text);
        assert_eq!(check(&json, 0), Ok(()));
        assert_eq!(string(&json).unwrap(), text);
        assert!(is_string(&json, text) && !is_string(&json, "other"));
        assert_eq!(serde_json::from_slice::<String>(&json).unwrap(), text);
        let mut ascii = Vec::new();
        write_ascii(&mut ascii, core::str::from_utf8(&json).unwrap());
        assert!(ascii.is_ascii());
        assert_eq!(string(&ascii).unwrap(), text);
    }
    for (json, text) in [
        (r#""\u0041\u00E9\u20ac""#, "Aé€"),
        (r#""\ud83d\ude00!""#, "\u{1f600}!"),
        (r#""\ud83d""#, "\u{fffd}"),
        (r#""\ude00\ud83d\u0041""#, "\u{fffd}\u{fffd}A"),
        (r#""\ud83d\ud83d\ude00""#, "\u{fffd}\u{1f600}"),
        (r#""\ud83d\n""#, "\u{fffd}\n"),
    ] {
        assert_eq!(string(json.as_bytes()).unwrap(), text, "{json}");
    }
    for json in ["1", "[]", "{}", "null", "\"", ""] {
        assert_eq!(string(json.as_bytes()), None, "{json}");
    }
}

#[test]
fn placeholders_are_found_wherever_they_stand() {
    let find = |json: &'static str, count| {
        assert_eq!(check(json.as_bytes(), 10), Ok(()));
        placeholders(json.as_bytes(), count)
            .map(|places| places.into_iter().map(|place| (&json[place.range], place.num)).collect::<Vec<_>>())
    };
    let place = "{\"_placeholder\":true,\"num\":0}";
    assert_eq!(find("[\"a\",{\"_placeholder\":true,\"num\":0}]", 1), Ok(vec![(place, 0)]));
    let both =
        "[\"a\",{ \"num\" : 1 , \"x\":[], \"_placeholder\" : true },[{\"k\":{\"_placeholder\":true,\"num\":0}}]]";
    let places = find(both, 2).unwrap();
    assert_eq!(places.iter().map(|(_, num)| *num).collect::<Vec<_>>(), [1, 0]);
    assert_eq!(find("[\"a\"]", 0), Ok(vec![]));
    assert_eq!(find("[{\"_placeholder\":false,\"num\":0},{\"_placeholder\":1},\"_placeholder\"]", 0), Ok(vec![]));
    // As JavaScript reads it: escapes say the same, the last of several counts.
    assert_eq!(find("[{\"\\u005fplaceholder\":true,\"num\":9,\"n\\u0075m\":0}]", 1).unwrap().len(), 1);
    assert_eq!(find("[{\"_placeholder\":true,\"_placeholder\":false,\"num\":0}]", 0), Ok(vec![]));
    // What stands within one goes with it.
    assert_eq!(
        find("[{\"_placeholder\":true,\"num\":0,\"x\":{\"_placeholder\":true,\"num\":0}}]", 1).unwrap().len(),
        1
    );
}

#[test]
fn placeholders_match_the_attachments_or_are_wrong() {
    let place = |num: &str| format!("{{\"_placeholder\":true,\"num\":{num}}}");
    let wrong = |elements: &[String], count: usize| {
        let json = format!("[\"a\",{}]", elements.join(","));
        assert_eq!(check(json.as_bytes(), 10), Ok(()));
        assert_eq!(placeholders(json.as_bytes(), count), Err(Cause::AttachmentsWrong), "{json} {count}");
    };
    wrong(&["1".to_string()], 1);
    wrong(&[place("0")], 0);
    wrong(&[place("0")], 2);
    wrong(&[place("1")], 1);
    wrong(&[place("0"), place("0")], 1);
    wrong(&[place("0"), place("0")], 2);
    for num in ["-1", "-0", "0.0", "0e0", "\"0\"", "null", "99999999999999999999999"] {
        wrong(&[place(num)], 1);
    }
    wrong(&["{\"_placeholder\":true}".to_string()], 1);
    wrong(&["{\"_placeholder\":true,\"num\":0,\"x\":{\"_placeholder\":true,\"num\":1}}".to_string()], 2);
}

#[test]
fn nothing_panics_on_what_was_never_checked() {
    let mut entropy = SeededEntropy::from_number(3);
    for _ in 0..20_000 {
        let len = entropy.below(20) as usize;
        let text: Vec<u8> = (0..len).map(|_| b"[]{},:\"\\u0dt n\xff\xc3"[entropy.below(16) as usize]).collect();
        let _ = (
            elements(&text).count(),
            members(&text).count(),
            string(&text),
            placeholders(&text, 1),
            without(&text, &["a"]),
        );
    }
}
