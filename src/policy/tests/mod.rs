//! The membership log and `valid` as a whole: rules, properties on random DAGs, hostile input.

mod model;
mod random;
mod rules;

use crate::test;
use std::sync::{Arc, LazyLock};

use super::*;
use crate::error::ErrorCode;
use crate::types::{EntityType, Epoch, Hash, HybridTimestamp, Keypair, LogId, LogName, PeerId, VaultId};

const ROOT: u8 = 0;
const ADMIN: u8 = 1;

pub(super) fn key(number: u8) -> Keypair {
    Keypair::from_seed(&[number; 32])
}

fn peer(number: u8) -> PeerId {
    static PEERS: LazyLock<Vec<PeerId>> = LazyLock::new(|| (0..=255).map(|number| key(number).peer_id()).collect());
    PEERS[usize::from(number)]
}

pub(super) fn genesis(policy: PolicyKind) -> Op {
    let facts =
        Genesis { root: peer(ROOT), policy, admin: peer(ADMIN), admin_name: "a".into(), secret: [77; 32].into() };
    Op::genesis(&key(ROOT), facts, HybridTimestamp(1)).unwrap()
}

pub(super) fn new_vault(policy: PolicyKind) -> Membership {
    Membership::from_genesis(genesis(policy)).unwrap()
}

fn grant(vault: VaultId, by: u8, parents: &[Hash], to: u8, role: SyncRole) -> Op {
    let add = AddMember { peer: peer(to), role, name: format!("device {to}") };
    Op::sign(&key(by), vault, parents.to_vec(), HybridTimestamp(2), Body::AddMember(add)).unwrap()
}

/// Signs and inserts a grant after `parents` (none: after all), whatever its author's right.
fn add(log: &mut Membership, by: u8, parents: &[Hash], to: u8, role: SyncRole) -> Hash {
    let heads = if parents.is_empty() { log.heads() } else { parents.to_vec() };
    let op = grant(log.vault(), by, &heads, to, role);
    assert_eq!(log.insert(op.encoded()).unwrap(), Inserted::New(op.hash()));
    op.hash()
}

fn role(log: &Membership, of: u8) -> Option<SyncRole> {
    log.evaluate().role(&peer(of))
}

#[test]
fn admins_add_anybody_and_members_of_a_personal_vault_add_new_members() {
    let mut log = new_vault(PolicyKind::Personal);
    add(&mut log, ADMIN, &[], 2, SyncRole::Member);
    add(&mut log, 2, &[], 3, SyncRole::Member);
    add(&mut log, 2, &[], 4, SyncRole::Admin);
    add(&mut log, ADMIN, &[], 5, SyncRole::ReadOnly);
    add(&mut log, 5, &[], 6, SyncRole::Member);
    add(&mut log, 2, &[], 5, SyncRole::Member);
    add(&mut log, ROOT, &[], 7, SyncRole::Admin);
    assert_eq!(role(&log, 3), Some(SyncRole::Member));
    assert_eq!(role(&log, 4), None, "a Member made an Admin");
    assert_eq!(role(&log, 5), Some(SyncRole::ReadOnly), "a Member raised a device that was named before");
    assert_eq!(role(&log, 6), None, "ReadOnly added a device");
    assert_eq!(role(&log, 7), Some(SyncRole::Admin));
    assert!(log.knows_author(&peer(4)) && log.knows_author(&peer(6)), "void grants still name");
}

#[test]
fn members_of_an_enterprise_vault_add_nobody() {
    let mut log = new_vault(PolicyKind::Enterprise);
    add(&mut log, ADMIN, &[], 2, SyncRole::Member);
    add(&mut log, 2, &[], 3, SyncRole::Member);
    assert_eq!(role(&log, 3), None);
    let own = AddMember { peer: peer(4), role: SyncRole::Member, name: String::new() };
    assert_eq!(log.add_member(&key(2), own, HybridTimestamp(9)).unwrap_err().code(), ErrorCode::PolicyDenied);
}

