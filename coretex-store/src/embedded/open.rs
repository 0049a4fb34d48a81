//! From a directory to a running store.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use coretex_core::ports::{Clock, IdSource, StoreError, StoreErrorKind, SystemIds};

use super::{
    base::{Base, Meta, View},
    codec::Group,
    error,
    journal::{self, Journal, Place},
    layers::{Below, Layers},
    memtable::Memtable,
    options::Options,
    shared::Shared,
    writer::{self, Parts},
};
use crate::disk::{Disk, DiskLock};

const FORMAT_VERSION: u32 = 1;
/// A base smaller than this, in bytes, is not worth compacting.
const COMPACT_FROM: u64 = 32 << 20;

/// The files of a store.
#[derive(Clone, Debug)]
pub(super) struct Paths {
    pub(super) dir: PathBuf,
    pub(super) format: PathBuf,
    format_new: PathBuf,
    pub(super) base: PathBuf,
    pub(super) journal: PathBuf,
    lock: PathBuf,
}

impl Paths {
    pub(super) fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            format: dir.join("FORMAT"),
            format_new: dir.join("FORMAT.new"),
            base: dir.join("base.redb"),
            journal: dir.join("journal"),
            lock: dir.join("LOCK"),
        }
    }

    pub(super) fn lock(&self, disk: &dyn Disk) -> Result<DiskLock, StoreError> {
        disk.lock(&self.lock).map_err(|e| match e.kind() {
            io::ErrorKind::WouldBlock => StoreError::new(
                StoreErrorKind::Locked,
                format!(
                    "`{}` is in use by another process; stop that one, or choose another data directory",
                    self.dir.display()
                ),
            ),
            _ => error::disk("lock", &self.lock, e),
        })
    }
}

/// Opens or creates the store.
pub(super) fn open(
    options: &Options,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
) -> Result<(Arc<Shared>, thread::JoinHandle<()>), StoreError> {
    let paths = Paths::new(&options.path);
    let dir = |path: &Path| disk.create_dir(path).map_err(|e| error::disk("create", path, e));
    dir(&paths.dir)?;
    let lock = paths.lock(&*disk)?;
    dir(&paths.journal)?;
    let now = clock.now().as_microsecond();
    let store = match read_format(&*disk, &paths)? {
        Some(store) => store,
        None => create(&disk, &paths, options, now)?,
    };
    let place = Place { disk: disk.clone(), dir: paths.journal.clone(), store, fill_ahead: options.fill_ahead_bytes };
    let (base, view) = open_base(&*disk, &paths, options, store)?;
    let meta = view.meta;

    let mut active = Memtable { lsn: meta.lsn, now: meta.now, version: meta.version, ..Memtable::default() };
    let mut uncovered = 0;
    let journal = Journal::open(place.clone(), meta.lsn, &mut |lsn, payload| {
        let group = Group::decode(payload)
            .ok_or_else(|| StoreError::new(StoreErrorKind::Corrupt, format!("group {lsn} cannot be decoded")))?;
        uncovered += payload.len() as u64;
        active.lsn = lsn;
        active.now = active.now.max(group.now);
        active.version = group.version;
        for effect in group.effects {
            active.apply(effect);
        }
        Ok(())
    })?;
    tracing::info!(
        path = %paths.dir.display(),
        groups = active.lsn - meta.lsn,
        bytes = uncovered,
        "opened the embedded store"
    );
    let version = active.version;
    let now = now.max(active.now);
    let layers = Layers { active, below: Below { frozen: None, base: Arc::new(view) } };
    let shared = Arc::new(Shared::new(clock, now, layers));
    let options = options.clone();
    let parts = Parts { shared: shared.clone(), options, place, journal, base, version, uncovered, lock };
    Ok((shared, writer::start(parts)?))
}

/// Opens the base, checks it, and compacts it when that pays.
pub(super) fn open_base(
    disk: &dyn Disk,
    paths: &Paths,
    options: &Options,
    store: u64,
) -> Result<(Base, View), StoreError> {
    let len = disk.open(&paths.base, false).and_then(|file| file.len()).unwrap_or(0);
    let mut base = Base::open(disk, paths.base.clone(), options.cache_bytes, false)?;
    if len <= options.verify_bytes {
        base.verify()?;
    }
    let mut view = base.view()?;
    if view.meta.store != store {
        return Err(error::damaged_at(&paths.base, "it belongs to another store"));
    }
    let share = view.meta.live.saturating_mul(100) / len.max(1);
    if len >= COMPACT_FROM && share < u64::from(options.compact_below_percent) {
        drop(view);
        base.compact()?;
        tracing::info!(file = %paths.base.display(), used_percent = share, "compacted the base");
        view = base.view()?;
    }
    Ok((base, view))
}

