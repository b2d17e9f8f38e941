//! One log as this device holds it: how far, under which heads, what of it counts.

use std::ops::Range;
use std::sync::Arc;

use super::layout::LogKey;
use crate::error::{Error, Result};
use crate::policy::{LogFacts, Membership, Validity, valid};
use crate::types::codec::{Reader, put_varint};
use crate::types::limits::MAX_HEADS;
use crate::types::{Commit, Epoch, Hash, HybridTimestamp, LogName, PeerId, StandsFor};
use crate::wire::FrontierEntry;

/// How much of a log may wait in quarantine, in bytes of blocks, after its last commit that counts.
pub const QUARANTINE_BYTES: u64 = 1 << 20;

/// A position in a log: the last commit and its hash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tip {
    /// Its number, 0 before the first commit.
    pub seq: u64,
    /// Its hash, zero before the first commit.
    pub hash: Hash,
}

impl Tip {
    /// Before the first commit.
    pub const START: Tip = Tip { seq: 0, hash: Hash::ZERO };
}

/// What is known of the original that a copy names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Original {
    /// Its log is not held so far.
    Missing,
    /// It is held.
    Held,
    /// Its place in the log is another commit's.
    Other,
}

/// A commit made again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Copied {
    /// The copy's number.
    pub seq: u64,
    /// What it stands for.
    pub of: StandsFor,
    /// Whether that is held.
    pub original: Original,
}

/// What is left of a log that was taken back.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Left {
    /// See [`Log::events`].
    pub events: u64,
    /// See [`Log::waiting_bytes`].
    pub waiting_bytes: u64,
}

/// A log as held.
#[derive(Clone, Debug)]
pub struct Log {
    /// Type, author, epoch.
    pub name: LogName,
    /// The same by local numbers.
    pub key: LogKey,
    /// The last commit applied; its block may still be on its way to the disk.
    pub tip: Tip,
    /// The last commit on disk: what peers are told.
    pub stored: Tip,
    /// Events up to `tip`.
    pub events: u64,
    /// The latest time in it.
    pub hlc: HybridTimestamp,
    /// From which commit on it names which membership heads.
    pub segments: Vec<(u64, Arc<[Hash]>)>,
    /// Commits that stand for others.
    pub copies: Vec<Copied>,
    /// Commits invalid in themselves.
    pub bad: Vec<u64>,
    /// Other authors that its clocks name, each where it does first.
    pub named: Vec<(u64, PeerId)>,
    /// The last common commit, where it has two branches.
    pub fork: Option<Tip>,
    /// Bytes of blocks after the last commit that counts.
    pub waiting_bytes: u64,
    /// `waiting_bytes` may be less by now; not stored.
    pub measure: bool,
    /// The first commit of a run of small blocks at the end, and how many blocks.
    pub small: (u64, u32),
    /// The last commit applied to entities.
    pub applied: u64,
    /// What counts.
    pub validity: Validity,
    /// The highest commit that may have left this device; not stored: after a start, all that is stored may have.
    pub published: u64,
    /// When (monotonic microseconds) others' commits in it are forwarded.
    pub forward_at: u64,
}

impl Log {
    /// An empty log.
    pub fn new(name: LogName, key: LogKey) -> Self {
        Self {
            name,
            key,
            tip: Tip::START,
            stored: Tip::START,
            events: 0,
            hlc: HybridTimestamp::default(),
            segments: Vec::new(),
            copies: Vec::new(),
            bad: Vec::new(),
            named: Vec::new(),
            fork: None,
            waiting_bytes: 0,
            measure: false,
            small: (1, 0),
            applied: 0,
            validity: Validity::default(),
            published: 0,
            forward_at: 0,
        }
    }

    /// What a frontier says of it: never the tip of a branch.
    pub fn entry(&self) -> FrontierEntry {
        let tip = self.shared();
        FrontierEntry {
            entity_type: self.name.entity_type.clone(),
            log: self.name.id,
            seq: tip.seq,
            hash: tip.hash,
            forked: self.fork.is_some(),
        }
    }

