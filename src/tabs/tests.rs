//! Tabs and an engine in one test: messages go through their bytes, and when the test says so.

use std::collections::{BTreeMap, VecDeque};

use super::{Answer, Ask, AskLevel, Hub, HubInput, HubOutput, Replica, Seen, ToLeader, ToTab, Update};
use crate::crdt::{Edit, FieldValue};
use crate::engine::{CallId, EngineConfig, Input, Output, SyncEngine, SyncEvent, TabId};
use crate::error::{Error, ErrorCode, Result};
use crate::policy::PolicyKind;
use crate::store::MemoryStore;
use crate::test;
use crate::types::{EntityId, EntityType, FieldName, Instant, Keypair, PeerId, Value};

/// A browser: a disk, an engine while a tab leads, tabs.
struct Browser {
    seed: u8,
    disk: MemoryStore,
    engine: SyncEngine,
    hub: Hub,
    now: u64,
    tabs: Vec<Replica>,
    updates: BTreeMap<TabId, Vec<Update>>,
    /// Whether what the engine writes reaches the disk at once.
    disk_waits: bool,
    to_disk: VecDeque<Input>,
    /// What the leader says to nobody but this test.
    lost: bool,
    /// An entity of the first tab, and what its title showed after each message.
    watched: Option<EntityId>,
    titles: Vec<Option<FieldValue>>,
}

fn engine(seed: u8) -> SyncEngine {
    SyncEngine::new(EngineConfig {
        keypair: Keypair::from_seed(&[seed; 32]),
        device_name: "browser".into(),
        browser: false,
        live: true,
        resync_interval_ms: 60_000,
        instance_mark: [0; 16],
        seed: [seed.wrapping_add(100); 32],
    })
    .with_own_vault(PolicyKind::Personal)
}

impl Browser {
    fn new(seed: u8, tabs: u8) -> Self {
        let mut browser = Self {
            seed,
            disk: MemoryStore::new(),
            engine: engine(seed),
            hub: Hub::new(Keypair::from_seed(&[seed; 32]).peer_id()),
            now: 1_000_000,
            tabs: (0..tabs).map(|tab| Replica::new(&[seed.wrapping_mul(16).wrapping_add(tab); 32])).collect(),
            updates: BTreeMap::new(),
            disk_waits: false,
            to_disk: VecDeque::new(),
            lost: false,
            watched: None,
            titles: Vec::new(),
        };
        browser.input(Input::Tick);
        browser.talk();
        browser
    }

    fn instant(&self) -> Instant {
        Instant { mono: self.now, wall: 1_795_305_600_000 + self.now / 1_000 }
    }

    /// Another tab leads: an engine of its own over the same disk. What the old one had not written is gone.
    fn new_leader(&mut self) {
        self.to_disk.clear();
        self.engine = engine(self.seed);
        self.hub = Hub::new(Keypair::from_seed(&[self.seed; 32]).peer_id());
        let out = self.hub.take_out();
        self.hub_outputs(out);
        self.input(Input::Tick);
    }

