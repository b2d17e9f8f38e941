//! The open database: its object stores, who may write, and what the browser does to it meanwhile.

use std::cell::RefCell;
use std::rc::Rc;

use futures::future::{AbortHandle, Abortable, Either, select};
use indexed_db_futures::KeyRange;
use indexed_db_futures::database::Database;
use indexed_db_futures::error::Error as IdbError;
use indexed_db_futures::internals::SystemRepr;
use indexed_db_futures::object_store::ObjectStore;
use indexed_db_futures::prelude::*;
use indexed_db_futures::transaction::{TransactionDurability, TransactionMode, TransactionOptions};
use js_sys::{Array, Promise, Reflect, Uint8Array};
use tokio::sync::watch;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::{JsFuture, spawn_local};

use super::fault::Fault;
use crate::error::Result;
use crate::platform::entropy;
use crate::platform::web::seal::CHANGE;
use crate::platform::web::time::sleep;
use crate::store::Table;
use crate::types::SortedMap;

/// The format of the database; a browser refuses to open a newer one.
const VERSION: u32 = 2;
/// The object store of what belongs to this device and not to the vault.
pub(super) const OWN: &str = "own";
/// In it: how often the database was opened. Only who opened it last may write.
pub(in crate::platform::web) const WRITER: &str = "writer";
/// In it: 16 random bytes, made with the database.
pub(in crate::platform::web) const MARK: &str = "mark";
/// How long an opening or a deletion may wait for another tab.
const OPEN_LIMIT: std::time::Duration = std::time::Duration::from_secs(10);

#[wasm_bindgen]
extern "C" {
    // web-sys lacks it.
    #[wasm_bindgen(js_namespace = indexedDB, js_name = databases, catch)]
    fn databases() -> std::result::Result<Promise, JsValue>;
}

/// The object store of a table.
pub(super) fn name_of(table: Table) -> &'static str {
    match table {
        Table::Meta => "meta",
        Table::Logs => "logs",
        Table::Membership => "membership",
        Table::Blocks => "blocks",
        Table::Pages => "pages",
        Table::Peers => "peers",
        Table::Audit => "audit",
    }
}

/// An open database; clones are the same one. It closes with the last of them.
#[derive(Clone, Debug)]
pub struct IndexedDb {
    inner: Rc<Inner>,
}

#[derive(Debug)]
struct Inner {
    name: String,
    db: RefCell<Option<Database>>,
    writer: f64,
    mark: [u8; 16],
    closed: watch::Sender<Option<Why>>,
    watch: AbortHandle,
}

/// Why a database closed under us.
#[derive(Clone, Copy, Debug)]
enum Why {
    Outdated,
    Deleted,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.watch.abort();
        if let Some(db) = self.db.take() {
            db.close();
        }
    }
}

impl IndexedDb {
    /// Opens it, makes it where there is none, and takes the right to write from whoever had it.
    pub async fn open(name: &str) -> Result<Self> {
        Self::open_it(name).await.map_err(|fault| fault.named(name))
    }

    async fn open_it(name: &str) -> std::result::Result<Self, Fault> {
        let opened = Self::open_by(name, false).await?;
        // A new database in the place of one that was open in this page's life is no empty vault: that one was deleted.
        let mark = opened.mark();
        if KNOWN.with_borrow_mut(|known| *known.entry(name.to_owned()).or_insert(mark) != mark) {
            return Err(Fault::Deleted);
        }
        Ok(opened)
    }

    /// Opens one that is a copy, or becomes one, and whose mark so is not its own yet.
    pub(super) async fn open_copy(name: &str) -> std::result::Result<Self, Fault> {
        Self::open_by(name, true).await
    }

