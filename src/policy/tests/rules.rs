//! The rules one by one.

use crate::test;

use super::*;

/// Signs and inserts an operation after `parents` (none: after all), whatever its author's right.
fn put(log: &mut Membership, by: u8, parents: &[Hash], body: Body) -> Hash {
    let heads = if parents.is_empty() { log.heads() } else { parents.to_vec() };
    let op = Op::sign(&key(by), log.vault(), heads, HybridTimestamp(3), body).unwrap();
    assert_eq!(log.insert(op.encoded()).unwrap(), Inserted::New(op.hash()));
    op.hash()
}

fn remove(of: u8, cuts: Cuts) -> Body {
    Body::Remove(Remove { peer: peer(of), cuts })
}

fn set_role(of: u8, role: SyncRole, cuts: Cuts) -> Body {
    Body::SetRole(SetRole { peer: peer(of), role, cuts })
}

fn set_teams(of: u8, teams: &[&str], cuts: Cuts) -> Body {
    let teams = teams.iter().map(|team| TeamId((*team).into())).collect();
    Body::SetTeams(SetTeams { peer: peer(of), teams, cuts })
}

/// `note` for members of these teams; Admins and Members.
fn set_acl(teams: &[&str], cuts: Cuts) -> Body {
    let entries = teams.iter().map(|team| EntityAcl {
        entity_type: "note".into(),
        allowed_roles: vec![SyncRole::Admin, SyncRole::Member],
        team_id: Some(TeamId((*team).into())),
    });
    Body::SetAcl(SetAcl { entity_type: EntityType::new("note").unwrap(), entries: entries.collect(), cuts })
}

fn cut(author: u8, seq: u64) -> Cuts {
    Cuts::from([(log_of(author, "note"), Cut { seq, hash: Hash([1; 32]) })])
}

/// First and last of ten commits at these heads that count.
fn counts(log: &Membership, author: u8, heads: &[Hash]) -> Vec<(u64, u64)> {
    valid(&facts(author, 10, &[(1, heads)]), log).counts.iter().map(|range| (range.start, range.end - 1)).collect()
}

#[test]
fn a_removed_device_is_no_member_until_somebody_who_knows_adds_it_again() {
    let mut log = new_vault(PolicyKind::Personal);
    add(&mut log, ADMIN, &[], 2, SyncRole::Admin);
    let start = add(&mut log, ADMIN, &[], 3, SyncRole::Member);
    let removal = put(&mut log, ADMIN, &[], remove(3, Cuts::new()));
    assert_eq!(role(&log, 3), None);
    add(&mut log, 2, &[start], 3, SyncRole::Member);
    assert_eq!(role(&log, 3), None, "an Add that does not know the removal");
    add(&mut log, 2, &[removal], 3, SyncRole::ReadOnly);
    assert_eq!(role(&log, 3), Some(SyncRole::ReadOnly));
}

#[test]
fn two_admins_who_remove_each_other_are_both_out_and_the_root_settles_it() {
    let mut log = new_vault(PolicyKind::Personal);
    let start = add(&mut log, ADMIN, &[], 2, SyncRole::Admin);
    let one = put(&mut log, ADMIN, &[start], remove(2, Cuts::new()));
    put(&mut log, 2, &[start], remove(ADMIN, Cuts::new()));
    assert_eq!((role(&log, 1), role(&log, 2)), (None, None));
    put(&mut log, ROOT, &[], Body::RootVoid(RootVoid { ops: [one].into() }));
    assert_eq!((role(&log, 1), role(&log, 2)), (None, Some(SyncRole::Admin)));
    add(&mut log, ROOT, &[], 1, SyncRole::Member);
    assert_eq!(role(&log, 1), Some(SyncRole::Member));
}

#[test]
fn what_a_removed_admin_does_behind_its_removal_is_void_and_what_that_led_to_as_well() {
    let mut log = new_vault(PolicyKind::Personal);
    let start = add(&mut log, ADMIN, &[], 2, SyncRole::Admin);
    // Back-dated: as if it did not know that it is removed.
    let friend = add(&mut log, 2, &[start], 3, SyncRole::Admin);
    let friends = add(&mut log, 3, &[friend], 4, SyncRole::Admin);
    assert_eq!(role(&log, 4), Some(SyncRole::Admin));
    put(&mut log, ADMIN, &[start], remove(2, Cuts::new()));
    assert_eq!([2, 3, 4].map(|number| role(&log, number)), [None; 3]);
    // Nor can it come back through them.
    add(&mut log, 4, &[friends], 2, SyncRole::Admin);
    assert_eq!(role(&log, 2), None);
}

#[test]
fn a_demotion_beside_a_grant_leaves_read_only() {
    let mut log = new_vault(PolicyKind::Personal);
    add(&mut log, ADMIN, &[], 2, SyncRole::Admin);
    let start = add(&mut log, ADMIN, &[], 3, SyncRole::Admin);
    let down = put(&mut log, ADMIN, &[start], set_role(3, SyncRole::Member, Cuts::new()));
    assert_eq!(role(&log, 3), Some(SyncRole::Member));
    let grant = add(&mut log, 2, &[start], 3, SyncRole::Admin);
    assert_eq!(role(&log, 3), Some(SyncRole::ReadOnly));
    put(&mut log, 2, &[down.min(grant), down.max(grant)], set_role(3, SyncRole::Member, Cuts::new()));
    assert_eq!(role(&log, 3), Some(SyncRole::Member), "a later one settles it");
}

