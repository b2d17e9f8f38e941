//! What must hold once everything is healed.

use std::collections::BTreeMap;

use super::device::Asked;
use super::disk;
use super::expect::{Shown, Token};
use super::world::{Plan, World};
use crate::crdt::FieldValue;
use crate::engine::{Call, Reply, Status};
use crate::policy::{AuditCheck, SyncRole};
use crate::store::{MemoryStore, Table, WriteBatch};
use crate::types::{EntityId, EntityType, FieldKind, Hash, Value};

/// How long the devices have to agree, in simulated microseconds.
const LIMIT: u64 = 400_000_000;
const SLICE: u64 = 5_000_000;
/// Frames on each link in two quiet minutes: pings, and comparing digests.
const QUIET_FRAMES: u64 = 40;
/// The same between two that do not trust each other.
const REFUSED_FRAMES: u64 = 20;

impl World {
    /// Heals everything and asks everything.
    pub fn check_all(&mut self) -> Result<(), String> {
        self.heal()?;
        self.agree()?;
        self.quiet()?;
        match self.plan {
            Plan::Members => {
                self.spread_cuts();
                self.exactly_what_counts()?;
                if self.politics.recovers && !self.politics.enterprise {
                    self.saved_edits()?;
                }
            }
            _ => self.saved_edits()?,
        }
        self.audit_logs()?;
        self.reopen()
    }

    /// Whatever crashed when: no audit log has a hole.
    fn audit_logs(&mut self) -> Result<(), String> {
        for d in self.working() {
            let mut check = AuditCheck::default();
            loop {
                let Reply::Audit(page) = self.ask(d, Call::Audit { after: check.after(), limit: 1_000 })? else {
                    return Err("no audit log".into());
                };
                if check.take(&page).map_err(|fault| format!("device {d}: {fault}"))? {
                    break;
                }
            }
        }
        Ok(())
    }

    fn heal(&mut self) -> Result<(), String> {
        self.say("all is healed".into());
        self.healed = true;
        self.groups.iter_mut().for_each(|group| *group = 0);
        if let (Plan::Cheat, Some((a, b))) = (self.plan, self.twins) {
            for d in [a, b] {
                self.kill_links_of(d);
                self.devices[d].stop();
                self.devices[d].gone = true;
            }
        }
        // Starts under way and delayed reports of lost links.
        self.run_until(self.now + 40_000_000)?;
        for d in 0..self.devices.len() {
            if self.devices[d].gone {
                continue;
            }
            if self.devices[d].disk.full || self.devices[d].engine.is_none() {
                self.crash(d);
            }
        }
        self.run_until(self.now + 10_000_000)?;
        for d in 0..self.devices.len() {
            if self.devices[d].gone {
                continue;
            }
            self.ask(d, Call::Resume)?;
            self.devices[d].paused = false;
            self.find_others(d);
        }
        self.end_pairings()?;
        if self.plan != Plan::Members {
            return self.join_all();
        }
        for d in 0..self.devices.len() {
            self.devices[d].joined = self.status(d)?.vault == self.vault;
        }
        Ok(())
    }

    /// Whoever is not in the vault is invited (again).
    fn join_all(&mut self) -> Result<(), String> {
        for d in 0..self.devices.len() {
            if self.devices[d].gone {
                continue;
            }
            let role = self.devices[d].role.unwrap_or(SyncRole::Member);
            for _ in 0..5 {
                if self.status(d)?.vault == self.vault {
                    self.devices[d].joined = true;
                    break;
                }
                match self.pairings.on {
                    true => self.pair(0, d, role),
                    false => self.invite(0, d, role),
                }
                self.run_until(self.now + 15_000_000)?;
            }
            if !self.devices[d].joined {
                return Err(format!("device {d} was invited and cannot join"));
            }
        }
        Ok(())
    }

    pub fn status(&mut self, d: usize) -> Result<Status, String> {
        match self.ask(d, Call::Status)? {
            Reply::Status(status) => Ok(*status),
            other => Err(format!("a status that is {other:?}")),
        }
    }

