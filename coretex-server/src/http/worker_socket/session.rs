//! Workers by id: what each has in its hands, over its connections.
//!
//! A session is one life of a worker. Its connection may break and be made again; what the worker had begun stays its own
//! for a grace, and is given to others after it. A worker that comes without knowing its session is another life, and the
//! older one is over at once.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use coretex_bus::socket::frame::{Hello, How};
use coretex_core::ports::Delivery;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

use super::{host::Host, options::WorkerSockets};

/// All of a server.
#[derive(Debug)]
pub(in crate::http) struct Sockets {
    pub(super) options: WorkerSockets,
    places: Arc<Semaphore>,
    /// In KiB.
    pub(super) blob_room: Arc<Semaphore>,
    workers: Mutex<HashMap<Arc<str>, Seat>>,
}

/// Where a worker sits.
#[derive(Debug)]
struct Seat {
    session: Arc<Session>,
    /// Which of its connections is the last one.
    turn: u64,
    /// Ends that connection; `None` while there is none.
    replaced: Option<Arc<Notify>>,
}

/// One life of a worker.
pub(super) struct Session {
    pub(super) worker: Arc<str>,
    token: Bytes,
    pub(super) window: u32,
    /// One for each delivery that may be unsettled.
    pub(super) window_room: Arc<Semaphore>,
    hands: Mutex<Hands>,
}

#[derive(Debug, Default)]
struct Hands {
    last: u64,
    held: HashMap<u64, Held>,
}

#[derive(Debug)]
struct Held {
    delivery: Arc<Delivery>,
    begun: bool,
    _room: OwnedSemaphorePermit,
}

impl Held {
    /// The id of the job, if it is one.
    fn job(&self) -> Option<&str> {
        let packet = &self.delivery.message.packet;
        match packet.order() {
            Some(order) => Some(order.job_id()),
            None => packet.job_request().map(|request| request.job_id.as_str()),
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("worker", &self.worker).finish_non_exhaustive()
    }
}

/// A connection of a session.
pub(super) struct Attached {
    pub(super) session: Arc<Session>,
    pub(super) resumed: bool,
    /// Another connection has taken its place.
    pub(super) replaced: Arc<Notify>,
    turn: u64,
}

impl Sockets {
    pub(in crate::http) fn new(options: WorkerSockets) -> Self {
        let blob_kib = options.blob_bytes.div_ceil(1024).min(Semaphore::MAX_PERMITS).min(u32::MAX as usize);
        Self {
            places: Arc::new(Semaphore::new(options.max_connections.min(u32::MAX as usize))),
            blob_room: Arc::new(Semaphore::new(blob_kib)),
            workers: Mutex::default(),
            options,
        }
    }

    /// A place for one more connection.
    pub(super) fn place(&self) -> Option<OwnedSemaphorePermit> {
        self.places.clone().try_acquire_owned().ok()
    }

    /// Completes when no worker is connected, and none can connect any more.
    pub(crate) async fn ended(&self) {
        let all = u32::try_from(self.options.max_connections).unwrap_or(u32::MAX);
        if let Ok(places) = self.places.acquire_many(all).await {
            places.forget();
        }
    }

    fn workers(&self) -> MutexGuard<'_, HashMap<Arc<str>, Seat>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Seats the worker that says `hello`: in its session, or in a new one. The newest connection wins.
    pub(super) fn attach(&self, hello: &Hello, host: &Host) -> Attached {
        let worker: Arc<str> = hello.worker_id.as_str().into();
        let replaced = Arc::new(Notify::new());
        let mut workers = self.workers();
        let before = workers.remove(&worker);
        let turn = before.as_ref().map_or(1, |seat| seat.turn + 1);
        let known = before.as_ref().filter(|seat| seat.session.token == hello.session).map(|seat| seat.session.clone());
        let resumed = known.is_some();
        let session = known.unwrap_or_else(|| {
            let window = hello.window.clamp(1, self.options.max_window.max(1));
            Arc::new(Session {
                worker: worker.clone(),
                token: Uuid::new_v4().into_bytes().to_vec().into(),
                window,
                window_room: Arc::new(Semaphore::new(window as usize)),
                hands: Mutex::default(),
            })
        });
        let seat = Seat { session: session.clone(), turn, replaced: Some(replaced.clone()) };
        workers.insert(worker, seat);
        drop(workers);
        if let Some(before) = before {
            if let Some(replaced) = before.replaced {
                replaced.notify_one();
            }
            if !resumed {
                before.session.lose(host, "it came anew");
            }
        }
        if !resumed {
            host.worker_joined(&session.worker);
        }
        if resumed {
            session.keep(hello);
        }
        Attached { session, resumed, replaced, turn }
    }