    async fn open_by(name: &str, copies: bool) -> std::result::Result<Self, Fault> {
        let db = connect(name).await?;
        let (writer, mark) = take_over(&db, copies).await.inspect_err(|_| db.clone().close())?;
        let (watch, registration) = AbortHandle::new_pair();
        let inner = Inner {
            name: name.to_owned(),
            db: RefCell::new(Some(db.clone())),
            writer,
            mark,
            closed: watch::Sender::new(None),
            watch,
        };
        let opened = Self { inner: Rc::new(inner) };
        let weak = Rc::downgrade(&opened.inner);
        let mut changes = db.version_changes()?;
        let watching = async move {
            let change = changes.recv().await;
            let Some(inner) = weak.upgrade() else { return };
            // No event: the browser closed it. One without a version: somebody deletes it. Else a newer app opens it.
            let deleted = change.is_none_or(|change| change.new_version().is_none());
            inner.closed.send_replace(Some(if deleted { Why::Deleted } else { Why::Outdated }));
            if let Some(db) = inner.db.take() {
                db.close();
            }
        };
        spawn_local(async move {
            let _ = Abortable::new(watching, registration).await;
        });
        Ok(opened)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// See [`super::IndexedDbStore::instance_mark`].
    pub fn mark(&self) -> [u8; 16] {
        self.inner.mark
    }

    /// The number of this opening, which each commit checks.
    pub(super) fn writer(&self) -> f64 {
        self.inner.writer
    }

    pub(super) fn get(&self) -> std::result::Result<Database, Fault> {
        self.inner.db.borrow().clone().ok_or(Fault::Deleted)
    }

    /// Why it closed, if it did.
    pub(super) fn closed_by(&self) -> Option<Fault> {
        self.inner.closed.borrow().map(Why::fault)
    }

    /// Waits until it closes, and tells why.
    pub(super) async fn closed(&self) -> Fault {
        let mut closed = self.inner.closed.subscribe();
        // It fails where the sender is gone, which is this database itself.
        let why = closed.wait_for(Option::is_some).await.ok().and_then(|why| *why);
        why.unwrap_or(Why::Deleted).fault()
    }
}

impl Why {
    fn fault(self) -> Fault {
        match self {
            Why::Outdated => Fault::Outdated,
            Why::Deleted => Fault::Deleted,
        }
    }
}

thread_local! {
    /// The marks of the databases that were opened in this page's life.
    static KNOWN: RefCell<SortedMap<String, [u8; 16]>> = const { RefCell::new(SortedMap::new()) };
}

async fn connect(name: &str) -> std::result::Result<Database, Fault> {
    let request = Database::open(name)
        .with_version(VERSION)
        .with_on_blocked(|_| Ok(()))
        .with_on_upgrade_needed(|event, db| {
            // Version 1 had all but the audit log.
            let had = |table: &Table| event.old_version() >= 1.0 && *table != Table::Audit;
            let own = (event.old_version() < 1.0).then_some(OWN);
            for store in Table::ALL.into_iter().filter(|table| !had(table)).map(name_of).chain(own) {
                db.create_object_store(store).build()?;
            }
            Ok(())
        })
        .build()?;
    match select(Box::pin(request.into_future()), Box::pin(sleep(OPEN_LIMIT))).await {
        Either::Left((db, _)) => Ok(db?),
        Either::Right(_) => Err(Fault::Blocked),
    }
}

/// A record of the device's own.
pub(in crate::platform::web) async fn own(name: &str, key: &str) -> Result<Option<JsValue>> {
    Ok(own_all(name, &[key]).await?.pop().flatten())
}

/// Such records, in the order asked for.
pub(in crate::platform::web) async fn own_all(name: &str, keys: &[&str]) -> Result<Vec<Option<JsValue>>> {
    let read = async || -> std::result::Result<_, Fault> {
        let db = connect(name).await?;
        let transaction = db.transaction(OWN).build()?;
        let own = transaction.object_store(OWN)?;
        let mut found = Vec::with_capacity(keys.len());
        for key in keys {
            found.push(own.get::<JsValue, _, _>(*key).primitive()?.await?);
        }
        drop(transaction);
        db.close();
        Ok(found)
    };
    read().await.map_err(|fault| fault.named(name))
}

/// Adds such a record, strictly; fails where there is one.
pub(in crate::platform::web) async fn add_own(name: &str, key: &str, value: JsValue) -> Result<()> {
    change_own(name, &|own| {
        drop(own.add(&value).with_key(key).primitive()?);
        Ok(())
    })
    .await
}

/// Puts such records, or deletes those without a value; strictly, all or none.
pub(in crate::platform::web) async fn put_own(name: &str, records: &[(&str, Option<JsValue>)]) -> Result<()> {
    change_own(name, &|own| {
        for (key, value) in records {
            match value {
                Some(value) => drop(own.put(value).with_key(*key).primitive()?),
                None => drop(own.delete::<JsValue, _>(KeyRange::Only(JsValue::from_str(key))).primitive()?),
            }
        }
        Ok(())
    })
    .await
}

async fn change_own(name: &str, change: &dyn Fn(&ObjectStore<'_>) -> std::result::Result<(), Fault>) -> Result<()> {
    let run = async || -> std::result::Result<_, Fault> {
        let db = connect(name).await?;
        let transaction = strict(&db)?;
        change(&transaction.object_store(OWN)?)?;
        let ended = transaction.as_sys().clone();
        transaction.commit().await.map_err(|error| Fault::of_transaction(&ended, error))?;
        db.close();
        Ok(())
    };
    run().await.map_err(|fault| fault.named(name))
}

fn strict(db: &Database) -> std::result::Result<indexed_db_futures::transaction::Transaction<'_>, Fault> {
    let options = TransactionOptions::new().with_durability(TransactionDurability::Strict);
    Ok(db.transaction(OWN).with_mode(TransactionMode::Readwrite).with_options(options).build()?)
}

/// Raises the writer's number, and makes the mark where there is none; amid a change of the passphrase only for who `copies`.
async fn take_over(db: &Database, copies: bool) -> std::result::Result<(f64, [u8; 16]), Fault> {
    let random = entropy::bytes()
        .map_err(|error| Fault::Exception { name: "Error".into(), message: error.message().to_owned() })?;
    let transaction = strict(db)?;
    let own = transaction.object_store(OWN)?;
    if !copies && own.get::<JsValue, _, _>(CHANGE).primitive()?.await?.is_some() {
        return Err(Fault::Changing);
    }
    let writer = own.get::<f64, _, _>(WRITER).primitive()?.await?.unwrap_or(0.0) + 1.0;
    own.put(writer).with_key(WRITER).primitive()?.await?;
    let known = own.get::<JsValue, _, _>(MARK).primitive()?.await?;
    let mut mark = [0; 16];
    match known.map(|known| Uint8Array::new(&known)) {
        Some(known) if known.length() == 16 => known.copy_to(&mut mark),
        _ => {
            mark.copy_from_slice(&random[..16]);
            own.put(JsValue::from(Uint8Array::from(&mark[..]))).with_key(MARK).primitive()?.await?;
        }
    }
    let ended = transaction.as_sys().clone();
    transaction.commit().await.map_err(|error| Fault::of_transaction(&ended, error))?;
    Ok((writer, mark))
}

/// Whether there is a database of that name.
pub(in crate::platform::web) async fn exists(name: &str) -> Result<bool> {
    let list = async || -> std::result::Result<_, Fault> {
        Ok(Array::from(&JsFuture::from(databases().map_err(IdbError::from)?).await.map_err(IdbError::from)?))
    };
    let all = list().await.map_err(|fault| fault.named(name))?;
    Ok(all.iter().any(|one| Reflect::get(&one, &"name".into()).is_ok_and(|found| found == name)))
}

/// Deletes a database with all that is in it; whoever has it open is told that it was deleted. `locked` where somebody
/// does not let go of it.
pub async fn delete(name: &str) -> Result<()> {
    let delete = async || -> std::result::Result<_, Fault> {
        let deleted = Box::pin(Database::delete_by_name(name)?.into_future());
        match select(deleted, Box::pin(sleep(OPEN_LIMIT))).await {
            Either::Left((deleted, _)) => Ok(deleted?),
            Either::Right(_) => Err(Fault::Blocked),
        }
    };
    delete().await.map_err(|fault| fault.named(name))
}
