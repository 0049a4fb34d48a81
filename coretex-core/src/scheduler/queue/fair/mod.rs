//! The structure behind the rules: levels, rings, lanes and flows.

mod serve;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

use foldhash::fast::RandomState;

pub(crate) use self::serve::{Attempt, Served};
use super::{
    Gates, LEVELS,
    flow::{self, Flow, FlowKey, Order, Ticket, Waits},
    slab::{Slab, Slot},
};
use crate::scheduler::{PoolConfig, micros, placement::Ask};

/// Jobs that are lifted in one call.
const MOST_RISES: usize = 256;

/// What the queue takes from its pool's configuration.
#[derive(Clone, Debug)]
pub(crate) struct QueueRules {
    ageing: i64,
    weights: BTreeMap<String, u32>,
}

impl QueueRules {
    pub(crate) fn of(config: &PoolConfig) -> Self {
        Self { ageing: micros(config.ageing).max(1), weights: config.tenant_weights.clone() }
    }

    fn weight(&self, tenant: &str) -> u32 {
        self.weights.get(tenant).copied().unwrap_or(1)
    }
}

/// A tenant with waiting jobs.
#[derive(Clone, Debug)]
struct Tenant {
    name: Arc<str>,
    weight: u32,
    waiting: usize,
    lanes: [Lane; LEVELS],
}

/// The tenants of one level in their turns. A place is a number, so that a tenant can move in O(log n).
type Ring = BTreeMap<i64, Slot>;

/// The flows of one tenant and level that are not parked, by their next job.
#[derive(Clone, Debug, Default)]
struct Lane {
    ready: BTreeSet<(Order, Slot)>,
    deficit: u32,
    /// Whether this visit has been credited.
    credited: bool,
    place: Option<i64>,
}

/// Flows that wait for a worker of one kind.
#[derive(Clone, Debug)]
struct Line {
    example: Arc<Ask>,
    parked: [VecDeque<Slot>; LEVELS],
}

/// The queue of one pool.
#[derive(Clone, Debug)]
pub(crate) struct FairQueue {
    pool: u32,
    rules: QueueRules,
    flows: Slab<Flow>,
    by_key: HashMap<FlowKey, Slot, RandomState>,
    tenants: Slab<Tenant>,
    by_name: HashMap<Arc<str>, Slot, RandomState>,
    rings: [Ring; LEVELS],
    /// Where each job is, by its number.
    jobs: HashMap<u64, (Slot, Order), RandomState>,
    /// When jobs rise, and when they are given up.
    rises: BTreeSet<(i64, u64)>,
    expires: BTreeSet<(i64, u64)>,
    lines: BTreeMap<u64, Line>,
}

impl FairQueue {
    pub(crate) fn new(pool: u32, rules: QueueRules) -> Self {
        Self {
            pool,
            rules,
            flows: Slab::default(),
            by_key: HashMap::default(),
            tenants: Slab::default(),
            by_name: HashMap::default(),
            rings: Default::default(),
            jobs: HashMap::default(),
            rises: BTreeSet::new(),
            expires: BTreeSet::new(),
            lines: BTreeMap::new(),
        }
    }

    /// Takes other rules. Jobs that wait rise by the new ones from their next level on.
    pub(crate) fn set_rules(&mut self, rules: QueueRules) {
        for (name, slot) in &self.by_name {
            if let Some(tenant) = self.tenants.get_mut(*slot) {
                tenant.weight = rules.weight(name);
            }
        }
        self.rules = rules;
    }

    /// Jobs that wait.
    pub(crate) fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Jobs of a tenant that wait.
    pub(crate) fn of_tenant(&self, tenant: &str) -> usize {
        self.by_name.get(tenant).and_then(|slot| self.tenants.get(*slot)).map_or(0, |tenant| tenant.waiting)
    }

    /// Whether a job could go if there were room: some flow is not parked.
    pub(crate) fn has_ready(&self) -> bool {
        self.rings.iter().any(|ring| !ring.is_empty())
    }

