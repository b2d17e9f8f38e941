//! Properties on random DAGs: authors may be anybody, in the right or not, members or strangers, with pasts as they like
//! (equivocation, back-dating); with teams, access lists, cuts and the root's cancellations.

use crate::test;
use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::model::Model;
use super::*;
use crate::types::SortedSet;

/// One step of a random history: who, whom, what, how, after which of the operations before.
type Step = (u8, u8, u8, u8, Vec<prop::sample::Index>);

const PEERS: u8 = 8;
const TYPES: [&str; 2] = ["note", "task"];

fn steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    let parents = prop::collection::vec(any::<prop::sample::Index>(), 1..4);
    prop::collection::vec((0..7_u8, 0..PEERS, 0..24_u8, 0..8_u8, parents), 0..most)
}

const ROLES: [SyncRole; 4] = [SyncRole::Admin, SyncRole::Member, SyncRole::Member, SyncRole::ReadOnly];

fn teams(how: u8) -> SortedSet<TeamId> {
    (0..3).filter(|bit| how >> bit & 1 == 1).map(|bit| TeamId(format!("team {bit}"))).collect()
}

/// Cuts of two logs, or none.
fn cuts(to: u8, how: u8) -> Cuts {
    let cut =
        |author| (log_of(author, TYPES[usize::from(how % 2)]), Cut { seq: u64::from(how), hash: Hash([how; 32]) });
    if how < 2 { Cuts::new() } else { Cuts::from_iter([cut(to), cut(3)]) }
}

/// The logs of which branches are accepted.
fn branched(how: u8) -> LogName {
    log_of(3, TYPES[usize::from(how % 2)])
}

fn body(to: u8, what: u8, how: u8, earlier: &[Op]) -> Body {
    let (peer, role) = (peer(to), ROLES[usize::from(how % 4)]);
    let entity_type = EntityType::new(TYPES[usize::from(to % 2)]).unwrap();
    let range = || LogRange {
        log: log_of(to, TYPES[usize::from(how % 2)]),
        from: 3,
        to: 3 + u64::from(how),
        hash: Hash([1; 32]),
    };
    match what {
        0 => Body::Unknown { code: code::COMPACT, bytes: peer.0.to_vec() },
        1..=4 => Body::AddMember(AddMember { peer, role, name: format!("name {how}") }),
        5 | 6 => Body::SetRole(SetRole { peer, role, cuts: cuts(to, how) }),
        7..=9 => Body::Remove(Remove { peer, cuts: cuts(to, how) }),
        10 | 11 => Body::SetTeams(SetTeams { peer, teams: teams(how), cuts: cuts(to, how) }),
        12 | 13 => {
            let entry = |team_id| EntityAcl {
                entity_type: entity_type.as_str().into(),
                allowed_roles: vec![SyncRole::Admin, SyncRole::Member],
                team_id,
            };
            let mut entries: Vec<EntityAcl> = teams(how).into_iter().map(|team| entry(Some(team))).collect();
            if how == 0 {
                entries.push(entry(None));
            }
            Body::SetAcl(SetAcl { entity_type, entries, cuts: cuts(to, how) })
        }
        14 => {
            let policy = if how.is_multiple_of(2) { PolicyKind::Personal } else { PolicyKind::Enterprise };
            Body::SetPolicy(SetPolicy { policy, cuts: cuts(to, how) })
        }
        15 => Body::AcceptRange(range()),
        16 => Body::SetName(SetName { peer, name: format!("other {how}") }),
        17 => Body::Leave { cuts: cuts(to, how) },
        18 => {
            let ops = earlier.iter().rev().step_by(usize::from(how) + 1).take(2).map(Op::hash).collect();
            Body::RootVoid(RootVoid { ops })
        }
        19 => Body::RaiseCut(range()),
        20 | 21 => Body::SetKey(SetKey { name: Hash([how; 32]), sealed: [(peer, vec![how])].into() }),
        // Few logs, so that some get several.
        _ => Body::AcceptBranch { log: branched(how), seq: to.into(), hash: Hash([how; 32]) },
    }
}

