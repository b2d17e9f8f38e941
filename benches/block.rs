//! What a block costs: packing commits and reading them back, for commits of 1,000 events down to one, each event
//! setting a field to 25 characters (workload W2's entities and values).

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use privstack_sync::types::{
    Commit, CommitHeader, EntityId, EntityType, Epoch, Event, FieldName, FieldOp, Hash, HybridTimestamp, Keypair,
    LogId, LogName, Value, VaultId, events_hash,
};
use privstack_sync::wire::{decode_block, encode_block, verify_block};

const VAULT: VaultId = VaultId([9; 32]);
const EVENTS: usize = 1_000;
const START: u64 = 1_760_000_000_000;

/// Text that does not compress to nothing.
fn text(number: usize) -> String {
    let hash = Hash::derive("privstack-sync bench", &number.to_le_bytes());
    hash.0[..25].iter().map(|byte| char::from(b'a' + byte % 26)).collect()
}

fn event(number: usize) -> Event {
    let field = FieldName::new("title").expect("a name");
    let random = std::array::from_fn(|at| text(number).as_bytes()[at]);
    let op = FieldOp::Set { field, value: Value::Text(text(number)), lift: 0 };
    Event { entity: EntityId::new_v7(START + number as u64 / 3, random), seen: vec![], ops: vec![op] }
}

fn commits(events_each: usize) -> Vec<Commit> {
    let key = Keypair::from_seed(&[1; 32]);
    let id = LogId { author: key.peer_id(), epoch: Epoch(77) };
    let log = LogName { entity_type: EntityType::new("note").expect("a name"), id };
    let heads: Arc<[Hash]> = [Hash::derive("privstack-sync bench", b"head")].into();
    let (mut commits, mut prev, mut buffer) = (Vec::new(), Hash::ZERO, Vec::new());
    for number in 0..EVENTS / events_each {
        let events: Vec<_> = (number * events_each..(number + 1) * events_each).map(event).collect();
        let header = CommitHeader {
            vault: VAULT,
            log: log.clone(),
            seq: number as u64 + 1,
            prev,
            hlc: HybridTimestamp::from_millis(START + number as u64 * 3),
            heads: heads.clone(),
            stands_for: None,
            events: events_hash(&events, &mut buffer),
        };
        prev = header.hash();
        commits.push(Commit { header, hash: prev, events, signature: Some(key.sign_commit(&prev)) });
    }
    commits
}

fn blocks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("block of 1,000 events");
    group.throughput(Throughput::Elements(EVENTS as u64));
    for events_each in [1_000, 10, 1] {
        let commits = commits(events_each);
        let block = encode_block(&commits).expect("commits that fit");
        group.bench_function(BenchmarkId::new("encode", events_each), |bencher| {
            bencher.iter(|| encode_block(black_box(&commits)));
        });
        group.bench_function(BenchmarkId::new("decode and verify", events_each), |bencher| {
            bencher.iter(|| {
                let commits = decode_block(black_box(&block), VAULT).expect("a block");
                verify_block(&commits).expect("a signature");
                commits
            });
        });
    }
    group.finish();
}

criterion_group!(benches, blocks);
criterion_main!(benches);
