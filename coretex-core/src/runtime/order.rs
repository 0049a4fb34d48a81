//! A job on its way to a worker: shared as it is within one process, and told as a CAP packet to those who ask for one.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use jiff::Timestamp;

use crate::{
    job::{JobSpec, StepRunId},
    policy::{ActorType, Constraints},
    ports::{Order, Packet, PacketSource},
    protocol::{Budget, BusPacket, JobMetadata, JobRequest},
};

/// A job that is handed out.
#[derive(Debug)]
pub(super) struct JobOrder {
    spec: Arc<JobSpec>,
    constraints: Option<Arc<Constraints>>,
    deadline_at: Timestamp,
    sent_at: Timestamp,
    sender_id: Arc<str>,
    packet: OnceLock<Box<BusPacket>>,
}

impl JobOrder {
    pub(super) fn new(
        spec: Arc<JobSpec>,
        constraints: Option<Arc<Constraints>>,
        deadline_at: Timestamp,
        sent_at: Timestamp,
        sender_id: Arc<str>,
    ) -> Self {
        Self { spec, constraints, deadline_at, sent_at, sender_id, packet: OnceLock::new() }
    }

    /// What the job is.
    pub(super) const fn spec(&self) -> &Arc<JobSpec> {
        &self.spec
    }

    /// The job as CAP describes it. `env` repeats what workers on the wire look for there; it is left empty, because
    /// the same facts are fields of the request.
    fn request(&self) -> JobRequest {
        let spec = &*self.spec;
        let meta = &spec.meta;
        let left = self.deadline_at.duration_since(self.sent_at).as_millis();
        let constraints = self.constraints.as_ref().and_then(|constraints| serde_json::to_string(&**constraints).ok());
        let env = constraints.map(|text| ("CORETEX_POLICY_CONSTRAINTS".to_owned(), text));
        JobRequest {
            job_id: spec.id.to_string(),
            topic: spec.topic.to_string(),
            priority: spec.priority.wire(),
            adapter_id: spec.adapter_id.as_deref().unwrap_or_default().to_owned(),
            env: env.into_iter().collect(),
            workflow_id: spec.workflow.as_ref().map(ToString::to_string).unwrap_or_default(),
            memory_id: spec.memory_id.to_string(),
            budget: Some(Budget { deadline_ms: i64::try_from(left.max(1)).unwrap_or(i64::MAX), ..Budget::default() }),
            tenant_id: spec.tenant.to_string(),
            principal_id: spec.principal.to_string(),
            meta: Some(JobMetadata {
                tenant_id: spec.tenant.to_string(),
                actor_id: meta.actor_id.clone().unwrap_or_default(),
                actor_type: match meta.actor_type {
                    None => 0,
                    Some(ActorType::Human) => 1,
                    Some(ActorType::Service) => 2,
                },
                idempotency_key: meta.idempotency_key.clone().unwrap_or_default(),
                capability: meta.capability.clone().unwrap_or_default(),
                risk_tags: meta.risk_tags.clone(),
                requires: meta.requires.clone(),
                pack_id: meta.pack_id.clone().unwrap_or_default(),
                labels: meta.labels.clone(),
            }),
            labels: BTreeMap::clone(&spec.labels),
            ..JobRequest::default()
        }
    }

    /// The packet for a bus that leaves the process.
    pub(super) fn wire_packet(&self) -> BusPacket {
        let mut request = self.request();
        request.env.extend(wire_env(&self.spec));
        BusPacket::new(&*self.spec.trace_id, &*self.sender_id, self.sent_at, request)
    }
}

impl PacketSource for JobOrder {
    fn packet(&self) -> &BusPacket {
        self.packet.get_or_init(|| {
            Box::new(BusPacket::new(&*self.spec.trace_id, &*self.sender_id, self.sent_at, self.request()))
        })
    }
}

impl Order for JobOrder {
    fn job_id(&self) -> &str {
        self.spec.id.as_str()
    }

    fn shared_job_id(&self) -> Arc<str> {
        self.spec.id.shared()
    }

    fn topic(&self) -> &str {
        self.spec.topic.as_str()
    }

    fn trace_id(&self) -> &str {
        &self.spec.trace_id
    }

    fn deadline_at(&self) -> Timestamp {
        self.deadline_at
    }

    fn wire_packet(&self) -> BusPacket {
        Self::wire_packet(self)
    }
}