#[test]
fn of_concurrent_grants_the_lowest_holds_and_a_members_gives_way() {
    let mut log = new_vault(PolicyKind::Personal);
    let two = add(&mut log, ADMIN, &[], 2, SyncRole::Member);
    let three = add(&mut log, ADMIN, &[two], 3, SyncRole::Admin);
    // Both Admins add device 4, and the Member does, none knowing of the others.
    let high = add(&mut log, ADMIN, &[three], 4, SyncRole::Admin);
    assert_eq!(role(&log, 4), Some(SyncRole::Admin));
    let members = add(&mut log, 2, &[three], 4, SyncRole::Member);
    assert_eq!(role(&log, 4), Some(SyncRole::Admin), "a Member's grant lowered an Admin's");
    let low = add(&mut log, 3, &[three], 4, SyncRole::ReadOnly);
    assert_eq!(role(&log, 4), Some(SyncRole::ReadOnly));
    // A later grant that knows all of them replaces all of them.
    add(&mut log, 3, &[high, low, members], 4, SyncRole::Member);
    assert_eq!(role(&log, 4), Some(SyncRole::Member));
    assert_eq!(log.evaluate_at(&[members]).unwrap().role(&peer(4)), Some(SyncRole::Member));
    assert_eq!(log.evaluate_at(&[three]).unwrap().role(&peer(4)), None);
    assert_eq!(log.evaluate_at(&[Hash([1; 32])]), None);
}

#[test]
fn what_is_not_of_this_vault_or_by_a_stranger_is_not_kept() {
    let mut log = new_vault(PolicyKind::Personal);
    let heads = log.heads();
    let stranger = grant(log.vault(), 9, &heads, 9, SyncRole::Admin);
    assert_eq!(log.insert(stranger.encoded()).unwrap_err().code(), ErrorCode::NotAuthorized);
    let foreign = grant(VaultId([3; 32]), ADMIN, &heads, 9, SyncRole::Admin);
    assert_eq!(log.insert(foreign.encoded()).unwrap_err().code(), ErrorCode::NotAuthorized);
    let other = genesis(PolicyKind::Enterprise);
    assert_eq!(log.insert(other.encoded()).unwrap_err().code(), ErrorCode::NotAuthorized);
    let orphan = grant(log.vault(), ADMIN, &[Hash([2; 32])], 9, SyncRole::Admin);
    assert_eq!(log.insert(orphan.encoded()).unwrap(), Inserted::MissingParents(vec![Hash([2; 32])]));
    // Named elsewhere, but not in the operation's own past.
    add(&mut log, ADMIN, &heads, 2, SyncRole::Member);
    let early = grant(log.vault(), 2, &heads, 3, SyncRole::Member);
    assert_eq!(log.insert(early.encoded()).unwrap_err().code(), ErrorCode::NotAuthorized);
    assert_eq!(log.len(), 2);
    assert!(Membership::new(early.encoded()).is_err());
}

#[test]
fn a_peer_gets_what_it_lacks_by_its_heads_or_by_short_hashes() {
    let mut ours = new_vault(PolicyKind::Personal);
    let first = add(&mut ours, ADMIN, &[], 2, SyncRole::Member);
    add(&mut ours, ADMIN, &[], 3, SyncRole::Member);
    add(&mut ours, 2, &[first], 4, SyncRole::Member);
    let mut theirs = new_vault(PolicyKind::Personal);
    for op in ours.missing_for(&theirs.heads()).unwrap() {
        assert!(matches!(theirs.insert(&op).unwrap(), Inserted::New(_)));
    }
    assert_eq!((theirs.heads(), theirs.evaluate()), (ours.heads(), ours.evaluate()));
    assert!(ours.missing_for(&theirs.heads()).unwrap().is_empty());
    add(&mut theirs, 4, &[], 5, SyncRole::Member);
    assert_eq!(ours.missing_for(&theirs.heads()), None);
    assert_eq!(theirs.missing_for_shorts(&ours.shorts()).len(), 1);
}

