//! Configuration files in arbitrary bytes.

use blastbeat_proto::config::{Config, Mode};

/// What strict reading takes, lenient reading takes as the same. What is taken is written and read back the same, and
/// its redacted form as well. Problems come in the order of their lines and print as one line each.
pub fn body(data: &[u8]) {
    let strict = Config::parse(data, "file", Mode::Strict);
    let lenient = Config::parse(data, "file", Mode::Lenient);
    if let Ok((config, _)) = &strict {
        let (same, _) = lenient.as_ref().expect("lenient reading takes more");
        assert_eq!(config, same);
    }
    for result in [&strict, &lenient] {
        let notes = match result {
            Ok((_, warnings)) => warnings,
            Err(problems) => {
                assert!(!problems.is_empty());
                problems
            }
        };
        assert!(notes.is_sorted_by_key(|note| note.line));
        for note in notes {
            let text = note.to_string();
            assert!(!text.contains(|c: char| c.is_control() && c != '\t'), "{text:?}");
        }
    }
    let Ok((config, _)) = lenient else { return };
    for config in [config.redacted(), config] {
        let text = config.to_string();
        let (again, _) = Config::parse(text.as_bytes(), "parsed form", Mode::Lenient)
            .unwrap_or_else(|problems| panic!("{problems:?} in\n{text}"));
        assert_eq!(again, config, "{text}");
        assert!(config.warnings().iter().all(|warning| !warning.is_empty()));
    }
}