fn wire_env(spec: &JobSpec) -> impl Iterator<Item = (String, String)> {
    let named = [
        ("tenant_id", Some(spec.tenant.as_str())),
        ("memory_id", Some(&*spec.memory_id)),
        ("context_mode", Some("raw")),
        ("team_id", (!spec.team.is_empty()).then_some(&*spec.team)),
        ("workflow_id", spec.workflow.as_ref().map(AsRef::as_ref)),
        ("run_id", spec.run.as_ref().map(AsRef::as_ref)),
        ("step_id", spec.step.as_ref().map(StepRunId::step)),
    ];
    let item = [
        ("foreach_index", spec.index.map(|index| index.to_string())),
        ("foreach_item", spec.item.as_ref().map(|item| item.to_string())),
    ];
    let named = named.into_iter().map(|(key, value)| (key, value.map(str::to_owned)));
    named.chain(item).filter_map(|(key, value)| Some((key.to_owned(), value?)))
}

impl From<JobOrder> for Packet {
    fn from(order: JobOrder) -> Self {
        Self::order_of(Arc::new(order))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::{
        job::{JobId, Priority, RunId, StepId, TenantId, Topic, WorkflowId},
        ports::JobDone,
        protocol::JobStatus,
    };

    fn order() -> JobOrder {
        let run = RunId::parse("r1").unwrap();
        let step = StepId::parse("fetch").unwrap();
        let sent_at: Timestamp = "2030-01-01T00:00:00Z".parse().unwrap();
        let spec = JobSpec {
            id: JobId::of_step(&run, &StepRunId::of_step(&step), 2),
            attempt: 2,
            topic: Topic::parse_job("job.a").unwrap(),
            tenant: TenantId::parse("acme").unwrap(),
            team: "sre".into(),
            principal: "ann".into(),
            meta: Arc::default(),
            labels: BTreeMap::from([("run_id".to_owned(), "r1".to_owned())]).into(),
            priority: Priority::Critical,
            memory_id: "repo:a".into(),
            adapter_id: None,
            trace_id: "r1".into(),
            workflow: Some(WorkflowId::parse("w").unwrap()),
            run: Some(run),
            step: Some(StepRunId::of_step(&step)),
            item: Some(Arc::new(json!("host-1"))),
            index: Some(3),
            timeout: None,
            input: Arc::new(json!({})),
        };
        let deadline_at = sent_at + Duration::from_millis(1_500);
        JobOrder::new(Arc::new(spec), None, deadline_at, sent_at, "coretex".into())
    }

    #[test]
    fn an_order_reads_as_the_packet_it_stands_for() {
        let packet = Packet::from(order());
        let request = packet.job_request().unwrap();
        assert_eq!((packet.trace_id.as_str(), packet.sender_id.as_str()), ("r1", "coretex"));
        assert_eq!((request.job_id.as_str(), request.topic.as_str()), ("r1:fetch@2", "job.a"));
        assert_eq!((request.tenant_id.as_str(), request.principal_id.as_str()), ("acme", "ann"));
        assert_eq!((request.workflow_id.as_str(), request.priority), ("w", 3));
        assert_eq!(request.budget.as_ref().unwrap().deadline_ms, 1_500);
        assert_eq!(request.labels.get("run_id").map(String::as_str), Some("r1"));
        assert!(request.env.is_empty());
        let wire = order().wire_packet();
        let env = &wire.job_request().unwrap().env;
        assert_eq!(env.get("step_id").map(String::as_str), Some("fetch"));
        assert_eq!(env.get("foreach_index").map(String::as_str), Some("3"));
        assert_eq!(env.get("foreach_item").map(String::as_str), Some("\"host-1\""));
        assert_eq!(env.get("team_id").map(String::as_str), Some("sre"));
        assert_eq!(*packet.for_wire(), wire, "whoever passes an order on tells it as the wire does");
        assert_eq!(packet.order().map(|order| order.job_id()), Some("r1:fetch@2"));
        assert!(packet.source::<JobDone>().is_none());
    }

    #[test]
    fn a_job_that_is_done_reads_as_its_result() {
        let at: Timestamp = "2030-01-01T00:00:01Z".parse().unwrap();
        let done = JobDone::new(Arc::new(order()), "w1".into(), at, Duration::from_millis(7));
        let packet = Packet::from(done);
        let result = packet.job_result().unwrap();
        assert_eq!((packet.trace_id.as_str(), packet.sender_id.as_str()), ("r1", "w1"));
        assert_eq!((result.job_id.as_str(), result.worker_id.as_str()), ("r1:fetch@2", "w1"));
        assert_eq!((result.effective_status(), result.execution_ms), (JobStatus::Succeeded, 7));
    }
}
