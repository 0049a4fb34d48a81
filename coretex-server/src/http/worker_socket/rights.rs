//! What a worker may do on the bus: listen for jobs and cancels, and speak for itself.

use coretex_core::protocol::{BusPacket, ComponentRole, Payload, subjects};

/// How much a connection may do.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rights {
    /// What a worker does.
    Worker,
    /// Everything: for the suite that every bus runs.
    #[cfg(test)]
    All,
}

impl Rights {
    /// Whether any blob may be written.
    pub(super) const fn writes_everything(self) -> bool {
        match self {
            Self::Worker => false,
            #[cfg(test)]
            Self::All => true,
        }
    }

    /// Judges a subscription; `Err` says what may be subscribed to.
    pub(super) fn subscribe(self, worker: &str, filter: &str, group: Option<&str>) -> Result<(), String> {
        #[cfg(test)]
        if matches!(self, Self::All) {
            return Ok(());
        }
        match group {
            None if filter == subjects::JOB_CANCEL => Ok(()),
            None => {
                Err(format!("without a group a worker listens to `{}` alone, not to `{filter}`", subjects::JOB_CANCEL))
            }
            Some(group) if group != filter => {
                Err(format!("the group on `{filter}` is `{group}`; workers share jobs in the group named as the topic"))
            }
            Some(_) if filter.starts_with(subjects::TOPIC_PREFIX) || subjects::worker_of(filter) == Some(worker) => {
                Ok(())
            }
            Some(_) => Err(format!("a worker takes jobs of topics `job.…` and those sent to itself, not `{filter}`")),
        }
    }

    /// Judges a message; `Err` says what is wrong with it.
    pub(super) fn publish(self, worker: &str, subject: &str, packet: &BusPacket) -> Result<(), String> {
        #[cfg(test)]
        if matches!(self, Self::All) {
            return Ok(());
        }
        if packet.sender_id != worker {
            return Err(format!(
                "the sender is `{}`; this connection is that of `{worker}`",
                packet.sender_id.escape_debug()
            ));
        }
        let itself = |named: &str| {
            if named.is_empty() || named == worker {
                Ok(())
            } else {
                Err(format!("it speaks for `{}`; this connection is that of `{worker}`", named.escape_debug()))
            }
        };
        match (subject, &packet.payload) {
            (subjects::JOB_RESULT, Some(Payload::JobResult(result))) => itself(&result.worker_id),
            (subjects::JOB_PROGRESS, Some(Payload::JobProgress(_))) => Ok(()),
            (subjects::HEARTBEAT, Some(Payload::Heartbeat(beat))) if beat.worker_id == worker => Ok(()),
            (subjects::HANDSHAKE, Some(Payload::Handshake(shake)))
                if shake.component_id == worker && shake.role() == ComponentRole::Worker =>
            {
                Ok(())
            }
            (subjects::ALERT, Some(Payload::Alert(alert))) => {
                itself(&alert.component)?;
                itself(&alert.source_component)
            }
            (subject, payload) => {
                let payload = payload.as_ref().map_or("nothing", |payload| payload.name());
                Err(format!("a worker does not publish `{payload}` on `{subject}`, or not for another one"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use coretex_core::protocol::{Handshake, Heartbeat, JobCancel, JobProgress, JobRequest, JobResult, SystemAlert};

    use super::*;

    #[test]
    fn a_worker_listens_for_jobs_and_cancels_only() {
        for (filter, group, may) in [
            ("job.a", Some("job.a"), true),
            ("job.a.>", Some("job.a.>"), true),
            ("worker.w1.jobs", Some("worker.w1.jobs"), true),
            ("sys.job.cancel", None, true),
            // Beside the others, it would be given a copy of every job.
            ("job.a", Some("mine"), false),
            ("job.a", None, false),
            ("worker.w2.jobs", Some("worker.w2.jobs"), false),
            ("worker.*.jobs", Some("worker.*.jobs"), false),
            ("sys.job.cancel", Some("sys.job.cancel"), false),
            ("sys.job.result", Some("sys.job.result"), false),
            ("sys.>", None, false),
            (">", Some(">"), false),
            ("*.a", Some("*.a"), false),
        ] {
            assert_eq!(Rights::Worker.subscribe("w1", filter, group).is_ok(), may, "{filter} {group:?}");
        }
    }

    #[test]
    fn a_worker_speaks_for_itself_only() {
        let result = |worker: &str| JobResult { worker_id: worker.into(), ..Default::default() };
        let beat = |worker: &str| Heartbeat { worker_id: worker.into(), ..Default::default() };
        let shake = |worker: &str, role: ComponentRole| Handshake {
            component_id: worker.into(),
            role: role.into(),
            ..Default::default()
        };
        let alert = |worker: &str| SystemAlert { source_component: worker.into(), ..Default::default() };
        let cases: Vec<(&str, Payload, bool)> = vec![
            ("sys.job.result", result("w1").into(), true),
            ("sys.job.result", result("").into(), true),
            ("sys.job.result", result("w2").into(), false),
            ("sys.job.progress", JobProgress::default().into(), true),
            ("sys.heartbeat", beat("w1").into(), true),
            ("sys.heartbeat", beat("w2").into(), false),
            ("sys.heartbeat", beat("").into(), false),
            ("sys.handshake", shake("w1", ComponentRole::Worker).into(), true),
            ("sys.handshake", shake("w1", ComponentRole::Scheduler).into(), false),
            ("sys.handshake", shake("w2", ComponentRole::Worker).into(), false),
            ("sys.alert", alert("w1").into(), true),
            ("sys.alert", alert("scheduler").into(), false),
            ("sys.job.submit", JobRequest::default().into(), false),
            ("job.a", JobRequest::default().into(), false),
            ("sys.job.cancel", JobCancel::default().into(), false),
            ("sys.job.dlq", result("w1").into(), false),
            ("worker.w1.jobs", JobRequest::default().into(), false),
        ];
        for (subject, payload, may) in cases {
            let packet = BusPacket { sender_id: "w1".into(), payload: Some(payload), ..Default::default() };
            assert_eq!(Rights::Worker.publish("w1", subject, &packet).is_ok(), may, "{subject} {packet:?}");
            let other = BusPacket { sender_id: "w2".into(), ..packet };
            assert!(Rights::Worker.publish("w1", subject, &other).is_err(), "{subject} from another sender");
        }
    }
}
