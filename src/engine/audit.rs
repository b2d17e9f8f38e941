//! What this device notes of its decisions, and where: the chain itself is `policy::audit`'s.
//!
//! A note waits for the next write batch of the same step, so it is on disk together with what was decided, or not at
//! all; where there is none it gets a batch of its own. Denials that repeat are counted for [`WINDOW_MS`]: the first has
//! an entry at once, those after it share one when the time is over.
//!
//! | key in `Audit` | value |
//! |---|---|
//! | 0 | where the chain starts and ends |
//! | 1, number | [`AuditRecord`] |
//! | 2, hash of what is counted | that, since when, how many |

use super::calls::Asked;
use super::disk::{Landed, Wanted};
use super::io::{CallId, LinkId, MemberChange, Output, Reply, SyncEvent};
use super::layout::{self, TypeIx};
use super::{SyncEngine, Vault};
use crate::error::{Error, ErrorCode, Result};
use crate::policy::{
    AuditAction, AuditDecision, AuditEntry, AuditKind, AuditMark, AuditPage, AuditRecord, AuditSubject, Body,
    MAX_AUDIT_ENTRIES, Op, Refusal, sync_policy,
};
use crate::store::{Durability, Read, Rows, Table, WriteBatch};
use crate::types::codec::{Reader, put_varint};
use crate::types::{EntityType, Hash, PeerId, SortedMap, SortedSet};

/// For how long denials alike are counted together: 24 hours.
pub const WINDOW_MS: u64 = 24 * 60 * 60 * 1_000;
/// Types of one device and action that are told apart; what goes beyond is counted without its type.
const MAX_TYPES: usize = 128;
/// Subjects that are counted at once; beyond them the one that was begun first ends early.
const MAX_COUNTED: usize = 4_096;
/// Entries in one answer.
const MAX_PAGE: usize = 1_000;
const FORMAT: u8 = 1;

/// Repeats of one denial.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Counting {
    since: u64,
    /// Without the first, which has an entry.
    count: u64,
}

/// The audit log as the engine keeps it.
#[derive(Default, Debug)]
pub struct Audit {
    start: AuditMark,
    end: AuditMark,
    /// Of the entries that are kept.
    hashes: SortedMap<u64, Hash>,
    counting: SortedMap<AuditSubject, Counting>,
    /// When the first of them ends, or earlier.
    due: u64,
    /// What is not in a batch yet.
    batch: WriteBatch,
    news: Vec<AuditEntry>,
}

impl Audit {
    /// Notes a decision at a time of the wall clock.
    fn note(&mut self, at: u64, mut subject: AuditSubject) {
        let crosses = matches!(subject.kind, AuditKind::Send | AuditKind::Receive);
        if subject.allowed && !crosses {
            return self.append(at, subject, 1);
        }
        if !self.counting.contains_key(&subject) && self.types_of(&subject) >= MAX_TYPES {
            subject.entity_type = None;
        }
        match self.counting.get_mut(&subject) {
            Some(counting) if is_within(counting.since, at) => {
                counting.count += 1;
                let counting = *counting;
                self.put_counting(&subject, counting);
            }
            _ => {
                self.close(at, &subject);
                while self.counting.len() >= MAX_COUNTED {
                    let first = self.counting.iter().min_by_key(|(_, counting)| counting.since);
                    let Some(first) = first.map(|(subject, _)| subject.clone()) else { break };
                    self.close(at, &first);
                }
                let counting = Counting { since: at, count: 0 };
                self.due = self.due.min(at.saturating_add(WINDOW_MS));
                self.put_counting(&subject, counting);
                self.counting.insert(subject.clone(), counting);
                self.append(at, subject, 1);
            }
        }
    }

    fn types_of(&self, subject: &AuditSubject) -> usize {
        let from = AuditSubject { by: PeerId([0; 32]), entity_type: None, allowed: false, ..subject.clone() };
        let alike = |other: &AuditSubject| (other.peer, other.kind) == (subject.peer, subject.kind);
        let found = self.counting.range(from..).map(|(subject, _)| subject).take_while(|other| alike(other));
        found.filter(|other| other.entity_type.is_some()).count()
    }

    fn put_counting(&mut self, subject: &AuditSubject, counting: Counting) {
        let mut row = vec![FORMAT];
        subject.encode(&mut row);
        put_varint(&mut row, counting.since);
        put_varint(&mut row, counting.count);
        self.batch.put(Table::Audit, counting_row(subject), row);
    }

