//! A shard executor: decides the inputs of its aggregates, one at a time and in order, without waiting for the disk.
//!
//! Decisions run ahead of durability: the next input of a run is decided on state that is still being flushed. What is
//! decided so is speculative, and nobody sees it: effects run, callers are answered and deliveries acknowledged only
//! when the batch is durable, in the order of decision. If a batch of an aggregate is refused, every later one of it is
//! refused by its expected head; none is answered, the state is read again, and their inputs are decided anew, in order.
//!
//! An aggregate that is idle may be forgotten at any time; it is read back when something happens to it.

mod commit;
mod decide;
mod entry;
mod flush;
mod idle;
mod load;
mod own;
mod refuse;
mod settle;
mod take;
mod wait;

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use foldhash::{HashMap, HashMapExt};
use futures::{future::BoxFuture, stream::FuturesUnordered};
use jiff::Timestamp;
use tokio::sync::mpsc;

use self::{entry::Entry, flush::Calls, wait::Arrived};
use super::{
    PlaneError,
    keys::AggregateId,
    load::Loaded,
    outbound::Actions,
    outputs::Fetched,
    shared::{Reply, Shared, Work},
};
use crate::ports::{Batch, Busy};

/// Work for one aggregate.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) aggregate: AggregateId,
    pub(super) work: Work,
    pub(super) reply: Reply,
    /// Virtual time stands still until the work is done, but for the time that it has to wait out.
    pub(super) busy: Busy,
    /// How often a commit of it was refused.
    pub(super) tries: u32,
    /// Outputs kept by pointer that were loaded for its decision.
    pub(super) fetched: Option<Fetched>,
}

/// The first wait before work is tried again; it doubles from then on.
const FIRST_WAIT: Duration = Duration::from_millis(20);

pub(super) struct Executor {
    shared: Arc<Shared>,
    inbox: mpsc::Receiver<Command>,
    entries: HashMap<AggregateId, Entry>,
    definitions: own::Definitions,
    timers: BTreeSet<(Timestamp, AggregateId)>,
    sleep: Option<(Timestamp, BoxFuture<'static, ()>)>,
    loads: FuturesUnordered<BoxFuture<'static, Loaded>>,
    /// Idle aggregates, the longest idle first; an entry whose stamp has moved on is stale.
    idle: VecDeque<(u64, AggregateId)>,
    idle_weight: usize,
    members: Vec<AggregateId>,
    batches: Vec<Batch>,
    /// Where records are written before they are as long as they are.
    scratch: Vec<u8>,
    calls: Calls,
    local: VecDeque<Command>,
    /// What is durable and has not been acted on yet, with what holds the time for it.
    outgoing: VecDeque<(Actions, Busy)>,
    /// Effects run in this round.
    acted: usize,
    under_way: usize,
    stamp: u64,
    seed: u64,
    stopping: Vec<Reply>,
    is_stopping: bool,
}

impl Executor {
    pub(super) fn new(shared: Arc<Shared>, inbox: mpsc::Receiver<Command>) -> Self {
        let seed = shared.ids.random();
        Self {
            shared,
            inbox,
            entries: HashMap::new(),
            definitions: own::Definitions::default(),
            timers: BTreeSet::new(),
            sleep: None,
            loads: FuturesUnordered::new(),
            idle: VecDeque::new(),
            idle_weight: 0,
            members: Vec::new(),
            batches: Vec::new(),
            scratch: Vec::new(),
            calls: Calls::default(),
            local: VecDeque::new(),
            outgoing: VecDeque::new(),
            acted: 0,
            under_way: 0,
            stamp: 0,
            seed,
            stopping: Vec::new(),
            is_stopping: false,
        }
    }

    pub(super) async fn run(mut self) {
        let mut arrived = Arrived::default();
        loop {
            self.arm_sleep();
            self.wait(&mut arrived).await;
            let count = arrived.commands.len();
            if count > 0 || !self.outgoing.is_empty() {
                // Whoever is ready to run may have more for this round: one commit and few wake-ups for all of it. A caller
                // that was answered and asks on at once finds its run at hand.
                tokio::task::yield_now().await;
            }
            // One that is saturated has taken none, and takes none now.
            if count > 0 {
                self.take_more(&mut arrived);
            }
            self.act();
            self.flush();
            for loaded in arrived.loaded.drain(..) {
                self.take_loaded(loaded);
            }
            if !arrived.commands.is_empty() || !self.local.is_empty() {
                let policy = self.shared.policy.snapshot();
                for command in arrived.commands.drain(..) {
                    self.take(command, &*policy);
                }
                while let Some(command) = self.local.pop_front() {
                    self.take(command, &*policy);
                }
            }
            self.fire();
            self.flush();
            self.forget_idle();
            if arrived.closed
                || (self.is_stopping && self.under_way == 0 && self.loads.is_empty() && self.outgoing.is_empty())
            {
                for reply in self.stopping.drain(..) {
                    answer(reply, Ok(()), &AggregateId::Run("".into()));
                }
                return;
            }
        }
    }

    /// The next number of splitmix64 (Steele, Lea and Flood, 2014).
    fn next_seed(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.seed;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }
}

fn answer(reply: Reply, result: Result<(), PlaneError>, aggregate: &AggregateId) {
    match reply {
        Reply::Nobody => {}
        Reply::Caller(caller) => {
            // A caller that has gone does not mind.
            let _gone = caller.send(result.map(|()| aggregate.clone()));
        }
        Reply::Delivery(delivery) => delivery.ack_now(),
    }
}
