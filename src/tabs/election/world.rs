//! Tabs that open, close, crash, hang, go out of view and come back, in a browser with one lock and one channel, all
//! simulated: in the end one of them leads, one in view if there is one, and the others are in line.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::ElectionInput as In;
use super::ElectionOutput as Out;
use super::*;
use crate::test;
use crate::types::SortedMap;

const MS: u64 = 1_000;
/// How often a tab looks whether it waits too long, as in a page.
const TICK: u64 = 250 * MS;
/// After all that happens: longer than any wait of an election.
const CALM: u64 = 20_000 * MS;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Act {
    Open,
    /// As a browser does it: the page goes out of view, then its lock is free.
    Close(usize),
    /// Its lock is free, without a word.
    Crash(usize),
    Show(usize),
    Hide(usize),
    /// It hears nothing for this long, in milliseconds.
    Hang(usize, u64),
}

/// What comes to a tab, at its time.
#[derive(Clone, Copy, Debug)]
enum Event {
    Input(In),
    /// About a lock that was asked for under this number.
    Lock(u64, In),
    /// Somebody asks whoever leads to answer.
    Hello,
    /// The engine's start, under this number.
    Started(u64),
    Tick,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Engine {
    Off,
    Starting,
    Running,
}

struct Tab {
    election: Election,
    visible: bool,
    hangs_until: u64,
    engine: Engine,
    starts: u64,
    /// Raised when the lock or the line is left: what is said of those before does not count.
    lock: u64,
    /// Since when it has had no word of a leader.
    waits: Option<u64>,
    events: SortedMap<(u64, u64), Event>,
}

struct World {
    now: u64,
    numbers: u64,
    order: u64,
    tabs: Vec<Option<Tab>>,
    /// Who has the lock, under which number, and when it hears so.
    holder: Option<(usize, u64, u64)>,
    line: VecDeque<(usize, u64)>,
    stolen: usize,
    /// How long a start may take, in milliseconds.
    slowest_start: u64,
    /// Whether one start in ten fails.
    fails: bool,
}

impl World {
    fn new(seed: u64, slowest_start: u64, fails: bool) -> Self {
        let (tabs, line) = (Vec::new(), VecDeque::new());
        Self { now: 0, numbers: seed, order: 0, tabs, holder: None, line, stolen: 0, slowest_start, fails }
    }

    fn between(&mut self, from: u64, to: u64) -> u64 {
        self.numbers = self.numbers.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        from + (self.numbers >> 33) % (to - from + 1)
    }

    /// Puts an event before a tab, after all that it was told to hear by then.
    fn tell(&mut self, tab: usize, after: u64, event: Event) {
        self.order += 1;
        let key = (self.now + after, self.order);
        if let Some(tab) = &mut self.tabs[tab] {
            tab.events.insert(key, event);
        }
    }

    fn tell_all_but(&mut self, one: usize, event: Event) {
        for tab in (0..self.tabs.len()).filter(|tab| *tab != one) {
            // One channel: what two say is heard in the order in which they said it.
            self.tell(tab, MS, event);
        }
    }

    fn act(&mut self, act: Act) {
        let of = |world: &Self, tab: usize| {
            let alive: Vec<usize> = (0..world.tabs.len()).filter(|tab| world.tabs[*tab].is_some()).collect();
            (!alive.is_empty()).then(|| alive[tab % alive.len()])
        };
        match act {
            Act::Open => {
                let visible = self.between(0, 2) > 0;
                let id = self.tabs.len();
                self.tabs.push(Some(Tab {
                    election: Election::new(TabId(id as u64), false, visible),
                    visible,
                    hangs_until: 0,
                    engine: Engine::Off,
                    starts: 0,
                    lock: 0,
                    waits: None,
                    events: SortedMap::new(),
                }));
                self.tell(id, 0, Event::Input(In::Start));
                self.tell(id, TICK, Event::Tick);
            }
            Act::Close(tab) => {
                if let Some(tab) = of(self, tab) {
                    if self.tabs[tab].as_ref().is_some_and(|tab| tab.hangs_until <= self.now) {
                        self.input(tab, In::Visible(false));
                    }
                    self.gone(tab);
                }
            }
            Act::Crash(tab) => drop(of(self, tab).map(|tab| self.gone(tab))),
            Act::Show(tab) | Act::Hide(tab) => {
                let visible = matches!(act, Act::Show(_));
                if let Some(at) = of(self, tab)
                    && let Some(tab) = self.tabs[at].as_mut().filter(|tab| tab.visible != visible)
                {
                    tab.visible = visible;
                    self.tell(at, 0, Event::Input(In::Visible(visible)));
                }
            }
            Act::Hang(tab, ms) => {
                let until = self.now + ms * MS;
                if let Some(tab) = of(self, tab).and_then(|tab| self.tabs[tab].as_mut()) {
                    tab.hangs_until = until;
                }
            }
        }
    }

