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
}

/// The engine's end of a store that runs by itself. Its channels have no bound of their own: the runner bounds what is
/// under way by taking no further input. When `done` ends, the store is closed and its folder released; it closes once
/// `commands` is dropped and what was asked for is done.
#[derive(Debug)]
pub struct StoreLink {
    /// Takes commands.
    pub commands: mpsc::UnboundedSender<StoreCommand>,
    /// Gives one answer for each, in order.
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
            match end.commands.recv().await {
                Some(command) => waiting.push_back(command),
                None => break,
            }
        }
        while waiting.len() < MAX_GROUP_BATCHES {
            match end.commands.try_recv() {
                Ok(command) => waiting.push_back(command),
                Err(_) => break,
            }
        }
        // A closed `done` means that nobody waits for answers; what was asked for is still carried out.
        if let Some(StoreCommand::Read(..)) = waiting.front() {
            if let Some(StoreCommand::Read(ticket, read)) = waiting.pop_front() {
                let _ = end.done.send(StoreDone::Rows(ticket, store.read(&read).await));
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
