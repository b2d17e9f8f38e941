//! Runs a store beside the engine, so that the engine goes on while the disk syncs.
//!
//! Reads and writes are carried out in the order in which they were asked for. Writes that came while the disk was busy
//! go as one commit (group commit): the disk syncs once for all of them.

use std::collections::VecDeque;

use tokio::sync::mpsc;

use crate::engine::Ticket;
use crate::error::{Error, Result};
use crate::store::{Durability, Read, Rows, Store, WriteBatch};

/// Batches that one commit takes together, and their bytes of keys and values (but at least one batch).
const MAX_GROUP_BATCHES: usize = 256;
const MAX_GROUP_BYTES: usize = 8 << 20;
/// Reads that go together.
const MAX_GROUP_READS: usize = 32;

/// What a store is told.
#[derive(Debug)]
pub enum StoreCommand {
    /// Commit.
    Write(Ticket, WriteBatch),
    /// Read.
    Read(Ticket, Read),
}

/// What a store tells.
#[derive(Debug)]
pub enum StoreDone {
    /// A batch is as sure as was asked for, or failed. After a failed one every later batch fails too.
    Written(Ticket, Result<()>),
    /// Rows.
    Rows(Ticket, Result<Rows>),
    /// The store failed by itself; it answers no command.
    Failed(Error),
}

/// The engine's end of a store that runs by itself. Its channels have no bound of their own: the runner bounds what is
/// under way by taking no further input. When `done` ends, the store is closed and its folder released; it closes once
/// `commands` is dropped and what was asked for is done.
#[derive(Debug)]
pub struct StoreLink {
    /// Takes commands.
    pub commands: mpsc::UnboundedSender<StoreCommand>,
    /// Gives one answer for each, in order, and failures between them.
    pub done: mpsc::UnboundedReceiver<StoreDone>,
}

impl StoreLink {
    /// Lets the store finish and waits until it is closed and its folder released; answers go nowhere.
    pub async fn close(self) {
        let Self { commands, mut done } = self;
        drop(commands);
        while done.recv().await.is_some() {}
    }
}

/// The store's end.
#[derive(Debug)]
pub struct StoreEnd {
    commands: mpsc::UnboundedReceiver<StoreCommand>,
    done: mpsc::UnboundedSender<StoreDone>,
}

/// The two ends between engine and store.
pub fn store_channel() -> (StoreLink, StoreEnd) {
    let (commands, commands_end) = mpsc::unbounded_channel();
    let (done_end, done) = mpsc::unbounded_channel();
    (StoreLink { commands, done }, StoreEnd { commands: commands_end, done: done_end })
}

/// Runs a store until the engine's end is gone, then closes the store, then its own end.
pub async fn drive_store<S: Store>(mut store: S, mut end: StoreEnd) {
    let mut failed: Option<Error> = None;
    let mut waiting = VecDeque::new();
    loop {
        if waiting.is_empty() {
            tokio::select! {
                biased;
                command = end.commands.recv() => match command {
                    Some(command) => waiting.push_back(command),
                    None => break,
                },
                error = store.failure(), if failed.is_none() => {
                    failed = Some(error.clone());
                    let _ = end.done.send(StoreDone::Failed(error));
                    continue;
                }
            }
        }
        while waiting.len() < MAX_GROUP_BATCHES {
            match end.commands.try_recv() {
                Ok(command) => waiting.push_back(command),
                Err(_) => break,
            }
        }
        // A closed `done` means that nobody waits for answers; what was asked for is still carried out.
        let (tickets, reads) = take_reads(&mut waiting);
        if !reads.is_empty() {
            match store.read_all(&reads).await {
                Ok(answers) => tickets.into_iter().zip(answers).for_each(|(ticket, rows)| {
                    let _ = end.done.send(StoreDone::Rows(ticket, Ok(rows)));
                }),
                Err(error) => tickets.into_iter().for_each(|ticket| {
                    let _ = end.done.send(StoreDone::Rows(ticket, Err(error.clone())));
                }),
            }
            continue;
        }
        let (tickets, batch) = take_group(&mut waiting);
        let result = match &failed {
            None => store.commit(batch).await,
            Some(error) => Err(error.clone()),
        };
        if let Err(error) = &result {
            failed.get_or_insert_with(|| error.clone());
        }
        for ticket in tickets {
            let _ = end.done.send(StoreDone::Written(ticket, result.clone()));
        }
    }
    drop(store);
    drop(end);
}

/// Takes the reads at the front.
fn take_reads(waiting: &mut VecDeque<StoreCommand>) -> (Vec<Ticket>, Vec<Read>) {
    let mut reads = (Vec::new(), Vec::new());
    while reads.0.len() < MAX_GROUP_READS
        && let Some(StoreCommand::Read(..)) = waiting.front()
        && let Some(StoreCommand::Read(ticket, read)) = waiting.pop_front()
    {
        reads.0.push(ticket);
        reads.1.push(read);
    }
    reads
}

