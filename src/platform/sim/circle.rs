//! What must hold at the end where members came and went: all who take each other for members hold and show the same, as
//! far as both may read it; exactly what the rules let count shows; and whatever else there is has its reason.

use std::collections::{BTreeMap, BTreeSet};

use super::expect::{Must, Token, tokens_of};
use super::members::TYPES;
use super::verdicts::{Logs, Verdicts};
use super::world::World;
use crate::crdt::EntityView;
use crate::engine::{Call, NotSynced, Reason, Reply};
use crate::policy::{Body, Membership, Op, Refusal, Validity};
use crate::store::{Table, WriteBatch, WriteOp};
use crate::types::{Commit, EntityType, LogName, PeerId};
use crate::wire::{EventBatchMessage, FrontierEntry, Item, Message, Scope, SyncState, decode_block, decode_header};

impl World {
    /// Whether two devices take each other, and themselves, for members.
    fn are_mutual(&self, a: usize, b: usize) -> bool {
        let peers = [self.devices[a].peer, self.devices[b].peer];
        [a, b].iter().all(|d| {
            self.devices[*d].works()
                && self.view(*d).is_some_and(|view| peers.iter().all(|peer| view.role(peer).is_some()))
        })
    }

    /// How many pairs of devices of the vault do not: they dial each other now and then, and are refused.
    pub fn apart(&self) -> u64 {
        let working = self.devices.iter().filter(|device| device.works()).count();
        (working * working.saturating_sub(1) / 2 - self.pairs().len()) as u64
    }

    fn pairs(&self) -> Vec<(usize, usize)> {
        let all = 0..self.devices.len();
        let pairs = all.clone().flat_map(|a| all.clone().skip(a + 1).map(move |b| (a, b)));
        pairs.filter(|(a, b)| self.are_mutual(*a, *b)).collect()
    }

    /// Why those who take each other for members do not agree (yet), or what is not explained.
    pub fn differences_in_circles(&mut self) -> Result<Option<String>, String> {
        let pairs = self.pairs();
        let heads = |world: &World, d: usize| {
            world.devices[d].engine.as_ref().and_then(|engine| engine.membership()).map(Membership::heads)
        };
        for (a, b) in &pairs {
            if heads(self, *a) != heads(self, *b) {
                return Ok(Some(format!("{a} and {b} trust each other and hold different membership operations; ")));
            }
        }
        let working: Vec<usize> = (0..self.devices.len()).filter(|d| self.devices[*d].works()).collect();
        if self.politics.recovers && pairs.len() != self.devices.len() * (self.devices.len() - 1) / 2 {
            return Ok(Some(format!("all were taken back, and only {pairs:?} trust each other; ")));
        }
        let mut shown: BTreeMap<(usize, &str), Vec<EntityView>> = BTreeMap::new();
        for d in &working {
            for name in TYPES {
                let call =
                    Call::List { entity_type: Some(super::actions::entity_type(name)), after: None, limit: 4_096 };
                let Reply::Entities(views) = self.ask(*d, call)? else { return Err("a list that is none".into()) };
                shown.insert((*d, name), views);
            }
        }
        for (a, b) in &pairs {
            let Some(view) = self.view(*a) else { continue };
            let peers = [*a, *b].map(|d| self.devices[d].peer);
            for name in TYPES.iter().filter(|name| peers.iter().all(|peer| view.may_read(name, peer))) {
                if shown[&(*a, *name)] != shown[&(*b, *name)] {
                    return Ok(Some(format!("{a} and {b} both read `{name}` and show different states of it; ")));
                }
                // Of a log with branches they may hold different ones.
                let forks = [self.forks(*a), self.forks(*b)].concat();
                let [one, two] = [*a, *b].map(|d| tips(&self.logs_on_disk(d), name, &forks));
                if one != two {
                    return Ok(Some(format!("{a} and {b} both read `{name}` and hold {one:?} and {two:?}; ")));
                }
            }
        }
        let mut why = String::new();
        for d in working {
            let status = self.status(d)?;
            if status.unsaved > 0 || status.syncing > 0 {
                why += &format!("device {d} has {} unsaved, {} sessions syncing; ", status.unsaved, status.syncing);
            }
            let reasons = self.reasons_of(d)?;
            why += &self.unexplained(d, &reasons);
            if let Some(asked) = self.devices[d].asked.values().find(|asked| !asked.may_wait()) {
                why += &format!("device {d} has not answered: {asked:?}; ");
            }
        }
        Ok((!why.is_empty()).then_some(why))
    }

