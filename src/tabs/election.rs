//! Which tab runs the engine: the one that holds the lock. The browser gives the lock to the next in line when a tab
//! closes or crashes; what is decided here is when a tab that lives gives it up, or has it taken.
//!
//! A hidden page's timers are throttled, so a hidden leader hands over to a visible follower. Answers come from message
//! handlers, which are not: a leader that says nothing for [`HANDOVER_US`] hangs, and is robbed. Should it wake up, the
//! store refuses what it writes (each opening raises the writer's number).

use crate::engine::TabId;
use crate::error::{Error, Result};
use crate::types::codec::Reader;

/// How long a leader may take to answer, in microseconds.
pub const HANDOVER_US: u64 = 500_000;
/// How long a tab whose engine did not start leaves the lock to others.
const STEP_BACK_US: u64 = 1_000_000;

/// What tabs say about who leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wish {
    /// A visible follower asks to lead.
    HandOver(TabId),
    /// The leader stays.
    Stays(TabId),
    /// The leader makes room for this tab.
    Yields(TabId),
    /// The leader went out of view, or is.
    Hides(TabId),
}

/// What an election is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ElectionInput {
    /// The tab begins.
    Start,
    /// The lock is this tab's.
    Granted,
    /// The lock is somebody's, and this tab did not want to wait for it.
    Refused,
    /// The lock was taken away.
    Stolen,
    /// The page came into view, or went.
    Visible(bool),
    /// Another tab says something.
    Heard(Wish),
    /// The leader has said something, whatever it was.
    LeaderHeard,
    /// A message has no answer for [`HANDOVER_US`].
    Unanswered,
    /// The engine has stopped, after [`ElectionOutput::StopLeading`].
    Stopped,
    /// The engine did not start, after [`ElectionOutput::Lead`].
    Failed,
    /// The time that was asked for has come.
    Time,
}

/// What an election wants done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ElectionOutput {
    /// Ask for the lock if it is free.
    TryLock,
    /// Wait in line for the lock.
    QueueLock,
    /// Leave the line.
    LeaveLine,
    /// Take the lock, whoever has it.
    StealLock,
    /// Give the lock back.
    Release,
    /// Start the engine.
    Lead,
    /// Stop the engine, then say [`ElectionInput::Stopped`].
    StopLeading,
    /// Somebody else leads.
    Follow,
    /// Nobody else may open the store: it is open in another tab.
    Conflict,
    /// Tell the other tabs.
    Say(Wish),
    /// Say [`ElectionInput::Time`] then, on the monotonic clock.
    WakeAt(u64),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    New,
    /// In line for the lock.
    Following,
    /// Asked the leader to hand over; robbed at this time.
    Asking(u64),
    /// Out of line until the tab that was made room for leads, or this time.
    StandingBack(u64),
    Leading,
    /// The engine stops, to make room.
    Yielding,
}

/// One tab's view of who leads.
#[derive(Debug)]
pub struct Election {
    tab: TabId,
    /// Whether a second tab is an error.
    single: bool,
    visible: bool,
    state: State,
}

impl Election {
    /// A tab that has not begun.
    pub fn new(tab: TabId, single: bool, visible: bool) -> Self {
        Self { tab, single, visible, state: State::New }
    }

    /// Whether this tab leads.
    pub fn leads(&self) -> bool {
        self.state == State::Leading
    }

