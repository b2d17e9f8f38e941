//! The disk store: one redb file in the device's data folder.
//!
//! redb because it commits small batches in one sync, reads while it writes, keeps large values whole and opens at once;
//! fjall reopens in 0.2 to 0.5 s, SQLite is slower at both. What this room adds to it:
//! - a checksum on every value (redb checks its pages only when it repairs), and a check at open that no row of the small
//!   tables is hidden by a damaged page;
//! - opening after a crash without a walk through the file, which takes 0.6 ms a MB: from 32 MB on each durable commit
//!   also saves the list of free pages, at the price of a second sync; an edit that somebody waits for does so from
//!   256 MB on;
//! - an exact answer from a disk that fails or is full: the file is opened again, counts its own commits, and so tells
//!   whether the batch is in it; relaxed batches before it are put back;
//! - panics of redb over contradictory pages become errors ([`catches_panic`]).
//!
//! Relaxed batches are lost in a crash of the process too, until the next strict one, 8 MiB of them, or an orderly end.
//!
//! Measured on 2 cores of a shared machine, release build, while fdatasync took 0.13 ms (by other programs' writing it
//! can take 4 ms, and all strict figures grow with it):
//!
//! | what | figure |
//! |---|---|
//! | blocks of 60 KiB (1,000 events), strict, second sync | 1,300 a second, 0.74 ms (median) |
//! | commits of 200 B, strict, second sync, 200 MB file | 1,700 a second, 0.56 ms (median) |
//! | commits of 200 B, strict, one sync (redb alone) | 3,900 a second, 0.25 ms (median) |
//! | blocks of 60 KiB, relaxed | 3,700 a second, 0.05 ms (median) |
//! | commits of 200 B, relaxed | 50,000 a second, 0.013 ms (median) |
//! | open after an orderly end / after abort, 205 MB | 0.3 to 0.7 ms / 0.9 ms |
//! | reading 300 blocks of 60 KiB, checked | 10 ms |

mod fault;
mod instance;
mod lock;
mod rewrite;
mod tables;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use redb::{Builder, Database};

pub use self::fault::catches_panic;
use self::fault::{Fault, guard};
use self::instance::Witness;
pub(super) use self::lock::FolderLock;
pub(super) use self::rewrite::copy;
use self::tables::{Change, End, FORMAT, Own};
use super::{keys, seal};
use crate::error::{Error, Result};
use crate::platform::entropy;
use crate::store::{Durability, Read, Rows, SealKey, Sealed, Store, WriteBatch};

/// The database's name in the folder.
pub const FILE: &str = "vault.redb";

/// Where a new database is made before it gets its name: so the name never stands on half a database.
const NEW_FILE: &str = "vault.redb.new";

/// Memory for redb's cache of pages, both of reading and of one transaction's writing.
const CACHE_BYTES: usize = 32 << 20;

/// After so many bytes of relaxed batches the next is made durable: it bounds what a crash can take and what is kept for
/// [`Inner::reopen`].
const RELAXED_BYTES: usize = 8 << 20;

/// Below this size of the file a walk through all of it after a crash takes under 20 ms, and commits save the second sync
/// that avoids it.
const WALK_BYTES: u64 = 32 << 20;

/// Below this many bytes a batch is an edit that somebody waits for: it takes one sync as long as the walk takes under
/// 0.2 s. What comes in bulk saves the walk, so a crash amid a sync costs no more than before.
const EDIT_BYTES: usize = 16 << 10;
const EDIT_WALK_BYTES: u64 = 256 << 20;

/// How the file is opened; tests put a disk without room between.
type Opener = dyn Fn(&Path) -> std::result::Result<Database, redb::Error> + Send + Sync;

/// The store of one device in one folder, held against other processes until it is dropped.
///
/// [`DiskStore::commit_now`] and reading block the calling thread for as long as the disk takes.
#[derive(Debug)]
pub struct DiskStore {
    inner: Arc<Inner>,
}