    fn reasons_of(&mut self, d: usize) -> Result<Vec<NotSynced>, String> {
        match self.ask(d, Call::Explain(None))? {
            Reply::NotSynced(reasons) => Ok(reasons),
            other => Err(format!("reasons that are {other:?}")),
        }
    }

    /// Reasons that a device gives and that are not so, and those that it owes.
    fn unexplained(&self, d: usize, reasons: &[NotSynced]) -> String {
        let Some(view) = self.view(d) else { return format!("device {d} has no view; ") };
        let me = self.devices[d].peer;
        let mut why = String::new();
        let mutual: BTreeSet<PeerId> =
            (0..self.devices.len()).filter(|e| self.are_mutual(d, *e)).map(|e| self.devices[e].peer).collect();
        for reason in reasons {
            let apart = !mutual.contains(&reason.peer);
            let good = match reason.reason {
                Reason::Quarantined => true,
                // What it wrote on a branch waits until it may write again.
                Reason::PolicyDenied if reason.peer == me => {
                    reason.entity_type.as_ref().is_some_and(|name| !view.may_write(name.as_str(), &me))
                }
                Reason::Forked => self.forks(d).iter().any(|(log, _)| log.id.author == reason.peer),
                Reason::PolicyDenied => reason.entity_type.as_ref().is_some_and(|name| {
                    !view.may_read(name.as_str(), &me) || !view.may_read(name.as_str(), &reason.peer)
                }),
                Reason::NotTrusted | Reason::NoRoute => apart,
                _ => false,
            };
            if !good {
                why += &format!("device {d} explains {reason:?}; ");
            }
        }
        for (e, other) in self.devices.iter().enumerate() {
            let member = view.role(&other.peer).is_some();
            let said = |reason: &NotSynced| {
                reason.peer == other.peer && matches!(reason.reason, Reason::NotTrusted | Reason::NoRoute)
            };
            if e != d && member && !mutual.contains(&other.peer) && !reasons.iter().any(said) {
                why += &format!("device {d} does not say why it is apart from {e}; ");
            }
        }
        why
    }

    /// The logs of which a device knows that they have branches, and the last commit that those share.
    fn forks(&self, d: usize) -> Vec<(LogName, u64)> {
        self.devices[d].engine.as_ref().map(|engine| engine.forks()).unwrap_or_default()
    }

    fn logs_on_disk(&self, d: usize) -> Logs {
        let mut logs = Logs::new();
        let Some(vault) = self.vault else { return logs };
        for (_, block) in self.devices[d].disk.all(Table::Blocks) {
            for commit in decode_block(&block, vault).unwrap_or_default() {
                logs.entry(commit.header.log.clone()).or_default().insert(commit.header.seq, commit);
            }
        }
        logs
    }

    fn membership_on_disk(&self, d: usize) -> Result<Membership, String> {
        let ops = self.devices[d].disk.all(Table::Membership);
        let mut ops = ops.iter().map(|(_, op)| op);
        let genesis = ops.next().ok_or("a disk without Genesis")?;
        let mut membership = Membership::new(genesis).map_err(|error| error.to_string())?;
        for op in ops {
            membership.insert(op).map_err(|error| error.to_string())?;
        }
        Ok(membership)
    }