#[test]
fn more_heads_than_a_commit_may_name_leave_the_authors_own_grant_and_earlier_heads_covered() {
    let mut log = new_vault(PolicyKind::Personal);
    let start = log.heads();
    for to in 2..102 {
        add(&mut log, ADMIN, &start, to, SyncRole::Member);
    }
    assert_eq!(log.heads().len(), 100);
    for own in [2, 50, 101] {
        let before = log.heads_for(&peer(own), &[]);
        assert_eq!(before.len(), 64);
        assert_eq!(log.evaluate_at(&before).unwrap().role(&peer(own)), Some(SyncRole::Member));
        for more in 0..100 {
            let body = Body::Unknown { code: code::COMPACT, bytes: vec![own, more] };
            let op = Op::sign(&key(ADMIN), log.vault(), start.clone(), HybridTimestamp(2), body).unwrap();
            log.insert(op.encoded()).unwrap();
        }
        // Some of the heads named before are heads no more, only in the past of one.
        let some: Vec<Hash> = before.iter().copied().step_by(7).collect();
        let body = Body::Unknown { code: code::COMPACT, bytes: vec![own] };
        let op = Op::sign(&key(ADMIN), log.vault(), some, HybridTimestamp(2), body).unwrap();
        log.insert(op.encoded()).unwrap();
        let after = log.heads_for(&peer(own), &before);
        assert!(log.advances(&before, &after) && after.len() <= 64);
    }
}

#[test]
fn the_selector_knows_vault_direction_and_nonce() {
    let (log, nonce) = (new_vault(PolicyKind::Personal), [5; 16]);
    let proof = log.selector(&peer(1), &peer(2), &nonce);
    assert!(log.check_selector(&peer(1), &peer(2), &nonce, &proof));
    assert!(!log.check_selector(&peer(2), &peer(1), &nonce, &proof));
    assert!(!log.check_selector(&peer(1), &peer(2), &[6; 16], &proof));
    assert!(!new_vault(PolicyKind::Enterprise).check_selector(&peer(1), &peer(2), &nonce, &proof));
}

#[test]
fn a_credential_leads_from_whom_the_other_knows_and_no_further_than_its_limit() {
    let mut log = new_vault(PolicyKind::Personal);
    let start = log.heads();
    for to in 2..40 {
        add(&mut log, to - 1, &[], to, SyncRole::Member);
    }
    let fresh = new_vault(PolicyKind::Personal);
    let chain = log.credential_for(&peer(5), None).unwrap();
    assert_eq!(chain.len(), 4);
    assert!(fresh.check_credential(&chain, &peer(5)).is_ok());
    assert!(fresh.check_credential(&chain, &peer(4)).is_err(), "for another than the sender");
    assert!(fresh.check_credential(&chain[1..], &peer(5)).is_err(), "from a device that is not known");
    assert!(fresh.check_credential(&[&chain[..2], &chain[3..]].concat(), &peer(5)).is_err(), "with a gap");
    assert!(fresh.check_credential::<&[u8]>(&[], &peer(5)).is_err());
    assert!(log.credential_for(&peer(1), None).unwrap().is_empty());
    assert!(fresh.check_credential::<&[u8]>(&[], &peer(1)).is_ok());
    assert_eq!(log.credential_for(&peer(33), None).unwrap().len(), 32);
    assert_eq!(log.credential_for(&peer(34), None).unwrap_err().code(), ErrorCode::TooLarge);
    assert_eq!(log.credential_for(&peer(99), None).unwrap_err().code(), ErrorCode::NotAuthorized);
    // To somebody who knows device 30 and all before it the way is short.
    let mut knows = new_vault(PolicyKind::Personal);
    log.ops().skip(1).take(29).for_each(|op| assert!(knows.insert(op).is_ok()));
    let short = log.credential_for(&peer(34), Some(&knows.heads())).unwrap();
    assert_eq!(short.len(), 4);
    assert!(knows.check_credential(&short, &peer(34)).is_ok());
    let forged = grant(log.vault(), 90, &start, 91, SyncRole::Member);
    assert!(log.check_credential(&[forged.encoded()], &peer(91)).is_err());
}

