//! From a text's updates to one update in canonical form, which is all that yrs is given.
//!
//! The result depends on the set of updates alone. It has no gap, no overlap, and nothing that depends on what is not
//! there, so yrs has nothing to keep for later and no doubtful case to decide.

use std::collections::HashMap;

use super::structs::{chain, joined, placeholder};
use super::update::{Content, Struct, parse, write};
use crate::crdt::logs::LogTable;
use crate::crdt::updates::{Update, Updates};
use crate::types::SortedMap;

/// A text's updates as one.
pub(super) struct Built {
    pub update: Vec<u8>,
    /// The clients of which more is held than could be used yet.
    waiting: Vec<u64>,
}

impl Built {
    /// Whether something of a client waits for what has not arrived; its next clock is then not known.
    pub fn is_waiting(&self, client: u64) -> bool {
        self.waiting.contains(&client)
    }
}

/// One client's structs, and how many of them have all that they depend on.
struct Chain<'a> {
    structs: Vec<Struct<'a>>,
    usable: usize,
}

pub(super) fn build(updates: &Updates, logs: &LogTable) -> Built {
    let mut all: Vec<Update<'_>> = updates.iter().collect();
    all.sort_by_key(|update| (logs.id(update.log), update.pos));
    let mut said = SortedMap::<u64, Vec<Struct<'_>>>::new();
    let mut deleted = SortedMap::<u64, Vec<(u32, u32)>>::new();
    for update in &all {
        // What does not read was refused when it came; a damaged cache is found by its checksum.
        let Ok(parsed) = parse(update.bytes) else { continue };
        for (client, structs) in parsed.clients {
            if !update.counts {
                // In quarantine: it stands where it stands, so that others' text may anchor in it, but is not seen.
                deleted.entry(client).or_default().extend(structs.iter().map(|one| (one.clock, one.end())));
            }
            said.entry(client).or_default().extend(structs);
        }
        if update.counts {
            for (client, start, end) in parsed.deleted {
                deleted.entry(client).or_default().push((start, end));
            }
        }
    }
    let held: HashMap<u64, u32> =
        said.iter().map(|(client, structs)| (*client, structs.iter().map(Struct::end).max().unwrap_or(0))).collect();
    let mut chains: SortedMap<u64, Chain<'_>> = SortedMap::new();
    for (client, structs) in said {
        let structs = chain(client, structs, logs.is_forked_client(client));
        chains.insert(client, Chain { structs, usable: 0 });
    }
    stand_in_for_forked(&mut chains, logs);
    let clocks = find_usable(&mut chains);
    let waiting = held.iter().filter(|(client, end)| clocks.get(client).copied().unwrap_or(0) < **end);
    let waiting = waiting.map(|(client, _)| *client).collect();

    let mut clients: Vec<(u64, Vec<Struct<'_>>)> = Vec::new();
    for (client, mut chain) in chains {
        chain.structs.truncate(chain.usable);
        if !chain.structs.is_empty() {
            clients.push((client, joined(client, chain.structs.into_iter().map(readable).collect())));
        }
    }
    let deleted: Vec<_> = deleted
        .into_iter()
        .map(|(client, ranges)| (client, merged(ranges, clocks.get(&client).copied().unwrap_or(0))))
        .filter(|(_, ranges)| !ranges.is_empty())
        .collect();
    Built { update: write(&clients, &deleted), waiting }
}

/// Adds placeholders for what others' text refers to in forked logs and that will never come.
fn stand_in_for_forked(chains: &mut SortedMap<u64, Chain<'_>>, logs: &LogTable) {
    let mut missing = SortedMap::<u64, u32>::new();
    for id in chains.values().flat_map(|chain| &chain.structs).flat_map(|one| [one.origin, one.right_origin]).flatten()
    {
        if logs.is_forked_client(id.client) {
            let end = missing.entry(id.client).or_insert(0);
            *end = (*end).max(id.clock.saturating_add(1));
        }
    }
    for (client, end) in missing {
        let chain = chains.entry(client).or_insert_with(|| Chain { structs: Vec::new(), usable: 0 });
        let start = chain.structs.last().map_or(0, Struct::end);
        if start < end {
            chain.structs.push(placeholder(start, end));
        }
    }
}

/// Finds in each chain how far it has all that it depends on; answers with the clocks there.
fn find_usable(chains: &mut SortedMap<u64, Chain<'_>>) -> HashMap<u64, u32> {
    let mut clocks = HashMap::<u64, u32>::new();
    let mut waiting = HashMap::<u64, Vec<u64>>::new();
    let mut work: Vec<u64> = chains.keys().copied().collect();
    while let Some(client) = work.pop() {
        let Some(chain) = chains.get_mut(&client) else { continue };
        let before = chain.usable;
        while let Some(one) = chain.structs.get(chain.usable) {
            let missing = [one.origin, one.right_origin].into_iter().flatten().find(|id| {
                id.clock >= if id.client == client { one.clock } else { clocks.get(&id.client).copied().unwrap_or(0) }
            });
            if let Some(id) = missing {
                waiting.entry(id.client).or_default().push(client);
                break;
            }
            clocks.insert(client, one.end());
            chain.usable += 1;
        }
        if chain.usable > before {
            work.extend(waiting.remove(&client).unwrap_or_default());
        }
    }
    clocks
}

/// JSON that yrs does not read counts as deleted, so that one mark never hides a text.
fn readable(mut one: Struct<'_>) -> Struct<'_> {
    if let Content::Embed(json) | Content::Format(_, json) = one.content
        && yrs::Any::from_json(json).is_err()
    {
        one.content = Content::Deleted;
    }
    one
}

/// Ranges in order, joined where they touch, up to `end`.
fn merged(mut ranges: Vec<(u32, u32)>, end: u32) -> Vec<(u32, u32)> {
    ranges.sort_unstable();
    let mut all = Vec::<(u32, u32)>::new();
    for (from, to) in ranges.into_iter().map(|(from, to)| (from, to.min(end))).filter(|(from, to)| from < to) {
        match all.last_mut() {
            Some((_, last)) if *last >= from => *last = (*last).max(to),
            _ => all.push((from, to)),
        }
    }
    all
}