    /// A job begins to wait. One that waited before a restart stands at the level that it had reached.
    pub(crate) fn push(&mut self, ticket: Ticket, now: i64) {
        let own = flow::level(ticket.ask.job.priority);
        let waited = now.saturating_sub(ticket.order.0).max(0);
        let risen = usize::try_from(waited / self.rules.ageing).unwrap_or(LEVELS).min(own);
        let level = own - risen;
        let steps = i64::try_from(risen + 1).unwrap_or(1);
        let rises_at = ticket.order.0.saturating_add(self.rules.ageing.saturating_mul(steps));
        self.expires.insert((ticket.expires_at, ticket.number()));
        self.stand(ticket, level, rises_at);
    }

    fn stand(&mut self, mut ticket: Ticket, level: usize, rises_at: i64) {
        ticket.rises_at = rises_at;
        let tenant = self.tenant(&ticket.ask);
        let order = ticket.order;
        if level > 0 {
            self.rises.insert((rises_at, ticket.number()));
        }
        if let Some(tenant) = self.tenants.get_mut(tenant) {
            tenant.waiting += 1;
        }
        let key = FlowKey { tenant, level, pass: ticket.pass.clone(), shape: ticket.ask.shape() };
        let slot = match self.by_key.get(&key) {
            Some(slot) => *slot,
            None => {
                let flow = Flow { key: key.clone(), jobs: BTreeMap::new(), parked: None, woken: None, turn: 0 };
                let slot = self.flows.insert(flow);
                self.by_key.insert(key, slot);
                slot
            }
        };
        self.jobs.insert(ticket.number(), (slot, order));
        let Some(flow) = self.flows.get_mut(slot) else { return };
        let before = flow.head();
        flow.jobs.insert(order, ticket);
        if flow.parked.is_some() {
            return;
        }
        match before {
            None => self.list(slot, false),
            Some(head) if order < head => self.relist(slot, head),
            Some(_) => {}
        }
    }

    fn tenant(&mut self, ask: &Ask) -> Slot {
        let name = ask.job.tenant.as_str();
        if let Some(slot) = self.by_name.get(name) {
            return *slot;
        }
        let name = ask.job.tenant.shared();
        let weight = self.rules.weight(&name);
        let slot = self.tenants.insert(Tenant { name: name.clone(), weight, waiting: 0, lanes: Default::default() });
        self.by_name.insert(name, slot);
        slot
    }

    /// Puts a flow that is not parked into its lane, and its lane into the ring; `front` if it had its turn.
    fn list(&mut self, slot: Slot, front: bool) {
        let Some(flow) = self.flows.get(slot) else { return };
        let (Some(head), level, owner) = (flow.head(), flow.key.level, flow.key.tenant) else { return };
        let Some(lane) = lane(&mut self.tenants, owner, level) else { return };
        lane.ready.insert((head, slot));
        let Some(ring) = self.rings.get_mut(level) else { return };
        if front || lane.place.is_none() {
            turn(ring, lane, owner, front);
        }
    }

    /// Notes that another job is the next of a flow, whose next one was `before`.
    fn relist(&mut self, slot: Slot, before: Order) {
        let Some(flow) = self.flows.get(slot) else { return };
        let (Some(head), level, owner) = (flow.head(), flow.key.level, flow.key.tenant) else { return };
        if let Some(lane) = lane(&mut self.tenants, owner, level) {
            lane.ready.remove(&(before, slot));
            lane.ready.insert((head, slot));
        }
    }

    /// Takes a flow out of its lane, where it stands by `head`. An empty lane leaves its ring.
    fn unlist(&mut self, slot: Slot, head: Option<Order>) {
        let Some(flow) = self.flows.get(slot) else { return };
        let (level, owner) = (flow.key.level, flow.key.tenant);
        let Some(lane) = lane(&mut self.tenants, owner, level) else { return };
        if let Some(head) = head {
            lane.ready.remove(&(head, slot));
        }
        if lane.ready.is_empty()
            && let Some(place) = lane.place.take()
            && let Some(ring) = self.rings.get_mut(level)
        {
            ring.remove(&place);
        }
    }