/// Takes the writes at the front as one batch, as sure as the surest of them.
fn take_group(waiting: &mut VecDeque<StoreCommand>) -> (Vec<Ticket>, WriteBatch) {
    let mut tickets = Vec::new();
    let mut group = WriteBatch { ops: Vec::new(), durability: Durability::Relaxed };
    let mut bytes = 0usize;
    while let Some(StoreCommand::Write(_, batch)) = waiting.front() {
        bytes = bytes.saturating_add(batch.bytes());
        if !tickets.is_empty() && bytes > MAX_GROUP_BYTES {
            break;
        }
        if let Some(StoreCommand::Write(ticket, batch)) = waiting.pop_front() {
            tickets.push(ticket);
            if batch.durability == Durability::Strict {
                group.durability = Durability::Strict;
            }
            if group.ops.is_empty() {
                group.ops = batch.ops;
            } else {
                group.ops.extend(batch.ops);
            }
        }
    }
    (tickets, group)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;
    use crate::error::ErrorCode;
    use crate::store::{MemoryStore, Table};

    /// What a store was told and what became of it.
    #[derive(Default)]
    struct Seen {
        rows: MemoryStore,
        commits: Vec<(usize, Durability)>,
        full: bool,
        closed: bool,
    }

    struct Disk(Rc<RefCell<Seen>>);

    impl Store for Disk {
        async fn commit(&mut self, batch: WriteBatch) -> Result<()> {
            let mut seen = self.0.borrow_mut();
            if seen.full {
                return Err(Error::new(ErrorCode::Quota, "full"));
            }
            seen.commits.push((batch.ops.len(), batch.durability));
            seen.rows.apply(batch);
            Ok(())
        }

        async fn read(&self, read: &Read) -> Result<Rows> {
            Ok(self.0.borrow().rows.rows(read))
        }

        async fn used_bytes(&self) -> Result<u64> {
            Ok(0)
        }
    }

    impl Drop for Disk {
        fn drop(&mut self) {
            self.0.borrow_mut().closed = true;
        }
    }

    fn put(number: u64, durability: Durability, bytes: usize) -> StoreCommand {
        let mut batch = WriteBatch { ops: Vec::new(), durability };
        batch.put(Table::Blocks, *b"k", vec![number as u8; bytes]);
        StoreCommand::Write(Ticket(number), batch)
    }

    fn get(number: u64) -> StoreCommand {
        StoreCommand::Read(Ticket(number), Read::Get(Table::Blocks, b"k".to_vec()))
    }

    /// Gives all commands at once, as if they had come while the disk was busy, and lets the store run to its end.
    fn drive(seen: &Rc<RefCell<Seen>>, commands: Vec<StoreCommand>) -> Vec<StoreDone> {
        let (mut link, end) = store_channel();
        for command in commands {
            link.commands.send(command).unwrap();
        }
        drop(link.commands);
        crate::orchestrator::block_on(drive_store(Disk(seen.clone()), end));
        assert!(seen.borrow().closed);
        std::iter::from_fn(|| link.done.try_recv().ok()).collect()
    }

    #[test]
    fn writes_that_wait_share_a_commit_and_reads_see_all_before_them() {
        let seen = Rc::default();
        let (strict, relaxed) = (Durability::Strict, Durability::Relaxed);
        let commands =
            vec![put(1, relaxed, 1), put(2, strict, 1), put(3, relaxed, 1), get(4), put(5, relaxed, 1), get(6)];
        let done = drive(&seen, commands);
        assert_eq!(seen.borrow().commits, [(3, strict), (1, relaxed)]);
        let told: Vec<_> = done
            .into_iter()
            .map(|done| match done {
                StoreDone::Written(Ticket(number), result) => (number, result.map(|()| None).unwrap()),
                StoreDone::Rows(Ticket(number), rows) => (number, rows.unwrap().one().unwrap()),
                StoreDone::Failed(error) => panic!("{error}"),
            })
            .collect();
        let row = |number| Some((b"k".to_vec(), vec![number]));
        assert_eq!(told, [(1, None), (2, None), (3, None), (4, row(3)), (5, None), (6, row(5))]);
    }

    #[test]
    fn a_shared_commit_is_bounded_and_one_large_batch_still_goes() {
        let seen = Rc::default();
        let large = MAX_GROUP_BYTES + 1;
        let mut commands = vec![put(0, Durability::Strict, large), put(1, Durability::Strict, 1)];
        commands.extend((2..1_000).map(|number| put(number, Durability::Strict, 1)));
        drive(&seen, commands);
        let sizes: Vec<_> = seen.borrow().commits.iter().map(|(size, _)| *size).collect();
        assert_eq!(sizes.iter().sum::<usize>(), 1_000);
        assert_eq!(sizes[0], 1, "the large batch is alone");
        assert!(sizes.iter().all(|size| *size <= MAX_GROUP_BATCHES), "{sizes:?}");
    }

    #[test]
    fn after_a_failed_write_no_later_one_succeeds() {
        let seen = Rc::new(RefCell::new(Seen { full: true, ..Seen::default() }));
        let (mut link, end) = store_channel();
        let driver = drive_store(Disk(seen.clone()), end);
        let app = async {
            link.commands.send(put(1, Durability::Strict, 1)).unwrap();
            assert!(matches!(link.done.recv().await, Some(StoreDone::Written(Ticket(1), Err(_)))));
            // There is room again, but the write that is missing in between was never made up.
            seen.borrow_mut().full = false;
            link.commands.send(put(2, Durability::Strict, 1)).unwrap();
            assert!(matches!(link.done.recv().await, Some(StoreDone::Written(Ticket(2), Err(_)))));
            link.commands.send(get(3)).unwrap();
            let Some(StoreDone::Rows(Ticket(3), Ok(rows))) = link.done.recv().await else { panic!("no rows") };
            assert_eq!(rows.one().unwrap(), None);
            link.close().await;
        };
        crate::orchestrator::block_on(async { tokio::join!(driver, app) });
    }
}