    /// How far it is told to others: the last stored commit, and never beyond a fork.
    pub fn shared(&self) -> Tip {
        match self.fork {
            Some(fork) if fork.seq < self.stored.seq => fork,
            _ => self.stored,
        }
    }

    /// Whether this commit lies beyond the fork; such commits are kept and applied nowhere.
    pub fn beyond_fork(&self, seq: u64) -> bool {
        self.fork.is_some_and(|fork| seq > fork.seq)
    }

    /// Takes note of a commit at the tip. `bad` says that it is invalid in itself. Whether it counts is decided by
    /// [`Log::evaluate`], unless the answer is true: then it counts as the commit before it does, for it names the same
    /// heads and nothing new, and no cut bounds how many of those count.
    pub fn note(&mut self, commit: &Commit, bad: bool) -> bool {
        let header = &commit.header;
        let facts = (self.segments.len(), self.copies.len(), self.bad.len(), self.named.len());
        let seq = header.seq;
        if self.segments.last().is_none_or(|(_, heads)| **heads != *header.heads) {
            self.segments.push((seq, header.heads.clone()));
        }
        if let Some(original) = header.stands_for {
            self.copies.push(Copied { seq, of: original, original: Original::Missing });
        }
        if bad {
            self.bad.push(seq);
        }
        for (log, _) in commit.events.iter().flat_map(|event| &event.seen) {
            if log.author != header.log.id.author && !self.named.iter().any(|(_, peer)| *peer == log.author) {
                self.named.push((seq, log.author));
            }
        }
        self.events += commit.events.len() as u64;
        self.hlc = self.hlc.max(header.hlc);
        self.tip = Tip { seq, hash: commit.hash };
        let plain =
            self.fork.is_none() && facts == (self.segments.len(), self.copies.len(), self.bad.len(), self.named.len());
        match self.validity.counts.last_mut() {
            Some(last) if plain && last.end == seq && !self.validity.bounded => {
                last.end = seq.saturating_add(1);
                true
            }
            _ => false,
        }
    }

    /// Forgets what was noted after `to`, whose commits are gone from the store. `left` are the events that stay, and
    /// the bytes of blocks that stay and do not count.
    pub fn roll_back(&mut self, to: Tip, left: Left) {
        self.segments.retain(|(seq, _)| *seq <= to.seq);
        self.copies.retain(|copy| copy.seq <= to.seq);
        self.bad.retain(|seq| *seq <= to.seq);
        self.named.retain(|(seq, _)| *seq <= to.seq);
        self.events = left.events;
        self.waiting_bytes = left.waiting_bytes;
        self.small = (to.seq + 1, 0);
        self.tip = to;
        self.stored = to;
        self.published = self.published.min(to.seq);
    }

    /// Decides again what counts; `gives_way` says of a copy whether its original (or a lower copy) counts.
    pub fn evaluate(&self, membership: &Membership, gives_way: impl Fn(&Copied) -> bool) -> Validity {
        let facts = LogFacts {
            log: self.name.clone(),
            tip: self.tip.seq,
            segments: self.segments.clone(),
            forked_after: self.fork.map(|fork| fork.seq),
            bad: self.bad.clone(),
            named: self.named.clone(),
            copies: self.copies.iter().map(|copy| (copy.seq, gives_way(copy))).collect(),
        };
        valid(&facts, membership)
    }

    /// Whether its quarantine takes no more.
    pub fn is_full(&self) -> bool {
        self.waiting_bytes > QUARANTINE_BYTES
    }

