//! Any order, duplication and batching of the same events gives the same bytes.

use crate::test;
use proptest::prelude::*;

use super::world::{bytes, log_id, name, table, view, visible};
use crate::crdt::*;
use crate::types::{Dot, EntityId, Event, FieldOp, HybridTimestamp, Seen, Value};

pub const AUTHORS: u8 = 4;

/// Which kinds of operations a test uses.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Only {
    Everything,
    Life,
    /// `Create`, `Delete` and edits that are neither.
    Alive,
    Register,
    Counter,
    Set,
    Opaque,
}

fn dots() -> impl Strategy<Value = Vec<Dot>> {
    prop::collection::btree_set((0..AUTHORS, 1..8_u64, 0..2_u32), 0..6).prop_map(|all| {
        let mut dots: Vec<Dot> =
            all.into_iter().map(|(log, seq, index)| Dot { log: log_id(log), seq, index }).collect();
        dots.sort();
        dots
    })
}

fn op(only: Only) -> BoxedStrategy<FieldOp> {
    let field = prop_oneof![Just(name("a")), Just(name("b"))];
    let item = (0..3_i64).prop_map(Value::Int);
    let lift = prop_oneof![Just(0_u64), 1..4_u64, Just(u64::MAX)];
    let life = prop_oneof![Just(FieldOp::Create), Just(FieldOp::Delete)].boxed();
    let register = prop_oneof![
        (field.clone(), item.clone(), lift.clone()).prop_map(|(field, value, lift)| FieldOp::Set {
            field,
            value,
            lift
        }),
        (field.clone(), lift).prop_map(|(field, lift)| FieldOp::Clear { field, lift }),
    ]
    .boxed();
    let counter = prop_oneof![
        (field.clone(), any::<i64>()).prop_map(|(field, by)| FieldOp::Add { field, by }),
        (field.clone(), dots(), any::<i64>()).prop_map(|(field, dots, sum)| {
            let mut sums: Vec<(Dot, i64)> = dots.into_iter().map(|dot| (dot, sum)).collect();
            sums.dedup_by_key(|(dot, _)| dot.log);
            FieldOp::ClearCounter { field, sums }
        }),
    ]
    .boxed();
    let set = prop_oneof![
        (field.clone(), item.clone()).prop_map(|(field, item)| FieldOp::Insert { field, item }),
        (field.clone(), item, dots()).prop_map(|(field, item, dots)| FieldOp::Remove { field, item, dots }),
        (field.clone(), dots()).prop_map(|(field, dots)| FieldOp::ClearSet { field, dots }),
    ]
    .boxed();
    let opaque =
        (field, prop::collection::vec(any::<u8>(), 0..3)).prop_map(|(field, bytes)| FieldOp::Opaque { field, bytes });
    match only {
        Only::Everything => prop_oneof![life, register, counter, set, opaque].boxed(),
        Only::Life => life,
        Only::Alive => prop_oneof![life, register].boxed(),
        Only::Register => register,
        Only::Counter => counter,
        Only::Set => set,
        Only::Opaque => opaque.boxed(),
    }
}

/// Events of one log with whatever clocks: also such as no honest device writes.
pub fn log(only: Only) -> impl Strategy<Value = Vec<(Event, EventAt)>> {
    let hlc = prop_oneof![(1..4_u64).prop_map(HybridTimestamp), Just(HybridTimestamp::YEAR_6000)];
    let seen = prop::collection::btree_map(0..AUTHORS, 1..8_u64, 0..3);
    let one = (prop::collection::vec(op(only), 1..4), seen, hlc, 0..3_u64, prop::bool::weighted(0.85), any::<bool>());
    prop::collection::vec(one, 0..7).prop_map(|all| {
        let (mut seq, mut index) = (0, 0);
        let mut log = Vec::new();
        for (ops, seen, hlc, commit, counts, same_commit) in all {
            (seq, index) = if same_commit && seq > 0 { (seq, index + 1) } else { (seq + 1, 0) };
            let mut seen: Seen = seen.into_iter().map(|(log, seq)| (log_id(log), seq)).collect();
            seen.sort();
            let event = Event { entity: EntityId([1; 16]), seen, ops };
            log.push((event, EventAt { log: LogIx(0), seq, index, hlc, commit, counts }));
        }
        log
    })
}