    fn input(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let mut out = Vec::new();
            self.engine.handle(self.instant(), input, &mut out);
            for output in out {
                match output {
                    Output::Write(ticket, batch) if self.disk_waits => {
                        drop(batch);
                        self.to_disk.push_back(Input::Written(ticket, Ok(())));
                    }
                    Output::Write(ticket, batch) => {
                        self.disk.apply(batch);
                        inputs.push_back(Input::Written(ticket, Ok(())));
                    }
                    Output::Read(ticket, read) => {
                        inputs.push_back(Input::Rows(ticket, Ok(self.disk.rows(&read))));
                    }
                    Output::Reply(CallId(number), reply) => {
                        let out = self.hub.handle(HubInput::Reply(number, reply));
                        self.hub_outputs(out);
                    }
                    Output::Emit(event) => {
                        let out = self.hub.handle(HubInput::Event(event));
                        self.hub_outputs(out);
                    }
                    _ => {}
                }
            }
        }
    }

    fn hub_outputs(&mut self, outputs: Vec<HubOutput>) {
        for output in outputs {
            match output {
                HubOutput::Call(number, call) => self.input(Input::Call(CallId(number), call)),
                HubOutput::Dial(number, _) => {
                    let out = self.hub.handle(HubInput::Dialled(number, Ok(())));
                    self.hub_outputs(out);
                }
                HubOutput::Post(_) if self.lost => {}
                HubOutput::Post(message) => {
                    let bytes = message.encode();
                    let now = self.instant();
                    for tab in &mut self.tabs {
                        tab.take(now, ToTab::decode(&bytes).unwrap());
                    }
                    if let Some(id) = self.watched {
                        let title = self.field(0, id, "title");
                        self.titles.push(title);
                    }
                }
            }
        }
    }

    /// Lets everybody say what they have to say.
    fn talk(&mut self) {
        for round in 0.. {
            assert!(round < 1_000, "it goes round in circles");
            let said: Vec<ToLeader> = self.tabs.iter_mut().flat_map(|tab| tab.take_out()).collect();
            for tab in &mut self.tabs {
                self.updates.entry(tab.tab()).or_default().extend(tab.take_updates());
            }
            if said.is_empty() {
                return;
            }
            for message in said {
                let message = ToLeader::decode(&message.encode()).unwrap();
                let out = self.hub.handle(HubInput::Message(message));
                self.hub_outputs(out);
            }
        }
    }

    fn write(&mut self, tab: usize, id: EntityId, edits: Vec<Edit>) -> Result<()> {
        let now = self.instant();
        self.tabs[tab].write(now, &note(), vec![(id, edits)])
    }

    fn create(&mut self, tab: usize, edits: Vec<Edit>) -> EntityId {
        let id = {
            let now = self.instant();
            self.tabs[tab].new_id(now)
        };
        self.write(tab, id, [vec![Edit::Create], edits].concat()).unwrap();
        id
    }

    fn watch(&mut self) {
        self.tabs.iter_mut().for_each(|tab| tab.watch(&note()));
        self.talk();
    }

    fn field(&self, tab: usize, id: EntityId, name: &str) -> Option<FieldValue> {
        match self.tabs[tab].read(&note(), &id) {
            Seen::There { fields, .. } => {
                fields.into_iter().find(|(field, _)| field.as_str() == name).map(|(_, value)| value)
            }
            _ => None,
        }
    }

    fn is_visible(&self, tab: usize, id: EntityId) -> bool {
        self.tabs[tab].ids(&note()).contains(&id)
    }

    fn text(&self, tab: usize, id: EntityId) -> String {
        self.tabs[tab].text(&(note(), id, name("body")))
    }

    fn took(&mut self, tab: usize) -> Vec<Update> {
        self.updates.remove(&self.tabs[tab].tab()).unwrap_or_default()
    }
}

fn note() -> EntityType {
    EntityType::new("note").unwrap()
}

fn name(field: &str) -> FieldName {
    FieldName::new(field).unwrap()
}

fn set(field: &str, value: &str) -> Edit {
    Edit::Set(name(field), value.into())
}

fn register(value: &str) -> Option<FieldValue> {
    Some(FieldValue::Register(value.into()))
}

#[test]
fn a_write_shows_at_once_in_its_tab_and_then_in_the_others() {
    let mut browser = Browser::new(1, 2);
    browser.watch();
    let id = browser.create(0, vec![set("title", "a")]);
    assert_eq!(browser.field(0, id, "title"), register("a"));
    assert_eq!((browser.field(1, id, "title"), browser.tabs[0].unsaved()), (None, 1));
    browser.talk();
    assert_eq!((browser.field(1, id, "title"), browser.tabs[0].unsaved()), (register("a"), 0));
    browser.write(1, id, vec![set("title", "b")]).unwrap();
    browser.talk();
    assert_eq!(browser.field(0, id, "title"), register("b"));
}

#[test]
fn a_write_shows_over_the_commit_of_the_one_before_it() {
    let mut browser = Browser::new(1, 1);
    browser.watch();
    let id = browser.create(0, vec![set("title", "a")]);
    browser.write(0, id, vec![set("title", "b")]).unwrap();
    browser.write(0, id, vec![set("title", "c")]).unwrap();
    // The engine commits them later than they were written.
    browser.now += 5_000_000;
    browser.watched = Some(id);
    browser.talk();
    assert!(
        browser.titles.len() > 3 && browser.titles.iter().all(|title| *title == register("c")),
        "{:?}",
        browser.titles
    );
}

