//! The audit log: what was denied, and who changed who may do what, as a chain in which a change shows.
//!
//! Each entry's hash covers the one before it. The log says where it starts and where it ends (a number and a hash
//! each): so an entry that was dropped because the log is bounded is told from one that somebody took out. Whoever can
//! write all of the store can write a whole new chain; it shows damage, and who changed a part.

use std::fmt;

use super::sync_policy::AuditAction;
use crate::error::{Error, Result};
use crate::types::codec::{Reader, put_bytes, put_varint};
use crate::types::{EntityType, Hash, PeerId};

/// Entries that a device keeps; the oldest go.
pub const MAX_AUDIT_ENTRIES: u64 = 4_096;

const FORMAT: u8 = 1;
const CONTEXT: &str = "privstack-sync 2026 audit log entry";

/// What was decided about.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum AuditKind {
    /// Commits of a type go to a device; of this one itself: it writes.
    Send = 1,
    /// Commits of a type come from a device, or are by one, whoever brings them.
    Receive = 2,
    /// A device becomes a member.
    Pair = 3,
    /// A device is removed, or leaves.
    Revoke = 4,
    /// A member gets another role.
    RoleChanged = 5,
    /// A member gets other teams.
    TeamsChanged = 6,
    /// A type gets another access list.
    AclChanged = 7,
    /// The vault follows other rules, its recovery key has cancelled operations, or an Admin lets count what lay beyond a
    /// cut or on a branch; denied, also another operation that its author had no right to.
    PolicyChanged = 8,
}

impl AuditKind {
    /// All kinds.
    pub const ALL: [AuditKind; 8] = [
        AuditKind::Send,
        AuditKind::Receive,
        AuditKind::Pair,
        AuditKind::Revoke,
        AuditKind::RoleChanged,
        AuditKind::TeamsChanged,
        AuditKind::AclChanged,
        AuditKind::PolicyChanged,
    ];

    /// The stable name: `send`, `receive`, `pair`, `revoke`, `role_changed`, `teams_changed`, `acl_changed`,
    /// `policy_changed`.
    pub fn as_str(self) -> &'static str {
        match self {
            AuditKind::Send => "send",
            AuditKind::Receive => "receive",
            AuditKind::Pair => "pair",
            AuditKind::Revoke => "revoke",
            AuditKind::RoleChanged => "role_changed",
            AuditKind::TeamsChanged => "teams_changed",
            AuditKind::AclChanged => "acl_changed",
            AuditKind::PolicyChanged => "policy_changed",
        }
    }

    fn read(byte: u8) -> Result<Self> {
        let kind = Self::ALL.into_iter().find(|kind| *kind as u8 == byte);
        kind.ok_or_else(|| Error::protocol("an action that this version does not know"))
    }
}

/// What an entry is about: decisions alike in all of this are counted together.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct AuditSubject {
    /// With which device, or about which.
    pub peer: PeerId,
    /// What.
    pub kind: AuditKind,
    /// Who did it, or wanted to.
    pub by: PeerId,
    /// Of which type, where it is about one; `None` also where a device was denied more types than are told apart.
    pub entity_type: Option<EntityType>,
    /// Whether it was allowed.
    pub allowed: bool,
}

impl AuditSubject {
    /// What a policy was asked; `by` where the action itself does not say who.
    pub fn of(action: &AuditAction, by: PeerId, allowed: bool) -> Self {
        let (kind, peer, by, name) = match action {
            AuditAction::Send { entity_type, peer } => (AuditKind::Send, *peer, by, Some(entity_type)),
            AuditAction::Receive { entity_type, peer } => (AuditKind::Receive, *peer, by, Some(entity_type)),
            AuditAction::Pair { by, peer, .. } => (AuditKind::Pair, *peer, *by, None),
            AuditAction::Revoke { by, peer } => (AuditKind::Revoke, *peer, *by, None),
            AuditAction::RoleChanged { by, peer, .. } => (AuditKind::RoleChanged, *peer, *by, None),
            AuditAction::TeamsChanged { by, peer } => (AuditKind::TeamsChanged, *peer, *by, None),
            AuditAction::AclChanged { by, entity_type } => (AuditKind::AclChanged, *by, *by, Some(entity_type)),
            AuditAction::PolicyChanged { by } => (AuditKind::PolicyChanged, *by, *by, None),
        };
        let entity_type = name.and_then(|name| EntityType::new(name.as_str()).ok());
        Self { peer, kind, by, entity_type, allowed }
    }

