//! A disk in memory that does what disks do to those who do not sync.
//!
//! Each file has a durable content and a list of writes since its last sync; each name has a durable binding and
//! a list of changes since the last sync of its directory. At a loss of power a random part of what was not synced
//! survives, in any order, writes torn at sectors of 512 bytes. All choices come from a seed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{Disk, DiskFile, DiskLock};

const SECTOR: u64 = 512;

/// What happens at a chosen operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The operation fails. A failed sync leaves a random part of the writes durable and the rest lost for good; a
    /// failed write may have written a part.
    Error,
    /// From here on there is no space: growing a file fails, until [`SimDisk::free_space`].
    NoSpace,
    /// The power goes. Every operation fails from here on, until [`SimDisk::restart`].
    PowerCut,
}

/// What a [`SimDisk`] has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SimStats {
    /// Operations that change something or sync: what [`SimDisk::fault_at`] counts.
    pub ops: u64,
    /// Syncs of files.
    pub syncs: u64,
    /// Bytes written.
    pub bytes: u64,
}

/// A simulated disk. Cloning shares it.
#[derive(Clone)]
pub struct SimDisk(Arc<Mutex<State>>);

struct State {
    random: u64,
    files: BTreeMap<u64, Inode>,
    next_inode: u64,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    pending_names: Vec<NameChange>,
    locks: BTreeSet<PathBuf>,
    /// Raised by a restart; what was opened before belongs to a machine that is gone.
    generation: u64,
    powered: bool,
    full: bool,
    faults: BTreeMap<u64, Fault>,
    last_fault: Option<String>,
    stats: SimStats,
}

#[derive(Clone, Default)]
struct Inode {
    durable: Vec<u8>,
    current: Vec<u8>,
    pending: Vec<Write>,
}

#[derive(Clone)]
enum Write {
    Data(u64, Vec<u8>),
    Len(u64),
}

enum NameChange {
    Bind(PathBuf, u64),
    Unbind(PathBuf),
    Rename(PathBuf, PathBuf),
}

