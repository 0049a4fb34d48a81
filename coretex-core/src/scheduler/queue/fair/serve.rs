//! Serving: whose turn it is, what cannot go is parked, and what comes back.

use std::collections::VecDeque;

use super::{FairQueue, Line, MOST_RISES, lane, turn};
use crate::scheduler::{
    placement::{Ask, MAX_COST},
    queue::{
        Gates, LEVELS,
        flow::{Flow, FlowRef, Order, Ticket, Waits},
        slab::Slot,
    },
};

/// What became of a job that was offered.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Attempt<T> {
    /// It goes.
    Taken(T),
    /// No worker with room fits it; another job may fit.
    NoFit,
    /// No worker has room.
    Full,
}

/// What came of serving.
#[derive(Debug)]
pub(crate) enum Served<T> {
    /// A job goes.
    Job(Ticket, T),
    /// A gate may let somebody back who comes before what is left here: look at the gates first.
    Again,
    /// Nothing can go.
    Nothing,
}

impl FairQueue {
    /// Serves the next job that can go: the first that `attempt` takes. What cannot go is parked on the way.
    pub(crate) fn next<T>(
        &mut self,
        gates: &mut Gates,
        now: i64,
        mut attempt: impl FnMut(&Ask) -> Attempt<T>,
    ) -> Served<T> {
        self.rise(gates, now);
        if gates.has_checks() {
            return Served::Again;
        }
        for level in 0..LEVELS {
            while let Some((slot, cost)) = self.head(level) {
                let Some(flow) = self.flows.get(slot) else { return Served::Nothing };
                let Some((order, ticket)) = flow.jobs.first_key_value() else { return Served::Nothing };
                let order = *order;
                let waits = match gates.blocked(&ticket.pass, now) {
                    Some(gate) => Waits::Gate(gate),
                    None => match attempt(&ticket.ask) {
                        Attempt::Taken(taken) => return self.serve(slot, order, cost, gates, taken),
                        Attempt::NoFit => Waits::Room,
                        Attempt::Full => return Served::Nothing,
                    },
                };
                self.park(slot, waits, gates, now);
                if gates.has_checks() {
                    return Served::Again;
                }
            }
        }
        Served::Nothing
    }

    fn serve<T>(&mut self, slot: Slot, order: Order, cost: u32, gates: &mut Gates, taken: T) -> Served<T> {
        if let Some(flow) = self.flows.get_mut(slot) {
            flow.turn = flow.turn.saturating_sub(1);
            let (owner, level, shape) = (flow.key.tenant, flow.key.level, flow.key.shape);
            let woken = flow.woken.take();
            if let Some(lane) = lane(&mut self.tenants, owner, level) {
                lane.deficit = lane.deficit.saturating_sub(cost);
            }
            if woken == Some(Waits::Room) {
                // There may be room for another of its kind.
                self.wake_line(shape);
            }
        }
        match self.withdraw(slot, order, gates) {
            Some(ticket) => Served::Job(ticket, taken),
            None => Served::Nothing,
        }
    }

    /// The flow whose turn it is in a level, credited so that its next job can be paid, and what that costs.
    fn head(&mut self, level: usize) -> Option<(Slot, u32)> {
        let ring = self.rings.get_mut(level)?;
        loop {
            let owner = *ring.first_key_value()?.1;
            let tenant = self.tenants.get_mut(owner)?;
            let weight = tenant.weight;
            let lane = tenant.lanes.get_mut(level)?;
            let slot = lane.ready.first()?.1;
            let cost = self.flows.get(slot)?.jobs.first_key_value()?.1.ask.cost.clamp(1, MAX_COST);
            if !lane.credited {
                lane.credited = true;
                // What it could not use before is kept only as far as one job may need it.
                lane.deficit = (lane.deficit + weight).min(weight + MAX_COST);
            }
            if lane.deficit >= cost {
                return Some((slot, cost));
            }
            lane.credited = false;
            turn(ring, lane, owner, false);
        }
    }

    fn park(&mut self, slot: Slot, waits: Waits, gates: &mut Gates, now: i64) {
        let head = self.flows.get(slot).and_then(Flow::head);
        self.unlist(slot, head);
        let flow = FlowRef { pool: self.pool, flow: slot };
        let Some(parked) = self.flows.get_mut(slot) else { return };
        parked.parked = Some(waits);
        let (level, shape, first, woken) = (parked.key.level, parked.key.shape, parked.turn > 0, parked.woken.take());
        match waits {
            Waits::Gate(gate) => gates.park(gate, flow, level, first, now),
            Waits::Room => {
                let Some(ticket) = parked.jobs.first_key_value().map(|(_, ticket)| ticket.ask.clone()) else { return };
                let line =
                    self.lines.entry(shape).or_insert_with(|| Line { example: ticket, parked: Default::default() });
                if let Some(parked) = line.parked.get_mut(level) {
                    if first { parked.push_front(slot) } else { parked.push_back(slot) }
                }
            }
        }
        if woken != Some(waits) {
            self.pass_on(woken, shape, gates);
        }
    }

    /// Somebody was let back and did not use it: another may.
    pub(super) fn pass_on(&mut self, woken: Option<Waits>, shape: u64, gates: &mut Gates) {
        match woken {
            Some(Waits::Gate(gate)) => gates.check_later(gate, self.pool),
            Some(Waits::Room) => self.wake_line(shape),
            None => {}
        }
    }

    /// Lets back a flow that was parked at a gate; whether it still was.
    pub(crate) fn unpark(&mut self, slot: Slot, gate: Slot) -> bool {
        self.bring_back(slot, Waits::Gate(gate))
    }

    fn bring_back(&mut self, slot: Slot, waits: Waits) -> bool {
        let Some(flow) = self.flows.get_mut(slot) else { return false };
        if flow.parked != Some(waits) {
            return false;
        }
        flow.parked = None;
        flow.woken = Some(waits);
        if flow.turn == 0 {
            flow.turn = self.tenants.get(flow.key.tenant).map_or(1, |tenant| tenant.weight);
        }
        self.list(slot, true);
        true
    }

    /// A worker has room: lets back one flow of each kind that `fits` it.
    pub(crate) fn wake_fitting(&mut self, mut fits: impl FnMut(&Ask) -> bool) {
        let shapes: Vec<u64> =
            self.lines.iter().filter(|(_, line)| fits(&line.example)).map(|(shape, _)| *shape).collect();
        for shape in shapes {
            self.wake_line(shape);
        }
    }

    fn wake_line(&mut self, shape: u64) {
        while let Some(line) = self.lines.get_mut(&shape) {
            let Some(slot) = line.parked.iter_mut().find_map(VecDeque::pop_front) else {
                self.lines.remove(&shape);
                return;
            };
            if self.bring_back(slot, Waits::Room) {
                return;
            }
        }
    }

    /// Lifts jobs that have waited long enough. A bounded number at a time: the rest is lifted by the next call.
    fn rise(&mut self, gates: &mut Gates, now: i64) {
        for _ in 0..MOST_RISES {
            let Some((at, number)) = self.rises.first().copied().filter(|(at, _)| *at <= now) else { return };
            self.rises.remove(&(at, number));
            let Some((slot, order)) = self.jobs.get(&number).copied() else { continue };
            let Some(level) = self.flows.get(slot).map(|flow| flow.key.level) else { continue };
            if let Some(ticket) = self.take_out(slot, order, gates) {
                self.stand(ticket, level.saturating_sub(1), at.saturating_add(self.rules.ageing));
            }
        }
    }
}