    /// Ends the counting of a subject.
    fn close(&mut self, at: u64, subject: &AuditSubject) {
        let Some(counting) = self.counting.remove(subject) else { return };
        self.batch.delete(Table::Audit, counting_row(subject));
        if counting.count > 0 {
            self.append(at, subject.clone(), counting.count);
        }
    }

    /// Ends what has been counted for long enough, or since a time that has not come yet.
    fn close_due(&mut self, at: u64) {
        if self.counting.is_empty() || at < self.due {
            return;
        }
        let over: Vec<AuditSubject> = (self.counting.iter())
            .filter(|(_, counting)| !is_within(counting.since, at))
            .map(|(subject, _)| subject.clone())
            .collect();
        over.iter().for_each(|subject| self.close(at, subject));
        self.due = self.counting.values().map(|counting| counting.since).min().unwrap_or(u64::MAX);
        self.due = self.due.saturating_add(WINDOW_MS);
    }

    fn append(&mut self, at: u64, subject: AuditSubject, count: u64) {
        let entry = AuditEntry { number: self.end.number + 1, at, subject, count };
        self.end = AuditMark { number: entry.number, hash: entry.hash(&self.end.hash) };
        self.hashes.insert(entry.number, self.end.hash);
        self.batch.put(Table::Audit, layout::audit_row(entry.number), AuditRecord::encode(&entry, &self.end.hash));
        while self.end.number - self.start.number > MAX_AUDIT_ENTRIES {
            let number = self.start.number + 1;
            // Where that one was lost, the chain does not go on from here, and that shows.
            let hash = self.hashes.remove(&number).unwrap_or(Hash::ZERO);
            self.start = AuditMark { number, hash };
            self.batch.delete(Table::Audit, layout::audit_row(number));
        }
        self.news.push(entry);
    }

    /// Moves what waits into a batch.
    pub fn take_into(&mut self, batch: &mut WriteBatch, landed: &mut Landed) {
        if self.batch.is_empty() {
            return;
        }
        if !self.news.is_empty() {
            self.batch.put(Table::Audit, layout::AUDIT_ENDS, ends_row(self.start, self.end));
            batch.durability = Durability::Strict;
        }
        batch.ops.append(&mut self.batch.ops);
        landed.events.extend(self.news.drain(..).map(SyncEvent::Audited));
    }

    /// Takes a row as the store has it. What cannot be read stops nothing: the chain shows it.
    pub fn row(&mut self, key: &[u8], value: &[u8]) {
        let read: Result<()> = match key.split_first() {
            Some((0, [])) => read_ends(value).map(|(start, end)| (self.start, self.end) = (start, end)),
            Some((1, number)) => <[u8; 8]>::try_from(number)
                .map(|number| {
                    let number = u64::from_be_bytes(number);
                    self.hashes.insert(number, AuditRecord::decode(number, value).hash);
                })
                .map_err(|_| Error::storage("a key that is too short")),
            Some((2, _)) => read_counting(value).map(|(subject, counting)| {
                self.counting.insert(subject, counting);
            }),
            _ => Ok(()),
        };
        if let Err(error) = read {
            tracing::warn!(%error, "a row of the audit log does not read back");
        }
    }

    /// All rows were taken.
    pub fn opened(&mut self) {
        let last = self.hashes.last_key_value().map_or(0, |(number, _)| *number);
        if self.end.number == 0 && last > 0 {
            // Its ends are lost. No number comes twice, and the hole in the chain shows.
            let first = self.hashes.first_key_value().map_or(1, |(number, _)| *number);
            self.start = AuditMark { number: first - 1, hash: Hash::ZERO };
            self.end = AuditMark { number: last, hash: Hash::ZERO };
        }
    }
}

/// A clock that was set back ends what is counted, as time does.
fn is_within(since: u64, at: u64) -> bool {
    at >= since && at < since.saturating_add(WINDOW_MS)
}

fn counting_row(subject: &AuditSubject) -> Vec<u8> {
    let mut bytes = Vec::new();
    subject.encode(&mut bytes);
    let hash = Hash::derive("privstack-sync 2026 audit log counting", &bytes);
    let mut key = vec![2];
    key.extend_from_slice(&hash.0[..16]);
    key
}

fn read_counting(row: &[u8]) -> Result<(AuditSubject, Counting)> {
    let mut reader = Reader::new(row);
    if reader.byte()? != FORMAT {
        return Err(Error::storage("a row of another format"));
    }
    let subject = AuditSubject::read(&mut reader)?;
    let counting = Counting { since: reader.varint()?, count: reader.varint()? };
    reader.finish()?;
    Ok((subject, counting))
}