    /// The connection is over. What had not begun is given back at once; the rest too when the worker `left` in order, and
    /// after the grace otherwise.
    pub(super) fn detach(self: &Arc<Self>, attached: &Attached, host: Host, left: bool) {
        let session = attached.session.clone();
        let turn = attached.turn;
        let mut workers = self.workers();
        let Some(seat) = workers.get_mut(&session.worker).filter(|seat| is_seat(seat, &session, turn)) else { return };
        seat.replaced = None;
        // Without end, those who come and go would fill the memory within a grace.
        let crowded = workers.len() > 2 * self.options.max_connections.max(1);
        if left || crowded {
            workers.remove(&session.worker);
        }
        drop(workers);
        session.give_back_unbegun();
        if left || crowded {
            session.lose(&host, "it left");
            return;
        }
        let sockets = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(sockets.options.grace).await;
            let mut workers = sockets.workers();
            if !workers.get(&session.worker).is_some_and(|seat| is_seat(seat, &session, turn)) {
                // It came back.
                return;
            }
            workers.remove(&session.worker);
            drop(workers);
            session.lose(&host, "its connection broke, and it did not come back");
        });
    }
}

fn is_seat(seat: &Seat, session: &Arc<Session>, turn: u64) -> bool {
    seat.turn == turn && Arc::ptr_eq(&seat.session, session)
}

impl Session {
    pub(super) fn token(&self) -> Bytes {
        self.token.clone()
    }

    fn hands(&self) -> MutexGuard<'_, Hands> {
        self.hands.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands out a delivery; gives its number.
    pub(super) fn hand_out(&self, delivery: Delivery, room: OwnedSemaphorePermit) -> u64 {
        let mut hands = self.hands();
        hands.last += 1;
        let number = hands.last;
        hands.held.insert(number, Held { delivery: Arc::new(delivery), begun: false, _room: room });
        number
    }

    /// What is to be told to the bus of a delivery. Nothing when it is not in the worker's hands any more.
    pub(super) fn settle(&self, number: u64, how: How) -> Option<Arc<Delivery>> {
        let mut hands = self.hands();
        match how {
            How::Done | How::Back => hands.held.remove(&number).map(|held| held.delivery),
            How::Busy => hands.held.get(&number).map(|held| held.delivery.clone()),
            How::Begun => {
                if let Some(held) = hands.held.get_mut(&number) {
                    held.begun = true;
                }
                None
            }
            How::Unknown => None,
        }
    }

    /// Whether the worker has this job in its hands.
    pub(super) fn has_job(&self, job: &str) -> bool {
        let hands = self.hands();
        hands.held.values().any(|held| held.job() == Some(job))
    }

    /// What the worker says it still has stays; the rest it is done with, or never got.
    fn keep(&self, hello: &Hello) {
        let (mut done, mut back) = (Vec::new(), Vec::new());
        self.take(|number, held| {
            if hello.done.contains(&number) {
                done.push(held.delivery.clone());
            } else if !hello.holds.contains(&number) {
                back.push(held.delivery.clone());
            } else {
                return false;
            }
            true
        });
        for delivery in done {
            delivery.ack_now();
        }
        // Dropping gives it back.
        drop(back);
    }

    fn give_back_unbegun(&self) {
        self.take(|_, held| !held.begun);
    }

    /// The worker is gone. What it had begun begins anew where the control plane knows of it, and is delivered once more
    /// where it does not; what it had not begun is given back.
    fn lose(&self, host: &Host, reason: &str) {
        self.give_back_unbegun();
        let anew = host.worker_lost(&self.worker, reason);
        let mut settled = Vec::new();
        self.take(|_, held| {
            if held.job().is_some_and(|job| anew.iter().any(|lost| lost.as_str() == job)) {
                settled.push(held.delivery.clone());
            }
            true
        });
        for delivery in settled {
            delivery.ack_now();
        }
    }

    /// Takes what `is_it` says out of the worker's hands. Dropped outside of the lock.
    fn take(&self, mut is_it: impl FnMut(u64, &Held) -> bool) {
        let mut hands = self.hands();
        let taken: Vec<_> = hands.held.extract_if(|number, held| is_it(*number, held)).collect();
        drop(hands);
        drop(taken);
    }
}