    fn gone(&mut self, tab: usize) {
        self.tabs[tab] = None;
        self.line.retain(|(waits, _)| *waits != tab);
        if self.holder.is_some_and(|(holder, ..)| holder == tab) {
            self.holder = None;
            self.next_in_line();
        }
    }

    fn next_in_line(&mut self) {
        if self.holder.is_none()
            && let Some((tab, number)) = self.line.pop_front()
        {
            let after = self.between(0, 3) * MS;
            self.holder = Some((tab, number, self.now + after));
            self.tell(tab, after, Event::Lock(number, In::Granted));
        }
    }

    /// One tab opens, and then this happens, each act so many milliseconds after the one before.
    fn lives_through(&mut self, acts: Vec<(u64, Act)>) {
        self.act(Act::Open);
        for (wait, act) in acts {
            self.run(self.now + wait * MS);
            self.act(act);
        }
    }

    /// All that happens until then.
    fn run(&mut self, until: u64) {
        loop {
            let next =
                |tab: &Tab| tab.events.first_key_value().map(|((at, order), _)| (*at.max(&tab.hangs_until), *order));
            let due = (0..self.tabs.len()).filter_map(|tab| Some((next(self.tabs[tab].as_ref()?)?, tab))).min();
            let Some(((at, _), tab)) = due.filter(|((at, _), _)| *at <= until) else { break };
            self.now = self.now.max(at);
            let event = self.tabs[tab].as_mut().and_then(|tab| tab.events.pop_first());
            if let Some((_, event)) = event {
                self.hear(tab, event);
            }
        }
        self.now = until;
    }

    fn hear(&mut self, at: usize, event: Event) {
        let Some(tab) = &mut self.tabs[at] else { return };
        match event {
            Event::Input(input) => {
                if matches!(input, In::LeaderHeard) {
                    tab.waits = None;
                    if tab.engine == Engine::Running {
                        return;
                    }
                }
                self.input(at, input);
            }
            Event::Lock(number, input) if number == tab.lock => self.input(at, input),
            Event::Lock(..) => {}
            Event::Hello if tab.engine == Engine::Running => self.tell_all_but(at, Event::Input(In::LeaderHeard)),
            Event::Hello => {}
            Event::Started(start) if tab.engine != Engine::Starting || start != tab.starts => {}
            Event::Started(_) => {
                if self.fails && self.between(1, 10) == 1 {
                    if let Some(tab) = &mut self.tabs[at] {
                        tab.engine = Engine::Off;
                    }
                    return self.input(at, In::Failed);
                }
                let Some(tab) = &mut self.tabs[at] else { return };
                tab.engine = Engine::Running;
                tab.waits = None;
                self.tell_all_but(at, Event::Input(In::LeaderHeard));
            }
            Event::Tick => {
                if tab.engine == Engine::Off && tab.waits.is_some_and(|since| self.now - since >= HANDOVER_US) {
                    self.tell(at, 0, Event::Input(In::Unanswered));
                    self.tell_all_but(at, Event::Hello);
                }
                self.tell(at, TICK, Event::Tick);
            }
        }
    }

    fn input(&mut self, at: usize, input: In) {
        let Some(tab) = &mut self.tabs[at] else { return };
        for output in tab.election.handle(self.now, input) {
            self.carry_out(at, output);
        }
    }

    fn leave(&mut self, at: usize) {
        let Some(tab) = &mut self.tabs[at] else { return };
        tab.lock += 1;
        self.line.retain(|(waits, _)| *waits != at);
        if self.holder.is_some_and(|(holder, ..)| holder == at) {
            self.holder = None;
            self.next_in_line();
        }
    }

