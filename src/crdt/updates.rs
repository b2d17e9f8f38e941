//! Updates of texts and of other CRDTs at rest: each log's in their order, one behind the other in one piece of memory.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::life::{out_of_order, read_log};
use super::logs::{LogIx, Pos};
use crate::error::Result;
use crate::types::SortedMap;
use crate::types::codec::{Reader, put_bytes, put_varint};
use crate::types::limits::MAX_EVENT_BYTES;

/// One update.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Update<'a> {
    pub log: LogIx,
    pub pos: Pos,
    pub counts: bool,
    pub bytes: &'a [u8],
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Run {
    log: LogIx,
    /// For each: seq, index * 2 + counts, length, bytes.
    packed: Vec<u8>,
    /// Names the content of `packed`; see [`Updates::version`].
    version: u64,
}

/// See [`Updates::version`].
pub(super) type Version = SortedMap<LogIx, u64>;

/// The version of a log's updates with one more.
pub(super) fn next_version(version: u64, update: &Update<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    (version, update.pos, update.counts, update.bytes).hash(&mut hasher);
    hasher.finish()
}

/// Sorted by log.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Updates(Vec<Run>);

impl Updates {
    /// Names what is held: equal where the same updates are held, and unequal else (but for a chance of 2^-64). It
    /// never leaves this process.
    pub fn version(&self) -> Version {
        self.0.iter().map(|run| (run.log, run.version)).collect()
    }

    pub fn push(&mut self, update: Update<'_>) {
        let found = match self.0.binary_search_by_key(&update.log, |run| run.log) {
            Ok(found) => found,
            Err(place) => {
                self.0.reserve_exact(1);
                self.0.insert(place, Run { log: update.log, packed: Vec::new(), version: 0 });
                place
            }
        };
        let Run { packed, version, .. } = &mut self.0[found];
        *version = next_version(*version, &update);
        put_varint(packed, update.pos.seq);
        put_varint(packed, u64::from(update.pos.index) << 1 | u64::from(update.counts));
        put_bytes(packed, update.bytes);
    }

    /// Has the updates of an event count that were kept as void.
    pub fn let_count(&mut self, log: LogIx, pos: Pos) {
        let mut now = Self::default();
        for update in self.iter() {
            let counts = update.counts || (update.log, update.pos) == (log, pos);
            now.push(Update { counts, ..update });
        }
        *self = now;
    }

    /// All updates: by log, then in their order.
    pub fn iter(&self) -> impl Iterator<Item = Update<'_>> {
        self.0.iter().flat_map(|run| {
            let mut reader = Reader::new(&run.packed);
            // What stands here was written by `push` or read by `decode`: it ends where it ends.
            std::iter::from_fn(move || read_update(&mut reader, run.log).ok())
        })
    }

    pub fn memory_bytes(&self) -> usize {
        self.0.iter().map(|run| size_of::<Run>() + run.packed.capacity()).sum()
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.0.len() as u64);
        for run in &self.0 {
            put_varint(out, u64::from(run.log.0));
            put_bytes(out, &run.packed);
        }
    }

    pub fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        let mut runs = Vec::<Run>::new();
        for _ in 0..reader.count(usize::MAX, "logs with updates")? {
            let log = read_log(reader)?;
            let packed = reader.bytes(usize::MAX, "updates")?;
            let mut inside = Reader::new(packed);
            let mut last = Pos::NONE;
            let mut version = 0;
            while !inside.is_empty() {
                let update = read_update(&mut inside, log)?;
                if update.pos < last {
                    return Err(out_of_order());
                }
                last = update.pos;
                version = next_version(version, &update);
            }
            if packed.is_empty() || runs.last().is_some_and(|last| last.log >= log) {
                return Err(out_of_order());
            }
            runs.push(Run { log, packed: packed.to_vec(), version });
        }
        Ok(Self(runs))
    }
}

fn read_update<'a>(reader: &mut Reader<'a>, log: LogIx) -> Result<Update<'a>> {
    let seq = reader.varint()?;
    let packed = reader.varint()?;
    let index = u32::try_from(packed >> 1).map_err(|_| out_of_order())?;
    let bytes = reader.bytes(MAX_EVENT_BYTES, "an update")?;
    Ok(Update { log, pos: Pos { seq, index }, counts: packed & 1 == 1, bytes })
}
