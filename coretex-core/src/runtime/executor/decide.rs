//! Deciding one input of an aggregate whose state is at hand.

use super::{
    Command, Executor, answer,
    entry::{Entry, Phase},
};
use crate::{
    job::LoadedOutputs,
    plane::{self, Rejected, State},
    ports::PolicySnapshot,
    runtime::{
        PlaneError,
        error::PlaneErrorKind,
        keys::AggregateId,
        outputs, placement, repeat,
        shared::{Reply, Work},
    },
    workflow::{self, Run, StartRun},
};

impl Executor {
    /// Decides one input of an aggregate whose state is at hand.
    pub(super) fn decide(&mut self, command: Command, policy: &dyn PolicySnapshot) {
        let aggregate = command.aggregate.clone();
        let seed = self.next_seed();
        let Some(entry) = self.entries.get_mut(&aggregate) else { return };
        entry.stamp = 0;
        self.idle_weight = self.idle_weight.saturating_sub(std::mem::take(&mut entry.counted));
        let routes = self.shared.routes.load();
        let nothing = LoadedOutputs::default();
        let mut facts = self.shared.facts(seed, policy, &routes);
        facts.outputs = Some(command.fetched.as_ref().map_or(&nothing, |fetched| &fetched.outputs));
        let decided = match (&entry.state, &command.work) {
            (None, Work::Start { workflow, start }) => {
                let workflow = self.definitions.of(workflow);
                plane::start(&workflow, StartRun::clone(start), &facts)
                    .map(|transition| (State::Run(Box::new(Run::new(workflow))), transition, false))
            }
            (None, Work::Submit(spec)) => {
                // The record begins with its own submission, so it starts one event further on.
                let (record, transition) = plane::submit(spec, &facts);
                Ok((State::Job(Box::new(record)), transition, true))
            }
            (None, _) => {
                return self.answer_absent(command);
            }
            (Some(State::Run(run)), Work::Start { workflow, start }) => {
                // The same start again, by a repeat or after a refusal whose outcome was unknown.
                let same = run.tenant() == workflow.tenant()
                    && run.workflow().id() == workflow.id()
                    && workflow.fill_input(&start.input).is_ok_and(|input| run.input() == input)
                    && run.idempotency_key() == start.idempotency_key.as_deref()
                    && repeat::same_origin(run, start);
                let answer = if same {
                    Ok(())
                } else {
                    Err(PlaneError::new(
                        PlaneErrorKind::Conflict,
                        "run_exists",
                        format!("run `{}` exists already", start.id),
                    ))
                };
                return self.answer_in_order(command, answer);
            }
            (Some(State::Job(record)), Work::Submit(spec)) => {
                let there = &record.spec;
                let same = there.tenant == spec.tenant
                    && there.topic == spec.topic
                    && there.input == spec.input
                    && there.labels == spec.labels
                    && there.meta == spec.meta;
                let answer = if same {
                    Ok(())
                } else {
                    let message = format!("job `{}` exists already", spec.id);
                    let error = PlaneError::new(PlaneErrorKind::Conflict, "job_exists", message);
                    self.shared.note_refusal(&command.reply, &error);
                    Err(error)
                };
                return self.answer_in_order(command, answer);
            }
            // Runs and jobs are kept apart, so their ids never meet.
            (Some(_), Work::Submit(_) | Work::Start { .. }) => {
                return self.answer_in_order(command, Err(Rejected::Mismatch.into()));
            }
            (Some(state), Work::Recover) => {
                let mut effects = state.outstanding(&facts);
                if self.shared.placement.is_on() {
                    effects = placement::resume(&self.shared, state, effects);
                }
                self.rearm(&aggregate);
                return self.enqueue_effects(command, effects);
            }
            (Some(_), Work::Wait(_)) => return self.wait_for_end(command),
            (Some(_), Work::Stop) => return,
            // What had it was given back since, with a batch that was refused; whoever decides that anew asks anew.
            (Some(state), Work::Input(input)) if placement::is_stale(&self.shared, state, input) => {
                return self.answer_in_order(command, Ok(()));
            }
            (Some(state), Work::Input(input)) => match plane::advance(state, input.clone(), &facts) {
                Ok(transition) => {
                    return self.commit(command, transition, false);
                }
                Err(rejected) => Err(rejected),
            },
        };
        match decided {
            Ok((state, transition, begun)) => {
                entry.state = Some(state);
                self.commit(command, transition, begun);
                if let Some(entry) = self.entries.get_mut(&aggregate)
                    && entry.phase == Phase::Ready
                {
                    entry.phase = Phase::Beginning;
                }
            }
            Err(Rejected::Run(workflow::Rejected::OutputNeeded(needed))) => {
                outputs::fetch(&self.shared, command, needed);
                self.leave_absent(&aggregate);
            }
            Err(rejected) => self.reject(command, rejected),
        }
    }

    /// Forgets an aggregate that is not there and that nothing waits for.
    fn leave_absent(&mut self, aggregate: &AggregateId) {
        if self.entries.get(aggregate).is_some_and(|entry| entry.state.is_none() && entry.is_idle()) {
            self.entries.remove(aggregate);
        }
    }

    pub(super) fn reject(&mut self, command: Command, rejected: Rejected) {
        let aggregate = command.aggregate.clone();
        if matches!(command.reply, Reply::Delivery(_)) {
            tracing::warn!(id = aggregate.id(), code = rejected.code(), %rejected, "an input is not legal and is dropped");
            self.answer_in_order(command, Ok(()));
        } else {
            self.answer_in_order(command, Err(rejected.into()));
        }
        self.leave_absent(&aggregate);
    }

    pub(super) fn answer_absent(&mut self, command: Command) {
        let aggregate = command.aggregate.clone();
        if self.shared.placement.is_on() {
            placement::settle_absent(&self.shared, None, &command.work);
        }
        let what = match aggregate {
            AggregateId::Run(_) => "run",
            AggregateId::Job(_) => "job",
        };
        let error = PlaneError::not_found(what, aggregate.id());
        match (command.work, command.reply) {
            (Work::Wait(waiter), _) => {
                // A waiter that has gone does not mind.
                let _gone = waiter.send(Err(error));
            }
            (_, Reply::Delivery(delivery)) => {
                tracing::debug!(id = aggregate.id(), "a message about something unknown is dropped");
                delivery.ack_now();
            }
            (_, reply) => answer(reply, Err(error), &aggregate),
        }
        if self.entries.get(&aggregate).is_some_and(Entry::is_idle) {
            self.entries.remove(&aggregate);
        }
    }
}
