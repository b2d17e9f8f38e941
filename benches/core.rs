//! What the core does with events once they are here: applying them, reading entities, writing cache pages. Blocks have
//! a benchmark of their own.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use privstack_sync::crdt::{EntityState, EventAt, LogTable, decode_page, encode_page};
use privstack_sync::policy::{
    AddMember, Body, Cuts, Genesis, LogFacts, Membership, Op, PolicyKind, Remove, SetName, SetRole, SyncRole, valid,
};
use privstack_sync::types::{
    EntityId, EntityType, Epoch, Event, FieldName, FieldOp, Hash, HybridTimestamp, Keypair, LogId, LogName, PeerId,
    Value,
};

const START: u64 = 1_790_000_000_000;
const ENTITIES: usize = 64;
const FIELDS: usize = 10;

/// 25 letters from a number.
fn text(number: usize) -> String {
    let hash = Hash::derive("privstack-sync bench", &number.to_le_bytes());
    hash.0[..25].iter().map(|byte| char::from(b'a' + byte % 26)).collect()
}

/// Ten `Set`s of 25 letters, each of another field, as workload W2 has them on each entity.
fn events() -> Vec<Event> {
    let event = |place: usize| {
        let field = FieldName::new(format!("f{place}")).expect("a name");
        let op = FieldOp::Set { field, value: Value::Text(text(place)), lift: 0 };
        Event { entity: EntityId::new_v7(START, [7; 10]), seen: Vec::new(), ops: vec![op] }
    };
    (0..FIELDS).map(event).collect()
}

fn apply(events: &[Event], logs: &mut LogTable) -> EntityState {
    let id = LogId { author: Keypair::from_seed(&[1; 32]).peer_id(), epoch: Epoch(77) };
    let log = logs.intern(id);
    let mut state = EntityState::default();
    for (seq, event) in (1..).zip(events) {
        let hlc = HybridTimestamp::from_millis(START + seq);
        state.apply(event, &EventAt { log, seq, index: 0, hlc, commit: seq, counts: true }, logs);
    }
    state
}

fn core(criterion: &mut Criterion) {
    let events = events();
    let mut logs = LogTable::default();
    let state = apply(&events, &mut logs);
    let note = EntityType::new("note").expect("a name");
    let id = |number: usize| EntityId::new_v7(START + number as u64, [number as u8; 10]);
    let page: Vec<(EntityId, EntityState)> = (0..ENTITIES).map(|number| (id(number), state.clone())).collect();
    let bytes = encode_page(&page);

    let mut group = criterion.benchmark_group("an entity of ten fields");
    group.throughput(Throughput::Elements(FIELDS as u64));
    group.bench_function("apply its events", |bencher| bencher.iter(|| apply(black_box(&events), &mut logs)));
    group.bench_function("apply one more", |bencher| {
        let again = &events[..1];
        bencher.iter_batched_ref(
            || state.clone(),
            |state| {
                let at = EventAt {
                    log: logs.intern(LogId { author: Keypair::from_seed(&[1; 32]).peer_id(), epoch: Epoch(77) }),
                    seq: 100,
                    index: 0,
                    hlc: HybridTimestamp::from_millis(START + 1_000),
                    commit: 100,
                    counts: true,
                };
                state.apply(&again[0], &at, &mut logs)
            },
            BatchSize::SmallInput,
        );
    });
    group.bench_function("view", |bencher| bencher.iter(|| black_box(&state).view(note.clone(), id(0), &logs)));
    group.finish();

    let mut group = criterion.benchmark_group("a page of 64 such entities");
    group.throughput(Throughput::Elements(ENTITIES as u64));
    group.bench_function("encode", |bencher| bencher.iter(|| encode_page(black_box(&page))));
    group.bench_function("decode", |bencher| bencher.iter(|| decode_page(black_box(&bytes)).expect("a page")));
    group.finish();
}

const OPERATIONS: usize = 10_000;

/// A history of 10,000 operations: members come, change their names and roles, go; one in fifty goes while it does
/// something that nobody has heard of yet, so that concurrent operations have to be found and left out.
fn history() -> Membership {
    let (root, admin) = (Keypair::from_seed(&[1; 32]), Keypair::from_seed(&[2; 32]));
    let at = HybridTimestamp::from_millis(START);
    let genesis = Genesis {
        root: root.peer_id(),
        policy: PolicyKind::Personal,
        admin: admin.peer_id(),
        admin_name: "desk".into(),
        secret: [5; 32].into(),
    };
    let genesis = Op::genesis(&root, genesis, at).expect("a Genesis");
    let mut log = Membership::from_genesis(genesis).expect("a membership log");
    let mut number = 0_u64;
    while log.len() < OPERATIONS {
        number += 1;
        let mut seed = [3; 32];
        seed[..8].copy_from_slice(&number.to_le_bytes());
        let device = Keypair::from_seed(&seed);
        let peer = device.peer_id();
        let mut make = |by: &Keypair, body| log.make(by, body, at).expect("an operation");
        make(&admin, Body::AddMember(AddMember { peer, role: SyncRole::Member, name: "phone".into() }));
        make(&device, Body::SetName(SetName { peer, name: "tablet".into() }));
        make(&admin, Body::SetRole(SetRole { peer, role: SyncRole::ReadOnly, cuts: Cuts::new() }));
        if number.is_multiple_of(10) {
            let before = log.heads();
            log.make(&admin, Body::Remove(Remove { peer, cuts: Cuts::new() }), at).expect("a removal");
            if number.is_multiple_of(50) {
                let name = Body::SetName(SetName { peer, name: "lost".into() });
                let late = Op::sign(&device, log.vault(), before, at, name).expect("an operation");
                log.insert(late.encoded()).expect("an operation of this vault");
            }
        }
    }
    log
}

fn membership(criterion: &mut Criterion) {
    let log = history();
    let heads = log.heads();
    let ops: Vec<_> = log.ops().cloned().collect();
    let member: PeerId = *log.evaluate().members.keys().next().expect("a member");
    let facts = LogFacts {
        log: LogName {
            entity_type: EntityType::new("note").expect("a name"),
            id: LogId { author: member, epoch: Epoch(77) },
        },
        tip: 1_000,
        segments: vec![(1, heads.clone().into())],
        forked_after: None,
        bad: Vec::new(),
        named: Vec::new(),
        copies: Vec::new(),
    };
    let mut group = criterion.benchmark_group("10,000 membership operations");
    group.sample_size(10);
    group.bench_function("take in, check signatures, evaluate", |bencher| {
        bencher.iter(|| {
            let mut log = Membership::new(&ops[0]).expect("a Genesis");
            ops[1..].iter().for_each(|op| drop(log.insert(op).expect("an operation")));
            log.evaluate()
        });
    });
    group.bench_function("check signatures alone", |bencher| {
        bencher.iter(|| ops.iter().for_each(|op| drop(black_box(Op::decode(op).expect("an operation")))));
    });
    group.bench_function("evaluate", |bencher| bencher.iter(|| log.evaluate_at(black_box(&heads)).expect("held")));
    group.bench_function("decide what of a log counts", |bencher| bencher.iter(|| valid(black_box(&facts), &log)));
    group.finish();
}

criterion_group!(benches, core, membership);
criterion_main!(benches);