/// The store's id, or `None` when there is no store yet, or one that was never finished.
pub(super) fn read_format(disk: &dyn Disk, paths: &Paths) -> Result<Option<u64>, StoreError> {
    let file = match disk.open(&paths.format, false) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let names = disk.list(&paths.dir).map_err(|e| error::disk("list", &paths.dir, e))?;
            let unfinished = names.iter().any(|name| paths.format_new.ends_with(name));
            let started = names.iter().any(|name| paths.base.ends_with(name));
            if started && !unfinished {
                return Err(error::damaged_at(&paths.format, "it is missing"));
            }
            return Ok(None);
        }
        Err(e) => return Err(error::disk("open", &paths.format, e)),
    };
    let len = file.len().map_err(|e| error::disk("read", &paths.format, e))?;
    let mut text = vec![0; usize::try_from(len.min(256)).unwrap_or(256)];
    file.read_at(&mut text, 0).map_err(|e| error::disk("read", &paths.format, e))?;
    let text = String::from_utf8_lossy(&text);
    let mut words = text.split_ascii_whitespace();
    let (name, version, store) = (words.next(), words.next(), words.next());
    if name != Some("coretex-store") || !text.ends_with('\n') {
        return Err(error::damaged(&paths.format, 0, "it does not describe a store"));
    }
    match version.and_then(|version| version.parse::<u32>().ok()) {
        Some(FORMAT_VERSION) => {}
        Some(version) => {
            return Err(StoreError::new(
                StoreErrorKind::Format,
                format!(
                    "`{}` has format {version}, and this version of coretex reads format {FORMAT_VERSION}; \
                     use the version that wrote it",
                    paths.dir.display()
                ),
            ));
        }
        None => return Err(error::damaged(&paths.format, 14, "it names no version")),
    }
    let store = store.filter(|id| id.len() == 16).and_then(|id| u64::from_str_radix(id, 16).ok());
    store.map(Some).ok_or_else(|| error::damaged(&paths.format, 16, "it names no store"))
}

/// Makes an empty store. The name `FORMAT` appears last: a directory without it was never finished.
fn create(disk: &Arc<dyn Disk>, paths: &Paths, options: &Options, now: i64) -> Result<u64, StoreError> {
    let on = |path: &Path, e| error::disk("write", path, e);
    let store = SystemIds.random();
    let text = format!("coretex-store {FORMAT_VERSION} {store:016x}\n");
    let written = disk.open(&paths.format_new, true).and_then(|file| {
        file.set_len(0)?;
        file.write_at(text.as_bytes(), 0)?;
        file.sync_data()
    });
    // Durable before anything else, so that whatever a crash leaves of the rest is known to be unfinished.
    written.and_then(|()| disk.sync_dir(&paths.dir)).map_err(|e| on(&paths.format_new, e))?;
    sync_parent(&**disk, &paths.dir)?;
    match disk.remove(&paths.base) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(on(&paths.base, e)),
        _ => {}
    }
    let place = Place { disk: disk.clone(), dir: paths.journal.clone(), store, fill_ahead: 0 };
    journal::remove_before(&place, u64::MAX)?;
    let base = Base::open(&**disk, paths.base.clone(), options.cache_bytes, true)?;
    base.create_tables(store, now)?;
    drop(base);
    Journal::create(place, Meta::default().lsn + 1)?;
    disk.sync_dir(&paths.dir).map_err(|e| on(&paths.dir, e))?;
    disk.rename(&paths.format_new, &paths.format).map_err(|e| on(&paths.format, e))?;
    disk.sync_dir(&paths.dir).map_err(|e| on(&paths.dir, e))?;
    Ok(store)
}

/// Makes the name of the data directory durable, as far as we may.
fn sync_parent(disk: &dyn Disk, dir: &Path) -> Result<(), StoreError> {
    let Some(parent) = dir.parent() else { return Ok(()) };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    match disk.sync_dir(parent) {
        Err(e) if e.kind() != io::ErrorKind::PermissionDenied => Err(error::disk("sync", parent, e)),
        _ => Ok(()),
    }
}