    fn digest(&mut self, d: usize) -> Result<Hash, String> {
        match self.ask(d, Call::Digest)? {
            Reply::Digest(digest) => Ok(digest),
            other => Err(format!("a digest that is {other:?}")),
        }
    }

    fn working(&self) -> Vec<usize> {
        (0..self.devices.len()).filter(|d| self.devices[*d].works()).collect()
    }

    /// All show the same, have sent all, and say that all is in sync.
    fn agree(&mut self) -> Result<(), String> {
        let start = self.now;
        let mut round = 0_u32;
        loop {
            round += 1;
            // Of two with one key, one is on the network at a time.
            if let (Plan::Clone, Some((a, b))) = (self.plan, self.twins)
                && round % 12 == 1
            {
                let (on, off) = if round % 24 == 1 { (a, b) } else { (b, a) };
                self.devices[off].offline = true;
                self.kill_links_of(off);
                self.devices[on].offline = false;
            }
            self.run_until(self.now + SLICE)?;
            if self.politics.recovers {
                self.recover_all(round)?;
            }
            let differences = match self.plan {
                Plan::Members => self.differences_in_circles()?,
                _ => self.differences()?,
            };
            let why = match differences {
                None if round > 60 || self.plan != Plan::Clone || self.twins.is_none() => return Ok(()),
                None => continue,
                Some(why) => why,
            };
            let twins = self.plan == Plan::Clone && self.twins.is_some();
            if self.now > start + if twins { 3 * LIMIT } else { LIMIT } {
                return Err(format!("{}{why}", self.first_difference()?));
            }
        }
    }

    /// Why the devices do not agree (yet).
    fn differences(&mut self) -> Result<Option<String>, String> {
        let working = self.working();
        let mut digests = Vec::new();
        for d in &working {
            digests.push(self.digest(*d)?);
        }
        let same = digests.windows(2).all(|pair| pair[0] == pair[1]);
        let forks = self.twins.is_some() || self.plan == Plan::RestoreUnmarked;
        let mut why = String::new();
        for d in &working {
            let status = self.status(*d)?;
            let reasons = match self.ask(*d, Call::Explain(None))? {
                Reply::NotSynced(reasons) => reasons,
                other => return Err(format!("reasons that are {other:?}")),
            };
            if !forks && working.len() > 1 && (status.unsent > 0 || status.unsaved > 0 || status.syncing > 0) {
                why += &format!(
                    "device {d} has {} commits unsent, {} unsaved, {} sessions syncing; ",
                    status.unsent, status.unsaved, status.syncing
                );
            }
            let owed: Vec<_> = reasons.iter().filter(|reason| !forks || !self.is_about_twins(reason)).collect();
            if !owed.is_empty() {
                why += &format!("device {d} explains {owed:?}; ");
            }
            if forks && status.syncing > 0 {
                why += &format!("device {d} has {} sessions syncing; ", status.syncing);
            }
        }
        if !same {
            let all = why.is_empty() && !forks;
            why = format!(
                "the devices show different states {digests:?}{}; {why}",
                if all { " and say nothing about it" } else { "" }
            );
        }
        for d in &working {
            if let Some(name) = self.devices[*d].asked.values().find_map(|asked| match asked {
                Asked::Any("settled") => None,
                Asked::Any(name) => Some(*name),
                Asked::Keep => None,
                Asked::Write(..) => Some("write"),
                _ => Some("another call"),
            }) {
                why += &format!("device {d} has not answered: {name}; ");
            }
        }
        Ok((!why.is_empty()).then_some(why))
    }

    /// The first entity that is not the same everywhere.
    fn first_difference(&mut self) -> Result<String, String> {
        let working = self.working();
        for (entity_type, id) in World::pool() {
            let mut first: Option<(usize, Vec<crate::crdt::EntityView>)> = None;
            for d in &working {
                let call = Call::Get { entity_type: Some(entity_type.clone()), id };
                let Reply::Entities(views) = self.ask(*d, call)? else { continue };
                match &first {
                    None => first = Some((*d, views)),
                    Some((_, other)) if *other == views => {}
                    Some((of, other)) => return Ok(format!("{of} has {other:?}, {d} has {views:?}; ")),
                }
            }
        }
        Ok(String::new())
    }

