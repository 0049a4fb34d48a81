//! Events as they lie in the stream.
//!
//! The form is the one that `Serialize` gives, byte for byte. The two events that nearly every step consists of are
//! written without a serializer, in few pieces rather than many; all others go through it.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Error;

use super::{RunEvent, StoredEvent, time::push_time};
use crate::{job::Output, policy::Decision};

impl StoredEvent {
    /// Adds the event to `buffer` as JSON: the same bytes as its `Serialize`, sooner.
    ///
    /// # Errors
    /// Never for an event that a transition made.
    pub fn encode_into(&self, buffer: &mut Vec<u8>) -> Result<(), Error> {
        let mut line = Line(buffer);
        match &self.event {
            RunEvent::StepDispatched { step, attempt, input, decision, pool, deadline_at } => {
                line.begin(self.at, "step_dispatched", step.as_str(), *attempt)?;
                if let Some(input) = input {
                    line.raw(",\"input\":");
                    line.json(input)?;
                }
                line.raw(",\"decision\":");
                line.decision(decision)?;
                line.raw(",\"pool\":");
                line.text(pool)?;
                line.raw(",\"deadline_at\":");
                line.time(*deadline_at);
            }
            RunEvent::StepCompleted { step, attempt, worker, execution_ms, output } => {
                line.begin(self.at, "step_completed", step.as_str(), *attempt)?;
                line.raw(",\"worker\":");
                line.text(worker)?;
                line.raw(",\"execution_ms\":");
                line.json(execution_ms)?;
                line.output(output)?;
            }
            _ => return line.json(self),
        }
        line.raw("}");
        Ok(())
    }
}

/// A record in the making.
struct Line<'a>(&'a mut Vec<u8>);