fn start(personal: bool) -> Op {
    genesis(if personal { PolicyKind::Personal } else { PolicyKind::Enterprise })
}

/// A few members and an access list, then the steps.
fn build(personal: bool, steps: &[Step]) -> (Membership, BTreeMap<Hash, Op>) {
    let mut log = Membership::from_genesis(start(personal)).unwrap();
    let mut order = vec![start(personal)];
    let everybody =
        EntityAcl { entity_type: "note".into(), allowed_roles: vec![SyncRole::Admin, SyncRole::Member], team_id: None };
    let add = |to, role| Body::AddMember(AddMember { peer: peer(to), role, name: String::new() });
    let acl = SetAcl { entity_type: EntityType::new("note").unwrap(), entries: vec![everybody], cuts: Cuts::new() };
    let first = [add(2, SyncRole::Admin), add(3, SyncRole::Member), add(4, SyncRole::ReadOnly), Body::SetAcl(acl)];
    for body in first {
        order.push(log.make(&key(ADMIN), body, HybridTimestamp(1)).unwrap());
    }
    for (by, to, what, how, picks) in steps {
        // Mostly late parents, so that histories get long; else anything.
        let parents: Vec<Hash> = (picks.iter().enumerate())
            .map(|(at, pick)| match at {
                0 => order[order.len() - 1 - pick.index(order.len().min(3))].hash(),
                _ => order[pick.index(order.len())].hash(),
            })
            .collect();
        // The root says little but what only it can say; keys and branches are chosen by the first two Admins, mostly.
        let by = match *what {
            18 => ROOT,
            20.. if how % 4 != 0 => ADMIN + by % 2,
            _ if *by == ROOT && how % 4 != 0 => ADMIN,
            _ => *by,
        };
        let body = body(*to, *what, *how, &order);
        let op = Op::sign(&key(by), log.vault(), parents, HybridTimestamp(u64::from(by)), body).unwrap();
        if matches!(log.insert(op.encoded()), Ok(Inserted::New(_))) {
            order.push(op);
        }
    }
    (log, order.into_iter().map(|op| (op.hash(), op)).collect())
}

