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
    /// The engine stops, to make room for this tab.
    Yielding(TabId),
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
                let mut out = vec![Follow];
                out.extend(self.line_up(now));
                out
            }
            (State::Leading | State::Yielding(_), ElectionInput::Granted) => Vec::new(),
            (_, ElectionInput::Granted) => {
                self.state = State::Leading;
                // Those that asked the leader before hear it from this one: that it is there, or that it makes room.
                let wish = if self.visible { Wish::Stays } else { Wish::Hides };
                vec![Lead, Say(wish(self.tab))]
            }
            (State::Leading | State::Yielding(_), ElectionInput::Stolen) => {
                let mut out = vec![StopLeading, Follow];
                out.extend(self.line_up(now));
                out
            }
            (State::Leading, ElectionInput::Heard(Wish::HandOver(_))) if self.visible => {
                vec![Say(Wish::Stays(self.tab))]
            }
            (State::Leading, ElectionInput::Heard(Wish::HandOver(to))) => {
                self.state = State::Yielding(to);
                vec![Say(Wish::Yields(to)), StopLeading]
            }
            (State::Yielding(to), ElectionInput::Heard(Wish::HandOver(_))) => vec![Say(Wish::Yields(to))],
            (State::Leading, ElectionInput::Failed) => {
                // Another tab may fare better.
                self.state = State::StandingBack(now + STEP_BACK_US);
                vec![Release, Follow, WakeAt(now + STEP_BACK_US)]
            }
            (State::Leading, ElectionInput::Visible(false)) => {
                self.visible = false;
                vec![Say(Wish::Hides(self.tab))]
            }
            (State::Yielding(_), ElectionInput::Stopped) => {
                // The one that was made room for is in line; this one goes behind it.
                self.state = State::Following;
                vec![Release, Follow, QueueLock]
            }
            (State::Following, ElectionInput::Visible(true)) => {
                self.visible = true;
                self.ask(now)
            }
            (State::Asking(_), ElectionInput::Visible(false)) => {
                // Who is not seen robs nobody.
                (self.state, self.visible) = (State::Following, false);
                Vec::new()
            }
            (State::Following, ElectionInput::Unanswered) => self.ask(now),
            // Also where one was asked already: that may have been the leader before.
            (State::Following | State::Asking(_), ElectionInput::Heard(Wish::Hides(_))) => self.ask(now),
            (State::StandingBack(_), ElectionInput::Visible(true)) => {
                self.visible = true;
                self.line_up(now)
            }
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
            (State::StandingBack(_), ElectionInput::LeaderHeard | ElectionInput::Heard(Wish::Stays(_))) => {
                self.state = State::Following;
                vec![QueueLock]
            }
            (State::StandingBack(_), ElectionInput::Heard(Wish::Hides(_))) => self.line_up(now),
            (State::StandingBack(until), ElectionInput::Time) if until <= now => {
                self.state = State::Following;
                vec![QueueLock]
            }
            // This page hung itself: what the leader answered may lie unread.
            (State::Asking(until), ElectionInput::Time) if until + HANDOVER_US <= now => self.ask(now),
            (State::Asking(until), ElectionInput::Time) if until <= now => {
                self.state = State::Following;
                vec![LeaveLine, StealLock]
            }
            (State::Asking(until) | State::StandingBack(until), ElectionInput::Time) => vec![WakeAt(until)],
            _ => Vec::new(),
        }
    }

    /// Into the line, and in view past it.
    fn line_up(&mut self, now: u64) -> Vec<ElectionOutput> {
        self.state = State::Following;
        let mut out = vec![ElectionOutput::QueueLock];
        out.extend(self.ask(now));
        out
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
mod tests;
#[cfg(test)]
mod world;
