//! Who listens to what, and what waits for somebody to listen.
//!
//! The publish path only reads: the route of a subject is looked up in a cache that is rebuilt for the subjects
//! that a new or leaving subscription touches. Everything that changes who listens happens under one mutex, which
//! also guards the held messages, so that a message is either held before a group comes (which then takes it) or
//! finds the group.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak},
};

use foldhash::HashMap;

use super::{
    MemoryBusOptions,
    group::{Group, GroupKey, Queued},
    timers::Timers,
    watcher::Watcher,
};
use crate::{
    ports::{Clock, Message, Sink, is_work_subject},
    protocol::subjects::{SubjectError, SubjectFilter, check_publish},
};

/// Who gets a message on one subject.
#[derive(Debug, Default)]
pub(super) struct Route {
    /// In the order of their ids, which is the order of locking.
    pub(super) groups: Vec<Arc<Group>>,
    pub(super) watchers: Vec<Arc<Watcher>>,
    /// A work subject to which no group listens.
    pub(super) hold: bool,
}

/// Why a message was not taken.
#[derive(Debug)]
pub(super) enum Refusal {
    Full,
    Closed,
    Illegal(SubjectError),
}

/// What became of a message that should be held.
pub(super) enum Holding {
    Held(Arc<Route>),
    /// A group listens by now.
    Listened(Message),
    Refused(Message, Refusal),
}

pub(super) struct Registry {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) options: MemoryBusOptions,
    pub(super) timers: Arc<Timers>,
    me: Weak<Self>,
    routes: RwLock<Routes>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct Routes {
    cache: HashMap<Arc<str>, Arc<Route>>,
    closed: bool,
}

#[derive(Debug, Default)]
struct State {
    closed: bool,
    ids: u64,
    groups: HashMap<GroupKey, Arc<Group>>,
    /// Listeners to a single subject, by it.
    exact: HashMap<Arc<str>, Vec<Listener>>,
    /// Listeners to a pattern.
    wild: Vec<Listener>,
    held: Held,
}

#[derive(Clone, Debug)]
enum Listener {
    Group(Arc<Group>),
    Watcher(Arc<Watcher>),
}

#[derive(Debug, Default)]
struct Held {
    by_subject: BTreeMap<Arc<str>, VecDeque<(u64, Queued)>>,
    count: usize,
    /// Orders messages across subjects.
    numbers: u64,
}

impl Registry {
    pub(super) fn new(clock: Arc<dyn Clock>, options: MemoryBusOptions) -> Arc<Self> {
        let timers = Arc::new(Timers::new(clock.clone()));
        Arc::new_cyclic(|me| Self {
            clock,
            options,
            timers,
            me: me.clone(),
            routes: RwLock::default(),
            state: Mutex::default(),
        })
    }

    /// Who gets a message on `subject`.
    pub(super) fn route(&self, subject: &Arc<str>) -> Result<Arc<Route>, Refusal> {
        let routes = self.read_routes();
        if routes.closed {
            return Err(Refusal::Closed);
        }
        if let Some(route) = routes.cache.get(&**subject) {
            return Ok(route.clone());
        }
        drop(routes);
        check_publish(subject).map_err(Refusal::Illegal)?;
        self.fresh_route(subject)
    }

    /// As [`Registry::route`], for a legal subject, and never out of date.
    pub(super) fn fresh_route(&self, subject: &Arc<str>) -> Result<Arc<Route>, Refusal> {
        let state = self.lock();
        if state.closed {
            return Err(Refusal::Closed);
        }
        let route = Arc::new(state.route(subject));
        let mut routes = self.write_routes();
        if routes.cache.len() >= self.options.route_capacity {
            routes.cache.clear();
        }
        routes.cache.insert(subject.clone(), route.clone());
        Ok(route)
    }

    /// Keeps a message for the first group that will listen to it.
    pub(super) fn hold(&self, message: Message) -> Holding {
        let mut state = self.lock();
        if state.closed {
            return Holding::Refused(message, Refusal::Closed);
        }
        let route = state.route(&message.subject);
        if !route.hold {
            return Holding::Listened(message);
        }
        if state.held.count >= self.options.held_capacity {
            return Holding::Refused(message, Refusal::Full);
        }
        state.held.push(Queued { message, attempt: 1 });
        Holding::Held(Arc::new(route))
    }

    /// Makes a member of a group, and the group if need be.
    pub(super) fn join_group(
        &self,
        key: GroupKey,
        sink: Option<Arc<dyn Sink>>,
    ) -> Result<(Arc<Group>, usize), Refusal> {
        let mut state = self.lock();
        if state.closed {
            return Err(Refusal::Closed);
        }
        if let Some(group) = state.groups.get(&key) {
            let member = group.join(sink);
            return Ok((group.clone(), member));
        }
        state.ids += 1;
        let group = Arc::new(Group {
            id: state.ids,
            key: key.clone(),
            clock: self.clock.clone(),
            capacity: self.options.group_capacity,
            timers: self.timers.clone(),
            registry: self.me.clone(),
            state: Mutex::default(),
        });
        group.fill(state.held.take(&key.filter));
        let member = group.join(sink);
        state.groups.insert(key.clone(), group.clone());
        state.add(&key.filter, Listener::Group(group.clone()));
        self.forget_routes(&key.filter);
        Ok((group, member))
    }

    pub(super) fn join_watcher(&self, filter: SubjectFilter) -> Result<Arc<Watcher>, Refusal> {
        let mut state = self.lock();
        if state.closed {
            return Err(Refusal::Closed);
        }
        state.ids += 1;
        let watcher = Arc::new(Watcher::new(state.ids, filter.clone(), self.options.watch_capacity));
        state.add(&filter, Listener::Watcher(watcher.clone()));
        self.forget_routes(&filter);
        Ok(watcher)
    }