#[test]
fn counters_and_sets_count_once_while_a_write_becomes_a_commit() {
    let mut browser = Browser::new(1, 2);
    browser.watch();
    let id = browser.create(0, vec![Edit::Add(name("n"), 2), Edit::Insert(name("tags"), "x".into())]);
    for by in [3, 5] {
        browser.write(0, id, vec![Edit::Add(name("n"), by)]).unwrap();
        assert!(browser.tabs[0].unsaved() > 0);
    }
    // Names an insertion that has no place yet.
    browser.write(0, id, vec![Edit::Remove(name("tags"), "x".into())]).unwrap();
    assert_eq!(browser.field(0, id, "n"), Some(FieldValue::Counter(10)));
    browser.talk();
    for tab in [0, 1] {
        assert_eq!(browser.field(tab, id, "n"), Some(FieldValue::Counter(10)));
        assert_eq!(browser.field(tab, id, "tags"), None);
    }
    browser.write(0, id, vec![Edit::Add(name("n"), 1)]).unwrap();
    browser.write(0, id, vec![Edit::Clear(name("n"))]).unwrap();
    browser.talk();
    assert_eq!((browser.field(0, id, "n"), browser.field(1, id, "n")), (None, None));
}

#[test]
fn a_delete_hides_no_edit_that_its_tab_had_not_seen() {
    let mut one = Browser::new(1, 1);
    let mut other = Browser::new(2, 1);
    one.watch();
    other.watch();
    let id = one.create(0, vec![set("title", "a")]);
    one.talk();
    join(&mut one, &mut other);
    sync(&mut one, &mut other);
    assert!(other.is_visible(0, id));
    // The edit is in the engine of `one` before its tab hears of it.
    other.write(0, id, vec![set("title", "b")]).unwrap();
    other.talk();
    one.lost = true;
    sync(&mut one, &mut other);
    one.lost = false;
    assert_eq!(one.field(0, id, "title"), register("a"));
    one.write(0, id, vec![Edit::Delete]).unwrap();
    assert!(!one.is_visible(0, id));
    one.tabs[0].anew();
    one.talk();
    assert_eq!((one.is_visible(0, id), one.field(0, id, "title")), (true, register("b")));
}

#[test]
fn writing_to_a_deleted_entity_fails_until_it_is_restored() {
    let mut browser = Browser::new(1, 1);
    browser.watch();
    let id = browser.create(0, vec![set("title", "a")]);
    browser.write(0, id, vec![Edit::Delete]).unwrap();
    assert_eq!(browser.write(0, id, vec![set("title", "b")]).unwrap_err().code(), ErrorCode::Deleted);
    let typed = vec![Edit::TextInsert(name("body"), 0, "x".into())];
    assert_eq!(browser.write(0, id, typed).unwrap_err().code(), ErrorCode::Deleted);
    browser.write(0, id, vec![Edit::Restore]).unwrap();
    browser.talk();
    assert_eq!(browser.field(0, id, "title"), register("a"));
}

#[cfg(feature = "text")]
#[test]
fn what_is_typed_while_the_leader_changes_shows_at_once_and_keeps_its_order() {
    let mut one = Browser::new(1, 1);
    one.watch();
    let id = one.create(0, vec![Edit::TextInsert(name("body"), 0, "1".into())]);
    one.talk();
    one.tabs[0].anew();
    for letter in ["2", "3", "4"] {
        let end = one.text(0, id).encode_utf16().count() as u32;
        let now = one.instant();
        one.tabs[0].write(now, &note(), vec![(id, vec![Edit::TextInsert(name("body"), end, letter.into())])]).unwrap();
    }
    assert_eq!(one.text(0, id), "1234");
    one.new_leader();
    one.talk();
    assert_eq!((one.text(0, id), one.tabs[0].unsaved()), ("1234".into(), 0));
}

