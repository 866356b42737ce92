//! What a run of the load generator has measured.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Steps of the histogram between two powers of two: the error of a percentile is below 1 %.
const STEPS: u64 = 128;

/// The figures of one run.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Requests answered, whatever the status.
    pub answered: u64,
    /// Bytes received.
    pub bytes: u64,
    /// The time in which requests were started.
    pub took: Duration,
    errors: BTreeMap<String, u64>,
    /// Answers by latency in microseconds, in steps that grow with it.
    latencies: BTreeMap<u64, u64>,
    slowest: Duration,
}

impl Figures {
    pub(super) fn answer(&mut self, status: u16, latency: Duration) {
        self.answered += 1;
        *self.latencies.entry(step(latency.as_micros() as u64)).or_default() += 1;
        self.slowest = self.slowest.max(latency);
        if status >= 400 {
            self.count_errors(&format!("status {status}"), 1);
        }
    }

    pub(super) fn count_errors(&mut self, kind: &str, count: u64) {
        if count > 0 {
            *self.errors.entry(kind.to_owned()).or_default() += count;
        }
    }

    /// Errors by kind: statuses from 400 on, and what ended requests without an answer.
    pub fn errors(&self) -> &BTreeMap<String, u64> {
        &self.errors
    }

    /// Requests answered a second.
    pub fn rate(&self) -> f64 {
        self.answered as f64 / self.took.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// The latency that `share` (0 to 1) of the answers did not exceed.
    pub fn percentile(&self, share: f64) -> Duration {
        let wanted = (self.answered as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (&step, &count) in &self.latencies {
            seen += count;
            if seen >= wanted {
                return Duration::from_micros(most(step)).min(self.slowest);
            }
        }
        self.slowest
    }
}

impl fmt::Display for Figures {
    /// One line of JSON.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{{\"answered\":{},\"seconds\":{:.3},\"rate\":{:.1},\"bytes\":{},\"latency_us\":{{",
            self.answered,
            self.took.as_secs_f64(),
            self.rate(),
            self.bytes
        )?;
        for (name, share) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)] {
            write!(f, "\"{name}\":{},", self.percentile(share).as_micros())?;
        }
        write!(f, "\"max\":{}}},\"errors\":{{", self.slowest.as_micros())?;
        let mut comma = "";
        for (kind, count) in &self.errors {
            write!(f, "{comma}{kind:?}:{count}")?;
            comma = ",";
        }
        f.write_str("}}")
    }
}

/// The histogram's step for a number of microseconds.
fn step(micros: u64) -> u64 {
    let power = u64::from((micros / STEPS).checked_ilog2().map_or(0, |power| power + 1));
    (power << 32) | (micros >> power)
}

/// The largest number of microseconds in a step.
fn most(step: u64) -> u64 {
    let (power, place) = (step >> 32, step & u64::from(u32::MAX));
    ((place + 1) << power) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_keep_the_order_and_are_narrow() {
        let mut last = 0;
        for micros in (0..5000).chain((5000..5_000_000).step_by(997)) {
            let step = step(micros);
            assert!(step >= last, "{micros}");
            last = step;
            let most = most(step);
            assert!(most >= micros && most - micros <= micros / 64, "{micros} is in a step up to {most}");
        }
    }

    #[test]
    fn percentiles_and_errors_are_told() {
        let mut figures = Figures { took: Duration::from_secs(2), ..Figures::default() };
        for micros in 1..=100 {
            figures.answer(if micros == 1 { 503 } else { 200 }, Duration::from_micros(micros));
        }
        figures.count_errors("connection reset", 2);
        assert_eq!(figures.percentile(0.5), Duration::from_micros(50));
        assert_eq!(figures.percentile(1.0), Duration::from_micros(100));
        assert_eq!(
            figures.to_string(),
            "{\"answered\":100,\"seconds\":2.000,\"rate\":50.0,\"bytes\":0,\"latency_us\":{\"p50\":50,\"p90\":90,\
             \"p99\":99,\"p99.9\":100,\"max\":100},\"errors\":{\"connection reset\":2,\"status 503\":1}}"
        );
    }
}