    pub(super) fn leave_group(&self, group: &Arc<Group>, member: usize) {
        let mut state = self.lock();
        let Some(left) = group.leave(member) else { return };
        let _group = state.groups.remove(&group.key);
        let _listener = state.remove(&group.key.filter, group.id);
        self.forget_routes(&group.key.filter);
        if !state.closed {
            let forgotten = state.held.push_all(left);
            drop(state);
            drop(forgotten);
        }
    }

    pub(super) fn leave_watcher(&self, watcher: &Watcher) {
        let mut state = self.lock();
        if let Some(listener) = state.remove(&watcher.filter, watcher.id) {
            self.forget_routes(&watcher.filter);
            drop(state);
            drop(listener);
        }
    }

    /// Takes deliveries, oldest first, that came back to a group after its last member had left: they go to the
    /// group that has taken its place, or are held like new ones.
    pub(super) fn take_back(&self, key: &GroupKey, queued: Vec<Queued>) {
        let mut state = self.lock();
        if state.closed {
            return;
        }
        let group = state.groups.get(key).cloned();
        let mut left = Vec::new();
        for queued in queued.into_iter().rev() {
            match &group {
                Some(group) => left.extend(group.push_back_again(queued).err()),
                None => left.push(queued),
            }
        }
        left.reverse();
        let forgotten = state.held.push_all(left);
        drop(state);
        drop(forgotten);
    }

    pub(super) fn close(&self) {
        let ended = {
            let mut state = self.lock();
            let ended = std::mem::take(&mut *state);
            state.closed = true;
            let mut routes = self.write_routes();
            routes.closed = true;
            routes.cache.clear();
            ended
        };
        for listener in ended.exact.values().flatten().chain(&ended.wild) {
            match listener {
                Listener::Group(group) => group.close(),
                Listener::Watcher(watcher) => watcher.close(),
            }
        }
        self.timers.close();
    }

    fn forget_routes(&self, filter: &SubjectFilter) {
        let mut routes = self.write_routes();
        if filter.is_exact() {
            routes.cache.remove(filter.as_str());
        } else {
            routes.cache.retain(|subject, _| !filter.matches(subject));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_routes(&self) -> RwLockReadGuard<'_, Routes> {
        self.routes.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_routes(&self) -> RwLockWriteGuard<'_, Routes> {
        self.routes.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn route(&self, subject: &str) -> Route {
        let exact = self.exact.get(subject).into_iter().flatten();
        let wild = self.wild.iter().filter(|listener| listener.filter().matches(subject));
        let mut route = Route::default();
        for listener in exact.chain(wild) {
            match listener {
                Listener::Group(group) => route.groups.push(group.clone()),
                Listener::Watcher(watcher) => route.watchers.push(watcher.clone()),
            }
        }
        route.groups.sort_by_key(|group| group.id);
        route.hold = route.groups.is_empty() && is_work_subject(subject);
        route
    }

    fn add(&mut self, filter: &SubjectFilter, listener: Listener) {
        if filter.is_exact() {
            self.exact.entry(filter.as_str().into()).or_default().push(listener);
        } else {
            self.wild.push(listener);
        }
    }

    fn remove(&mut self, filter: &SubjectFilter, id: u64) -> Option<Listener> {
        if !filter.is_exact() {
            let index = self.wild.iter().position(|listener| listener.id() == id)?;
            return Some(self.wild.swap_remove(index));
        }
        let listeners = self.exact.get_mut(filter.as_str())?;
        let index = listeners.iter().position(|listener| listener.id() == id)?;
        let listener = listeners.swap_remove(index);
        if listeners.is_empty() {
            self.exact.remove(filter.as_str());
        }
        Some(listener)
    }
}

impl Listener {
    fn id(&self) -> u64 {
        match self {
            Self::Group(group) => group.id,
            Self::Watcher(watcher) => watcher.id,
        }
    }

    fn filter(&self) -> &SubjectFilter {
        match self {
            Self::Group(group) => &group.key.filter,
            Self::Watcher(watcher) => &watcher.filter,
        }
    }
}

impl Held {
    fn push(&mut self, queued: Queued) {
        self.numbers += 1;
        self.count += 1;
        let number = self.numbers;
        self.by_subject.entry(queued.message.subject.clone()).or_default().push_back((number, queued));
    }

    /// Holds what nobody took, beyond the capacity if need be: it was accepted once. Gives back what is not work.
    fn push_all(&mut self, queued: Vec<Queued>) -> Vec<Queued> {
        let (work, forgotten) =
            queued.into_iter().partition::<Vec<_>, _>(|queued| is_work_subject(&queued.message.subject));
        work.into_iter().for_each(|queued| self.push(queued));
        forgotten
    }

    /// Takes what `filter` matches, in the order in which it was held.
    fn take(&mut self, filter: &SubjectFilter) -> Vec<Queued> {
        let mut taken = Vec::new();
        if filter.is_exact() {
            taken.extend(self.by_subject.remove(filter.as_str()).into_iter().flatten());
        } else {
            self.by_subject.retain(|subject, queue| {
                let matches = filter.matches(subject);
                if matches {
                    taken.extend(queue.drain(..));
                }
                !matches
            });
        }
        self.count -= taken.len();
        taken.sort_by_key(|(number, _)| *number);
        taken.into_iter().map(|(_, queued)| queued).collect()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Registry")
            .field("closed", &state.closed)
            .field("groups", &state.groups.len())
            .field("held", &state.held.count)
            .finish_non_exhaustive()
    }
}