    fn carry_out(&mut self, at: usize, output: Out) {
        match output {
            Out::TryLock | Out::QueueLock | Out::StealLock => {
                self.leave(at);
                let number = self.tabs[at].as_ref().map_or(0, |tab| tab.lock);
                match output {
                    Out::TryLock if self.holder.is_some() => {
                        return self.tell(at, MS, Event::Lock(number, In::Refused));
                    }
                    Out::StealLock => {
                        self.stolen += 1;
                        if let Some((holder, number, heard)) = self.holder.take() {
                            self.tell(holder, heard.saturating_sub(self.now) + MS, Event::Lock(number, In::Stolen));
                        }
                        self.line.push_front((at, number));
                    }
                    _ => self.line.push_back((at, number)),
                }
                self.next_in_line();
            }
            Out::LeaveLine | Out::Release => self.leave(at),
            Out::Lead => {
                let slowest = self.slowest_start;
                let after = self.between(5, slowest) * MS;
                let Some(tab) = &mut self.tabs[at] else { return };
                assert_eq!(tab.engine, Engine::Off, "tab {at} starts a second engine");
                tab.engine = Engine::Starting;
                let start = tab.starts;
                self.tell(at, after, Event::Started(start));
            }
            Out::StopLeading => {
                let Some(tab) = &mut self.tabs[at] else { return };
                // A start that goes on has to end first.
                let after = if tab.engine == Engine::Starting { self.slowest_start * MS } else { 5 * MS };
                tab.engine = Engine::Off;
                tab.starts += 1;
                self.tell(at, after, Event::Input(In::Stopped));
            }
            Out::Follow => {
                let now = self.now;
                if let Some(tab) = &mut self.tabs[at] {
                    tab.waits = Some(now);
                }
                self.tell_all_but(at, Event::Hello);
            }
            Out::Say(wish) => self.tell_all_but(at, Event::Input(In::Heard(wish))),
            Out::WakeAt(then) => self.tell(at, then.saturating_sub(self.now), Event::Input(In::Time)),
            Out::Conflict => panic!("tab {at} shares its store"),
        }
    }

    fn leaders(&self) -> Vec<usize> {
        let leads = |tab: &Tab| tab.engine != Engine::Off && tab.hangs_until <= self.now;
        (0..self.tabs.len()).filter(|tab| self.tabs[*tab].as_ref().is_some_and(leads)).collect()
    }

    /// That one leads, one in view if there is one, and that nobody else can miss its turn.
    fn check(&self) {
        let alive: Vec<usize> = (0..self.tabs.len()).filter(|tab| self.tabs[*tab].is_some()).collect();
        let visible = |tab: &usize| self.tabs[*tab].as_ref().is_some_and(|tab| tab.visible);
        let states: Vec<String> = alive
            .iter()
            .filter_map(|tab| self.tabs[*tab].as_ref().map(|state| (tab, state)))
            .map(|(at, tab)| format!("{at}: {:?}, {:?}, visible {}", tab.election.state, tab.engine, tab.visible))
            .collect();
        if alive.is_empty() {
            return;
        }
        let leaders = self.leaders();
        assert_eq!(leaders.len(), 1, "who leads of {states:?}");
        assert_eq!(self.holder.map(|(tab, ..)| tab), leaders.first().copied(), "who holds the lock of {states:?}");
        assert!(!alive.iter().any(visible) || leaders.iter().all(visible), "a hidden tab leads of {states:?}");
        let mut waiting: Vec<usize> = self.line.iter().map(|(tab, _)| *tab).chain(leaders).collect();
        waiting.sort_unstable();
        assert_eq!(waiting, alive, "who is in line of {states:?}");
        for tab in alive.iter().filter_map(|tab| self.tabs[*tab].as_ref()) {
            assert!(matches!(tab.election.state, State::Leading | State::Following), "{states:?}");
        }
    }
}

fn acts(hangs: bool) -> impl Strategy<Value = Vec<(u64, Act)>> {
    let tab = 0..4usize;
    let mut kinds = vec![
        (3, Just(Act::Open).boxed()),
        (2, tab.clone().prop_map(Act::Close).boxed()),
        (3, tab.clone().prop_map(Act::Show).boxed()),
        (3, tab.clone().prop_map(Act::Hide).boxed()),
    ];
    if hangs {
        kinds.push((1, tab.clone().prop_map(Act::Crash).boxed()));
        kinds.push((2, (tab, 100..6_000u64).prop_map(|(tab, ms)| Act::Hang(tab, ms)).boxed()));
    }
    let wait = prop_oneof![0..20u64, 0..700u64, 0..3_000u64];
    prop::collection::vec((wait, prop::strategy::Union::new_weighted(kinds)), 1..24)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn in_the_end_one_tab_leads_and_one_in_view_if_there_is_one(acts in acts(true), seed: u64) {
        let mut world = World::new(seed, 400, true);
        world.lives_through(acts);
        world.fails = false;
        world.run(world.now + CALM);
        world.check();
    }

    #[test]
    fn no_tab_that_answers_is_robbed_however_long_its_engine_takes_to_start(acts in acts(false), seed: u64) {
        let mut world = World::new(seed, 1_800, false);
        world.lives_through(acts);
        world.run(world.now + CALM);
        world.check();
        prop_assert_eq!(world.stolen, 0);
    }
}