    /// Appends its encoding.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.peer.0);
        out.push(self.kind as u8);
        out.extend_from_slice(&self.by.0);
        put_bytes(out, self.entity_type.as_ref().map_or(&[][..], |name| name.as_str().as_bytes()));
        out.push(u8::from(self.allowed));
    }

    /// Reads what [`AuditSubject::encode`] wrote.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let (peer, kind, by) = (PeerId(reader.array()?), AuditKind::read(reader.byte()?)?, PeerId(reader.array()?));
        let name = reader.text(crate::types::limits::MAX_NAME_BYTES, "a type's name")?;
        let entity_type = if name.is_empty() { None } else { Some(EntityType::new(name)?) };
        let allowed = match reader.byte()? {
            0 => false,
            1 => true,
            _ => return Err(Error::protocol("a decision that is neither yes nor no")),
        };
        Ok(Self { peer, kind, by, entity_type, allowed })
    }
}

/// One entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuditEntry {
    /// Its number: 1, 2, 3 …
    pub number: u64,
    /// When, by this device's clock, in milliseconds since 1970.
    pub at: u64,
    /// What.
    pub subject: AuditSubject,
    /// How many decisions it stands for: 1, or those alike that came after an earlier entry, up to `at`.
    pub count: u64,
}

impl AuditEntry {
    /// The bytes that are stored and hashed.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![FORMAT];
        put_varint(&mut out, self.number);
        put_varint(&mut out, self.at);
        self.subject.encode(&mut out);
        put_varint(&mut out, self.count);
        out
    }

    /// Reads them.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        if reader.byte()? != FORMAT {
            return Err(Error::protocol("an audit entry of another format"));
        }
        let (number, at) = (reader.varint()?, reader.varint()?);
        let (subject, count) = (AuditSubject::read(&mut reader)?, reader.varint()?);
        reader.finish()?;
        Ok(Self { number, at, subject, count })
    }

    /// Its hash, where the entry before it has the hash `before`.
    pub fn hash(&self, before: &Hash) -> Hash {
        Hash::derive(CONTEXT, &[&before.0[..], &self.encode()].concat())
    }
}

/// A place in the chain: an entry's number and hash. The first chain starts after [`AuditMark::default`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AuditMark {
    /// The entry.
    pub number: u64,
    /// Its hash.
    pub hash: Hash,
}

impl Default for AuditMark {
    fn default() -> Self {
        Self { number: 0, hash: Hash::ZERO }
    }
}

/// An entry as it is stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuditRecord {
    /// The number under which it is stored.
    pub number: u64,
    /// The entry; `None` where it does not read back.
    pub entry: Option<AuditEntry>,
    /// The hash that is stored with it.
    pub hash: Hash,
}

impl AuditRecord {
    /// The value of its row: the hash, then the entry.
    pub fn encode(entry: &AuditEntry, hash: &Hash) -> Vec<u8> {
        [&hash.0[..], &entry.encode()].concat()
    }

    /// Reads a row; never fails, for what does not read is for [`AuditChain`] to report.
    pub fn decode(number: u64, row: &[u8]) -> Self {
        match row.split_first_chunk() {
            Some((hash, entry)) => Self { number, entry: AuditEntry::decode(entry).ok(), hash: Hash(*hash) },
            None => Self { number, entry: None, hash: Hash::ZERO },
        }
    }
}

