//! Keyed limits in force: who is let through now, and who waits where.
//!
//! A gate is one key of one rule. A flow of jobs that a gate stops is parked at it and costs nothing until the gate
//! opens; then the gate lets flows back one by one, the highest priority first, turn by turn within it. So a job that a
//! key blocks never stands in the way of one behind it.
//!
//! Invariant: a gate that is open and has flows parked is on the list of gates to check.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

use foldhash::fast::RandomState;

use super::{
    FlowRef, LEVELS,
    gcra::Gcra,
    slab::{Slab, Slot},
};
use crate::scheduler::{LimitRule, Rate, placement::Ask};

/// One key of one rule.
pub(crate) type GateId = Slot;

/// The name of policy's bound on the jobs of a tenant, and of the counter behind it.
const POLICY_RULE: &str = "max_concurrent_jobs";

/// What a job waits for when a limit holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitReached {
    /// The rule's name; `max_concurrent_jobs` for policy's bound.
    pub rule: Arc<str>,
    /// The key.
    pub key: Arc<str>,
    /// Whether the key is a tenant.
    pub by_tenant: bool,
}

/// The gates that a job goes through, and what it is counted by while it has a lease.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Pass {
    gates: Box<[GateId]>,
    counters: Box<[Slot]>,
}

#[derive(Clone, Debug)]
struct Gate {
    key: GateKey,
    reached: LimitReached,
    counter: Slot,
    max: Option<u32>,
    rate: Option<Rate>,
    meter: Gcra,
    /// Jobs that wait or have a lease; the gate lives while there are any, or its rate remembers some.
    users: u32,
    /// Flows that it stopped, by pool.
    parked: BTreeMap<u32, [VecDeque<FlowRef>; LEVELS]>,
    /// Where it stands in the calendar.
    scheduled: Option<i64>,
}

#[derive(Clone, Debug)]
struct Counter {
    key: (Arc<str>, Arc<str>),
    in_use: u32,
    users: u32,
    gates: Vec<GateId>,
}

type CounterKey = (Arc<str>, Arc<str>);
type GateKey = (Arc<str>, Arc<str>, Option<u32>, Option<Rate>);

impl Gate {
    /// The flow of the highest level that is parked here for a pool.
    fn let_back(&mut self, pool: u32) -> Option<FlowRef> {
        let lines = self.parked.get_mut(&pool)?;
        let flow = lines.iter_mut().find_map(VecDeque::pop_front);
        if lines.iter().all(VecDeque::is_empty) {
            self.parked.remove(&pool);
        }
        flow
    }
}

/// Every gate.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gates {
    gates: Slab<Gate>,
    by_key: HashMap<GateKey, GateId, RandomState>,
    counters: Slab<Counter>,
    counted: HashMap<CounterKey, Slot, RandomState>,
    /// Gates that open by themselves, by time.
    calendar: BTreeSet<(i64, GateId)>,
    /// Gates that may have room for somebody who is parked, in one pool or in all.
    check: Vec<(GateId, Option<u32>)>,
}

impl Gates {
    /// The way of a job that begins to wait. O(rules).
    pub(crate) fn enter(&mut self, ask: &Ask, rules: &[Arc<LimitRule>]) -> Pass {
        let tenant = ask.job.tenant.shared();
        let of_tenant = self.counter(POLICY_RULE.into(), tenant.clone());
        let mut counters = vec![of_tenant];
        let mut gates = Vec::new();
        if let Some(max) = ask.tenant_max {
            gates.push(self.gate((POLICY_RULE.into(), tenant, Some(max), None), of_tenant, true));
        }
        for rule in rules {
            let Some(key) = rule.key_of(&ask.job) else { continue };
            let key: Arc<str> = key.into();
            let counter = self.counter(rule.name.clone(), key.clone());
            counters.push(counter);
            gates.push(self.gate((rule.name.clone(), key, rule.max_concurrent, rule.rate), counter, rule.by_tenant));
        }
        for counter in &counters {
            if let Some(counter) = self.counters.get_mut(*counter) {
                counter.users += 1;
            }
        }
        for gate in &gates {
            if let Some(gate) = self.gates.get_mut(*gate) {
                gate.users += 1;
            }
        }
        Pass { gates: gates.into(), counters: counters.into() }
    }