impl Line<'_> {
    /// What every event about a try of a step begins with. `kind` is a plain word.
    fn begin(&mut self, at: Timestamp, kind: &str, step: &str, attempt: u32) -> Result<(), Error> {
        self.raw("{\"at\":");
        self.time(at);
        self.raw(",\"type\":\"");
        self.raw(kind);
        self.raw("\",\"step\":\"");
        // The characters of an id stand for themselves.
        self.raw(step);
        self.raw("\",\"attempt\":");
        self.json(&attempt)
    }

    fn decision(&mut self, decision: &Decision) -> Result<(), Error> {
        // Every field is named: a new one must be written here as well.
        let Decision {
            outcome,
            rule_id,
            reason,
            snapshot,
            constraints: None,
            obligations,
            remediations,
            retry_after: None,
            ungoverned,
        } = decision
        else {
            return self.json(decision);
        };
        if !obligations.is_empty() || !remediations.is_empty() {
            return self.json(decision);
        }
        self.raw("{\"outcome\":\"");
        self.raw(outcome.as_str());
        self.raw("\"");
        for (name, text) in [(",\"rule_id\":", rule_id), (",\"reason\":", reason)] {
            if !text.is_empty() {
                self.raw(name);
                self.text(text)?;
            }
        }
        self.raw(",\"snapshot\":");
        self.text(snapshot)?;
        self.raw(if *ungoverned { ",\"ungoverned\":true}" } else { "}" });
        Ok(())
    }

    fn output(&mut self, output: &Output) -> Result<(), Error> {
        let Output { value, pointer, sha256, bytes, artifacts } = output;
        if let Some(value) = value {
            self.raw(",\"value\":");
            self.json(value)?;
        }
        for (name, text) in [(",\"pointer\":", pointer), (",\"sha256\":", sha256)] {
            if let Some(text) = text {
                self.raw(name);
                self.text(text)?;
            }
        }
        if let Some(bytes) = bytes {
            self.raw(",\"bytes\":");
            self.json(bytes)?;
        }
        if !artifacts.is_empty() {
            self.raw(",\"artifacts\":");
            self.json(artifacts)?;
        }
        Ok(())
    }

    fn raw(&mut self, text: &str) {
        self.0.extend_from_slice(text.as_bytes());
    }

    fn json(&mut self, value: &impl Serialize) -> Result<(), Error> {
        serde_json::to_writer(&mut *self.0, value)
    }

    fn text(&mut self, text: &str) -> Result<(), Error> {
        // Every byte is looked at, which takes many at once.
        if text.bytes().fold(false, |odd, byte| odd | (byte < b' ') | (byte == b'"') | (byte == b'\\')) {
            return self.json(&text);
        }
        self.raw("\"");
        self.raw(text);
        self.raw("\"");
        Ok(())
    }

    fn time(&mut self, at: Timestamp) {
        self.raw("\"");
        push_time(self.0, at);
        self.raw("\"");
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use serde_json::json;

    use super::*;
    use crate::{
        job::StepRunId,
        policy::{Constraints, Obligation, Outcome, Remediation},
        value::Value,
    };

    fn times() -> [Timestamp; 4] {
        ["2026-11-24T16:00:00Z", "2026-11-24T16:00:00.000001Z", "1969-12-31T23:59:59.5Z", "9999-12-30T22:00:00.12Z"]
            .map(|text| text.parse().unwrap())
    }

    fn texts() -> [Arc<str>; 6] {
        ["", "plain", "a \"quoted\" \\ text", "tab\tline\n\u{1}", "Grüße \u{7f}\u{2028}", "/slash"].map(Arc::from)
    }

    fn values() -> [Option<Arc<Value>>; 3] {
        [None, Some(Arc::new(Value::Null)), Some(Arc::new(json!({"n": 1.5, "text": "\"", "list": [true, null]})))]
    }

    fn same(at: Timestamp, event: RunEvent) {
        let stored = StoredEvent { at, event };
        let mut written = b"before".to_vec();
        stored.encode_into(&mut written).unwrap();
        let derived = serde_json::to_string(&stored).unwrap();
        assert_eq!(String::from_utf8(written).unwrap(), format!("before{derived}"));
        assert_eq!(serde_json::from_str::<StoredEvent>(&derived).unwrap(), stored);
    }

    fn decisions() -> Vec<Decision> {
        let [empty, plain, odd, ..] = texts();
        let bare = Decision::new(Outcome::Allow, empty.clone(), empty, plain.clone());
        let told = Decision::new(Outcome::AllowWithConstraints, odd.clone(), plain, odd);
        vec![
            Decision { ungoverned: true, ..bare.clone() },
            Decision { constraints: Some(Arc::new(Constraints::default())), ..bare.clone() },
            Decision {
                obligations: vec![Obligation { kind: "audit".into(), parameters: Default::default() }],
                ..bare.clone()
            },
            Decision { remediations: vec![Remediation::default()], ..told.clone() },
            Decision { retry_after: Some(Duration::from_millis(1_500)), ..told.clone() },
            bare,
            told,
        ]
    }

    #[test]
    fn a_dispatched_step_is_written_as_its_serialize_says() {
        for id in ["scan", "scan[2][0]"] {
            let step = StepRunId::parse(id).unwrap();
            for (at, deadline_at) in times().into_iter().zip(times().into_iter().rev()) {
                for (pool, input) in texts().iter().zip(values().iter().cycle()) {
                    for decision in decisions() {
                        let (step, input, pool) = (step.clone(), input.clone(), pool.clone());
                        same(
                            at,
                            RunEvent::StepDispatched {
                                step,
                                attempt: 12,
                                input,
                                decision: decision.into(),
                                pool,
                                deadline_at,
                            },
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn a_completed_step_is_written_as_its_serialize_says() {
        let step = StepRunId::parse("scan").unwrap();
        for at in times() {
            for worker in texts() {
                for value in values() {
                    for pointer in texts().map(Some).into_iter().chain([None]) {
                        let sha256 = pointer.clone();
                        let artifacts = pointer.iter().cloned().collect();
                        let bytes = pointer.as_ref().map(|_| 300_000);
                        let output = Output { value: value.clone(), pointer, sha256, bytes, artifacts };
                        let (step, worker) = (step.clone(), worker.clone());
                        same(at, RunEvent::StepCompleted { step, attempt: 1, worker, execution_ms: u64::MAX, output });
                    }
                }
            }
        }
    }

    #[test]
    fn any_other_event_goes_through_its_serialize() {
        let step = StepRunId::parse("scan").unwrap();
        let [at, ..] = times();
        same(at, RunEvent::RunTimedOut {});
        same(at, RunEvent::StepCancelled { step });
    }
}