/// A part of the log.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct AuditPage {
    /// Entries in the order of their numbers.
    pub records: Vec<AuditRecord>,
    /// The last entry that was dropped because the log is bounded: the chain goes on from it.
    pub start: AuditMark,
    /// The last entry that was written.
    pub end: AuditMark,
}

/// What is wrong with an audit log, and from which entry on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AuditFault {
    /// The first entry that is not as it was written.
    pub number: u64,
    /// What is wrong with it.
    pub what: AuditFaultKind,
}

/// See [`AuditFault`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AuditFaultKind {
    /// It is not there.
    Missing,
    /// It, or the one before it, holds something else than was written.
    Changed,
    /// Another entry stands in its place.
    Moved,
    /// It was never written.
    Added,
}

impl fmt::Display for AuditFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.what {
            AuditFaultKind::Missing => "is missing",
            AuditFaultKind::Changed => "is not as it was written",
            AuditFaultKind::Moved => "has another entry in its place",
            AuditFaultKind::Added => "was added from outside",
        };
        write!(f, "entry {} of the audit log {what}", self.number)
    }
}

impl AuditFault {
    /// The error for people: `storage`.
    pub fn to_error(self) -> Error {
        Error::storage(format!(
            "{self}: the disk is damaged, or somebody has changed this device's data; what comes before it is intact"
        ))
    }
}

/// Follows the chain from its start to its end.
#[derive(Clone, Copy, Debug)]
pub struct AuditChain(AuditMark);

impl AuditChain {
    /// A chain that goes on from there.
    pub fn new(start: AuditMark) -> Self {
        Self(start)
    }

    /// How far it has come.
    pub fn mark(&self) -> AuditMark {
        self.0
    }

    /// Takes the next entry.
    pub fn push(&mut self, record: &AuditRecord) -> Result<(), AuditFault> {
        let number = self.0.number + 1;
        let fault = |what| Err(AuditFault { number, what });
        if record.number != number {
            return fault(AuditFaultKind::Missing);
        }
        let Some(entry) = &record.entry else { return fault(AuditFaultKind::Changed) };
        if entry.number != number {
            return fault(AuditFaultKind::Moved);
        }
        if entry.hash(&self.0.hash) != record.hash {
            return fault(AuditFaultKind::Changed);
        }
        self.0 = AuditMark { number, hash: record.hash };
        Ok(())
    }

    /// Whether this is where the log ends.
    pub fn end(&self, end: AuditMark) -> Result<(), AuditFault> {
        let number = self.0.number + 1;
        match self.0.number.cmp(&end.number) {
            std::cmp::Ordering::Less => Err(AuditFault { number, what: AuditFaultKind::Missing }),
            std::cmp::Ordering::Greater => Err(AuditFault { number: end.number + 1, what: AuditFaultKind::Added }),
            std::cmp::Ordering::Equal if self.0.hash != end.hash => {
                Err(AuditFault { number: end.number, what: AuditFaultKind::Changed })
            }
            std::cmp::Ordering::Equal => Ok(()),
        }
    }
}

/// Checks a whole log, a page after the other.
#[derive(Clone, Copy, Default, Debug)]
pub struct AuditCheck {
    chain: Option<AuditChain>,
    first: u64,
}

impl AuditCheck {
    /// After which entry the next page is to start.
    pub fn after(&self) -> u64 {
        self.chain.map_or(0, |chain| chain.mark().number)
    }

    /// The number of the first entry that the log had, and of the last one that was checked.
    pub fn range(&self) -> (u64, u64) {
        (self.first, self.after())
    }