/// Reads from a [`DiskStore`] on any thread, also while a batch is being committed: then what was committed before.
/// While it exists the folder stays held.
#[derive(Clone, Debug)]
pub struct DiskReader {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    opener: Box<Opener>,
    /// `None` after a failure until it can be opened again. Taken after `writer` where both are.
    db: RwLock<Option<Database>>,
    writer: Mutex<Writer>,
    mark: [u8; 16],
    /// Dropped last: the folder is free once the database is closed.
    lock: Arc<FolderLock>,
}

#[derive(Debug)]
struct Writer {
    /// As of the last batch that was reported as committed.
    own: Own,
    /// `own.commits` of the last durable batch.
    durable: u64,
    /// The batches after it: a failed disk makes redb forget them, and they were reported as committed.
    relaxed: Vec<Vec<Change>>,
    relaxed_bytes: usize,
    /// A batch that failed while the file could not be opened again, so that it may be on disk although the caller was
    /// told that it is not: its number, and what takes it back.
    doubtful: Option<(u64, Vec<Change>)>,
    witness: Witness,
}

/// The store of a device: as it is, or sealed.
#[derive(Debug)]
pub enum DeviceStore {
    /// Values are as they were written.
    Plain(DiskStore),
    /// A passphrase seals them.
    Sealed(Sealed<DiskStore>),
}

/// Opens the store of a device, as [`DiskStore::open`]; `seal` is the key of the folder's passphrase, where it has one.
/// Fails with `locked` where that is another one, is missing, or is not asked for.
pub async fn open(folder: &Path, seal: Option<&SealKey>) -> Result<DeviceStore> {
    let lock = hold(folder)?;
    let key = keys::secrets(folder, seal)?.and_then(|secrets| secrets.store);
    let store = DiskStore::open_held(folder, instance::state_folder().as_deref(), Box::new(open_database), lock)?;
    Ok(match key {
        Some(key) => DeviceStore::Sealed(Sealed::new(store, &key, &entropy::bytes()?)),
        None => DeviceStore::Plain(store),
    })
}

/// Holds a folder, made if there is none, and ends what a crash amid a change of its passphrase has left.
pub(super) fn hold(folder: &Path) -> Result<FolderLock> {
    make_folder(folder).map_err(|error| Fault::from(error).at(folder))?;
    let lock = FolderLock::take(folder)?;
    seal::settle(folder)?;
    Ok(lock)
}

/// Ends what such a crash has left, if it has left anything that matters to whoever only reads the device's key.
pub(super) fn settled(folder: &Path) -> Result<()> {
    if seal::is_decided(folder) { hold(folder).map(drop) } else { Ok(()) }
}

fn open_database(path: &Path) -> std::result::Result<Database, redb::Error> {
    Ok(builder().open(path)?)
}

impl DeviceStore {
    /// The mark of this instance of the store.
    pub fn instance_mark(&self) -> [u8; 16] {
        self.disk().instance_mark()
    }

    fn disk(&self) -> &DiskStore {
        match self {
            Self::Plain(store) => store,
            Self::Sealed(store) => store.inner(),
        }
    }
}

impl Store for DeviceStore {
    async fn commit(&mut self, batch: WriteBatch) -> Result<()> {
        match self {
            Self::Plain(store) => store.commit(batch).await,
            Self::Sealed(store) => store.commit(batch).await,
        }
    }

    async fn read(&self, read: &Read) -> Result<Rows> {
        match self {
            Self::Plain(store) => store.read(read).await,
            Self::Sealed(store) => store.read(read).await,
        }
    }

    async fn used_bytes(&self) -> Result<u64> {
        self.disk().used_bytes_now()
    }
}

