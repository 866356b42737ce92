//! The text of a line.

use std::fmt::{self, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use blastbeat_proto::engine::{Level, Value};

/// Takes one field.
pub(super) type Each<'a> = &'a mut dyn FnMut(&'static str, Value<'_>);

/// Appends lines to a string.
pub(super) struct Line<'a> {
    pub out: &'a mut String,
    pub json: bool,
}

impl Line<'_> {
    /// Appends the line of one event.
    pub fn write(&mut self, stamp: Stamp<'_>, level: Level, name: &str, fields: impl FnOnce(Each<'_>)) {
        let result = if self.json {
            write_json(self.out, stamp, level, name, fields)
        } else {
            write_words(self.out, stamp, level, name, fields)
        };
        result.expect("writing to a String does not fail");
    }
}

fn write_words(
    out: &mut String,
    stamp: Stamp<'_>,
    level: Level,
    name: &str,
    fields: impl FnOnce(Each<'_>),
) -> fmt::Result {
    write!(out, "{stamp} {} {name}", level.name())?;
    let mut result = Ok(());
    fields(&mut |name, value| result = result.and_then(|()| write!(out, " {name}={value}")));
    result?;
    out.write_char('\n')
}

fn write_json(
    out: &mut String,
    stamp: Stamp<'_>,
    level: Level,
    name: &str,
    fields: impl FnOnce(Each<'_>),
) -> fmt::Result {
    write!(out, r#"{{"time":"{stamp}","level":"{}","event":"{name}""#, level.name())?;
    let mut result = Ok(());
    fields(&mut |name, value| {
        result = result.and_then(|()| write!(out, r#","{name}":"#)).and_then(|()| match value {
            Value::Text(text) => write_json_string(out, text.as_bytes()),
            Value::Bytes(bytes) => write_json_string(out, bytes),
            Value::Number(_) | Value::Seconds(_) => write!(out, "{value}"),
        });
    });
    result?;
    out.write_str("}\n")
}

/// Writes a string of RFC 8259, section 7. Bytes that are not UTF-8 become the four characters `\xNN`. What could
/// act on a terminal, or turn the direction of text, is escaped.
fn write_json_string(out: &mut String, bytes: &[u8]) -> fmt::Result {
    out.write_char('"')?;
    for chunk in bytes.utf8_chunks() {
        for char in chunk.valid().chars() {
            match char {
                '"' | '\\' => write!(out, "\\{char}")?,
                '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' => {
                    write!(out, "\\u{:04x}", u32::from(char))?;
                }
                char if char.is_control() => write!(out, "\\u{:04x}", u32::from(char))?,
                char => out.write_char(char)?,
            }
        }
        chunk.invalid().iter().try_for_each(|byte| write!(out, "\\\\x{byte:02x}"))?;
    }
    out.write_char('"')
}

/// Turns the system's time into text. The part that changes once a second is kept.
#[derive(Default)]
pub(super) struct Clock {
    second: Option<u64>,
    text: String,
}

/// A time in UTC, as RFC 3339 writes it, with milliseconds.
#[derive(Clone, Copy)]
pub(super) struct Stamp<'a> {
    to_second: &'a str,
    millis: u32,
}

impl Clock {
    /// The text of `time`; times before 1970 are shown as its start.
    pub fn stamp(&mut self, time: SystemTime) -> Stamp<'_> {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        if self.second != Some(since.as_secs()) {
            self.second = Some(since.as_secs());
            self.text = to_second(since.as_secs());
        }
        Stamp { to_second: &self.text, millis: since.subsec_millis() }
    }
}

impl fmt::Display for Stamp<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}Z", self.to_second, self.millis)
    }
}

fn to_second(seconds: u64) -> String {
    const DAY: u64 = 24 * 60 * 60;
    const FOUR_CENTURIES: u64 = 400 * 365 + 97;
    // The calendar repeats itself after 400 years; the rest is counted off.
    let mut days = seconds / DAY;
    let mut year = 1970 + 400 * (days / FOUR_CENTURIES);
    days %= FOUR_CENTURIES;
    while days >= 365 + leap_day(year) {
        days -= 365 + leap_day(year);
        year += 1;
    }
    let mut month = 1;
    for length in [31, 28 + leap_day(year), 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let (hour, minute, second) = (seconds % DAY / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}", days + 1)
}

fn leap_day(year: u64) -> u64 {
    (year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))).into()
}

