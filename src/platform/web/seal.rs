//! Sets, changes and removes the passphrase of a store. All is copied into a second database, sealed anew, the first is
//! deleted, and what was copied goes back into a new one of its name: what is only overwritten stays readable in a
//! browser's files, and no browser renames a database.
//!
//! Each step is durable before the next:
//! 1. the first database says [`OUT`], and the second gets all rows;
//! 2. the second says that it is whole: from here on it counts;
//! 3. the first is deleted and made anew with all rows; the keys come last, together with [`DONE`];
//! 4. the second is deleted, then what the first says.
//!
//! Whoever opens the store after a crash goes on where that was: so either the old passphrase opens it or the new one.
//! One at a time does any of this, by a lock of its own: the one of the store's leader can be taken from a tab that hangs.
//! The browser deletes files as it sees fit, and flash storage keeps old blocks whatever is deleted.

use std::time::Duration;

use wasm_bindgen::JsValue;

use super::keys::{self, DEVICE, SALT};
use super::store::{DeviceStore, IndexedDbStore, MARK, WRITER, delete, exists, own, own_all, put_own};
use super::tabs::{Lock, lock_name};
use crate::error::{Error, ErrorCode, Result};
use crate::store::{SealKey, copy_rows};

/// The record that says how far a change is.
pub(super) const CHANGE: &str = "change";
/// The second database is being filled.
const OUT: f64 = 1.0;
/// The first one is whole again.
const DONE: f64 = 2.0;
/// The record in the second database that says that it is whole.
const WHOLE: &str = "whole";
/// Bytes that are copied at once: the page has its turn in between.
const CHUNK: usize = 256 << 10;
/// How long a tab that has died on the way may seem to be at it.
const DYING_LIMIT: Duration = Duration::from_secs(2);

/// What a store is sealed by from now on.
#[derive(Debug)]
pub struct NewSeal {
    /// The key that was derived from the passphrase,
    pub key: SealKey,
    /// with this salt.
    pub salt: Vec<u8>,
}

/// Its name, which no app would give a store: it is deleted where it says nothing.
fn second(name: &str) -> String {
    format!("{name}\u{1f}passphrase")
}

/// Changes what seals a store from `old` to `new`: without an old key it is set, without a new one removed. `progress`
/// hears how much of how much is done, and ends it by an error as long as nothing is decided: then nothing has changed.
///
/// Only for whoever holds the store's lock. Fails with `locked` where `old` is not what it has, with `not_found` where no
/// device is in it, with `quota` where there is no room for a second copy; a damaged row ends it too.
pub async fn change(
    name: &str,
    old: Option<&SealKey>,
    new: Option<&NewSeal>,
    progress: &mut dyn FnMut(u64, u64) -> Result<()>,
) -> Result<()> {
    let _alone = alone(name).await?;
    let changed = change_by(name, old, new, progress, &mut |_| Ok(())).await;
    if changed.is_err() && matches!(exists(name).await, Ok(true)) && matches!(left(name).await, Ok(Left::Undecided)) {
        // Where that fails the next opening does it.
        let _ = end(name).await;
    }
    changed
}

/// `reached` is told of each step and may end it there, as a crash would.
#[doc(hidden)]
pub async fn change_by(
    name: &str,
    old: Option<&SealKey>,
    new: Option<&NewSeal>,
    progress: &mut dyn FnMut(u64, u64) -> Result<()>,
    reached: &mut dyn FnMut(&str) -> Result<()>,
) -> Result<()> {
    let none = || Error::new(ErrorCode::NotFound, format!("no device is in the store `{name}`; `open` makes one"));
    if !exists(name).await? && !is_left(name).await? {
        return Err(none());
    }
    end(name).await?;
    let device = keys::resealed(name, old, new.map(|new| &new.key)).await?.ok_or_else(none)?;
    put_own(name, &[(CHANGE, Some(OUT.into()))]).await?;
    let mut count = Count { done: 0, total: 0, progress };
    copy_out(name, old, new, device, &mut count, reached).await?;
    reached("decided")?;
    // There is no way back now.
    let mut progress = |done, total| {
        let _ = (count.progress)(done, total);
        Ok(())
    };
    let mut count = Count { done: count.done, total: count.total, progress: &mut progress };
    bring_back(name, &mut count, reached).await
}

/// Rows that were read or written, of all that will be.
struct Count<'a> {
    done: u64,
    total: u64,
    progress: &'a mut dyn FnMut(u64, u64) -> Result<()>,
}

impl Count<'_> {
    fn step(&mut self, rows: usize) -> Result<()> {
        self.done += rows as u64;
        (self.progress)(self.done.min(self.total), self.total)
    }
}