#[test]
fn members_set_their_own_name_leave_and_ask_and_nothing_else() {
    let mut log = new_vault(PolicyKind::Personal);
    add(&mut log, ADMIN, &[], 2, SyncRole::ReadOnly);
    add(&mut log, ADMIN, &[], 3, SyncRole::Member);
    let name = |of, name: &str| Body::SetName(SetName { peer: peer(of), name: name.into() });
    let may = |log: &Membership, by: u8, body| log.check(&peer(by), &body).is_ok();
    assert!(may(&log, 2, name(2, "phone")) && !may(&log, 2, name(3, "phone")) && may(&log, ADMIN, name(3, "phone")));
    let range = LogRange { log: log_of(3, "note"), from: 1, to: 2, hash: Hash([1; 32]) };
    assert!(may(&log, 2, Body::RaiseCut(range.clone())) && !may(&log, 3, Body::AcceptRange(range)));
    for body in [
        set_role(2, SyncRole::Admin, Cuts::new()),
        set_role(3, SyncRole::Admin, Cuts::new()),
        set_teams(3, &["blue"], Cuts::new()),
        set_acl(&["blue"], Cuts::new()),
        remove(2, Cuts::new()),
        Body::SetPolicy(SetPolicy { policy: PolicyKind::Enterprise, cuts: Cuts::new() }),
        Body::SetKey(SetKey { name: Hash([1; 32]), sealed: Default::default() }),
        Body::RootVoid(RootVoid { ops: log.heads().into_iter().collect() }),
    ] {
        assert!(!may(&log, 3, body.clone()), "{body:?}");
        let before = log.evaluate();
        put(&mut log, 3, &[], body);
        assert_eq!(log.evaluate(), before, "a Member's own");
    }
    put(&mut log, 2, &[], name(2, "phone"));
    assert_eq!(log.evaluate().members[&peer(2)].name, "phone");
    put(&mut log, 2, &[], Body::Leave { cuts: Cuts::new() });
    assert_eq!(role(&log, 2), None);
}

#[test]
fn concurrent_teams_and_access_lists_intersect_and_a_removal_takes_the_teams_along() {
    let mut log = new_vault(PolicyKind::Enterprise);
    add(&mut log, ADMIN, &[], 2, SyncRole::Admin);
    let start = add(&mut log, ADMIN, &[], 3, SyncRole::Member);
    let one = put(&mut log, ADMIN, &[start], set_teams(3, &["blue", "red"], Cuts::new()));
    put(&mut log, 2, &[start], set_teams(3, &["red", "green"], Cuts::new()));
    let teams =
        |log: &Membership| log.evaluate().members[&peer(3)].teams.iter().map(|team| team.0.clone()).collect::<Vec<_>>();
    assert_eq!(teams(&log), ["red"]);
    put(&mut log, ADMIN, &[one], set_acl(&["red", "blue"], Cuts::new()));
    assert!(log.evaluate().may_write("note", &peer(3)));
    put(&mut log, 2, &[start], set_acl(&["blue"], Cuts::new()));
    assert!(!log.evaluate().may_read("note", &peer(3)), "only the red team's list admits it");
    put(&mut log, ADMIN, &[], remove(3, Cuts::new()));
    add(&mut log, ADMIN, &[], 3, SyncRole::Member);
    assert!(teams(&log).is_empty());
}

#[test]
fn a_removal_cuts_what_it_names_there_and_all_else_at_nothing() {
    let mut log = new_vault(PolicyKind::Personal);
    let start = add(&mut log, ADMIN, &[], 2, SyncRole::Member);
    assert_eq!(counts(&log, 2, &[start]), [(1, 10)]);
    let removal = put(&mut log, ADMIN, &[], remove(2, cut(2, 4)));
    assert_eq!(counts(&log, 2, &[start]), [(1, 4)]);
    let got = valid(&facts(2, 10, &[(1, &[start])]), &log);
    assert_eq!(got.refused, [(5..11, Refusal::BeyondCut)]);
    let mut other = facts(2, 10, &[(1, &[start])]);
    other.log.id.epoch = Epoch(8);
    assert!(valid(&other, &log).counts.is_empty(), "a log that is not named");
    assert_eq!(valid(&facts(2, 10, &[(1, &[removal])]), &log).refused, [(1..11, Refusal::NotMember)]);
    // Adding it again does not bring back what it wrote without a right to.
    let again = add(&mut log, ADMIN, &[], 2, SyncRole::Member);
    assert_eq!(valid(&facts(2, 20, &[(1, &[start]), (11, &[again])]), &log).counts, [1..5, 11..21]);
}