    /// What counts shows, and nothing else; what does not is in quarantine, with its reason; nothing that was saved is
    /// gone where it was saved.
    pub fn exactly_what_counts(&mut self) -> Result<(), String> {
        let mut held: BTreeMap<PeerId, BTreeSet<Token>> = BTreeMap::new();
        // The bytes of an update may look like a character that nobody wrote.
        let asked: BTreeSet<_> = self.expect.edits.iter().map(|edit| (edit.id, edit.token.clone())).collect();
        for d in 0..self.devices.len() {
            if !self.devices[d].works() {
                continue;
            }
            let (logs, membership) = (self.logs_on_disk(d), self.membership_on_disk(d)?);
            let mut counting: BTreeMap<(EntityType, crate::types::EntityId), (BTreeSet<Token>, i64)> = BTreeMap::new();
            let mut quarantined: BTreeMap<(PeerId, EntityType), u64> = BTreeMap::new();
            // A text shows what was typed behind words that have not come only when those come.
            let mut incomplete = BTreeSet::new();
            let forks = self.forks(d).into_iter().collect();
            let verdicts = Verdicts::new(&logs, &forks, &membership);
            for (name, commits) in &logs {
                let verdict = verdicts.of(name);
                let waits = verdicts.quarantined(name);
                if waits > 0 {
                    *quarantined.entry((name.id.author, name.entity_type.clone())).or_default() += waits;
                }
                self.no_honest_commit_is_invalid(d, name, &verdict)?;
                nothing_counts_beyond_a_removal(name, commits, &membership, &verdict)?;
                for (seq, commit) in commits {
                    if name.id.author == self.devices[d].peer {
                        held.entry(name.id.author).or_default().extend(tokens_of(commit).map(|(_, token)| token));
                    }
                    for (event, (of, seen)) in
                        commit.events.iter().flat_map(|e| e.seen.iter().map(move |seen| (e, seen)))
                    {
                        let of = LogName { entity_type: name.entity_type.clone(), id: *of };
                        if !logs.get(&of).is_some_and(|held| held.contains_key(seen)) {
                            incomplete.insert((name.entity_type.clone(), event.entity));
                        }
                    }
                    if !verdict.is_valid(*seq) {
                        continue;
                    }
                    for (entity, token) in tokens_of(commit) {
                        let (tokens, sum) = counting.entry((name.entity_type.clone(), entity)).or_default();
                        match token {
                            Token::Add(by) => *sum = sum.wrapping_add(by),
                            Token::Char(_) if !asked.contains(&(entity, token.clone())) => {}
                            other => drop(tokens.insert(other)),
                        }
                    }
                }
            }
            for (name, id) in World::pool() {
                let shown = self.shown(d, &name, id)?;
                let (tokens, sum) = counting.remove(&(name.clone(), id)).unwrap_or_default();
                let waits = incomplete.contains(&(name.clone(), id));
                let more: Vec<_> = shown.tokens.difference(&tokens).collect();
                let missing = tokens.difference(&shown.tokens);
                let less: Vec<_> = missing.filter(|token| !waits || !matches!(token, Token::Char(_))).collect();
                if !more.is_empty() || !less.is_empty() || shown.sum != sum {
                    return Err(format!(
                        "device {d} shows of {name} {id} {more:?} that do not count, not {less:?} that do, and {} for {sum}",
                        shown.sum
                    ));
                }
            }
            let mut told: BTreeMap<(PeerId, EntityType), u64> = BTreeMap::new();
            for reason in self.reasons_of(d)? {
                if let (Reason::Quarantined, Some(name)) = (reason.reason, reason.entity_type) {
                    *told.entry((reason.peer, name)).or_default() += reason.commits;
                }
            }
            if told != quarantined {
                return Err(format!("device {d} has {quarantined:?} in quarantine and tells {told:?}"));
            }
        }
        self.nothing_saved_is_gone(&held)
    }