    fn counter(&mut self, rule: Arc<str>, value: Arc<str>) -> Slot {
        let key = (rule, value);
        if let Some(counter) = self.counted.get(&key) {
            return *counter;
        }
        let counter = Counter { key: key.clone(), in_use: 0, users: 0, gates: Vec::new() };
        let slot = self.counters.insert(counter);
        self.counted.insert(key, slot);
        slot
    }

    fn gate(&mut self, key: GateKey, counter: Slot, by_tenant: bool) -> GateId {
        if let Some(gate) = self.by_key.get(&key) {
            return *gate;
        }
        let (rule, value, max, rate) = key.clone();
        let id = self.gates.insert(Gate {
            key: key.clone(),
            reached: LimitReached { rule, key: value, by_tenant },
            counter,
            max,
            rate,
            meter: Gcra::default(),
            users: 0,
            parked: BTreeMap::new(),
            scheduled: None,
        });
        if let Some(counter) = self.counters.get_mut(counter) {
            counter.gates.push(id);
        }
        self.by_key.insert(key, id);
        id
    }

    /// A job waits no more and has no lease.
    pub(crate) fn leave(&mut self, pass: &Pass, now: i64) {
        for id in &pass.gates {
            if let Some(gate) = self.gates.get_mut(*id) {
                gate.users = gate.users.saturating_sub(1);
            }
            self.drop_gate(*id, now);
        }
        for id in &pass.counters {
            if let Some(counter) = self.counters.get_mut(*id) {
                counter.users = counter.users.saturating_sub(1);
            }
            self.drop_counter(*id);
        }
    }

    /// Forgets a gate that nobody uses; one whose rate remembers starts stands in the calendar until it has forgotten.
    fn drop_gate(&mut self, id: GateId, now: i64) {
        let Some(gate) = self.gates.get_mut(id) else { return };
        if gate.users > 0 {
            return;
        }
        if gate.rate.is_some() && !gate.meter.is_idle(now) {
            let at = gate.meter.idle_at();
            if let Some(old) = gate.scheduled.replace(at) {
                self.calendar.remove(&(old, id));
            }
            self.calendar.insert((at, id));
            return;
        }
        if let Some(at) = gate.scheduled {
            self.calendar.remove(&(at, id));
        }
        if let Some(gate) = self.gates.remove(id) {
            self.by_key.remove(&gate.key);
            if let Some(counter) = self.counters.get_mut(gate.counter) {
                counter.gates.retain(|other| *other != id);
            }
            self.drop_counter(gate.counter);
        }
    }

    fn drop_counter(&mut self, id: Slot) {
        let unused = |counter: &Counter| counter.users == 0 && counter.in_use == 0 && counter.gates.is_empty();
        if self.counters.get(id).is_some_and(unused)
            && let Some(counter) = self.counters.remove(id)
        {
            self.counted.remove(&counter.key);
        }
    }

    /// The first gate that stops a job now.
    pub(crate) fn blocked(&self, pass: &Pass, now: i64) -> Option<GateId> {
        pass.gates.iter().copied().find(|id| !self.is_open(*id, now))
    }

    fn is_open(&self, id: GateId, now: i64) -> bool {
        let Some(gate) = self.gates.get(id) else { return true };
        let in_use = self.counters.get(gate.counter).map_or(0, |counter| counter.in_use);
        gate.max.is_none_or(|max| in_use < max) && gate.rate.is_none_or(|rate| gate.meter.opens_at(rate, now) <= now)
    }

    /// What a job that is parked at the gate waits for.
    pub(crate) fn reached(&self, id: GateId) -> Option<LimitReached> {
        self.gates.get(id).map(|gate| gate.reached.clone())
    }

    /// A job gets a lease.
    pub(crate) fn take(&mut self, pass: &Pass, now: i64) {
        for id in &pass.counters {
            if let Some(counter) = self.counters.get_mut(*id) {
                counter.in_use += 1;
            }
        }
        for id in &pass.gates {
            if let Some(gate) = self.gates.get_mut(*id) {
                if let Some(rate) = gate.rate {
                    gate.meter.take(rate, now);
                }
                // There may be room for another.
                self.check.push((*id, None));
            }
        }
    }