impl DiskStore {
    /// Opens the store in this folder; makes both where there are none (the folder with mode 0700).
    ///
    /// Errors, each naming the file: [`Locked`](crate::error::ErrorCode::Locked) where another process holds the folder,
    /// [`Version`](crate::error::ErrorCode::Version) for a newer format, [`Quota`](crate::error::ErrorCode::Quota) for a
    /// full disk, [`Storage`](crate::error::ErrorCode::Storage) for a damaged file or one that cannot be read.
    pub fn open(folder: &Path) -> Result<Self> {
        Self::open_with_state(folder, instance::state_folder().as_deref())
    }

    /// Like [`DiskStore::open`], with the folder where the witness of the instance mark is kept, or without one.
    pub fn open_with_state(folder: &Path, state_folder: Option<&Path>) -> Result<Self> {
        Self::open_by(folder, state_folder, Box::new(open_database))
    }

    fn open_by(folder: &Path, state_folder: Option<&Path>, opener: Box<Opener>) -> Result<Self> {
        Self::open_held(folder, state_folder, opener, hold(folder)?)
    }

    fn open_held(
        folder: &Path,
        state_folder: Option<&Path>,
        opener: Box<Opener>,
        mut lock: FolderLock,
    ) -> Result<Self> {
        let path = folder.join(FILE);
        match path.try_exists() {
            Ok(true) => {}
            Ok(false) if lock.had_store => {
                return Err(Error::storage(format!(
                    "{} is missing, though this folder had a vault. Put the file back, restore a backup into a new \
                     folder, or join again in a new folder; to start with nothing, delete the folder {}",
                    path.display(),
                    folder.display()
                )));
            }
            Ok(false) => {
                lock.note(false);
                create(folder, &path).map_err(|fault| fault.at(&path))?;
            }
            Err(error) => return Err(Fault::from(error).at(&path)),
        }
        lock.note(true);
        let (db, mut own) = open_file(&opener, &path).map_err(|fault| fault.at(&path))?;
        if !guard(|| tables::small_tables_are_whole(&db)).map_err(|fault| fault.at(&path))? {
            return Err(Fault::Damaged("rows cannot be found any more".into()).at(&path));
        }
        let witness = Witness::of(&path, state_folder);
        if witness.saw_more_than(own.commits) {
            own.salt = random()?;
        }
        let mark = instance::mark(&path, own.salt).map_err(|error| Fault::from(error).at(&path))?;
        let durable = own.commits;
        let writer = Writer { own, durable, relaxed: Vec::new(), relaxed_bytes: 0, doubtful: None, witness };
        let (db, writer) = (RwLock::new(Some(db)), Mutex::new(writer));
        Ok(Self { inner: Arc::new(Inner { path, opener, db, writer, mark, lock: Arc::new(lock) }) })
    }

    /// A handle for reading on other threads.
    pub fn reader(&self) -> DiskReader {
        DiskReader { inner: self.inner.clone() }
    }

    /// The mark of this instance of the store: another one where the files were copied or an old copy was restored.
    /// The engine keeps it in `Meta`. How far it goes: in the source, `instance.rs`.
    pub fn instance_mark(&self) -> [u8; 16] {
        self.inner.mark
    }

    /// Keeps the folder held, also when this is dropped.
    pub(super) fn lock(&self) -> Arc<FolderLock> {
        self.inner.lock.clone()
    }

    /// Commits a batch; an empty strict one makes the relaxed ones before it durable. Like [`Store::commit`].
    pub fn commit_now(&mut self, batch: WriteBatch) -> Result<()> {
        self.inner.commit(batch)
    }

    /// Reads rows. Like [`Store::read`].
    pub fn read_now(&self, read: &Read) -> Result<Rows> {
        self.inner.read(read)
    }

    /// Bytes of the file.
    pub fn used_bytes_now(&self) -> Result<u64> {
        let meta = fs::metadata(&self.inner.path).map_err(|error| Fault::from(error).at(&self.inner.path))?;
        Ok(meta.len())
    }
}

impl DiskReader {
    /// Reads rows. Like [`Store::read`].
    pub fn read_now(&self, read: &Read) -> Result<Rows> {
        self.inner.read(read)
    }
}