    /// Takes the page after [`AuditCheck::after`]; whether that was the last one.
    pub fn take(&mut self, page: &AuditPage) -> Result<bool, AuditFault> {
        // More was dropped meanwhile than was checked.
        if self.chain.is_some_and(|chain| chain.mark().number < page.start.number) {
            *self = Self::default();
            return Ok(false);
        }
        if self.chain.is_none() {
            self.first = page.start.number + 1;
        }
        let chain = self.chain.get_or_insert(AuditChain::new(page.start));
        page.records.iter().try_for_each(|record| chain.push(record))?;
        if !page.records.is_empty() && chain.mark() != page.end {
            return Ok(false);
        }
        chain.end(page.end).map(|()| true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test;

    fn entry(number: u64) -> AuditEntry {
        let kind = AuditKind::ALL[number as usize % AuditKind::ALL.len()];
        let entity_type = number.is_multiple_of(2).then(|| EntityType::new("note").unwrap());
        let (peer, by) = (PeerId([number as u8; 32]), PeerId([9; 32]));
        let subject = AuditSubject { peer, kind, by, entity_type, allowed: number.is_multiple_of(3) };
        AuditEntry { number, at: 1_790_000_000_000 + number, subject, count: 1 + number % 5 }
    }

    /// Rows of a log, and where it ends.
    fn log(start: AuditMark, entries: u64) -> (Vec<(u64, Vec<u8>)>, AuditMark) {
        let mut end = start;
        let rows = (start.number + 1..=start.number + entries).map(|number| {
            let entry = entry(number);
            end = AuditMark { number, hash: entry.hash(&end.hash) };
            (number, AuditRecord::encode(&entry, &end.hash))
        });
        (rows.collect(), end)
    }

    fn verify(start: AuditMark, rows: &[(u64, Vec<u8>)], end: AuditMark) -> Result<(), AuditFault> {
        let mut chain = AuditChain::new(start);
        rows.iter().try_for_each(|(number, row)| chain.push(&AuditRecord::decode(*number, row)))?;
        chain.end(end)
    }

    #[test]
    fn entries_read_back_and_no_other_bytes_read_as_one() {
        for number in 1..20 {
            let bytes = entry(number).encode();
            assert_eq!(AuditEntry::decode(&bytes).unwrap(), entry(number));
            assert!((0..bytes.len()).all(|length| AuditEntry::decode(&bytes[..length]).is_err()));
            assert!(AuditEntry::decode(&[&bytes[..], &[0]].concat()).is_err());
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_is_found_with_the_entry_s_number() {
        let (rows, end) = log(AuditMark::default(), 5);
        assert_eq!(verify(AuditMark::default(), &rows, end), Ok(()));
        for at in 0..rows.len() {
            for byte in 0..rows[at].1.len() {
                for bit in 0..8 {
                    let mut rows = rows.clone();
                    rows[at].1[byte] ^= 1 << bit;
                    let fault = verify(AuditMark::default(), &rows, end).unwrap_err();
                    assert_eq!(fault.number, at as u64 + 1, "byte {byte}");
                }
            }
        }
    }

    #[test]
    fn dropped_moved_and_added_entries_are_found_with_their_number() {
        let start = AuditMark { number: 40, hash: Hash([3; 32]) };
        let (rows, end) = log(start, 6);
        assert_eq!(verify(start, &rows, end), Ok(()), "a chain may start from what was dropped");
        for at in 0..rows.len() {
            let mut dropped = rows.clone();
            dropped.remove(at);
            let fault = AuditFault { number: at as u64 + 41, what: AuditFaultKind::Missing };
            assert_eq!(verify(start, &dropped, end), Err(fault));
            for other in at + 1..rows.len() {
                let mut moved = rows.clone();
                let (one, two) = (moved[at].1.clone(), moved[other].1.clone());
                (moved[at].1, moved[other].1) = (two, one);
                let fault = AuditFault { number: at as u64 + 41, what: AuditFaultKind::Moved };
                assert_eq!(verify(start, &moved, end), Err(fault));
            }
        }
        let added = log(start, 7).0;
        assert_eq!(verify(start, &added, end), Err(AuditFault { number: 47, what: AuditFaultKind::Added }));
        let other = AuditMark { number: 40, hash: Hash([4; 32]) };
        assert_eq!(verify(other, &rows, end), Err(AuditFault { number: 41, what: AuditFaultKind::Changed }));
        let fault = verify(start, &rows[..5], end).unwrap_err();
        assert!(fault.to_error().message().contains("entry 46 of the audit log is missing"));
    }
}