    /// What an honest device wrote may have come after a cut, or have been written by one whose membership was void: it
    /// was never wrong in itself.
    fn no_honest_commit_is_invalid(&self, d: usize, name: &LogName, verdict: &Validity) -> Result<(), String> {
        let rogue = self.politics.rogue.is_some_and(|rogue| self.devices[rogue].peer == name.id.author);
        let honest =
            [Refusal::BeyondCut, Refusal::NotMember, Refusal::MayNotWrite, Refusal::Forked, Refusal::StandsForCounting];
        let wrong = |why: &Refusal| !honest.contains(why);
        match verdict.refused.iter().find(|(_, why)| wrong(why)) {
            Some((range, why)) if !rogue => Err(format!("device {d} refuses {range:?} of {name:?}: {why:?}")),
            _ => Ok(()),
        }
    }

    fn nothing_saved_is_gone(&self, held: &BTreeMap<PeerId, BTreeSet<Token>>) -> Result<(), String> {
        // One that joins commits what it had again, and of a counter the sum.
        let saved = self.expect.edits.iter().filter(|edit| edit.must == Must::Yes);
        // One whose disk went back has what it wrote since only if it met who holds it.
        let saved = saved.filter(|edit| !self.politics.restored.contains(&edit.author));
        for edit in saved.filter(|edit| !matches!(edit.token, Token::Add(_))) {
            if held.get(&edit.author).is_some_and(|held| !held.contains(&edit.token)) {
                return Err(format!("what was saved is gone from its own device: {edit:?}"));
            }
        }
        Ok(())
    }

    /// Whom what happened to others may have cost something: those whom they had let in or changed.
    pub fn spread_cuts(&mut self) {
        loop {
            let cut_off = &mut self.expect.cut_off;
            let before = cut_off.len();
            for (by, about) in &self.politics.signed {
                if cut_off.contains(by) {
                    cut_off.extend(about);
                }
            }
            if cut_off.len() == before {
                return;
            }
        }
    }

    /// Nothing that leaves a device tells its peer of a type that it may not read.
    pub fn check_leaving(&mut self, d: usize, peer: PeerId, frame: &[u8]) {
        let (Some(view), Ok(message)) = (self.view(d), Message::decode(frame)) else { return };
        let me = self.devices[d].peer;
        let told = types_in(&message);
        if let Some(name) =
            told.iter().find(|name| !view.may_read(name.as_str(), &peer) || !view.may_read(name.as_str(), &me))
        {
            let message = format!("{message:?}").chars().take(300).collect::<String>();
            self.fail(format!("device {d} tells {peer:?} of `{name}`, which may not be: {message}"));
        }
    }

    /// Nothing new is stored of a type that the device may not read.
    pub fn check_stored(&mut self, d: usize, batch: &WriteBatch) {
        let Some(view) = self.view(d) else { return };
        let me = self.devices[d].peer;
        for op in &batch.ops {
            let WriteOp::Put(Table::Blocks, _, block) = op else { continue };
            let Ok(header) = decode_header(block) else { continue };
            let last = self.politics.stored.entry((d, header.log.clone())).or_default();
            let new = header.last_seq() > *last;
            *last = header.last_seq().max(*last);
            let name = header.log.entity_type.as_str();
            if new && header.log.id.author != me && view.role(&me).is_some() && !view.may_read(name, &me) {
                self.fail(format!("device {d} may not read `{name}`, and stores {header:?}"));
                return;
            }
        }
    }
}

impl super::device::Asked {
    /// Whether nobody need have answered yet.
    fn may_wait(&self) -> bool {
        matches!(self, Self::Any("settled") | Self::Keep)
    }
}