impl Store for DiskStore {
    async fn commit(&mut self, batch: WriteBatch) -> Result<()> {
        self.commit_now(batch)
    }

    async fn read(&self, read: &Read) -> Result<Rows> {
        self.read_now(read)
    }

    async fn used_bytes(&self) -> Result<u64> {
        self.used_bytes_now()
    }
}

impl Drop for DiskStore {
    fn drop(&mut self) {
        // What relaxed batches promised does not include losing them in an orderly end.
        if let Err(error) = self.inner.commit(WriteBatch::default()) {
            tracing::warn!(%error, "the last relaxed batches could not be saved");
        }
        let mut writer = self.inner.writer();
        let durable = writer.durable;
        writer.witness.end(durable);
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

impl Inner {
    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn db(&self) -> RwLockReadGuard<'_, Option<Database>> {
        self.db.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a step on the open database, opening it first where a failure has closed it.
    fn with_db<T>(
        &self,
        writer: Option<&mut Writer>,
        step: impl FnOnce(&Database) -> std::result::Result<T, redb::Error>,
    ) -> std::result::Result<T, Fault> {
        let mut db = self.db();
        if db.is_none() {
            drop(db);
            match writer {
                Some(writer) => self.reopen(writer)?,
                None => self.reopen(&mut self.writer())?,
            }
            db = self.db();
        }
        match db.as_ref() {
            Some(db) => guard(|| step(db)),
            None => Err(Fault::Io("it could not be opened again".into())),
        }
    }

    fn read(&self, read: &Read) -> Result<Rows> {
        self.with_db(None, |db| tables::read(db, read)).map_err(|fault| {
            // redb refuses everything after a failed read or write until it is opened again.
            if matches!(fault, Fault::Io(_)) {
                self.close();
            }
            fault.at(&self.path)
        })
    }

    fn commit(&self, batch: WriteBatch) -> Result<()> {
        let mut writer = self.writer();
        if batch.is_empty() && (batch.durability == Durability::Relaxed || writer.relaxed.is_empty()) {
            return Ok(());
        }
        // First, because opening may take back a doubtful batch, which counts as a commit.
        if self.db().is_none() {
            self.reopen(&mut writer).map_err(|fault| fault.at(&self.path))?;
        }
        let changes: Vec<Change> = batch.ops.into_iter().map(Change::of).collect();
        let batch_bytes = changes.iter().map(Change::len).sum::<usize>();
        let bytes = batch_bytes.saturating_add(writer.relaxed_bytes);
        let durability = if bytes > RELAXED_BYTES { Durability::Strict } else { batch.durability };
        let own = Own { commits: writer.own.commits.saturating_add(1), ..writer.own };
        let end = match durability {
            Durability::Relaxed => End::Relaxed,
            Durability::Strict if self.walk_is_short(batch_bytes) => End::Durable,
            Durability::Strict => End::QuickToOpen,
        };
        let mut undo = Vec::new();
        if let Err(fault) = self.with_db(Some(&mut writer), |db| tables::write(db, &changes, own, end, &mut undo)) {
            // redb answers nothing after a failed write until it is opened again, and only the file tells whether the
            // failure came before or after the batch was on disk.
            self.close();
            if self.reopen(&mut writer).is_err() && writer.doubtful.is_none() {
                undo.reverse();
                writer.doubtful = Some((own.commits, undo));
            }
            return if writer.own.commits < own.commits { Err(fault.at(&self.path)) } else { Ok(()) };
        }
        writer.own = own;
        match durability {
            Durability::Strict => {
                writer.relaxed.clear();
                writer.relaxed_bytes = 0;
                writer.durable = own.commits;
                writer.witness.note(own.commits);
            }
            Durability::Relaxed => {
                writer.relaxed.push(changes);
                writer.relaxed_bytes = bytes;
            }
        }
        Ok(())
    }

    /// Whether a walk through the file after a crash is a fair price for one sync less with a batch of so many bytes.
    fn walk_is_short(&self, batch_bytes: usize) -> bool {
        let limit = if batch_bytes < EDIT_BYTES { EDIT_WALK_BYTES } else { WALK_BYTES };
        fs::metadata(&self.path).is_ok_and(|meta| meta.len() < limit)
    }

    fn close(&self) {
        let db = self.db.write().unwrap_or_else(PoisonError::into_inner).take();
        // Closing a database whose file is damaged may fail in any way.
        let _ = guard(|| {
            drop(db);
            Ok(())
        });
    }

    /// Opens the file again after a failure and puts back the relaxed batches that the failure has undone.
    fn reopen(&self, writer: &mut Writer) -> std::result::Result<(), Fault> {
        let mut slot = self.db.write().unwrap_or_else(PoisonError::into_inner);
        if slot.is_some() {
            return Ok(());
        }
        let (db, found) = open_file(&self.opener, &self.path)?;
        let mut on_disk = found.commits;
        if let Some((number, undo)) = &writer.doubtful
            && found.commits == *number
        {
            on_disk = number.saturating_add(1);
            let own = Own { commits: on_disk, ..writer.own };
            guard(|| tables::write(&db, undo, own, End::QuickToOpen, &mut Vec::new()))?;
        }
        writer.doubtful = None;
        // The batch that failed last may have reached the disk, and with it all relaxed ones before it.
        if on_disk > writer.own.commits {
            writer.own.commits = on_disk;
            writer.relaxed.clear();
        }
        let Some(kept) = on_disk.checked_sub(writer.durable) else {
            return Err(Fault::Damaged("it has lost commits that were on disk".into()));
        };
        let kept = usize::try_from(kept).unwrap_or(usize::MAX).min(writer.relaxed.len());
        writer.relaxed.drain(..kept);
        writer.relaxed_bytes = writer.relaxed.iter().flatten().map(Change::len).sum();
        writer.durable = on_disk;
        for (commits, changes) in (on_disk.saturating_add(1)..).zip(&writer.relaxed) {
            let own = Own { commits, ..writer.own };
            guard(|| tables::write(&db, changes, own, End::Relaxed, &mut Vec::new()))?;
        }
        *slot = Some(db);
        Ok(())
    }
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

fn make_folder(folder: &Path) -> std::io::Result<()> {
    let mut maker = fs::DirBuilder::new();
    maker.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut maker, 0o700);
    maker.create(folder)
}

/// Makes an empty database and only then gives it its name.
fn create(folder: &Path, path: &Path) -> std::result::Result<(), Fault> {
    let new = folder.join(NEW_FILE);
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    drop(options.open(&new)?);
    let salt = random().map_err(|error| Fault::Io(error.message().to_owned()))?;
    let own = Own { format: FORMAT, commits: 0, salt };
    guard(|| {
        let db = builder().create(&new)?;
        tables::write(&db, &[], own, End::Durable, &mut Vec::new())
    })?;
    fs::rename(&new, path)?;
    // A folder is made durable by itself; only Unix can say so.
    #[cfg(unix)]
    fs::File::open(folder)?.sync_all()?;
    Ok(())
}

/// Opens the file and reads the store's own facts.
fn open_file(opener: &Opener, path: &Path) -> std::result::Result<(Database, Own), Fault> {
    let (db, own) = guard(|| {
        let db = opener(path)?;
        let own = tables::own(&db)?;
        Ok((db, own))
    })?;
    match own {
        Some(own) if own.format > FORMAT => Err(Fault::Newer(own.format)),
        Some(own) => Ok((db, own)),
        None => Err(Fault::Damaged("the store's own facts do not read back".into())),
    }
}

fn random() -> Result<u64> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::storage(format!("The system gave no random numbers: {error}; try again")))?;
    Ok(u64::from_le_bytes(bytes))
}