    /// A job waits no more; with what held it, if it was parked.
    pub(crate) fn remove(&mut self, number: u64, gates: &mut Gates) -> Option<(Ticket, Option<Waits>)> {
        let (slot, order) = self.jobs.get(&number).copied()?;
        let waits = self.flows.get(slot)?.parked;
        Some((self.withdraw(slot, order, gates)?, waits))
    }

    /// A job whose time to wait is over.
    pub(crate) fn next_expired(&mut self, gates: &mut Gates, now: i64) -> Option<(Ticket, Option<Waits>)> {
        let (_, number) = self.expires.first().copied().filter(|(at, _)| *at <= now)?;
        self.remove(number, gates)
    }

    /// When something happens by itself: a job rises or is given up.
    pub(crate) fn next_due(&self) -> Option<i64> {
        let first = |set: &BTreeSet<(i64, u64)>| set.first().map(|(at, _)| *at);
        first(&self.rises).into_iter().chain(first(&self.expires)).min()
    }

    /// What a waiting job waits for.
    pub(crate) fn waits(&self, number: u64) -> Option<(&Ticket, Option<Waits>)> {
        let (slot, order) = self.jobs.get(&number)?;
        let flow = self.flows.get(*slot)?;
        Some((flow.jobs.get(order)?, flow.parked))
    }

    fn withdraw(&mut self, slot: Slot, order: Order, gates: &mut Gates) -> Option<Ticket> {
        let level = self.flows.get(slot)?.key.level;
        let ticket = self.take_out(slot, order, gates)?;
        self.expires.remove(&(ticket.expires_at, ticket.number()));
        if level > 0 {
            self.rises.remove(&(ticket.rises_at, ticket.number()));
        }
        Some(ticket)
    }

    /// Takes a job out of its flow, and the flow out of the queue when it was the last.
    fn take_out(&mut self, slot: Slot, order: Order, gates: &mut Gates) -> Option<Ticket> {
        let flow = self.flows.get_mut(slot)?;
        let (owner, level, parked) = (flow.key.tenant, flow.key.level, flow.parked);
        let head = flow.head();
        let ticket = flow.jobs.remove(&order)?;
        let empty = flow.jobs.is_empty();
        self.jobs.remove(&ticket.number());
        if parked.is_none() && head == Some(order) {
            if empty { self.unlist(slot, head) } else { self.relist(slot, order) }
        }
        if empty && let Some(flow) = self.flows.remove(slot) {
            self.by_key.remove(&flow.key);
            if let Some(lane) = lane(&mut self.tenants, owner, level)
                && lane.place.is_none()
            {
                lane.deficit = 0;
                lane.credited = false;
            }
            self.pass_on(flow.woken, flow.key.shape, gates);
        }
        let tenant = self.tenants.get_mut(owner)?;
        tenant.waiting = tenant.waiting.saturating_sub(1);
        if tenant.waiting == 0
            && let Some(tenant) = self.tenants.remove(owner)
        {
            self.by_name.remove(&tenant.name);
        }
        Some(ticket)
    }
}

fn lane(tenants: &mut Slab<Tenant>, owner: Slot, level: usize) -> Option<&mut Lane> {
    tenants.get_mut(owner)?.lanes.get_mut(level)
}

/// Gives a lane the first or the last place in its ring.
fn turn(ring: &mut Ring, lane: &mut Lane, owner: Slot, front: bool) {
    if let Some(place) = lane.place.take() {
        ring.remove(&place);
    }
    let place = if front {
        ring.first_key_value().map_or(0, |(place, _)| place - 1)
    } else {
        ring.last_key_value().map_or(0, |(place, _)| place + 1)
    };
    ring.insert(place, owner);
    lane.place = Some(place);
}