    /// A lease from before a restart: it counts, and starts nothing.
    pub(crate) fn hold(&mut self, pass: &Pass) {
        for id in &pass.counters {
            if let Some(counter) = self.counters.get_mut(*id) {
                counter.in_use += 1;
            }
        }
    }

    /// A lease is over.
    pub(crate) fn release(&mut self, pass: &Pass) {
        for id in &pass.counters {
            if let Some(counter) = self.counters.get_mut(*id) {
                counter.in_use = counter.in_use.saturating_sub(1);
                self.check.extend(counter.gates.iter().map(|gate| (*gate, None)));
            }
        }
    }

    /// Parks a flow. `first` keeps the turn of one that was let back and not served.
    pub(crate) fn park(&mut self, id: GateId, flow: FlowRef, level: usize, first: bool, now: i64) {
        let Some(gate) = self.gates.get_mut(id) else { return };
        if let Some(line) = gate.parked.entry(flow.pool).or_default().get_mut(level) {
            if first { line.push_front(flow) } else { line.push_back(flow) }
        }
        let Some(rate) = gate.rate else { return };
        let at = gate.meter.opens_at(rate, now);
        if at > now && gate.scheduled != Some(at) {
            if let Some(old) = gate.scheduled.replace(at) {
                self.calendar.remove(&(old, id));
            }
            self.calendar.insert((at, id));
        }
    }

    /// Looks at a gate again for a pool: whoever it let back there did not use the room.
    pub(crate) fn check_later(&mut self, id: GateId, pool: u32) {
        self.check.push((id, Some(pool)));
    }

    /// Whether a gate may have somebody to let back.
    pub(crate) const fn has_checks(&self) -> bool {
        !self.check.is_empty()
    }

    /// The next flow to let back, and the gate that does: one for each pool, which then compete in their turns. A pool that
    /// cannot serve is told as stalled, to look at the gate when it can.
    pub(crate) fn next_woken(
        &mut self,
        now: i64,
        serves: impl Fn(u32) -> bool,
        mut stalled: impl FnMut(u32, GateId),
    ) -> Option<(GateId, FlowRef)> {
        while let Some((id, pool)) = self.check.pop() {
            if !self.is_open(id, now) {
                self.reschedule(id, now);
                continue;
            }
            let Some(gate) = self.gates.get_mut(id) else { continue };
            match pool {
                None => self.check.extend(gate.parked.keys().map(|pool| (id, Some(*pool)))),
                Some(pool) if !serves(pool) => stalled(pool, id),
                Some(pool) => {
                    if let Some(flow) = gate.let_back(pool) {
                        return Some((id, flow));
                    }
                }
            }
        }
        None
    }

    /// A rate that closed again opens at another time.
    fn reschedule(&mut self, id: GateId, now: i64) {
        let Some(gate) = self.gates.get_mut(id) else { return };
        let Some(rate) = gate.rate else { return };
        let at = gate.meter.opens_at(rate, now);
        if gate.parked.is_empty() || at <= now || gate.scheduled == Some(at) {
            return;
        }
        if let Some(old) = gate.scheduled.replace(at) {
            self.calendar.remove(&(old, id));
        }
        self.calendar.insert((at, id));
    }

    /// Takes note of the gates whose time has come.
    pub(crate) fn wake_due(&mut self, now: i64) {
        while let Some((at, id)) = self.calendar.first().copied().filter(|(at, _)| *at <= now) {
            self.calendar.remove(&(at, id));
            let Some(gate) = self.gates.get_mut(id) else { continue };
            gate.scheduled = None;
            if gate.users == 0 {
                self.drop_gate(id, now);
            } else {
                self.check.push((id, None));
            }
        }
    }

    /// When the next gate opens by itself.
    pub(crate) fn next_due(&self) -> Option<i64> {
        self.calendar.first().map(|(at, _)| *at)
    }

    /// Jobs of a key that have a lease.
    pub(crate) fn in_use(&self, rule: &str, key: &str) -> u32 {
        let counter = self.counted.get(&(rule.into(), key.into())).and_then(|slot| self.counters.get(*slot));
        counter.map_or(0, |counter| counter.in_use)
    }

    /// Jobs of a tenant that have a lease.
    pub(crate) fn of_tenant(&self, tenant: &str) -> u32 {
        self.in_use(POLICY_RULE, tenant)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> (usize, usize) {
        (self.by_key.len(), self.counted.len())
    }
}