fn ends_row(start: AuditMark, end: AuditMark) -> Vec<u8> {
    let mut row = vec![FORMAT];
    for mark in [start, end] {
        put_varint(&mut row, mark.number);
        row.extend_from_slice(&mark.hash.0);
    }
    row
}

fn read_ends(row: &[u8]) -> Result<(AuditMark, AuditMark)> {
    let mut reader = Reader::new(row);
    if reader.byte()? != FORMAT {
        return Err(Error::storage("a row of another format"));
    }
    let mut mark = || Ok(AuditMark { number: reader.varint()?, hash: Hash(reader.array()?) });
    let (start, end): (Result<_>, Result<_>) = (mark(), mark());
    let (start, end) = (start?, end?);
    reader.finish()?;
    match start.number <= end.number && end.number < u64::MAX {
        true => Ok((start, end)),
        false => Err(Error::storage("a log that ends before it starts")),
    }
}

impl SyncEngine {
    /// Notes a decision.
    pub(super) fn note(&mut self, subject: AuditSubject) {
        self.audit.note(self.now.wall, subject);
    }

    /// Notes that something was denied.
    pub(super) fn note_denied(&mut self, kind: AuditKind, by: PeerId, peer: PeerId, entity_type: Option<&EntityType>) {
        self.note(AuditSubject { peer, kind, by, entity_type: entity_type.cloned(), allowed: false });
    }

    /// Asks the policy, and notes what it denies or wants noted; whether it may be done.
    pub(super) fn audited(&mut self, action: AuditAction, by: PeerId) -> bool {
        let Some(vault) = &self.vault else { return false };
        let decision = vault.policy.audit(action.clone());
        if decision != AuditDecision::Allow {
            self.note(AuditSubject::of(&action, by, decision != AuditDecision::Deny));
        }
        decision != AuditDecision::Deny
    }

    /// Notes what the policy says of membership operations that were taken in.
    pub(super) fn audit_ops(&mut self, ops: &[Hash]) {
        for hash in ops {
            let Some(vault) = &self.vault else { return };
            let Some(op) = vault.membership.get(hash) else { continue };
            if let Some(subject) = decided(vault, op) {
                self.note(subject);
            }
        }
    }

    /// Whether this device may write a type; notes where it may not.
    pub(super) fn audited_write(&mut self, entity_type: &EntityType) -> Result<()> {
        let result = self.may_write(entity_type);
        if result.as_ref().is_err_and(is_denial) {
            self.note_denied(AuditKind::Send, self.me, self.me, Some(entity_type));
        }
        result
    }

    /// Notes for a session once which types are kept from the peer.
    pub(super) fn audit_sends(&mut self, link: LinkId) {
        let Some(session) = self.sessions.get_mut(&link).filter(|session| session.connected) else { return };
        if session.audited.len() >= self.types.len() {
            return;
        }
        let peer = session.peer;
        let new: Vec<TypeIx> =
            (0..self.types.len() as u32).map(TypeIx).filter(|ty| session.audited.insert(*ty)).collect();
        for ty in new {
            if let Some(name) = self.type_name(ty) {
                let entity_type = name.as_str().to_owned();
                self.audited(AuditAction::Send { entity_type, peer }, self.me);
            }
        }
    }