#[test]
fn two_tabs_type_in_one_text_and_positions_mean_what_each_user_saw() {
    let mut browser = Browser::new(1, 2);
    browser.watch();
    let id = browser.create(0, vec![Edit::TextInsert(name("body"), 0, "Hello world".into())]);
    browser.talk();
    assert_eq!(browser.text(1, id), "Hello world");
    browser.tabs[0].watch_text(&(note(), id, name("body"))).unwrap();
    browser.write(0, id, vec![Edit::TextInsert(name("body"), 5, ",".into())]).unwrap();
    browser.write(1, id, vec![Edit::TextInsert(name("body"), 11, "!".into())]).unwrap();
    browser.write(1, id, vec![Edit::TextDelete(name("body"), 0, 1)]).unwrap();
    assert_eq!((browser.text(0, id), browser.text(1, id)), ("Hello, world".into(), "ello world!".into()));
    browser.talk();
    assert_eq!((browser.text(0, id), browser.text(1, id)), ("ello, world!".into(), "ello, world!".into()));
    let events = browser.took(0).into_iter().filter(|update| matches!(update, Update::Text(_))).count();
    assert_eq!(events, 3, "its own and two of the other's");
    // A third tab reads the same from what is saved.
    browser.new_leader();
    browser.talk();
    assert_eq!((browser.text(0, id), browser.text(1, id)), ("ello, world!".into(), "ello, world!".into()));
}

#[test]
fn a_leader_that_dies_before_its_disk_loses_no_write_of_a_tab_that_lives() {
    let mut browser = Browser::new(1, 2);
    browser.watch();
    let id = browser.create(0, vec![Edit::Add(name("n"), 1)]);
    browser.talk();
    browser.disk_waits = true;
    browser.write(0, id, vec![Edit::Add(name("n"), 10)]).unwrap();
    browser.write(0, id, vec![Edit::TextInsert(name("body"), 0, "typed".into())]).unwrap();
    browser.talk();
    assert_eq!(browser.tabs[0].unsaved(), 2);
    browser.disk_waits = false;
    browser.new_leader();
    browser.talk();
    for tab in [0, 1] {
        assert_eq!(browser.field(tab, id, "n"), Some(FieldValue::Counter(11)));
        assert_eq!(browser.text(tab, id), "typed");
    }
    assert_eq!(browser.tabs[0].unsaved(), 0);
}

#[test]
fn a_leader_that_dies_after_its_disk_and_before_its_answer_counts_nothing_twice() {
    let mut browser = Browser::new(1, 2);
    browser.watch();
    let id = browser.create(0, vec![Edit::Add(name("n"), 1)]);
    browser.talk();
    browser.lost = true;
    browser.write(0, id, vec![Edit::Add(name("n"), 10)]).unwrap();
    browser.talk();
    browser.lost = false;
    assert_eq!(browser.tabs[0].unsaved(), 1);
    browser.new_leader();
    browser.talk();
    assert_eq!(browser.tabs[0].unsaved(), 0);
    for tab in [0, 1] {
        assert_eq!(browser.field(tab, id, "n"), Some(FieldValue::Counter(11)));
    }
}

#[test]
fn a_message_that_is_repeated_is_answered_and_not_committed_again() {
    let mut browser = Browser::new(1, 1);
    browser.watch();
    let id = browser.create(0, vec![Edit::Add(name("n"), 1)]);
    browser.lost = true;
    browser.talk();
    browser.lost = false;
    browser.now += 2_000_000;
    let now = browser.instant();
    browser.tabs[0].tick(now);
    browser.talk();
    assert_eq!(browser.tabs[0].unsaved(), 0);
    browser.tabs[0].anew();
    browser.talk();
    assert_eq!(browser.field(0, id, "n"), Some(FieldValue::Counter(1)));
}

#[test]
fn a_write_to_an_entity_that_is_not_here_waits_for_it_and_settles_after() {
    let mut browser = Browser::new(1, 2);
    let id = browser.create(0, vec![Edit::Add(name("n"), 1)]);
    let gone = browser.create(0, vec![Edit::Add(name("n"), 1)]);
    browser.write(0, gone, vec![Edit::Delete]).unwrap();
    browser.talk();
    browser.write(1, id, vec![Edit::Add(name("n"), 4)]).unwrap();
    let settled = browser.tabs[1].settle();
    browser.talk();
    assert!(browser.took(1).contains(&Update::Settled(settled, Ok(()))));
    assert_eq!(browser.field(1, id, "n"), Some(FieldValue::Counter(5)));
    // A refusal that comes late is told.
    browser.write(1, gone, vec![Edit::Add(name("n"), 4)]).unwrap();
    let settled = browser.tabs[1].settle();
    browser.talk();
    let told = browser.took(1);
    let refused = |update: &&Update| matches!(update, Update::Settled(number, Err(error)) if *number == settled && error.code() == ErrorCode::Deleted);
    assert!(told.iter().any(|update| refused(&update)), "{told:?}");
    assert!(told.iter().any(|update| matches!(update, Update::Failed(_))));
}

