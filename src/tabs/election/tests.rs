use super::ElectionInput as In;
use super::ElectionOutput as Out;
use super::*;
use crate::test;

const A: TabId = TabId(1);
const B: TabId = TabId(2);
const C: TabId = TabId(3);

fn leader(visible: bool) -> Election {
    let mut tab = Election::new(A, false, visible);
    assert_eq!(tab.handle(0, In::Start), [Out::TryLock]);
    assert_eq!(tab.handle(0, In::Granted)[0], Out::Lead);
    tab
}

fn follower(id: TabId, visible: bool) -> Election {
    let mut tab = Election::new(id, false, visible);
    tab.handle(0, In::Start);
    tab.handle(0, In::Refused);
    tab.handle(0, In::LeaderHeard);
    tab
}

#[test]
fn the_first_tab_leads_and_the_second_waits_in_line_or_is_refused() {
    leader(true);
    let mut second = Election::new(B, false, false);
    second.handle(0, In::Start);
    assert_eq!(second.handle(0, In::Refused), [Out::Follow, Out::QueueLock]);
    let granted = second.handle(9, In::Granted);
    assert_eq!(granted, [Out::Lead, Out::Say(Wish::Hides(B))], "the first has closed; a third may be in view");
    let mut single = Election::new(B, true, true);
    single.handle(0, In::Start);
    assert_eq!(single.handle(0, In::Refused), [Out::Conflict]);
}

#[test]
fn a_hidden_leader_makes_room_for_a_visible_follower_and_a_visible_one_stays() {
    let mut hidden = leader(false);
    let mut next = follower(B, false);
    let asked = next.handle(10, In::Visible(true));
    assert_eq!(asked, [Out::Say(Wish::HandOver(B)), Out::WakeAt(10 + HANDOVER_US)]);
    assert_eq!(hidden.handle(11, In::Heard(Wish::HandOver(B))), [Out::Say(Wish::Yields(B)), Out::StopLeading]);
    assert_eq!(hidden.handle(12, In::Stopped), [Out::Release, Out::Follow, Out::QueueLock]);
    let mut third = follower(C, false);
    assert_eq!(third.handle(11, In::Heard(Wish::Yields(B)))[0], Out::LeaveLine);
    assert_eq!(third.handle(13, In::LeaderHeard), [Out::QueueLock]);
    next.handle(11, In::Heard(Wish::Yields(B)));
    assert_eq!(next.handle(12, In::Granted), [Out::Lead, Out::Say(Wish::Stays(B))]);
    assert_eq!(leader(true).handle(11, In::Heard(Wish::HandOver(B))), [Out::Say(Wish::Stays(A))]);
}

#[test]
fn a_leader_that_answers_nothing_is_robbed_after_half_a_second_and_steps_down() {
    let mut next = follower(B, true);
    next.handle(10, In::Unanswered);
    assert_eq!(next.handle(10 + HANDOVER_US - 1, In::Time), [Out::WakeAt(10 + HANDOVER_US)]);
    assert_eq!(next.handle(10 + HANDOVER_US, In::Time), [Out::LeaveLine, Out::StealLock]);
    assert_eq!(next.handle(20 + HANDOVER_US, In::Granted)[0], Out::Lead);
    let robbed = leader(false).handle(20 + HANDOVER_US, In::Stolen);
    assert_eq!(robbed, [Out::StopLeading, Out::Follow, Out::QueueLock]);
}

#[test]
fn a_leader_that_answers_is_not_robbed_and_a_hidden_follower_asks_for_nothing() {
    let mut next = follower(B, true);
    next.handle(10, In::Unanswered);
    next.handle(11, In::Heard(Wish::Stays(A)));
    assert_eq!(next.handle(10 + HANDOVER_US, In::Time), []);
    assert_eq!(follower(C, false).handle(10, In::Unanswered), []);
}

