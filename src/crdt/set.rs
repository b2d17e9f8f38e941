//! Add-wins sets: an item is in the set while an insertion of it stands that no removal has named.

use smallvec::SmallVec;

use super::life::{out_of_order, put_pos, read_log, read_pos};
use super::logs::{LogIx, LogTable, Pos};
use super::register::{encoded, read_value};
use crate::error::Result;
use crate::types::codec::{Reader, put_bytes, put_varint};
use crate::types::{Dot, FieldName, SortedMap, SortedSet, Value};

/// The name of an insertion.
pub(super) type LocalDot = (LogIx, Pos);

/// Items by their canonical bytes, with the insertions that stand, ascending. No item is without one.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Set(SortedMap<Box<[u8]>, SmallVec<[LocalDot; 1]>>);

impl Set {
    pub fn insert(&mut self, item: Box<[u8]>, dot: LocalDot) {
        let dots = self.0.entry(item).or_default();
        if let Err(place) = dots.binary_search(&dot) {
            dots.insert(place, dot);
        }
    }

    /// Takes insertions (ascending) of one item away, or of all.
    pub fn remove(&mut self, item: Option<&[u8]>, gone: &[LocalDot]) {
        let keep = |dots: &mut SmallVec<[LocalDot; 1]>| {
            dots.retain(|dot| gone.binary_search(dot).is_err());
            !dots.is_empty()
        };
        match item {
            Some(item) => {
                if self.0.get_mut(item).is_some_and(|dots| !keep(dots)) {
                    self.0.remove(item);
                }
            }
            None => self.0.retain(|_, dots| keep(dots)),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The insertions that stand, of one item or all, ascending.
    pub fn dots(&self, item: Option<&Value>, logs: &LogTable) -> Vec<Dot> {
        let named = |dots: &SmallVec<[LocalDot; 1]>| {
            dots.iter().filter_map(|(log, pos)| logs.dot(*log, *pos)).collect::<Vec<_>>()
        };
        let mut dots: Vec<Dot> = match item {
            Some(item) => self.0.get(&encoded(item)).map(named).unwrap_or_default(),
            None => self.0.values().flat_map(named).collect(),
        };
        dots.sort_unstable();
        dots.dedup();
        dots
    }

    /// The items' canonical bytes, ascending.
    pub fn items(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.0.keys().map(|item| &**item)
    }

    pub fn memory_bytes(&self) -> usize {
        self.0.iter().map(|(item, dots)| item.len() + dots.len() * size_of::<LocalDot>() + 48).sum::<usize>() + 64
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.0.len() as u64);
        for (item, dots) in &self.0 {
            put_bytes(out, item);
            put_varint(out, dots.len() as u64);
            for (log, pos) in dots {
                put_varint(out, u64::from(log.0));
                put_pos(out, *pos);
            }
        }
    }

    pub fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        let mut items = SortedMap::<Box<[u8]>, SmallVec<[LocalDot; 1]>>::new();
        for _ in 0..reader.count(usize::MAX, "items of a set")? {
            let item = Box::<[u8]>::from(read_value(reader)?);
            let mut dots = SmallVec::new();
            for _ in 0..reader.count(usize::MAX, "insertions of an item")? {
                let dot = (read_log(reader)?, read_pos(reader)?);
                if dots.last().is_some_and(|last| *last >= dot) {
                    return Err(out_of_order());
                }
                dots.push(dot);
            }
            if dots.is_empty() || items.last_key_value().is_some_and(|(last, _)| *last >= item) {
                return Err(out_of_order());
            }
            items.insert(item, dots);
        }
        Ok(Self(items))
    }
}

/// A removal of an insertion that has not arrived.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Early {
    log: LogIx,
    pos: Pos,
    field: FieldName,
    /// `None`: of whatever item.
    item: Option<Box<[u8]>>,
}

/// Removals that came before what they remove, of all sets of an entity. It holds only insertions beyond the last
/// event of their log.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct EarlyRemovals(SortedSet<Early>);

impl EarlyRemovals {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn note(&mut self, (log, pos): LocalDot, field: &FieldName, item: Option<&[u8]>) {
        self.0.insert(Early { log, pos, field: field.clone(), item: item.map(Into::into) });
    }

    /// Whether an insertion that arrives now was removed before.
    pub fn removes(&self, (log, pos): LocalDot, field: &FieldName, item: &[u8]) -> bool {
        let noted = |item: Option<&[u8]>| {
            self.0.contains(&Early { log, pos, field: field.clone(), item: item.map(Into::into) })
        };
        !self.0.is_empty() && (noted(None) || noted(Some(item)))
    }

    /// Forgets what has arrived.
    pub fn arrived(&mut self, log: LogIx, last: Pos) {
        if !self.0.is_empty() {
            self.0.retain(|early| early.log != log || early.pos > last);
        }
    }

    pub fn memory_bytes(&self) -> usize {
        self.0.iter().map(|early| size_of::<Early>() + early.item.as_ref().map_or(0, |item| item.len())).sum()
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.0.len() as u64);
        for early in &self.0 {
            put_varint(out, u64::from(early.log.0));
            put_pos(out, early.pos);
            put_bytes(out, early.field.as_str().as_bytes());
            match &early.item {
                None => out.push(0),
                Some(item) => {
                    out.push(1);
                    put_bytes(out, item);
                }
            }
        }
    }

    pub fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        let mut all = SortedSet::<Early>::new();
        for _ in 0..reader.count(usize::MAX, "early removals")? {
            let early = Early {
                log: read_log(reader)?,
                pos: read_pos(reader)?,
                field: FieldName::new(reader.text(crate::types::limits::MAX_NAME_BYTES, "a field name")?)?,
                item: match reader.byte()? {
                    0 => None,
                    1 => Some(read_value(reader)?.into()),
                    _ => return Err(out_of_order()),
                },
            };
            if all.last().is_some_and(|last| *last >= early) {
                return Err(out_of_order());
            }
            all.insert(early);
        }
        Ok(Self(all))
    }
}