/// Of one that was removed, or left, nothing counts that came after what the removal names, but what was made knowing the
/// removal or was accepted. Told by the operations alone, whatever the rules say.
fn nothing_counts_beyond_a_removal(
    log: &LogName,
    commits: &BTreeMap<u64, Commit>,
    membership: &Membership,
    verdict: &Validity,
) -> Result<(), String> {
    let ops = membership.ops().filter_map(|op| Op::decode(op).ok()).filter(|op| membership.has_effect(&op.hash()));
    let ops: Vec<Op> = ops.collect();
    let accepted = |seq: u64| {
        ops.iter().any(|op| {
            matches!(&op.body, Body::AcceptRange(range) if range.log == *log && (range.from..=range.to).contains(&seq))
        })
    };
    for op in &ops {
        let (peer, cuts) = match &op.body {
            Body::Remove(remove) => (remove.peer, &remove.cuts),
            Body::Leave { cuts } => (op.author, cuts),
            _ => continue,
        };
        // It takes nothing of one that, as it knew, had lost the right before: what took it then has a cut of its own. That
        // what it knew and is void had given the right again changes nothing.
        let view = membership.evaluate_one_now(&op.parents, &peer);
        let might_write = view.is_some_and(|view| view.may_write(log.entity_type.as_str(), &peer));
        if peer != log.id.author || !might_write {
            continue;
        }
        let cut = cuts.get(log).map_or(0, |cut| cut.seq);
        for (seq, commit) in commits.range(cut + 1..) {
            let knew = membership.advances(&[op.hash()], &commit.header.heads);
            if verdict.is_valid(*seq) && !knew && !accepted(*seq) {
                return Err(format!("commit {seq} of {log:?} counts, beyond {cut} where {op:?} cut it"));
            }
        }
    }
    Ok(())
}

/// The types that a message tells of.
fn types_in(message: &Message) -> BTreeSet<EntityType> {
    let entries = |entries: &[FrontierEntry]| entries.iter().map(|entry| entry.entity_type.clone()).collect::<Vec<_>>();
    let scope = |scope: &Scope| match scope {
        Scope::All => Vec::new(),
        Scope::Types(types) => types.clone(),
        Scope::Entities(entities) => entities.iter().map(|(name, _)| name.clone()).collect(),
    };
    let items = |items: &[Item]| {
        let blocks = items.iter().flat_map(|item| match item {
            Item::Block(block) => vec![block],
            Item::Fork(one, two) => vec![one, two],
            Item::Membership(_) => vec![], // every member holds all of them
        });
        blocks.filter_map(|block| Some(decode_header(block).ok()?.log.entity_type)).collect()
    };
    let types: Vec<EntityType> = match message {
        Message::SyncRequest(request) => [scope(&request.scope), entries(&request.have.entries)].concat(),
        Message::SyncState(state) => match &state.state {
            SyncState::Have(summary) => entries(&summary.entries),
            SyncState::Types(types) => types.iter().map(|(name, _)| name.clone()).collect(),
            SyncState::Entries { types, entries: told, .. } => [types.clone(), entries(told)].concat(),
            SyncState::Clocks(clocks) => {
                clocks.iter().filter(|(_, _, clock)| !clock.is_empty()).map(|(name, ..)| name.clone()).collect()
            }
            SyncState::Equal | SyncState::Membership(_) => Vec::new(),
        },
        Message::EventBatch(EventBatchMessage::Items(told)) => items(told),
        Message::EventNotify(notify) => items(&notify.items),
        Message::Subscribe(subscribe) => scope(&subscribe.scope),
        _ => Vec::new(),
    };
    types.into_iter().collect()
}

fn tips(logs: &Logs, name: &str, but: &[(LogName, u64)]) -> BTreeMap<LogName, u64> {
    let of = logs.iter().filter(|(log, _)| log.entity_type.as_str() == name);
    let of = of.filter(|(log, _)| but.iter().all(|(other, _)| other != *log));
    of.filter_map(|(log, commits)| Some((log.clone(), *commits.keys().last()?))).collect()
}