    /// Takes one input at a time on the monotonic clock, in microseconds; gives what is to be done, in order.
    pub fn handle(&mut self, now: u64, input: ElectionInput) -> Vec<ElectionOutput> {
        use ElectionOutput::*;
        match (self.state, input) {
            (State::New, ElectionInput::Start) => vec![TryLock],
            (State::New, ElectionInput::Refused) if self.single => vec![Conflict],
            (State::New, ElectionInput::Refused) => {
                self.state = State::Following;
                let mut out = vec![Follow, QueueLock];
                out.extend(self.ask(now));
                out
            }
            (State::Leading | State::Yielding, ElectionInput::Granted) => Vec::new(),
            (_, ElectionInput::Granted) => {
                self.state = State::Leading;
                // One in view may have waited behind it.
                if self.visible { vec![Lead] } else { vec![Lead, Say(Wish::Hides(self.tab))] }
            }
            (State::Leading | State::Yielding, ElectionInput::Stolen) => {
                self.state = State::Following;
                vec![StopLeading, Follow, QueueLock]
            }
            (State::Leading, ElectionInput::Heard(Wish::HandOver(_))) if self.visible => {
                vec![Say(Wish::Stays(self.tab))]
            }
            (State::Leading, ElectionInput::Heard(Wish::HandOver(to))) => {
                self.state = State::Yielding;
                vec![Say(Wish::Yields(to)), StopLeading]
            }
            (State::Leading, ElectionInput::Failed) => {
                // Another tab may fare better.
                self.state = State::StandingBack(now + STEP_BACK_US);
                vec![Release, Follow, WakeAt(now + STEP_BACK_US)]
            }
            (State::Leading, ElectionInput::Visible(false)) => {
                self.visible = false;
                vec![Say(Wish::Hides(self.tab))]
            }
            (State::Yielding, ElectionInput::Stopped) => {
                // The one that was made room for is in line; this one goes behind it.
                self.state = State::Following;
                vec![Release, Follow, QueueLock]
            }
            (State::Following, ElectionInput::Visible(true)) => {
                self.visible = true;
                self.ask(now)
            }
            (State::Following, ElectionInput::Unanswered) => self.ask(now),
            // Also where one was asked already: that may have been the leader before.
            (State::Following | State::Asking(_), ElectionInput::Heard(Wish::Hides(_))) => self.ask(now),
            (_, ElectionInput::Visible(visible)) => {
                self.visible = visible;
                Vec::new()
            }
            (State::Asking(_), ElectionInput::Heard(Wish::Stays(_)) | ElectionInput::LeaderHeard) => {
                self.state = State::Following;
                Vec::new()
            }
            (State::Asking(_), ElectionInput::Heard(Wish::Yields(to))) if to == self.tab => {
                // The lock comes when the engine has stopped; should that hang too, it is taken.
                self.state = State::Asking(now + 4 * HANDOVER_US);
                vec![WakeAt(now + 4 * HANDOVER_US)]
            }
            (State::Following | State::Asking(_), ElectionInput::Heard(Wish::Yields(to))) if to != self.tab => {
                self.state = State::StandingBack(now + 4 * HANDOVER_US);
                vec![LeaveLine, WakeAt(now + 4 * HANDOVER_US)]
            }
            (State::StandingBack(_), ElectionInput::LeaderHeard) => {
                self.state = State::Following;
                vec![QueueLock]
            }
            (State::StandingBack(until), ElectionInput::Time) if until <= now => {
                self.state = State::Following;
                vec![QueueLock]
            }
            (State::Asking(until), ElectionInput::Time) if until <= now => {
                self.state = State::Following;
                vec![LeaveLine, StealLock]
            }
            (State::Asking(until) | State::StandingBack(until), ElectionInput::Time) => vec![WakeAt(until)],
            _ => Vec::new(),
        }
    }

    fn ask(&mut self, now: u64) -> Vec<ElectionOutput> {
        if !self.visible {
            return Vec::new();
        }
        self.state = State::Asking(now + HANDOVER_US);
        vec![ElectionOutput::Say(Wish::HandOver(self.tab)), ElectionOutput::WakeAt(now + HANDOVER_US)]
    }
}

impl Wish {
    /// Its bytes.
    pub fn encode(self) -> Vec<u8> {
        let (kind, tab) = match self {
            Wish::HandOver(tab) => (0, tab),
            Wish::Stays(tab) => (1, tab),
            Wish::Yields(tab) => (2, tab),
            Wish::Hides(tab) => (3, tab),
        };
        [&[kind][..], &tab.0.to_le_bytes()].concat()
    }

    /// Reads [`Wish::encode`].
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let (kind, tab) = (reader.byte()?, TabId(u64::from_le_bytes(reader.array()?)));
        match kind {
            0 => Ok(Wish::HandOver(tab)),
            1 => Ok(Wish::Stays(tab)),
            2 => Ok(Wish::Yields(tab)),
            3 => Ok(Wish::Hides(tab)),
            _ => Err(Error::protocol("a wish that this version does not know")),
        }
    }
}

#[cfg(test)]
mod tests {
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
        assert_eq!(next.handle(12, In::Granted), [Out::Lead]);
        assert_eq!(leader(true).handle(11, In::Heard(Wish::HandOver(B))), [Out::Say(Wish::Stays(A))]);
    }

    #[test]
    fn a_leader_that_answers_nothing_is_robbed_after_half_a_second_and_steps_down() {
        let mut next = follower(B, true);
        next.handle(10, In::Unanswered);
        assert_eq!(next.handle(10 + HANDOVER_US - 1, In::Time), [Out::WakeAt(10 + HANDOVER_US)]);
        assert_eq!(next.handle(10 + HANDOVER_US, In::Time), [Out::LeaveLine, Out::StealLock]);
        assert_eq!(next.handle(20 + HANDOVER_US, In::Granted), [Out::Lead]);
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
        assert_eq!(next.handle(23, In::Granted), [Out::Lead]);
    }

    #[test]
    fn a_tab_whose_engine_does_not_start_leaves_the_lock_to_others_and_tries_again() {
        let mut tab = leader(true);
        let until = 10 + STEP_BACK_US;
        assert_eq!(tab.handle(10, In::Failed), [Out::Release, Out::Follow, Out::WakeAt(until)]);
        assert_eq!(tab.handle(11, In::Heard(Wish::HandOver(B))), [], "it does not speak for a leader");
        assert_eq!(tab.handle(until, In::Time), [Out::QueueLock]);
        assert_eq!(tab.handle(until + 1, In::Granted), [Out::Lead]);
    }

    #[test]
    fn wishes_survive_their_bytes() {
        for wish in [Wish::HandOver(A), Wish::Stays(B), Wish::Yields(C), Wish::Hides(A)] {
            assert_eq!(Wish::decode(&wish.encode()).unwrap(), wish);
        }
        assert!(Wish::decode(&[9; 9]).is_err() && Wish::decode(&[]).is_err());
    }
}