    /// Reasons that stay: forks and their quarantine, and that a member is not there.
    fn is_about_twins(&self, reason: &crate::engine::NotSynced) -> bool {
        use crate::engine::Reason;
        let twins = self.twins.is_some_and(|(a, _)| self.devices[a].peer == reason.peer);
        let offline = self.devices.iter().any(|device| device.offline);
        matches!(reason.reason, Reason::Forked | Reason::Quarantined)
            || (reason.reason == Reason::NoRoute && (twins || offline))
    }

    /// When all agree, nothing more is sent than what keeps links alive.
    fn quiet(&mut self) -> Result<(), String> {
        if self.plan == Plan::Clone {
            return Ok(());
        }
        let before = self.frames;
        self.run_until(self.now + 120_000_000)?;
        let links = self.open_links().len() as u64;
        let sent = self.frames - before;
        let dials = if self.plan == Plan::Members { REFUSED_FRAMES * self.apart() } else { 0 };
        if sent > QUIET_FRAMES * links.max(1) + 40 + dials {
            return Err(format!("{sent} frames over {links} links in two quiet minutes"));
        }
        Ok(())
    }

    /// What was saved is there, on every device.
    fn saved_edits(&mut self) -> Result<(), String> {
        for d in self.working() {
            let mut shown = BTreeMap::new();
            for (entity_type, id) in World::pool() {
                let state = self.shown(d, &entity_type, id)?;
                shown.insert((entity_type, id), state);
            }
            self.expect.check(&shown).map_err(|why| format!("device {d}: {why}"))?;
        }
        Ok(())
    }

    pub fn shown(&mut self, d: usize, entity_type: &EntityType, id: EntityId) -> Result<Shown, String> {
        let reply = self.ask(d, Call::Get { entity_type: Some(entity_type.clone()), id })?;
        let Reply::Entities(views) = reply else { return Err(format!("an entity that is {reply:?}")) };
        let mut shown = Shown::default();
        let Some(view) = views.first() else { return Ok(shown) };
        if let Some(FieldValue::Set(items)) = view.field_of("tokens", FieldKind::Set) {
            shown.tokens.extend(items.iter().filter_map(|item| match item {
                Value::Int(item) => Some(Token::Item(*item)),
                _ => None,
            }));
        }
        if let Some(FieldValue::Text(text, _)) = view.field_of("log", FieldKind::Text) {
            shown.tokens.extend(text.chars().map(Token::Char));
        }
        if let Some(FieldValue::Counter(sum)) = view.field_of("count", FieldKind::Counter) {
            shown.sum = *sum;
        }
        Ok(shown)
    }

    /// Every disk opens again to the same state, with its cache and without.
    fn reopen(&mut self) -> Result<(), String> {
        for d in self.working() {
            if self.devices[d].role == Some(SyncRole::ReadOnly) && self.rng.one_in(2) {
                continue;
            }
            let digest = self.digest(d)?;
            self.run_until(self.now + 1_000_000)?;
            let store = self.devices[d].disk.durable().clone();
            self.compare(d, store.clone(), digest, "as it is")?;
            let mut bare = store;
            let mut batch = WriteBatch::default();
            batch.clear(Table::Pages);
            batch.delete(Table::Meta, *b"checkpoint");
            bare.apply(batch);
            self.compare(d, bare, digest, "without its cache")?;
        }
        Ok(())
    }

    fn compare(&mut self, d: usize, store: MemoryStore, digest: Hash, how: &str) -> Result<(), String> {
        match self.open_apart(d, store, Call::Digest)? {
            Reply::Digest(again) if again == digest => Ok(()),
            other => {
                let blocks = disk::all(self.devices[d].disk.durable(), Table::Blocks).len();
                Err(format!("device {d} opened again {how} shows {other:?} and not {digest:?} ({blocks} blocks)"))
            }
        }
    }
}