    /// The row of this log.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_varint(&mut out, self.tip.seq);
        out.extend_from_slice(&self.tip.hash.0);
        put_varint(&mut out, self.events);
        put_varint(&mut out, self.hlc.0);
        put_varint(&mut out, self.segments.len() as u64);
        for (seq, heads) in &self.segments {
            put_varint(&mut out, *seq);
            put_varint(&mut out, heads.len() as u64);
            heads.iter().for_each(|head| out.extend_from_slice(&head.0));
        }
        put_varint(&mut out, self.copies.len() as u64);
        for copy in &self.copies {
            put_varint(&mut out, copy.seq);
            out.extend_from_slice(&copy.of.epoch.0.to_be_bytes());
            put_varint(&mut out, copy.of.seq);
            out.extend_from_slice(&copy.of.hash.0);
            out.push(copy.original as u8);
        }
        put_varint(&mut out, self.bad.len() as u64);
        self.bad.iter().for_each(|seq| put_varint(&mut out, *seq));
        put_varint(&mut out, self.named.len() as u64);
        for (seq, peer) in &self.named {
            put_varint(&mut out, *seq);
            out.extend_from_slice(&peer.0);
        }
        match &self.fork {
            None => out.push(0),
            Some(fork) => {
                out.push(1);
                put_varint(&mut out, fork.seq);
                out.extend_from_slice(&fork.hash.0);
            }
        }
        put_varint(&mut out, self.waiting_bytes);
        put_varint(&mut out, self.small.0);
        put_varint(&mut out, u64::from(self.small.1));
        out
    }

    /// Reads [`Log::encode`].
    pub fn decode(name: LogName, key: LogKey, bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let mut log = Self::new(name, key);
        log.tip = Tip { seq: reader.varint()?, hash: Hash(reader.array()?) };
        log.stored = log.tip;
        log.published = log.tip.seq;
        log.applied = log.tip.seq;
        log.events = reader.varint()?;
        log.hlc = HybridTimestamp(reader.varint()?);
        for _ in 0..reader.count(usize::MAX, "segments")? {
            let seq = reader.varint()?;
            let count = reader.count(MAX_HEADS, "heads")?;
            let heads = (0..count).map(|_| Ok(Hash(reader.array()?))).collect::<Result<_>>()?;
            log.segments.push((seq, heads));
        }
        for _ in 0..reader.count(usize::MAX, "copies")? {
            let seq = reader.varint()?;
            let epoch = Epoch(u64::from_be_bytes(reader.array()?));
            let of = StandsFor { epoch, seq: reader.varint()?, hash: Hash(reader.array()?) };
            let original = match reader.byte()? {
                0 => Original::Missing,
                1 => Original::Held,
                _ => Original::Other,
            };
            log.copies.push(Copied { seq, of, original });
        }
        for _ in 0..reader.count(usize::MAX, "bad commits")? {
            log.bad.push(reader.varint()?);
        }
        for _ in 0..reader.count(usize::MAX, "named authors")? {
            log.named.push((reader.varint()?, PeerId(reader.array()?)));
        }
        log.fork = match reader.byte()? {
            0 => None,
            1 => Some(Tip { seq: reader.varint()?, hash: Hash(reader.array()?) }),
            _ => return Err(Error::storage("a log's row that this version does not know")),
        };
        log.waiting_bytes = reader.varint()?;
        log.measure = log.is_full();
        log.small = (reader.varint()?, reader.bounded(u32::MAX as usize, "small blocks")? as u32);
        reader.finish()?;
        Ok(log)
    }
}

/// The numbers in which two validities of the same log differ, up to `tip`.
pub fn changed(old: &Validity, new: &Validity, tip: u64) -> Vec<Range<u64>> {
    let mut edges: Vec<u64> =
        (old.counts.iter().chain(&new.counts)).flat_map(|range| [range.start, range.end]).collect();
    edges.push(tip.saturating_add(1));
    edges.sort_unstable();
    edges.dedup();
    let mut ranges: Vec<Range<u64>> = Vec::new();
    for pair in edges.windows(2) {
        let (start, end) = (pair[0], pair[1].min(tip.saturating_add(1)));
        if start < end && old.is_valid(start) != new.is_valid(start) {
            match ranges.last_mut() {
                Some(last) if last.end == start => last.end = end,
                _ => ranges.push(start..end),
            }
        }
    }
    ranges
}