#[test]
fn of_concurrent_cuts_the_lower_holds_and_an_admin_raises_it_by_accepting() {
    let mut log = new_vault(PolicyKind::Personal);
    add(&mut log, ADMIN, &[], 2, SyncRole::Admin);
    let start = add(&mut log, ADMIN, &[], 3, SyncRole::Member);
    put(&mut log, ADMIN, &[start], remove(3, cut(3, 6)));
    put(&mut log, 2, &[start], remove(3, cut(3, 4)));
    assert_eq!(counts(&log, 3, &[start]), [(1, 4)]);
    let range = |from, to| LogRange { log: log_of(3, "note"), from, to, hash: Hash([2; 32]) };
    put(&mut log, 2, &[], Body::RaiseCut(range(5, 10)));
    assert_eq!(counts(&log, 3, &[start]), [(1, 4)], "a request has no effect");
    put(&mut log, 2, &[start], Body::AcceptRange(range(5, 10)));
    assert_eq!(counts(&log, 3, &[start]), [(1, 4)], "nor has what does not know the removals");
    put(&mut log, 2, &[], Body::AcceptRange(range(7, 8)));
    assert_eq!(counts(&log, 3, &[start]), [(1, 4), (7, 8)]);
}

#[test]
fn a_narrowed_list_cuts_only_those_who_lose_the_type() {
    let mut log = new_vault(PolicyKind::Enterprise);
    add(&mut log, ADMIN, &[], 2, SyncRole::Member);
    add(&mut log, ADMIN, &[], 3, SyncRole::Member);
    put(&mut log, ADMIN, &[], set_teams(2, &["blue"], Cuts::new()));
    put(&mut log, ADMIN, &[], set_teams(3, &["red"], Cuts::new()));
    let wide = put(&mut log, ADMIN, &[], set_acl(&["blue", "red"], Cuts::new()));
    put(&mut log, ADMIN, &[], set_acl(&["blue"], cut(3, 2)));
    assert_eq!(counts(&log, 2, &[wide]), [(1, 10)]);
    assert_eq!(counts(&log, 3, &[wide]), [(1, 2)]);
}

#[test]
fn what_only_two_restrictions_together_take_is_cut_by_both() {
    let mut log = new_vault(PolicyKind::Enterprise);
    add(&mut log, ADMIN, &[], 2, SyncRole::Admin);
    add(&mut log, ADMIN, &[], 3, SyncRole::Member);
    put(&mut log, ADMIN, &[], set_teams(3, &["blue", "red"], Cuts::new()));
    let start = put(&mut log, ADMIN, &[], set_acl(&["blue", "red"], Cuts::new()));
    put(&mut log, ADMIN, &[start], set_acl(&["blue"], cut(3, 7)));
    assert_eq!(counts(&log, 3, &[start]), [(1, 10)], "it is in the blue team");
    put(&mut log, 2, &[start], set_teams(3, &["red"], cut(3, 5)));
    assert_eq!(counts(&log, 3, &[start]), [(1, 5)]);
}

#[test]
fn the_vault_key_is_that_of_the_lowest_hash_among_the_latest() {
    let mut log = new_vault(PolicyKind::Personal);
    let start = add(&mut log, ADMIN, &[], 2, SyncRole::Admin);
    assert_eq!(log.key_name(), None);
    let set = |name| Body::SetKey(SetKey { name: Hash([name; 32]), sealed: [(peer(2), vec![name])].into() });
    let one = put(&mut log, ADMIN, &[start], set(1));
    let two = put(&mut log, 2, &[start], set(2));
    assert_eq!(log.key_name(), Some(Hash([if one < two { 1 } else { 2 }; 32])));
    assert_eq!(log.sealed_key(&Hash([1; 32]), &peer(2)), Some(&[1][..]));
    put(&mut log, 2, &[], set(3));
    assert_eq!(log.key_name(), Some(Hash([3; 32])));
    assert_eq!(log.sealed_key(&Hash([1; 32]), &peer(2)), Some(&[1][..]), "all are kept");
}

#[test]
fn ten_thousand_operations_of_all_kinds_are_evaluated_without_looking_at_pairs() {
    // Not timed: the benchmark has the figure.
    let mut log = new_vault(PolicyKind::Enterprise);
    for number in 0..2_000_u16 {
        let mut id = [0; 32];
        id[..2].copy_from_slice(&number.to_le_bytes());
        let at = HybridTimestamp(u64::from(number));
        let add = AddMember { peer: PeerId(id), role: SyncRole::Member, name: String::new() };
        log.make(&key(ADMIN), Body::AddMember(add), at).unwrap();
        log.make(&key(ADMIN), set_acl(&["blue"], Cuts::new()), at).unwrap();
        log.make(&key(ADMIN), set_teams(ADMIN, &["blue"], Cuts::new()), at).unwrap();
        if number % 4 == 0 {
            log.make(&key(ADMIN), Body::Remove(Remove { peer: PeerId(id), cuts: Cuts::new() }), at).unwrap();
        }
    }
    assert_eq!(log.evaluate().members.len(), 1_501);
}
