//! Another CRDT's updates: handed over once all has arrived that their authors had seen, each after what it has seen.

use std::collections::VecDeque;

use super::life::Logs;
use super::logs::{LogIx, LogTable};
use super::updates::{Update, Updates};

/// The updates that are ready, in an order in which causes come first; what is free is ordered by author, epoch and
/// place.
pub(super) fn ready(updates: &Updates, seen: &Logs, logs: &LogTable) -> Vec<Vec<u8>> {
    let has_arrived = |update: &Update<'_>| {
        let state = seen.get(update.log);
        state.is_none_or(|state| state.clock_at(update.pos).all(|(log, seq)| seen.last(log).seq >= seq))
    };
    let mut queues: Vec<(LogIx, VecDeque<Update<'_>>)> = Vec::new();
    for update in updates.iter().filter(has_arrived) {
        match queues.last_mut() {
            Some((log, queue)) if *log == update.log => queue.push_back(update),
            _ => queues.push((update.log, VecDeque::from([update]))),
        }
    }
    queues.sort_by_key(|(log, _)| logs.id(*log));
    let mut ordered = Vec::new();
    loop {
        let heads = || queues.iter().enumerate().filter_map(|(place, (_, queue))| Some((place, queue.front()?)));
        let is_free = |head: &Update<'_>| {
            let place = (head.log, head.pos);
            heads().all(|(_, other)| other.log == head.log || !seen.covers(place, (other.log, other.pos)))
        };
        // Clocks that lie can wait for each other in a ring: the first of them goes first.
        let next = heads().find(|(_, head)| is_free(head)).or_else(|| heads().next()).map(|(place, _)| place);
        let Some(update) = next.and_then(|place| queues.get_mut(place)).and_then(|(_, queue)| queue.pop_front()) else {
            return ordered;
        };
        ordered.push(update.bytes.to_vec());
    }
}