#[test]
fn a_leader_that_goes_out_of_view_is_asked_by_those_that_stay_in_view() {
    let mut hidden = leader(true);
    assert_eq!(hidden.handle(10, In::Visible(false)), [Out::Say(Wish::Hides(A))]);
    assert_eq!(follower(C, false).handle(11, In::Heard(Wish::Hides(A))), []);
    let asked = follower(B, true).handle(11, In::Heard(Wish::Hides(A)));
    assert_eq!(asked[0], Out::Say(Wish::HandOver(B)));
    assert_eq!(hidden.handle(12, In::Heard(Wish::HandOver(B)))[0], Out::Say(Wish::Yields(B)));
}

#[test]
fn one_that_asked_a_leader_that_was_about_to_close_asks_the_next() {
    let mut next = follower(B, true);
    next.handle(10, In::Heard(Wish::Hides(A)));
    // The lock went to a hidden tab that was in line before it.
    let asked = next.handle(20, In::Heard(Wish::Hides(C)));
    assert_eq!(asked, [Out::Say(Wish::HandOver(B)), Out::WakeAt(20 + HANDOVER_US)]);
    next.handle(21, In::LeaderHeard);
    next.handle(22, In::Heard(Wish::Yields(B)));
    assert_eq!(next.handle(23, In::Granted)[0], Out::Lead);
}

#[test]
fn a_tab_whose_engine_does_not_start_leaves_the_lock_to_others_and_tries_again() {
    let mut tab = leader(true);
    let until = 10 + STEP_BACK_US;
    assert_eq!(tab.handle(10, In::Failed), [Out::Release, Out::Follow, Out::WakeAt(until)]);
    assert_eq!(tab.handle(11, In::Heard(Wish::HandOver(B))), [], "it does not speak for a leader");
    assert_eq!(tab.handle(until, In::Time), [Out::QueueLock]);
    assert_eq!(tab.handle(until + 1, In::Granted)[0], Out::Lead);
}

#[test]
fn one_that_asked_and_went_out_of_view_robs_nobody() {
    let mut next = follower(B, true);
    next.handle(10, In::Unanswered);
    assert_eq!(next.handle(11, In::Visible(false)), []);
    assert_eq!(next.handle(10 + HANDOVER_US, In::Time), []);
}

#[test]
fn one_that_asked_and_hung_itself_asks_again_before_it_robs() {
    let mut next = follower(B, true);
    next.handle(10, In::Unanswered);
    let late = 10 + 2 * HANDOVER_US;
    assert_eq!(next.handle(late, In::Time), [Out::Say(Wish::HandOver(B)), Out::WakeAt(late + HANDOVER_US)]);
    next.handle(late, In::Heard(Wish::Stays(A)));
    assert_eq!(next.handle(late + HANDOVER_US, In::Time), []);
}

#[test]
fn one_that_makes_room_says_so_to_whoever_else_asks() {
    let mut hidden = leader(false);
    hidden.handle(10, In::Heard(Wish::HandOver(B)));
    assert_eq!(hidden.handle(11, In::Heard(Wish::HandOver(C))), [Out::Say(Wish::Yields(B))]);
}

#[test]
fn one_that_stood_back_asks_as_soon_as_it_is_seen_or_hears_of_a_hidden_leader() {
    for heard in [In::Visible(true), In::Heard(Wish::Hides(A))] {
        let mut third = follower(C, true);
        if heard == In::Visible(true) {
            third.handle(9, In::Visible(false));
        }
        assert_eq!(third.handle(10, In::Heard(Wish::Yields(B)))[0], Out::LeaveLine);
        assert_eq!(third.handle(11, heard)[..2], [Out::QueueLock, Out::Say(Wish::HandOver(C))]);
    }
}

#[test]
fn one_in_view_that_was_robbed_asks_whoever_leads_now() {
    let robbed = leader(true).handle(10, In::Stolen);
    assert_eq!(robbed[..4], [Out::StopLeading, Out::Follow, Out::QueueLock, Out::Say(Wish::HandOver(A))]);
}

#[test]
fn wishes_survive_their_bytes() {
    for wish in [Wish::HandOver(A), Wish::Stays(B), Wish::Yields(C), Wish::Hides(A)] {
        assert_eq!(Wish::decode(&wish.encode()).unwrap(), wish);
    }
    assert!(Wish::decode(&[9; 9]).is_err() && Wish::decode(&[]).is_err());
}