impl SimDisk {
    /// An empty disk whose misfortunes follow from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            files: BTreeMap::new(),
            next_inode: 1,
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            pending_names: vec![],
            locks: BTreeSet::new(),
            generation: 0,
            powered: true,
            full: false,
            faults: BTreeMap::new(),
            last_fault: None,
            stats: SimStats::default(),
        })))
    }

    /// Lets `fault` happen at operation `n` (see [`SimStats::ops`]); operations are numbered from 1 over the
    /// disk's whole life.
    pub fn fault_at(&self, n: u64, fault: Fault) {
        self.state().faults.insert(n, fault);
    }

    /// Forgets faults that have not happened yet.
    pub fn clear_faults(&self) {
        self.state().faults.clear();
    }

    /// There is space again.
    pub fn free_space(&self) {
        self.state().full = false;
    }

    /// Cuts the power now.
    pub fn cut_power(&self) {
        self.state().powered = false;
    }

    /// Whether the power is on.
    #[must_use]
    pub fn is_powered(&self) -> bool {
        self.state().powered
    }

    /// Starts the machine again with what a loss of power left. Everything that was open stays dead.
    pub fn restart(&self) {
        self.state().restart();
    }

    /// What the last fault hit, as `sync /data/file`.
    #[must_use]
    pub fn last_fault(&self) -> Option<String> {
        self.state().last_fault.clone()
    }

    /// What was counted so far.
    #[must_use]
    pub fn stats(&self) -> SimStats {
        self.state().stats
    }

    /// The content of a file, for tests that damage it.
    #[must_use]
    pub fn content(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state();
        state.names.get(path).and_then(|inode| state.files.get(inode)).map(|file| file.current.clone())
    }

    /// Replaces the content of a file, durably, as damage would.
    pub fn damage(&self, path: &Path, content: Vec<u8>) {
        let mut state = self.state();
        if let Some(inode) = state.names.get(path).copied() {
            state.files.insert(inode, Inode { durable: content.clone(), current: content, pending: vec![] });
        }
    }

    /// Removes a file, durably, as damage would.
    pub fn lose(&self, path: &Path) {
        let mut state = self.state();
        state.names.remove(path);
        state.durable_names.remove(path);
    }

    /// The paths of all files.
    #[must_use]
    pub fn paths(&self) -> Vec<PathBuf> {
        self.state().names.keys().cloned().collect()
    }

    /// A copy that shares nothing, restarted without loss: for trying several kinds of damage on one state.
    #[must_use]
    pub fn fork(&self, seed: u64) -> Self {
        let copy = Self::new(seed);
        let state = self.state();
        {
            let mut copied = copy.state();
            for (path, inode) in &state.names {
                let content = state.files.get(inode).map(|file| file.current.clone()).unwrap_or_default();
                let file = Inode { durable: content.clone(), current: content, pending: vec![] };
                copied.files.insert(*inode, file);
                copied.names.insert(path.clone(), *inode);
                copied.durable_names.insert(path.clone(), *inode);
            }
            copied.next_inode = state.next_inode;
        }
        copy
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimDisk").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

fn power_is_off() -> io::Error {
    io::Error::other("the simulated power is off")
}

impl State {
    fn random(&mut self) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
    }

    fn toss(&mut self) -> bool {
        self.random().is_multiple_of(2)
    }

    fn alive(&self, generation: u64) -> io::Result<()> {
        if self.powered && self.generation == generation { Ok(()) } else { Err(power_is_off()) }
    }

    /// Counts an operation and gives the fault that is due with it.
    fn step(&mut self, generation: u64, what: &str, path: &Path) -> io::Result<Option<Fault>> {
        self.alive(generation)?;
        self.stats.ops += 1;
        let fault = self.faults.remove(&self.stats.ops);
        if fault.is_some() {
            self.last_fault = Some(format!("{what} {}", path.display()));
        }
        match fault {
            Some(Fault::PowerCut) => self.powered = false,
            Some(Fault::NoSpace) => self.full = true,
            Some(Fault::Error) | None => {}
        }
        Ok(fault)
    }

    fn restart(&mut self) {
        self.generation += 1;
        self.powered = true;
        self.locks.clear();
        let inodes: Vec<u64> = self.files.keys().copied().collect();
        for inode in inodes {
            let Some(mut file) = self.files.remove(&inode) else { continue };
            let pending = std::mem::take(&mut file.pending);
            let survivors = self.survivors(pending);
            for write in &survivors {
                apply(&mut file.durable, write);
            }
            file.current.clone_from(&file.durable);
            self.files.insert(inode, file);
        }
        for change in std::mem::take(&mut self.pending_names) {
            if self.toss() {
                bind(&mut self.durable_names, &change);
            }
        }
        self.names.clone_from(&self.durable_names);
    }

    /// What is left of writes that were not synced: some whole, some torn, some not at all. Now and then all or
    /// none of them, as after a sync that was nearly done or never begun.
    fn survivors(&mut self, pending: Vec<Write>) -> Vec<Write> {
        match self.random() % 6 {
            0 => return vec![],
            1 => return pending,
            _ => {}
        }
        let mut left = vec![];
        for write in pending {
            match (self.random() % 4, write) {
                (0, _) => {}
                (1, Write::Data(offset, data)) => left.extend(self.torn(offset, &data)),
                (_, write) => left.push(write),
            }
        }
        left
    }

    fn torn(&mut self, offset: u64, data: &[u8]) -> Vec<Write> {
        let mut left = vec![];
        let mut at = 0;
        while at < data.len() {
            let into_sector = (offset + at as u64) % SECTOR;
            let end = data.len().min(at + usize::try_from(SECTOR - into_sector).unwrap_or(usize::MAX));
            if self.toss()
                && let Some(sector) = data.get(at..end)
            {
                left.push(Write::Data(offset + at as u64, sector.to_vec()));
            }
            at = end;
        }
        left
    }

    fn write(&mut self, inode: u64, write: Write) {
        if let Some(file) = self.files.get_mut(&inode) {
            apply(&mut file.current, &write);
            file.pending.push(write);
        }
    }

    fn len(&self, inode: u64) -> u64 {
        self.files.get(&inode).map_or(0, |file| file.current.len() as u64)
    }

    fn rename_now(&mut self, change: NameChange) {
        bind(&mut self.names, &change);
        self.pending_names.push(change);
    }
}