fn log_of(author: u8, name: &str) -> LogName {
    LogName { entity_type: EntityType::new(name).unwrap(), id: LogId { author: peer(author), epoch: Epoch(7) } }
}

fn facts(author: u8, tip: u64, segments: &[(u64, &[Hash])]) -> LogFacts {
    LogFacts {
        log: log_of(author, "note"),
        tip,
        segments: segments.iter().map(|(first, heads)| (*first, Arc::from(*heads))).collect(),
        forked_after: None,
        bad: Vec::new(),
        named: Vec::new(),
        copies: Vec::new(),
    }
}

#[test]
fn commits_count_where_their_author_might_write_and_each_refusal_has_its_reason() {
    let mut log = new_vault(PolicyKind::Personal);
    let start = log.heads();
    add(&mut log, ADMIN, &[], 2, SyncRole::Member);
    let member = log.heads();
    add(&mut log, ADMIN, &[], 2, SyncRole::ReadOnly);
    let read_only = log.heads();
    let mut log_facts = facts(2, 100, &[(1, &start), (11, &member), (51, &read_only), (61, &[Hash([1; 32])])]);
    log_facts.bad = vec![20];
    log_facts.named = vec![(12, peer(1)), (30, peer(40)), (31, peer(2))];
    log_facts.copies = vec![(40, true), (41, false)];
    log_facts.forked_after = Some(80);
    let got = valid(&log_facts, &log);
    assert_eq!(got.counts, [11..20, 21..30, 31..40, 41..51]);
    assert_eq!(
        got.refused,
        [
            (1..11, Refusal::NotMember),
            (20..21, Refusal::Bad),
            (30..31, Refusal::Bad),
            (40..41, Refusal::StandsForCounting),
            (51..61, Refusal::MayNotWrite),
            (61..81, Refusal::HeadsMissing),
            (81..101, Refusal::Forked),
        ]
    );
    assert!(got.is_valid(11) && got.is_valid(50) && !got.is_valid(20) && !got.is_valid(51) && !got.is_valid(0));
    assert_eq!((got.refusal(81), got.refusal(11), got.refusal(101)), (Some(Refusal::Forked), None, None));
}

#[test]
fn heads_that_go_back_do_not_count_and_do_not_lower_the_bar() {
    let mut log = new_vault(PolicyKind::Personal);
    let start = log.heads();
    let one = add(&mut log, ADMIN, &[], 2, SyncRole::Member);
    let side = add(&mut log, ADMIN, &start, 3, SyncRole::Member);
    let got =
        valid(&facts(1, 50, &[(1, &[one]), (11, &start), (21, &[side]), (31, &[one.min(side), one.max(side)])]), &log);
    assert_eq!(got.counts, [1..11, 31..51]);
    assert_eq!(got.refused, [(11..31, Refusal::HeadsWentBack)]);
}

#[test]
fn in_an_enterprise_vault_only_admins_write_a_type_without_an_entry() {
    let mut log = new_vault(PolicyKind::Enterprise);
    add(&mut log, ADMIN, &[], 2, SyncRole::Member);
    let heads = log.heads();
    assert_eq!(valid(&facts(1, 5, &[(1, &heads)]), &log).refused, []);
    assert_eq!(valid(&facts(2, 5, &[(1, &heads)]), &log).refused, [(1..6, Refusal::MayNotWrite)]);
}