#[test]
fn what_was_typed_in_an_epoch_that_has_ended_is_typed_again() {
    let mut browser = Browser::new(1, 1);
    browser.watch();
    let id = browser.create(0, vec![Edit::TextInsert(name("body"), 0, "old ".into())]);
    browser.talk();
    browser.disk_waits = true;
    browser.write(0, id, vec![Edit::TextInsert(name("body"), 4, "new".into()), Edit::Add(name("n"), 3)]).unwrap();
    browser.talk();
    browser.disk_waits = false;
    // A disk that was copied: another mark, and so another epoch.
    let mark = crate::store::WriteBatch {
        ops: vec![crate::store::WriteOp::Put(crate::store::Table::Meta, b"instance".to_vec(), vec![9; 16])],
        durability: crate::store::Durability::Strict,
    };
    browser.disk.apply(mark);
    browser.new_leader();
    browser.talk();
    assert_eq!((browser.text(0, id), browser.tabs[0].unsaved()), ("old new".into(), 0));
    assert_eq!(browser.field(0, id, "n"), Some(FieldValue::Counter(3)));
    browser.write(0, id, vec![Edit::TextInsert(name("body"), 7, "!".into())]).unwrap();
    browser.talk();
    browser.new_leader();
    browser.talk();
    assert_eq!(browser.text(0, id), "old new!");
}

#[test]
fn an_editor_that_speaks_yjs_is_taken_as_this_tab_and_another_document_is_refused() {
    use yrs::updates::decoder::Decode;
    use yrs::{Doc, GetString, ReadTxn, Text, Transact};
    let mut browser = Browser::new(1, 2);
    browser.watch();
    let id = browser.create(0, vec![Edit::TextInsert(name("body"), 0, "ab".into())]);
    browser.talk();
    let key = (note(), id, name("body"));
    let editor = Doc::with_client_id(browser.tabs[0].editor_client());
    let text = editor.get_or_insert_text("t");
    let start = browser.tabs[0].encode_text(&key, None).unwrap();
    editor.transact_mut().apply_update(yrs::Update::decode_v1(&start).unwrap()).unwrap();
    let before = editor.transact().state_vector();
    text.insert(&mut editor.transact_mut(), 1, "-");
    let update = editor.transact().encode_state_as_update_v1(&before);
    browser.write(0, id, vec![Edit::TextUpdate(name("body"), update)]).unwrap();
    browser.talk();
    assert_eq!((text.get_string(&editor.transact()), browser.text(1, id)), ("a-b".into(), "a-b".into()));
    let stranger = Doc::with_client_id(5);
    stranger.get_or_insert_text("t").insert(&mut stranger.transact_mut(), 0, "zz");
    let update = stranger.transact().encode_state_as_update_v1(&Default::default());
    let refused = browser.write(0, id, vec![Edit::TextUpdate(name("body"), update)]).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::Invalid);
    assert_eq!(browser.text(0, id), "a-b");
}

#[test]
fn questions_are_answered_and_the_words_are_kept_until_they_are_saved() {
    let mut browser = Browser::new(1, 2);
    browser.create(0, vec![]);
    browser.talk();
    let asks =
        [Ask::Words, Ask::WordsSaved, Ask::Words, Ask::Status, Ask::Settled(AskLevel::Disk), Ask::Digest, Ask::Peers];
    let numbers: Vec<u64> = asks.into_iter().map(|ask| browser.tabs[1].ask(ask)).collect();
    browser.talk();
    let told = browser.took(1);
    let answer = |number: u64| {
        told.iter().find_map(|update| match update {
            Update::Answer(of, answer) if *of == number => Some(answer.clone().unwrap()),
            _ => None,
        })
    };
    assert!(matches!(answer(numbers[0]), Some(Answer::Words(Some(words))) if words.split(' ').count() == 24));
    assert_eq!(answer(numbers[2]), Some(Answer::Words(None)));
    assert!(
        matches!(answer(numbers[3]), Some(Answer::Status(status)) if status.vault.is_some() && status.unsaved == 0)
    );
    assert_eq!(answer(numbers[4]), Some(Answer::Done));
    assert!(numbers.iter().all(|number| answer(*number).is_some()));
}