/// Segments of a log: ten commits at each of these heads.
fn segmented(author: u8, name: &str, picks: &[Vec<prop::sample::Index>], hashes: &[Hash]) -> LogFacts {
    let mut facts = facts(author, 10 * picks.len() as u64, &[]);
    facts.log = log_of(author, name);
    for (at, picks) in picks.iter().enumerate() {
        let heads: BTreeSet<Hash> = picks.iter().map(|pick| hashes[pick.index(hashes.len())]).collect();
        facts.segments.push((10 * at as u64 + 1, heads.into_iter().collect()));
    }
    facts
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(160))]

    #[test]
    fn every_order_of_arrival_gives_the_same_members_heads_key_branches_and_valid_commits(
        personal: bool,
        steps in steps(40),
        order in prop::collection::vec(any::<prop::sample::Index>(), 50),
        segments in prop::collection::vec(prop::collection::vec(any::<prop::sample::Index>(), 1..3), 1..5),
        author in 0..PEERS,
    ) {
        let (log, ops) = build(personal, &steps);
        let mut other = Membership::from_genesis(start(personal)).unwrap();
        let mut left: Vec<&Op> = ops.values().collect();
        for pick in order.iter().cycle() {
            if left.is_empty() {
                break;
            }
            // An operation that comes before its parents comes again later.
            let op = left.swap_remove(pick.index(left.len()));
            if matches!(other.insert(op.encoded()).unwrap(), Inserted::MissingParents(_)) {
                left.insert(0, op);
                let ready = left.iter().position(|op| other.contains_all(&op.parents)).unwrap();
                let op = left.remove(ready);
                other.insert(op.encoded()).unwrap();
            }
        }
        prop_assert_eq!(log.heads(), other.heads());
        prop_assert_eq!(log.evaluate(), other.evaluate());
        prop_assert_eq!(log.key_name(), other.key_name());
        for log_name in [0, 1].map(branched) {
            prop_assert_eq!(log.accepted_branch(&log_name), other.accepted_branch(&log_name));
        }
        let hashes: Vec<Hash> = ops.keys().copied().collect();
        for hash in &hashes {
            prop_assert_eq!(log.has_effect(hash), other.has_effect(hash));
            prop_assert_eq!(log.evaluate_at(&[*hash]), other.evaluate_at(&[*hash]));
        }
        for name in TYPES {
            let facts = segmented(author, name, &segments, &hashes);
            prop_assert_eq!(valid(&facts, &log), valid(&facts, &other));
        }
    }

    #[test]
    fn evaluation_follows_the_rules_and_nobody_is_a_member_without_a_chain_of_grants(
        personal: bool,
        steps in steps(32),
    ) {
        let (log, ops) = build(personal, &steps);
        prop_assert_eq!(log.evaluate_at(&log.heads()), Some((*log.evaluate()).clone()));
        let model = Model::new(&ops);
        let view = log.evaluate();
        let all: BTreeSet<Hash> = ops.keys().copied().collect();
        let effective = model.effective(&all);
        for hash in ops.keys() {
            prop_assert_eq!(log.has_effect(hash), effective.contains_key(hash), "{:?}", ops[hash]);
        }
        prop_assert_eq!(&*view, &model.view(&all));
        prop_assert_eq!(log.key_name(), model.key(&effective));
        for log_name in [0, 1].map(branched) {
            prop_assert_eq!(log.accepted_branch(&log_name), model.branch(&log_name, &effective));
        }
        for hash in ops.keys() {
            let at = log.evaluate_at(&[*hash]).unwrap();
            prop_assert_eq!(&at, &model.view(&model.with_past(&[*hash])));
            for number in 0..PEERS {
                let one = log.evaluate_one(&[*hash], &peer(number)).unwrap();
                prop_assert_eq!(one.members.get(&peer(number)), at.members.get(&peer(number)));
            }
        }
        for member in view.members.keys() {
            let chain = log.credential_for(member, None).unwrap();
            let fresh = Membership::new(log.genesis_bytes()).unwrap();
            prop_assert!(fresh.check_credential(&chain, member).is_ok());
        }
    }

    #[test]
    fn commits_count_exactly_where_the_rules_say(
        personal in prop::bool::weighted(0.3),
        steps in steps(24),
        segments in prop::collection::vec(prop::collection::vec(any::<prop::sample::Index>(), 1..3), 1..4),
        author in 0..PEERS,
    ) {
        let (log, ops) = build(personal, &steps);
        let model = Model::new(&ops);
        let hashes: Vec<Hash> = ops.keys().copied().collect();
        for name in TYPES {
            let facts = segmented(author, name, &segments, &hashes);
            let got = valid(&facts, &log);
            let mut before: Vec<Hash> = Vec::new();
            for (first, heads) in &facts.segments {
                let advances = model.with_past(heads).is_superset(&before.iter().copied().collect());
                if advances {
                    before = heads.to_vec();
                }
                for seq in *first..first + 10 {
                    let expected = advances && model.counts(&facts.log, heads, seq);
                    prop_assert_eq!(got.is_valid(seq), expected, "commit {} of {:?}: {:?}", seq, facts.log, got);
                }
            }
        }
    }

    #[test]
    fn no_operation_of_a_removed_author_has_effect(personal: bool, steps in steps(40)) {
        let (log, ops) = build(personal, &steps);
        let model = Model::new(&ops);
        for removal in ops.values().filter(|op| log.has_effect(&op.hash())) {
            let removed = match &removal.body {
                Body::Remove(remove) => remove.peer,
                Body::Leave { .. } => removal.author,
                _ => continue,
            };
            let knows = |op: &Op| model.past(&op.hash()).contains(&removal.hash());
            for op in ops.values().filter(|op| op.author == removed && op.hash() != removal.hash() && removed != peer(ROOT)) {
                let before = model.past(&removal.hash()).contains(&op.hash());
                let added_again = ops.values().any(|add| {
                    matches!(&add.body, Body::AddMember(add) if add.peer == removed)
                        && knows(add) && model.past(&op.hash()).contains(&add.hash())
                });
                // Removals and demotions of those who remove each other stand (rule 2).
                let restrains = matches!(op.body, Body::Remove(_) | Body::SetRole(_) | Body::Leave { .. }) && !knows(op);
                if !before && !added_again && !restrains {
                    prop_assert!(!log.has_effect(&op.hash()), "{op:?} in spite of {removal:?}");
                }
            }
            // And it is no member, unless somebody who knew of the removal has added it again.
            if log.evaluate().role(&removed).is_some() {
                let again = |op: &Op| matches!(&op.body, Body::AddMember(add) if add.peer == removed) && knows(op);
                prop_assert!(ops.values().any(|op| again(op) && log.has_effect(&op.hash())));
            }
        }
    }

    #[test]
    fn nobody_whom_no_admin_made_one_is_ever_an_admin(personal: bool, steps in steps(40)) {
        let (log, ops) = build(personal, &steps);
        for (admin, _) in log.evaluate().members.iter().filter(|(_, member)| member.role == SyncRole::Admin) {
            let made = ops.values().any(|op| {
                let (to, role) = match &op.body {
                    Body::Genesis(genesis) => (genesis.admin, SyncRole::Admin),
                    Body::AddMember(add) => (add.peer, add.role),
                    Body::SetRole(set) => (set.peer, set.role),
                    _ => return false,
                };
                let by_admin = op.author == peer(ROOT)
                    || log.evaluate_at(&op.parents).is_some_and(|view| view.role(&op.author) == Some(SyncRole::Admin));
                to == *admin && role == SyncRole::Admin && by_admin
            });
            prop_assert!(made, "{admin} is an Admin");
        }
    }

    #[test]
    fn kinds_that_this_build_does_not_know_change_nothing_but_the_heads(
        personal: bool,
        steps in steps(24),
        by in 0..7_u8,
        code in code::COMPACT..200_u64,
        bytes in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let (mut log, _) = build(personal, &steps);
        let before = log.evaluate();
        let op = Op::sign(&key(by), log.vault(), log.heads(), HybridTimestamp(9), Body::Unknown { code, bytes });
        if let Ok(Inserted::New(hash)) = log.insert(op.unwrap().encoded()) {
            prop_assert_eq!(log.heads(), vec![hash]);
            prop_assert!(log.contains(&hash));
        }
        prop_assert_eq!(log.evaluate(), before);
    }

    #[test]
    fn valid_takes_any_facts_and_accounts_for_every_commit_once(
        tip in prop_oneof![0..60_u64, Just(u64::MAX)],
        starts in prop::collection::vec((0..70_u64, any::<bool>()), 0..6),
        forked_after in prop::option::of(0..70_u64),
        single in prop::collection::vec((prop_oneof![0..70_u64, Just(u64::MAX)], any::<bool>()), 0..8),
    ) {
        let log = new_vault(PolicyKind::Personal);
        let mut facts = facts(ADMIN, tip, &[]);
        facts.segments = starts
            .iter()
            .map(|(first, known)| (*first, if *known { log.heads().into() } else { Arc::from([Hash([1; 32])]) }))
            .collect();
        facts.forked_after = forked_after;
        facts.bad = single.iter().filter(|(_, bad)| *bad).map(|(seq, _)| *seq).collect();
        facts.named = single.iter().map(|(seq, bad)| (*seq, peer(if *bad { 1 } else { 2 }))).collect();
        facts.copies = single;
        let got = valid(&facts, &log);
        let mut ranges: Vec<_> = got.counts.iter().cloned().chain(got.refused.iter().map(|(range, _)| range.clone())).collect();
        ranges.sort_by_key(|range| range.start);
        let mut next = 1;
        for range in ranges {
            prop_assert_eq!(range.start, next);
            prop_assert!(range.end > range.start);
            next = range.end;
        }
        prop_assert_eq!(next, tip.saturating_add(1).max(1));
    }
}