#[test]
fn access_entries_admit_roles_and_teams_and_several_are_a_union() {
    let mut log = new_vault(PolicyKind::Enterprise);
    for (to, role) in [(2, SyncRole::Member), (3, SyncRole::ReadOnly), (4, SyncRole::Member)] {
        add(&mut log, ADMIN, &[], to, role);
    }
    let mut view = (*log.evaluate()).clone();
    let entry = |roles: &[SyncRole], team: Option<&str>| EntityAcl {
        entity_type: "note".into(),
        allowed_roles: roles.to_vec(),
        team_id: team.map(|team| TeamId(team.into())),
    };
    let entries = vec![entry(&[SyncRole::Member], Some("blue")), entry(&[SyncRole::ReadOnly], None)];
    view.acls.insert("note".into(), vec![entries]);
    view.members.get_mut(&peer(2)).unwrap().teams.insert(TeamId("blue".into()));
    let may = |number| (view.may_read("note", &peer(number)), view.may_write("note", &peer(number)));
    assert_eq!(may(1), (true, false), "Admins read all, and write where an entry allows");
    assert_eq!(may(2), (true, true));
    assert_eq!(may(3), (true, false));
    assert_eq!(may(4), (false, false), "not of the team");
    assert_eq!(may(9), (false, false), "a stranger");
    let policy = sync_policy(Arc::new(view));
    assert!(policy.can_send("note", &peer(3)) && policy.can_receive("note", &peer(3)));
    assert!(!policy.can_send("note", &peer(4)) && !policy.can_send("task", &peer(2)));
    let pair = |by, role| policy.audit(AuditAction::Pair { by: peer(by), peer: peer(8), role });
    assert_eq!(pair(1, SyncRole::Member), AuditDecision::AllowAndRecord);
    assert_eq!(pair(2, SyncRole::Member), AuditDecision::Deny);
    let revoke = |by, of| policy.audit(AuditAction::Revoke { by: peer(by), peer: peer(of) });
    assert_eq!(
        (revoke(1, 2), revoke(2, 3), revoke(2, 2)),
        (AuditDecision::AllowAndRecord, AuditDecision::Deny, AuditDecision::AllowAndRecord)
    );
    let role = AuditAction::RoleChanged { by: peer(2), peer: peer(2), role: SyncRole::Admin };
    assert_eq!(policy.audit(role), AuditDecision::Deny);
    let send = AuditAction::Send { entity_type: "note".into(), peer: peer(4) };
    assert_eq!(policy.audit(send), AuditDecision::Deny);
}

#[test]
fn the_policy_of_a_personal_vault_lets_every_member_sync_every_type_and_no_stranger_any() {
    let mut log = new_vault(PolicyKind::Personal);
    add(&mut log, ADMIN, &[], 2, SyncRole::ReadOnly);
    let policy = sync_policy(log.evaluate());
    assert!(policy.can_send("x", &peer(2)) && policy.can_receive("x", &peer(2)));
    assert!(!policy.can_send("x", &peer(3)) && !policy.can_receive("x", &peer(3)));
    let receive = AuditAction::Receive { entity_type: "x".into(), peer: peer(3) };
    assert_eq!(policy.audit(receive), AuditDecision::Deny);
}

#[test]
fn ten_thousand_operations_are_evaluated_without_looking_at_pairs() {
    // Not timed: a quadratic evaluation would make the whole suite crawl, and the benchmark has the figure.
    let mut log = new_vault(PolicyKind::Personal);
    for number in 0..10_000_u32 {
        let mut id = [0; 32];
        id[..4].copy_from_slice(&number.to_le_bytes());
        let add = AddMember { peer: PeerId(id), role: SyncRole::Member, name: String::new() };
        log.add_member(&key(ADMIN), add, HybridTimestamp(3)).unwrap();
    }
    assert_eq!(log.evaluate().members.len(), 10_001);
    assert_eq!(log.evaluate_at(&log.heads()), Some((*log.evaluate()).clone()));
}