#[cfg(test)]
mod tests {
    use blastbeat_proto::entropy::{Entropy, SeededEntropy};

    use super::*;

    fn line(json: bool, fields: &[(&'static str, Value<'_>)]) -> String {
        let mut clock = Clock::default();
        let stamp = clock.stamp(UNIX_EPOCH + Duration::from_millis(1_795_301_340_123));
        let mut out = String::new();
        let each = |each: Each<'_>| fields.iter().for_each(|(name, value)| each(name, *value));
        Line { out: &mut out, json }.write(stamp, Level::Warn, "event", each);
        out
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00"),
            (951_782_399, "2000-02-28T23:59:59"),
            (951_782_400, "2000-02-29T00:00:00"),
            (951_868_800, "2000-03-01T00:00:00"),
            (1_735_689_599, "2024-12-31T23:59:59"),
            (1_795_301_340, "2026-11-21T22:49:00"),
            (4_107_542_400, "2100-03-01T00:00:00"),
            (12_622_780_799, "2369-12-31T23:59:59"),
            (12_622_780_800, "2370-01-01T00:00:00"),
        ] {
            assert_eq!(to_second(seconds), text);
        }
    }

    #[test]
    fn a_clock_follows_the_second_and_the_millisecond() {
        let mut clock = Clock::default();
        let mut at = |millis| clock.stamp(UNIX_EPOCH + Duration::from_millis(millis)).to_string();
        assert_eq!(at(7), "1970-01-01T00:00:00.007Z");
        assert_eq!(at(999), "1970-01-01T00:00:00.999Z");
        assert_eq!(at(61_000), "1970-01-01T00:01:01.000Z");
        assert_eq!(clock.stamp(UNIX_EPOCH - Duration::from_secs(1)).to_string(), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn fields_of_words_are_quoted_where_they_could_be_mistaken() {
        let fields = [
            ("plain", Value::Text("foobar")),
            ("empty", Value::Text("")),
            ("forged", Value::Bytes(b"x\n2026 error y=\"1\"")),
            ("terminal", Value::Bytes(b"\x1b[2J\x9b")),
            ("count", Value::Number(7)),
            ("took", Value::Seconds(Duration::from_micros(1_000_042))),
        ];
        let expected = concat!(
            "2026-11-21T22:49:00.123Z warn event plain=foobar empty=\"\" ",
            r#"forged="x\n2026 error y=\"1\"" terminal="\x1b[2J\x9b" count=7 took=1.000042"#,
            "\n"
        );
        assert_eq!(line(false, &fields), expected);
    }

    #[test]
    fn json_is_read_back_as_it_was_meant() {
        let fields = [
            ("text", Value::Text("Grüße \"\\\u{202e}\u{7f}")),
            ("bytes", Value::Bytes(b"a\0\xffb\r\n")),
            ("count", Value::Number(u64::MAX)),
            ("took", Value::Seconds(Duration::from_micros(1_500_000))),
        ];
        let text = line(true, &fields);
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read["time"], "2026-11-21T22:49:00.123Z");
        assert_eq!((&read["level"], &read["event"]), (&"warn".into(), &"event".into()));
        assert_eq!(read["text"], "Grüße \"\\\u{202e}\u{7f}");
        assert_eq!(read["bytes"], "a\0\\xffb\r\n");
        assert_eq!(read["count"], u64::MAX);
        assert_eq!(read["took"], 1.5);
        assert!(!text.contains('\u{202e}') && !text.contains('\u{7f}'), "{text}");
    }

    #[test]
    fn any_bytes_give_one_line_of_valid_json_and_one_of_words() {
        let mut entropy = SeededEntropy::from_number(1);
        for length in 0..600 {
            let mut bytes = vec![0; length];
            entropy.fill(&mut bytes);
            for json in [false, true] {
                let text = line(json, &[("bytes", Value::Bytes(&bytes)), ("last", Value::Number(1))]);
                let body = text.strip_suffix('\n').unwrap();
                assert!(!body.contains(char::is_control), "{text:?}");
                assert!(!json || serde_json::from_str::<serde_json::Value>(body).unwrap()["last"] == 1, "{text:?}");
            }
        }
    }
}