/// Applies the logs as `order` says, each in its own order, some events twice.
pub fn apply_in(logs: &[Vec<(Event, EventAt)>], order: &[u8], table: &mut LogTable) -> EntityState {
    let mut state = EntityState::default();
    let mut next = vec![0; logs.len()];
    let total: usize = logs.iter().map(Vec::len).sum();
    let mut order = order.iter().copied().cycle();
    for _ in 0..total {
        let choice = order.next().unwrap_or(0);
        let open: Vec<usize> = (0..logs.len()).filter(|log| next[*log] < logs[*log].len()).collect();
        let log = open[usize::from(choice) % open.len()];
        let (event, at) = &logs[log][next[log]];
        let at = EventAt { log: LogIx(log as u32), ..*at };
        assert_ne!(state.apply(event, &at, table), Changed::Nothing);
        next[log] += 1;
        if choice % 3 == 0 {
            let (event, at) = &logs[log][usize::from(choice) % next[log]];
            let before = bytes(&state);
            let again = state.apply(event, &EventAt { log: LogIx(log as u32), ..*at }, table);
            assert_eq!((again, bytes(&state)), (Changed::Nothing, before));
        }
    }
    state
}

fn merges_the_same(only: Only, cases: u32) {
    let logs = prop::collection::vec(log(only), 2..=usize::from(AUTHORS));
    let order = || prop::collection::vec(any::<u8>(), 1..24);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(cases));
    let inputs = (logs, order(), order());
    let result = runner.run(&inputs, |(logs, one, other)| {
        let mut table = table(AUTHORS);
        let first = apply_in(&logs, &one, &mut table);
        let second = apply_in(&logs, &other, &mut table);
        prop_assert_eq!(view(&first, &table), view(&second, &table));
        prop_assert_eq!(visible(&first, &table), visible(&second, &table));
        prop_assert_eq!(bytes(&first), bytes(&second));
        prop_assert_eq!(&first, &second);
        let encoded = bytes(&first);
        let mut reader = crate::types::codec::Reader::new(&encoded);
        let read = EntityState::decode(&mut reader).unwrap();
        prop_assert!(reader.is_empty());
        prop_assert_eq!(&read, &first);
        prop_assert_eq!(bytes(&read), encoded);
        Ok(())
    });
    result.unwrap();
}

#[test]
fn whole_entities_come_out_the_same_in_any_order() {
    merges_the_same(Only::Everything, 400);
}

#[test]
fn creates_and_deletes_come_out_the_same_in_any_order() {
    merges_the_same(Only::Life, 400);
}

#[test]
fn registers_come_out_the_same_in_any_order() {
    merges_the_same(Only::Register, 400);
}

#[test]
fn counters_come_out_the_same_in_any_order() {
    merges_the_same(Only::Counter, 200);
}

#[test]
fn sets_come_out_the_same_in_any_order() {
    merges_the_same(Only::Set, 400);
}