/// Signs the device of `other` in.
fn join(one: &mut Browser, other: &mut Browser) {
    let peer = other.tabs[0].device().unwrap();
    let ask = one.tabs[0].ask(Ask::Invite(peer, super::answer::AskRole::Member));
    one.talk();
    let invite = one.took(0).into_iter().find_map(|update| match update {
        Update::Answer(number, Ok(Answer::Text(invite))) if number == ask => Some(invite),
        _ => None,
    });
    other.tabs[0].ask(Ask::Join(invite.unwrap()));
    other.talk();
}

/// Copies everything both ways, as a backup does.
fn sync(one: &mut Browser, other: &mut Browser) {
    copy(one, other);
    copy(other, one);
}

fn copy(from: &mut Browser, to: &mut Browser) {
    let mut out = Vec::new();
    let backup = |after| Input::Call(CallId(u64::MAX - 1), crate::engine::Call::Backup { after });
    let mut inputs = VecDeque::from([backup(None)]);
    let mut items = Vec::new();
    while let Some(input) = inputs.pop_front() {
        from.engine.handle(from.instant(), input, &mut out);
        for output in out.drain(..) {
            match output {
                Output::Read(ticket, read) => inputs.push_back(Input::Rows(ticket, Ok(from.disk.rows(&read)))),
                Output::Reply(_, Ok(crate::engine::Reply::Backup { items: part, next })) => {
                    items.extend(part);
                    inputs.extend(next.map(|next| backup(Some(next))));
                }
                _ => {}
            }
        }
    }
    to.input(Input::Call(CallId(u64::MAX - 2), crate::engine::Call::Restore { items }));
    to.talk();
}

#[test]
fn values_of_every_sort_come_through_the_messages() {
    let mut browser = Browser::new(1, 2);
    browser.watch();
    let value = Value::List(vec![Value::Null, 1.5.into(), Value::Bytes(vec![0, 255]), "ü".into()]);
    let id = browser.create(0, vec![Edit::Set(name("x"), value.clone()), Edit::Opaque(name("o"), vec![1, 2])]);
    browser.talk();
    assert_eq!(browser.field(1, id, "x"), Some(FieldValue::Register(value)));
    assert_eq!(browser.field(1, id, "o"), Some(FieldValue::Opaque(vec![vec![1, 2]])));
}

#[test]
fn every_tab_knows_of_a_pause_whichever_asked_for_it() {
    let mut browser = Browser::new(1, 2);
    for (ask, paused) in [(Ask::Pause, true), (Ask::Resume, false)] {
        browser.tabs[1].ask(ask);
        browser.talk();
        assert_eq!([0, 1].map(|tab| browser.tabs[tab].is_paused()), [paused; 2]);
    }
}

#[test]
fn the_entities_of_unsaved_writes_are_told() {
    let mut browser = Browser::new(1, 1);
    let saved = browser.create(0, vec![Edit::Add(name("n"), 1)]);
    browser.talk();
    browser.lost = true;
    let unsaved = browser.create(0, vec![Edit::Add(name("n"), 1)]);
    let kind = EntityType::new("note").unwrap();
    assert!(saved != unsaved);
    assert_eq!(browser.tabs[0].unsaved_of(&kind), [unsaved]);
}

#[test]
fn a_leader_whose_lead_has_ended_answers_nobody_and_one_whose_disk_fails_answers_all() {
    for (code, answers) in [(ErrorCode::TabConflict, false), (ErrorCode::Closed, false), (ErrorCode::Quota, true)] {
        let mut hub = Hub::new(PeerId([1; 32]));
        hub.take_out();
        let asked = hub.handle(HubInput::Message(ToLeader::Ask(TabId(1), 7, Ask::Digest)));
        let [HubOutput::Call(number, _)] = asked[..] else { panic!("{asked:?}") };
        let failed = hub.handle(HubInput::Event(SyncEvent::StorageFailed(code, "why".into())));
        let replied = hub.handle(HubInput::Reply(number, Err(Error::new(code, "why"))));
        assert_eq!((!failed.is_empty(), !replied.is_empty()), (answers, answers), "{code:?}");
    }
}