fn apply(content: &mut Vec<u8>, write: &Write) {
    match write {
        Write::Len(len) => content.resize(usize::try_from(*len).unwrap_or(usize::MAX), 0),
        Write::Data(offset, data) => {
            let start = usize::try_from(*offset).unwrap_or(usize::MAX);
            let end = start.saturating_add(data.len());
            if content.len() < end {
                content.resize(end, 0);
            }
            if let Some(target) = content.get_mut(start..end) {
                target.copy_from_slice(data);
            }
        }
    }
}

fn bind(names: &mut BTreeMap<PathBuf, u64>, change: &NameChange) {
    match change {
        NameChange::Bind(path, inode) => {
            names.insert(path.clone(), *inode);
        }
        NameChange::Unbind(path) => {
            names.remove(path);
        }
        NameChange::Rename(from, to) => {
            if let Some(inode) = names.remove(from) {
                names.insert(to.clone(), inode);
            }
        }
    }
}

fn failed() -> io::Error {
    io::Error::other("a simulated failure of the disk")
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, create: bool) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state();
        let generation = state.generation;
        state.alive(generation)?;
        let inode = if let Some(inode) = state.names.get(path) {
            *inode
        } else if create {
            match state.step(generation, "create", path)? {
                None => {}
                Some(Fault::NoSpace) => return Err(io::ErrorKind::StorageFull.into()),
                Some(_) => return Err(failed()),
            }
            let inode = state.next_inode;
            state.next_inode += 1;
            state.files.insert(inode, Inode::default());
            state.rename_now(NameChange::Bind(path.to_owned(), inode));
            inode
        } else {
            return Err(io::ErrorKind::NotFound.into());
        };
        Ok(Box::new(SimFile { disk: self.clone(), path: path.to_owned(), inode, generation }))
    }

    fn create_dir(&self, _: &Path) -> io::Result<()> {
        let state = self.state();
        state.alive(state.generation)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        state.alive(state.generation)?;
        let in_dir = state.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(in_dir.filter_map(|path| path.file_name()).map(|name| name.to_string_lossy().into_owned()).collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        let generation = state.generation;
        if state.step(generation, "rename", from)?.is_some_and(|fault| fault != Fault::NoSpace) {
            return Err(failed());
        }
        if !state.names.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.rename_now(NameChange::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        let generation = state.generation;
        if state.step(generation, "remove", path)?.is_some_and(|fault| fault != Fault::NoSpace) {
            return Err(failed());
        }
        if !state.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.rename_now(NameChange::Unbind(path.to_owned()));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        let generation = state.generation;
        if state.step(generation, "sync_dir", dir)?.is_some_and(|fault| fault != Fault::NoSpace) {
            return Err(failed());
        }
        let in_dir = |path: &Path| path.parent() == Some(dir);
        let (now, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut state.pending_names).into_iter().partition(|change| match change {
                NameChange::Bind(path, _) | NameChange::Unbind(path) => in_dir(path),
                NameChange::Rename(from, to) => in_dir(from) || in_dir(to),
            });
        state.pending_names = later;
        for change in &now {
            bind(&mut state.durable_names, change);
        }
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<DiskLock> {
        let mut state = self.state();
        state.alive(state.generation)?;
        if !state.locks.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let generation = state.generation;
        Ok(DiskLock::new(SimLock { disk: self.clone(), path: path.to_owned(), generation }))
    }
}

struct SimLock {
    disk: SimDisk,
    path: PathBuf,
    generation: u64,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.generation == self.generation {
            state.locks.remove(&self.path);
        }
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    path: PathBuf,
    inode: u64,
    generation: u64,
}

impl DiskFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        let state = self.disk.state();
        state.alive(self.generation)?;
        Ok(state.len(self.inode))
    }

    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        let state = self.disk.state();
        state.alive(self.generation)?;
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let content = state.files.get(&self.inode).and_then(|file| file.current.get(start..start + out.len()));
        out.copy_from_slice(content.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        let fault = state.step(self.generation, "write", &self.path)?;
        let grows = offset + data.len() as u64 > state.len(self.inode);
        let written = if fault.is_some() || (state.full && grows) {
            let some = usize::try_from(state.random()).unwrap_or(0) % (data.len() + 1);
            data.get(..some).unwrap_or_default()
        } else {
            data
        };
        state.stats.bytes += written.len() as u64;
        state.write(self.inode, Write::Data(offset, written.to_vec()));
        match fault {
            Some(Fault::PowerCut) => Err(power_is_off()),
            Some(Fault::Error) => Err(failed()),
            _ if state.full && grows => Err(io::ErrorKind::StorageFull.into()),
            _ if fault.is_some() => {
                // The space ended here, but this write needed none.
                state.write(self.inode, Write::Data(offset, data.to_vec()));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        let fault = state.step(self.generation, "set_len", &self.path)?;
        if state.full && len > state.len(self.inode) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        match fault {
            Some(Fault::Error) => return Err(failed()),
            Some(Fault::PowerCut) => {
                state.write(self.inode, Write::Len(len));
                return Err(power_is_off());
            }
            _ => {}
        }
        state.write(self.inode, Write::Len(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        let fault = state.step(self.generation, "sync", &self.path)?;
        state.stats.syncs += 1;
        if fault == Some(Fault::PowerCut) {
            return Err(power_is_off());
        }
        let Some(mut file) = state.files.remove(&self.inode) else { return Ok(()) };
        let pending = std::mem::take(&mut file.pending);
        // What a failed sync did not write is forgotten: the pages count as clean, and no later sync brings it.
        let synced = if fault == Some(Fault::Error) { state.survivors(pending) } else { pending };
        for write in &synced {
            apply(&mut file.durable, write);
        }
        state.files.insert(self.inode, file);
        if fault == Some(Fault::Error) { Err(failed()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn synced_data_and_names_survive_every_power_cut() {
        for seed in 0..200 {
            let disk = SimDisk::new(seed);
            let (dir, path) = (Path::new("/d"), Path::new("/d/f"));
            let file = disk.open(path, true).unwrap();
            file.write_at(&[1; 3000], 0).unwrap();
            file.sync_data().unwrap();
            disk.sync_dir(dir).unwrap();
            file.write_at(&[2; 3000], 1000).unwrap();
            disk.cut_power();
            assert!(file.len().is_err());
            disk.restart();
            assert!(file.len().is_err(), "what was open stays dead");
            let content = disk.content(path).unwrap();
            assert!(content.len() >= 3000);
            assert!(content[..1000].iter().all(|byte| *byte == 1));
            assert!(content[1000..].iter().all(|byte| *byte <= 2));
        }
    }

    #[test]
    fn unsynced_names_may_vanish() {
        let survived = (0..100).filter(|seed| {
            let disk = SimDisk::new(*seed);
            disk.open(Path::new("/d/f"), true).unwrap();
            disk.cut_power();
            disk.restart();
            disk.content(Path::new("/d/f")).is_some()
        });
        assert!((20..80).contains(&survived.count()));
    }

    #[test]
    fn a_fault_comes_at_its_operation() {
        let disk = SimDisk::new(1);
        disk.fault_at(3, Fault::Error);
        let file = disk.open(Path::new("/f"), true).unwrap();
        file.write_at(b"a", 0).unwrap();
        assert!(file.sync_data().is_err());
        file.sync_data().unwrap();
        disk.fault_at(disk.stats().ops + 1, Fault::NoSpace);
        assert_eq!(file.write_at(b"abc", 0).unwrap_err().kind(), io::ErrorKind::StorageFull);
        disk.free_space();
        file.write_at(b"abc", 0).unwrap();
    }
}