#[test]
fn other_crdts_updates_come_out_the_same_in_any_order() {
    merges_the_same(Only::Opaque, 200);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn what_a_user_sees_does_not_depend_on_local_numbers(
        logs in prop::collection::vec(log(Only::Everything), usize::from(AUTHORS)..=usize::from(AUTHORS)),
        order in prop::collection::vec(any::<u8>(), 1..24),
    ) {
        let mut straight = table(AUTHORS);
        let first = apply_in(&logs, &order, &mut straight);
        let mut turned = LogTable::default();
        for number in (0..AUTHORS).rev() {
            turned.intern(log_id(number));
        }
        let mut second = EntityState::default();
        for (number, events) in logs.iter().enumerate() {
            let log = turned.find(&log_id(number as u8)).unwrap();
            for (event, at) in events {
                second.apply(event, &EventAt { log, ..*at }, &mut turned);
            }
        }
        prop_assert_eq!(view(&first, &straight), view(&second, &turned));
        prop_assert_eq!(visible(&first, &straight), visible(&second, &turned));
    }

    #[test]
    fn two_entities_show_the_same_exactly_when_their_hashes_are_equal(
        one in prop::collection::vec(log(Only::Everything), 2..=2),
        other in prop::collection::vec(log(Only::Everything), 2..=2),
    ) {
        let mut table = table(AUTHORS);
        let first = apply_in(&one, &[0], &mut table);
        let second = apply_in(&other, &[1], &mut table);
        let shown = |state: &EntityState| {
            let view = view(state, &table);
            (state.exists(), view.deleted, if view.deleted { Default::default() } else { view.fields })
        };
        prop_assume!(first.exists() && second.exists());
        prop_assert_eq!(shown(&first) == shown(&second), visible(&first, &table) == visible(&second, &table));
    }

    #[test]
    fn void_events_neither_show_nor_hide_anything(
        logs in prop::collection::vec(log(Only::Everything), 2..=2),
        order in prop::collection::vec(any::<u8>(), 1..24),
    ) {
        // Of the first log nothing counts; without it, and without its names in clocks, the rest must show the same.
        let void: Vec<_> = logs[0].iter().map(|(event, at)| (event.clone(), EventAt { counts: false, ..*at })).collect();
        let mut table = table(AUTHORS);
        let with = apply_in(&[void, logs[1].clone()], &order, &mut table);
        let without = apply_in(&[Vec::new(), logs[1].clone()], &order, &mut table);
        // Only updates of other CRDTs may wait for a void event that their authors had seen.
        prop_assume!(!logs[1].iter().any(|(event, _)| event.ops.iter().any(|op| matches!(op, FieldOp::Opaque { .. }))));
        prop_assert_eq!(visible(&with, &table), visible(&without, &table));
        prop_assert_eq!(with.clock(&table), without.clock(&table));
    }
}

/// The rule for deletes by its words, from all events at once: the last Delete of each log must be defeated by an event
/// that it does not cover, and that is a `Create` or had not seen it.
fn visible_by_the_rule(logs: &[Vec<(Event, EventAt)>]) -> bool {
    type Place = (u64, u32);
    struct Known {
        log: usize,
        at: Place,
        last: Option<FieldOp>,
        seen: Vec<u64>,
    }
    let mut all = Vec::new();
    for (log, events) in logs.iter().enumerate() {
        let mut seen = vec![0; usize::from(AUTHORS)];
        for (event, at) in events {
            for (other, entry) in seen.iter_mut().enumerate().filter(|(other, _)| *other != log) {
                let named = event.seen.iter().find(|(id, _)| *id == log_id(other as u8));
                *entry = named.map_or(*entry, |(_, seq)| (*entry).max(*seq));
            }
            if at.counts {
                let last = event.ops.iter().rev().find(|op| matches!(op, FieldOp::Create | FieldOp::Delete)).cloned();
                all.push(Known { log, at: (at.seq, at.index), last, seen: seen.clone() });
            }
        }
    }
    let is_delete = |event: &&Known| event.last == Some(FieldOp::Delete);
    let deletes = all.iter().filter(is_delete);
    let last_of_log = deletes.filter(|it| !all.iter().filter(is_delete).any(|o| o.log == it.log && o.at > it.at));
    let defeated = |delete: &Known| {
        all.iter().filter(|event| !is_delete(event)).any(|event| {
            let creates = event.last == Some(FieldOp::Create);
            if event.log == delete.log {
                return creates && event.at > delete.at;
            }
            let has_seen = event.seen[delete.log] >= delete.at.0;
            let is_covered = event.at.0 <= delete.seen[event.log] && !has_seen;
            !is_covered && (creates || !has_seen)
        })
    };
    !all.is_empty() && last_of_log.into_iter().all(defeated)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn an_entity_is_visible_just_when_the_rule_for_deletes_says_so(
        logs in prop::collection::vec(log(Only::Alive), 2..=usize::from(AUTHORS)),
        order in prop::collection::vec(any::<u8>(), 1..24),
    ) {
        let mut table = table(AUTHORS);
        prop_assert_eq!(apply_in(&logs, &order, &mut table).is_visible(), visible_by_the_rule(&logs));
    }
}