async fn copy_out(
    name: &str,
    old: Option<&SealKey>,
    new: Option<&NewSeal>,
    device: JsValue,
    count: &mut Count<'_>,
    reached: &mut dyn FnMut(&str) -> Result<()>,
) -> Result<()> {
    let second = second(name);
    let from = IndexedDbStore::open_copy(name).await?;
    let to = IndexedDbStore::open_copy(&second).await?;
    // Each row is read twice, out and back.
    count.total = 4 * from.rows_count().await?;
    let (from, to) = (DeviceStore::of(from, old)?, DeviceStore::of(to, new.map(|new| &new.key))?);
    copy_rows(&from, to, CHUNK, &mut |rows, _| count.step(rows)).await?;
    reached("the rows are copied")?;
    let mut records = records(name, &[MARK, WRITER]).await?;
    records.push((DEVICE, Some(device)));
    records.push((SALT, new.map(|new| keys::salt_record(&new.salt)).transpose()?));
    records.push((WHOLE, Some(JsValue::TRUE)));
    put_own(&second, &records).await
}

/// Records of a database's own, as they are put into another.
async fn records<'a>(name: &str, keys: &[&'a str]) -> Result<Vec<(&'a str, Option<JsValue>)>> {
    Ok(keys.iter().copied().zip(own_all(name, keys).await?).collect())
}

async fn bring_back(name: &str, count: &mut Count<'_>, reached: &mut dyn FnMut(&str) -> Result<()>) -> Result<()> {
    let second = second(name);
    delete(name).await?;
    reached("deleted")?;
    let (from, to) = (IndexedDbStore::open_copy(&second).await?, IndexedDbStore::open_copy(name).await?);
    let (from, to) = (DeviceStore::of(from, None)?, DeviceStore::of(to, None)?);
    copy_rows(&from, to, CHUNK, &mut |rows, _| count.step(rows)).await?;
    drop(from);
    reached("the rows are back")?;
    let mut records = records(&second, &[MARK, WRITER, DEVICE, SALT]).await?;
    records.push((CHANGE, Some(DONE.into())));
    put_own(name, &records).await?;
    reached("done")?;
    delete(&second).await?;
    reached("the second is deleted")?;
    put_own(name, &[(CHANGE, None)]).await
}

/// How far a change is that has not ended.
enum Left {
    Nothing,
    /// What was copied so far is of no use.
    Undecided,
    Decided,
    Done,
}

async fn left(name: &str) -> Result<Left> {
    let found = own_all(name, &[CHANGE, DEVICE]).await?;
    if is_settled(&found[0], &found[1]) {
        return Ok(Left::Nothing);
    }
    let change = found[0].as_ref().and_then(JsValue::as_f64);
    if change == Some(DONE) {
        return Ok(Left::Done);
    }
    let second = second(name);
    let is_there = exists(&second).await?;
    if is_there && own(&second, WHOLE).await?.is_some() {
        return Ok(Left::Decided);
    }
    Ok(if is_there || change.is_some() { Left::Undecided } else { Left::Nothing })
}

/// Whether a change of that store has not ended.
pub(super) async fn is_left(name: &str) -> Result<bool> {
    exists(&second(name)).await
}

/// Whether a store's records say that no change is under way. One without a device is new, or was deleted on the way.
pub(super) fn is_settled(change: &Option<JsValue>, device: &Option<JsValue>) -> bool {
    change.is_none() && device.is_some()
}

/// Ends what a crash amid a change has left, if it has left something; `locked` while a tab is at it.
pub(super) async fn settle(name: &str) -> Result<()> {
    if matches!(left(name).await?, Left::Nothing) {
        return Ok(());
    }
    let _alone = alone(name).await?;
    end(name).await
}

/// The right to change and to settle.
async fn alone(name: &str) -> Result<Lock> {
    let lock = format!("{} passphrase", lock_name(name));
    Lock::within(&lock, DYING_LIMIT).await?.ok_or_else(is_changing)
}

async fn end(name: &str) -> Result<()> {
    match left(name).await? {
        Left::Nothing => Ok(()),
        Left::Decided => {
            let mut progress = |_, _| Ok(());
            let mut count = Count { done: 0, total: 0, progress: &mut progress };
            bring_back(name, &mut count, &mut |_| Ok(())).await
        }
        Left::Undecided | Left::Done => {
            delete(&second(name)).await?;
            put_own(name, &[(CHANGE, None)]).await
        }
    }
}

/// What those are told who have the store open meanwhile, or want it.
pub fn is_changing() -> Error {
    let text = "the passphrase of this store is being changed in another tab; open it anew when that has ended";
    Error::new(ErrorCode::Locked, text)
}