    /// Notes that a peer asked for types that are kept from it.
    pub(super) fn audit_asked<'a>(&mut self, link: LinkId, types: impl Iterator<Item = &'a EntityType>) {
        let Some(peer) = self.sessions.get(&link).map(|session| session.peer) else { return };
        for name in types.collect::<SortedSet<_>>() {
            self.audited(AuditAction::Send { entity_type: name.as_str().to_owned(), peer }, peer);
        }
    }

    /// Notes that commits of an author who had no right to them were taken in.
    pub(super) fn audit_refused(&mut self, why: Option<Refusal>, author: PeerId, entity_type: &EntityType) {
        if let Some(Refusal::NotMember | Refusal::MayNotWrite | Refusal::BeyondCut) = why {
            self.note_denied(AuditKind::Receive, author, author, Some(entity_type));
        }
    }

    /// Notes that a change of members was refused on this device.
    pub(super) fn audit_change(&mut self, change: &MemberChange, error: &Error) {
        if !is_denial(error) {
            return;
        }
        let me = self.me;
        let (kind, peer, entity_type) = match change {
            MemberChange::Role { peer, .. } => (AuditKind::RoleChanged, *peer, None),
            MemberChange::Remove(peer) => (AuditKind::Revoke, *peer, None),
            MemberChange::Teams { peer, .. } => (AuditKind::TeamsChanged, *peer, None),
            MemberChange::Acl { entity_type, .. } => (AuditKind::AclChanged, me, Some(entity_type)),
            MemberChange::Policy(_) | MemberChange::Void { .. } => (AuditKind::PolicyChanged, me, None),
            MemberChange::Leave => (AuditKind::Revoke, me, None),
            MemberChange::Recover(_) => (AuditKind::Pair, me, None),
            MemberChange::Accept(peer) | MemberChange::AskToAccept(peer) => (AuditKind::Receive, *peer, None),
            // A name grants nothing.
            MemberChange::Name { .. } => return,
        };
        self.note_denied(kind, me, peer, entity_type);
    }

    /// Notes that this device may not sign another one in.
    pub(super) fn audit_pair_refused(&mut self, error: &Error, peer: PeerId) {
        if is_denial(error) {
            self.note_denied(AuditKind::Pair, self.me, peer, None);
        }
    }

    /// Ends what was counted for long enough, and writes what found no batch to go with.
    pub(super) fn audit_due(&mut self) {
        self.audit.close_due(self.now.wall);
        if !self.audit.batch.is_empty() {
            // Only counts are left to chance, and only for as long as the disk takes.
            let batch = WriteBatch { durability: Durability::Relaxed, ..WriteBatch::default() };
            self.write(batch, Landed::default());
        }
    }

    /// Reads entries for the app.
    pub(super) fn audit_call(&mut self, call: CallId, after: u64, limit: usize) -> Result<()> {
        if limit == 0 || limit > MAX_PAGE {
            return Err(Error::invalid(format!("the audit log is read with a limit of 1 to {MAX_PAGE} entries")));
        }
        let page = AuditPage { records: Vec::new(), start: self.audit.start, end: self.audit.end };
        self.asked.insert(call, Asked::Audit(Box::new(page)));
        let (from, to) = (layout::audit_row(after.saturating_add(1)), layout::after_prefix(&[layout::AUDIT_ENTRY]));
        let read = Read::Range { table: Table::Audit, from, to, max_rows: limit, max_bytes: usize::MAX };
        self.read(read, Wanted::Call(call));
        Ok(())
    }

    pub(super) fn audit_rows(&mut self, call: CallId, mut page: Box<AuditPage>, rows: Rows) {
        let number = |key: &[u8]| key.get(1..9)?.try_into().ok().map(u64::from_be_bytes);
        let good = rows.rows.iter().filter_map(|(key, value)| Some(AuditRecord::decode(number(key)?, value)));
        let bad = rows.damaged.iter().filter_map(|key| Some(AuditRecord::decode(number(key)?, &[])));
        page.records = good.chain(bad).collect();
        page.records.sort_by_key(|record| record.number);
        self.out.push(Output::Reply(call, Ok(Reply::Audit(page))));
    }
}

/// Whether an error is a policy's no.
pub fn is_denial(error: &Error) -> bool {
    matches!(error.code(), ErrorCode::PolicyDenied | ErrorCode::NotAuthorized)
}

/// What is to be noted of an operation.
fn decided(vault: &Vault, op: &Op) -> Option<AuditSubject> {
    let (by, has_effect) = (op.author, vault.membership.has_effect(&op.hash()));
    let action = match &op.body {
        Body::AddMember(add) => AuditAction::Pair { by, peer: add.peer, role: add.role },
        Body::Remove(remove) => AuditAction::Revoke { by, peer: remove.peer },
        Body::Leave { .. } => AuditAction::Revoke { by, peer: by },
        Body::SetRole(set) => AuditAction::RoleChanged { by, peer: set.peer, role: set.role },
        Body::SetTeams(set) => AuditAction::TeamsChanged { by, peer: set.peer },
        Body::SetAcl(set) => AuditAction::AclChanged { by, entity_type: set.entity_type.as_str().to_owned() },
        Body::SetPolicy(_) | Body::RootVoid(_) | Body::AcceptRange(_) | Body::AcceptBranch { .. } => {
            AuditAction::PolicyChanged { by }
        }
        Body::Genesis(_) => return None,
        // Of the others only that they were refused.
        _ if has_effect => return None,
        _ => AuditAction::PolicyChanged { by },
    };
    if !has_effect {
        return Some(AuditSubject::of(&action, by, false));
    }
    // Whether it wants this noted, the policy says by what the author knew.
    let view = vault.membership.evaluate_one(&op.parents, &by)?;
    match sync_policy(view.into()).audit(action.clone()) {
        AuditDecision::Allow => None,
        AuditDecision::AllowAndRecord | AuditDecision::Deny => Some(AuditSubject::of(&action, by, true)),
    }
}
