//! Properties of blocks and messages: what is written reads back, and nothing else is taken for it.

use std::sync::Arc;

use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;

use super::*;
use crate::error::ErrorCode;
use crate::test;
use crate::types::limits::{MAX_BATCH_SIZE, MAX_BLOCK_BYTES, MAX_FRAME_BYTES};
use crate::types::{
    Commit, CommitHeader, Dot, EntityId, EntityType, Epoch, Event, FieldName, FieldOp, Hash, HybridTimestamp, Keypair,
    LogId, LogName, PeerId, StandsFor, Value, VaultId, VectorClock, events_hash,
};

const VAULT: VaultId = VaultId([9; 32]);

fn author() -> Keypair {
    Keypair::from_seed(&[1; 32])
}

fn log() -> LogName {
    let id = LogId { author: author().peer_id(), epoch: Epoch(77) };
    LogName { entity_type: EntityType::new("note").unwrap(), id }
}

/// One commit's content: time, heads, original, events.
type Content = (u64, Vec<Hash>, Option<StandsFor>, Vec<Event>);

/// Chains and signs commits; every one is signed.
fn chain(first_seq: u64, contents: Vec<Content>) -> Vec<Commit> {
    let mut prev = if first_seq == 1 { Hash::ZERO } else { Hash([3; 32]) };
    let mut commits = Vec::new();
    for (seq, (hlc, heads, stands_for, events)) in (first_seq..).zip(contents) {
        let header = CommitHeader {
            vault: VAULT,
            log: log(),
            seq,
            prev,
            hlc: HybridTimestamp(hlc),
            heads: heads.into(),
            stands_for,
            events: events_hash(&events, &mut Vec::new()),
        };
        prev = header.hash();
        let signature = Some(author().sign_commit(&prev));
        commits.push(Commit { header, hash: prev, events, signature });
    }
    commits
}

/// What a block keeps of commits: the last one's signature.
fn as_read(mut commits: Vec<Commit>) -> Vec<Commit> {
    let last = commits.len() - 1;
    commits[..last].iter_mut().for_each(|commit| commit.signature = None);
    commits
}

fn set(entity: u128, field: &str, value: impl Into<Value>) -> Event {
    let field = FieldName::new(field).unwrap();
    let op = FieldOp::Set { field, value: value.into(), lift: 0 };
    Event { entity: EntityId(entity.to_be_bytes()), seen: vec![], ops: vec![op] }
}

fn hash() -> impl Strategy<Value = Hash> {
    any::<[u8; 32]>().prop_map(Hash)
}

fn heads() -> impl Strategy<Value = Vec<Hash>> {
    btree_set(hash(), 0..3).prop_map(|heads| heads.into_iter().collect())
}

/// A handful of logs, so that names repeat.
fn log_id() -> impl Strategy<Value = LogId> {
    (1..4_u8, any::<u64>()).prop_map(|(author, epoch)| LogId { author: PeerId([author; 32]), epoch: Epoch(epoch % 3) })
}

fn entity() -> impl Strategy<Value = EntityId> {
    prop_oneof![
        any::<[u8; 16]>(),
        (0..4_u8).prop_map(|last| {
            let mut id = [7; 16];
            id[15] = last;
            id
        })
    ]
    .prop_map(EntityId)
}

fn entity_type() -> impl Strategy<Value = EntityType> {
    "[a-z]{1,6}".prop_map(|name| EntityType::new(name).unwrap())
}

fn field() -> impl Strategy<Value = FieldName> {
    "[a-c]{1,2}".prop_map(|name| FieldName::new(name).unwrap())
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        any::<f64>().prop_map(Value::float),
        ".{0,20}".prop_map(Value::Text),
        vec(any::<u8>(), 0..20).prop_map(Value::Bytes),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::List),
            btree_map(".{0,4}", inner, 0..4).prop_map(|items| Value::Map(items.into_iter().collect())),
        ]
    })
}

fn dots() -> impl Strategy<Value = Vec<Dot>> {
    btree_set((log_id(), any::<u64>(), 0..1_000_u32), 0..4)
        .prop_map(|dots| dots.into_iter().map(|(log, seq, index)| Dot { log, seq, index }).collect())
}

fn op() -> impl Strategy<Value = FieldOp> {
    let bytes = || vec(any::<u8>(), 0..40);
    prop_oneof![
        Just(FieldOp::Create),
        Just(FieldOp::Delete),
        (field(), value(), any::<u64>()).prop_map(|(field, value, lift)| FieldOp::Set { field, value, lift }),
        (field(), value()).prop_map(|(field, value)| FieldOp::Set { field, value, lift: 0 }),
        (field(), any::<u64>()).prop_map(|(field, lift)| FieldOp::Clear { field, lift }),
        (field(), any::<i64>()).prop_map(|(field, by)| FieldOp::Add { field, by }),
        (field(), btree_map(log_id(), (any::<u64>(), 0..1_000_u32, any::<i64>()), 0..3)).prop_map(|(field, sums)| {
            let sums = sums.into_iter().map(|(log, (seq, index, sum))| (Dot { log, seq, index }, sum)).collect();
            FieldOp::ClearCounter { field, sums }
        }),
        (field(), value()).prop_map(|(field, item)| FieldOp::Insert { field, item }),
        (field(), value(), dots()).prop_map(|(field, item, dots)| FieldOp::Remove { field, item, dots }),
        (field(), dots()).prop_map(|(field, dots)| FieldOp::ClearSet { field, dots }),
        (field(), bytes()).prop_map(|(field, update)| FieldOp::Text { field, update }),
        (field(), bytes()).prop_map(|(field, bytes)| FieldOp::Opaque { field, bytes }),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let seen = btree_map(log_id(), 1..u64::MAX, 0..3).prop_map(|seen| seen.into_iter().collect());
    (entity(), seen, vec(op(), 1..4)).prop_map(|(entity, seen, ops)| Event { entity, seen, ops })
}

fn content() -> impl Strategy<Value = Content> {
    let stands_for = proptest::option::weighted(0.2, (any::<u64>(), any::<u64>(), hash()))
        .prop_map(|original| original.map(|(epoch, seq, hash)| StandsFor { epoch: Epoch(epoch), seq, hash }));
    let time = prop_oneof![any::<u64>(), 0..4_u64];
    (time, prop_oneof![Just(vec![]), heads()], stands_for, vec(event(), 1..4))
}

fn commits() -> impl Strategy<Value = Vec<Commit>> {
    (prop_oneof![Just(1), 2..u64::MAX / 2], vec(content(), 1..6)).prop_map(|(first, contents)| chain(first, contents))
}

fn scope() -> impl Strategy<Value = Scope> {
    prop_oneof![
        Just(Scope::All),
        vec(entity_type(), 0..4).prop_map(Scope::Types),
        vec((entity_type(), entity()), 0..4).prop_map(Scope::Entities),
    ]
}

fn hello() -> impl Strategy<Value = HelloMessage> {
    let credential = vec(vec(any::<u8>(), 0..30).prop_map(Arc::from), 0..4);
    ((0..5_u16, 5..9_u16), any::<u64>(), any::<[u8; 16]>(), hash(), heads(), credential).prop_map(
        |(versions, features, nonce, proof, heads, credential)| HelloMessage {
            versions,
            features,
            nonce,
            proof,
            heads,
            credential,
        },
    )
}

fn entries() -> impl Strategy<Value = Vec<FrontierEntry>> {
    let entry = (entity_type(), log_id(), any::<u64>(), hash(), any::<bool>());
    vec(entry, 0..6).prop_map(|entries| {
        let entry = |(entity_type, log, seq, hash, forked)| FrontierEntry { entity_type, log, seq, hash, forked };
        entries.into_iter().map(entry).collect()
    })
}

fn summary() -> impl Strategy<Value = FrontierSummary> {
    (hash(), prop_oneof![Just(0), any::<u64>()], entries(), any::<bool>())
        .prop_map(|(digest, base, entries, complete)| FrontierSummary { digest, base, entries, complete })
}

fn state() -> impl Strategy<Value = SyncState> {
    let clock = btree_map(log_id(), 1..u64::MAX, 0..4).prop_map(VectorClock::from_iter);
    prop_oneof![
        Just(SyncState::Equal),
        summary().prop_map(SyncState::Have),
        vec((entity_type(), any::<u64>()), 0..4).prop_map(SyncState::Types),
        (vec(entity_type(), 0..4), entries(), any::<bool>()).prop_map(|(types, entries, last)| SyncState::Entries {
            types,
            entries,
            last
        }),
        vec((entity_type(), entity(), clock), 0..4).prop_map(SyncState::Clocks),
        vec(any::<u64>(), 0..6).prop_map(SyncState::Membership),
    ]
}

fn items() -> impl Strategy<Value = Vec<Item>> {
    let bytes = || vec(any::<u8>(), 0..40).prop_map(Arc::<[u8]>::from);
    let item = prop_oneof![
        bytes().prop_map(Item::Block),
        bytes().prop_map(Item::Membership),
        (bytes(), bytes()).prop_map(|(one, other)| Item::Fork(one, other)),
    ];
    vec(item, 0..4)
}

fn code() -> impl Strategy<Value = ErrorCode> {
    proptest::sample::select(ErrorCode::ALL)
}

fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        hello().prop_map(Message::Hello),
        (any::<u16>(), hello())
            .prop_map(|(version, hello)| Message::HelloAck(HelloAckMessage::Accepted { version, hello })),
        code().prop_map(|reason| Message::HelloAck(HelloAckMessage::Rejected { reason })),
        (any::<u32>(), scope(), summary()).prop_map(|(id, scope, have)| Message::SyncRequest(SyncRequestMessage {
            id,
            scope,
            have
        })),
        (any::<u32>(), state()).prop_map(|(id, state)| Message::SyncState(SyncStateMessage { id, state })),
        items().prop_map(|items| Message::EventBatch(EventBatchMessage::Items(items))),
        (0..4_000_000_u32, vec(any::<u8>(), 0..50))
            .prop_map(|(total, bytes)| Message::EventBatch(EventBatchMessage::Part { total, bytes })),
        (any::<u64>(), any::<u32>()).prop_map(|(stored, window)| Message::EventAck(EventAckMessage { stored, window })),
        items().prop_map(|items| Message::EventNotify(EventNotifyMessage { items })),
        (scope(), any::<bool>()).prop_map(|(scope, live)| Message::Subscribe(SubscribeMessage { scope, live })),
        (code(), ".{0,60}").prop_map(|(code, message)| Message::Error(ErrorMessage { code, message })),
        any::<u64>().prop_map(Message::Ping),
        any::<u64>().prop_map(Message::Pong),
    ]
}

fn encoded(message: &Message) -> Vec<u8> {
    let mut out = Vec::new();
    message.encode(&mut out).unwrap();
    out
}

proptest! {
    #[test]
    fn commits_read_back_from_their_block(commits in commits()) {
        let block = encode_block(&commits).unwrap();
        let header = decode_header(&block).unwrap();
        prop_assert_eq!(header.last_seq(), commits.last().unwrap().header.seq);
        prop_assert_eq!(header.prev, commits[0].header.prev);
        let mut entities = Vec::new();
        for event in commits.iter().flat_map(|commit| &commit.events) {
            if !entities.contains(&event.entity) {
                entities.push(event.entity);
            }
        }
        prop_assert_eq!(block_entities(&block).unwrap(), entities);
        let read = decode_block(&block, VAULT).unwrap();
        verify_block(&read).unwrap();
        prop_assert_eq!(read, as_read(commits));
    }

    #[test]
    fn a_block_says_its_body_bytes_before_it_is_written(commits in commits()) {
        let mut builder = BlockBuilder::new(VAULT, &log());
        prop_assert!(builder.push_all(&commits).unwrap());
        let header = decode_header(&builder.finish().unwrap()).unwrap();
        prop_assert_eq!(header.body_bytes as usize, builder.body_bytes());
        prop_assert_eq!(header.events, builder.events());
    }

    #[test]
    fn a_block_with_a_changed_byte_is_refused_or_the_same(commits in commits(), at in any::<usize>(), bit in 0..8) {
        let block = encode_block(&commits).unwrap();
        let mut other = block.clone();
        let at = at % other.len();
        other[at] ^= 1_u8 << bit;
        // LZ4 can say the same in two ways; what counts is that nothing else passes under the signature.
        if let Ok(read) = decode_block(&other, VAULT) && verify_block(&read).is_ok() {
            prop_assert_eq!(read, as_read(commits));
        }
        let _ = block_entities(&other);
    }

    #[test]
    fn a_block_that_is_cut_short_or_long_is_refused(commits in commits(), at in any::<usize>()) {
        let mut block = encode_block(&commits).unwrap();
        let refused = |bytes: &[u8]| decode_block(bytes, VAULT).and_then(|read| verify_block(&read)).is_err();
        prop_assert!(refused(&block[..at % block.len()]));
        block.push(0);
        prop_assert!(refused(&block));
    }

    #[test]
    fn any_suffix_can_be_cut_from_a_block(commits in commits(), at in any::<usize>()) {
        let block = encode_block(&commits).unwrap();
        let skip = at % commits.len();
        let after = commits[0].header.seq + skip as u64 - 1;
        let suffix = decode_block(&cut_suffix(&block, VAULT, after).unwrap(), VAULT).unwrap();
        prop_assert_eq!(suffix, as_read(commits[skip..].to_vec()));
        prop_assert!(cut_suffix(&block, VAULT, commits.last().unwrap().header.seq).is_err());
    }

    #[test]
    fn merged_blocks_hold_the_same_commits(commits in commits()) {
        let blocks: Vec<_> = commits.iter().map(|commit| encode_block(std::slice::from_ref(commit)).unwrap()).collect();
        let merged = merge_blocks(&blocks, VAULT).unwrap();
        prop_assert_eq!(merged.len(), 1);
        prop_assert_eq!(decode_block(&merged[0], VAULT).unwrap(), as_read(commits));
    }

    #[test]
    fn messages_read_back(message in message()) {
        prop_assert_eq!(Message::decode(&encoded(&message)).unwrap(), message);
    }

    #[test]
    fn a_message_that_is_cut_short_or_long_is_refused(message in message(), at in any::<usize>()) {
        let mut bytes = encoded(&message);
        prop_assert!(Message::decode(&bytes[..at % bytes.len()]).is_err());
        bytes.push(0);
        prop_assert!(Message::decode(&bytes).is_err());
    }

    #[test]
    fn a_message_with_a_changed_byte_is_refused_or_encodes_again(message in message(), at in any::<usize>(), bit in 0..8) {
        let mut bytes = encoded(&message);
        let at = at % bytes.len();
        bytes[at] ^= 1_u8 << bit;
        if let Ok(other) = Message::decode(&bytes) {
            prop_assert_eq!(Message::decode(&encoded(&other)).unwrap(), other);
        }
    }

    #[test]
    fn noise_never_panics(bytes in vec(any::<u8>(), 0..300)) {
        let _ = Message::decode(&bytes);
        let _ = decode_block(&bytes, VAULT);
        let _ = block_entities(&bytes);
    }
}

#[test]
fn a_block_closes_before_its_limits() {
    let small: Vec<_> = (0..1_500).map(|n| (n << 16, vec![], None, vec![set(n.into(), "a", "b")])).collect();
    let small = chain(1, small);
    let blocks = encode_blocks(&small).unwrap();
    let counts: Vec<_> = blocks.iter().map(|block| decode_header(block).unwrap().events as usize).collect();
    assert_eq!(counts, [MAX_BATCH_SIZE, 500]);
    let large: Vec<_> = (0..200).map(|n| (n, vec![], None, vec![set(n.into(), "a", "x".repeat(700))])).collect();
    let mut builder = BlockBuilder::new(VAULT, &log());
    for commit in chain(1, large) {
        let before = builder.body_bytes();
        if !builder.push(&commit).unwrap() {
            assert_eq!(builder.body_bytes(), before);
            assert!(before <= MAX_BLOCK_BYTES && before + 720 > MAX_BLOCK_BYTES, "{before}");
            assert_eq!(decode_block(&builder.finish().unwrap(), VAULT).unwrap().len(), builder.events() as usize);
            return;
        }
    }
    panic!("nothing closed the block");
}

#[test]
fn a_commit_larger_than_a_block_gets_one_of_its_own() {
    let events = (0..1_000).map(|n| set(n, "a", "y".repeat(1_000))).collect();
    let commits = chain(1, vec![(5, vec![], None, vec![set(1, "a", 1)]), (6, vec![], None, events)]);
    let blocks = encode_blocks(&commits).unwrap();
    assert_eq!(blocks.len(), 2);
    assert_eq!(decode_block(&blocks[1], VAULT).unwrap()[0].events.len(), 1_000);
}

#[test]
fn what_a_reader_would_refuse_is_not_packed() {
    let fields: String = "x".repeat(120);
    // One byte each in the block, 121 in the canonical encoding that is hashed.
    let clear = || FieldOp::Clear { field: FieldName::new(&fields).unwrap(), lift: 0 };
    let event =
        |ops: usize| Event { entity: EntityId([1; 16]), seen: vec![], ops: (0..ops).map(|_| clear()).collect() };
    let code = |events: Vec<Event>| encode_block(&chain(1, vec![(1, vec![], None, events)])).map_err(|e| e.code());
    assert_eq!(code(vec![event(1_024); 40]), Err(ErrorCode::TooLarge));
    assert_eq!(code(vec![event(1_025)]), Err(ErrorCode::TooLarge));
    assert_eq!(code(vec![set(1, "a", "x".repeat(1 << 20))]), Err(ErrorCode::TooLarge));
    let most = code(vec![event(1_024); 33]).unwrap();
    assert_eq!(decode_block(&most, VAULT).unwrap()[0].events.len(), 33);
}

#[test]
fn a_block_that_says_other_numbers_or_names_than_it_has_is_refused() {
    // Small enough to be stored; two events of one entity, so that its header leaves room for another entity.
    let id = u128::from_be_bytes(std::array::from_fn(|at| at as u8 * 15 + 1));
    let block = encode_block(&chain(1, vec![(5, vec![], None, vec![set(id, "a", 1), set(id, "b", 2)])])).unwrap();
    let (events, body_bytes, entities) = (50, 51, 52);
    assert_eq!((block[2], block[events], block[entities], block[entities + 1]), (0, 2, 1, 16));
    let message = |block: &[u8]| decode_block(block, VAULT).unwrap_err().message().to_owned();
    for other in [1, 3] {
        let mut block = block.clone();
        block[events] = other;
        assert!(message(&block).contains("events"), "{other}");
    }
    // An entity that no event changes.
    let mut unused = block.clone();
    unused[entities] = 2;
    unused[body_bytes] += 2;
    let end_of_ids = entities + 18;
    unused.splice(end_of_ids..end_of_ids, [1, 2]);
    assert!(message(&unused).contains("names"));
    // The same field numbers the other way round: `b` first, though `a` is mentioned first.
    let mut turned = block.clone();
    let first = turned.windows(3).position(|part| part == [2, 0, 2]).unwrap() + 1;
    turned[first] = 1;
    assert!(message(&turned).contains("field number"));
    assert!(decode_block(&block, VAULT).is_ok());
}

#[test]
fn ids_that_are_near_each_other_take_few_bytes_and_unrelated_ones_seventeen() {
    let size = |ids: &[u128]| {
        let events = ids.iter().map(|id| set(*id, "a", 1)).collect();
        let commits = chain(1, vec![(5, vec![], None, events)]);
        let mut builder = BlockBuilder::new(VAULT, &log());
        assert!(builder.push(&commits[0]).unwrap());
        let block = builder.finish().unwrap();
        assert_eq!(decode_block(&block, VAULT).unwrap()[0].events, commits[0].events);
        let mut once = Vec::new();
        ids.iter().map(|id| EntityId(id.to_be_bytes())).for_each(|id| {
            if !once.contains(&id) {
                once.push(id);
            }
        });
        assert_eq!(block_entities(&block).unwrap(), once);
        builder.body_bytes()
    };
    let far = u128::MAX / 3;
    // Another event takes six bytes beside its entity, and more than one are counted.
    let one = size(&[far]);
    for (next, bytes) in [
        (far + 1, 2),
        (far - 1, 2),
        (far + 127, 2),
        (far + 128, 3),
        (far - 0x7fff, 3),
        (far + (1 << 80), 12),
        (far - (1 << 126), 17),
        (far.wrapping_add(1 << 127), 17),
    ] {
        assert_eq!(size(&[far, next]) - one, bytes + 7, "{next:x}");
    }
    // Round the end, and back to one that is known.
    for ids in [[0, u128::MAX, 0], [u128::MAX, 0, 1], [1, 0, 1], [1 << 127, 0, 1 << 127]] {
        size(&ids);
    }
}

#[test]
fn an_id_is_written_in_one_way_only() {
    let events = vec![set(300, "a", 1), set(301, "a", 1), set(302, "a", 1)];
    let block = encode_block(&chain(1, vec![(5, vec![], None, events)])).unwrap();
    let ids = block.windows(8).position(|part| part == [3, 2, 0x58, 2, 1, 2, 1, 2]).unwrap();
    let message = |changed: &[u8]| {
        let mut block = block.clone();
        block.splice(ids..ids + 8, changed.iter().copied());
        block[51] = block[51] - 8 + changed.len() as u8;
        (block_entities(&block).unwrap_err().message().to_owned(), decode_block(&block, VAULT).is_err())
    };
    for (changed, why) in [
        (&[3, 2, 0x58, 2, 2, 2, 0, 1, 2][..], "shortest form"),
        (&[3, 2, 0x58, 2, 1, 0, 1, 2], "shortest form"),
        (&[3, 2, 0x58, 2, 0, 1, 2], "twice"),
        (&[3, 2, 0x58, 2, 1, 2, 1, 1], "twice"),
        (&[3, 17, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 1, 2], "over the limit"),
    ] {
        let (message, refused) = message(changed);
        assert!(message.contains(why) && refused, "{message}");
    }
}

#[test]
fn a_commit_that_does_not_follow_is_not_packed() {
    let commits = chain(1, vec![(1, vec![], None, vec![set(1, "a", 1)]); 3]);
    let code = |commits: &[Commit]| encode_block(commits).unwrap_err().code();
    assert_eq!(code(&[commits[0].clone(), commits[2].clone()]), ErrorCode::Invalid);
    assert_eq!(code(&[]), ErrorCode::Invalid);
    let unsigned = Commit { signature: None, ..commits[0].clone() };
    assert_eq!(code(&[unsigned]), ErrorCode::Invalid);
}

#[test]
fn a_snapshot_block_and_a_newer_format_are_not_supported_yet() {
    let mut block = encode_block(&chain(1, vec![(1, vec![], None, vec![set(1, "a", 1)])])).unwrap();
    block[1] = 1;
    assert_eq!(decode_block(&block, VAULT).unwrap_err().code(), ErrorCode::Unsupported);
    block[..2].copy_from_slice(&[2, 0]);
    assert_eq!(decode_block(&block, VAULT).unwrap_err().code(), ErrorCode::Unsupported);
}

#[test]
fn a_small_edit_in_a_block_costs_at_most_twelve_bytes_over_its_value() {
    let contents = (0..500_u64)
        .map(|n| ((1_000 + n * 7) << 16, vec![], None, vec![set((n % 50).into(), "title", "x".repeat(25))]));
    let commits = chain(1, contents.collect());
    let mut builder = BlockBuilder::new(VAULT, &log());
    assert!(builder.push_all(&commits[..100]).unwrap());
    let before = builder.body_bytes();
    assert!(builder.push_all(&commits[100..]).unwrap());
    let over = (builder.body_bytes() - before) as f64 / 400.0 - 25.0;
    assert!(over <= 9.0, "{over} bytes");
}

#[test]
fn the_greeting_and_the_answer_that_nothing_changed_are_small() {
    let hello = HelloMessage {
        versions: (1, 1),
        features: 0,
        nonce: [1; 16],
        proof: Hash([2; 32]),
        heads: vec![Hash([3; 32])],
        credential: vec![],
    };
    let ack = Message::HelloAck(HelloAckMessage::Accepted { version: 1, hello: hello.clone() });
    let greeting = encoded(&Message::Hello(hello)).len() + encoded(&ack).len() + 8;
    assert!(greeting <= 190, "{greeting} bytes");
    let have = FrontierSummary { digest: Hash([4; 32]), base: u64::MAX, entries: vec![], complete: false };
    let request = Message::SyncRequest(SyncRequestMessage { id: 1, scope: Scope::All, have });
    let answer = Message::SyncState(SyncStateMessage { id: 1, state: SyncState::Equal });
    let both = encoded(&request).len() + encoded(&answer).len() + 8;
    assert!(both <= 60, "{both} bytes");
}

#[test]
fn what_does_not_fit_into_a_frame_is_not_encoded() {
    let mut out = vec![1];
    let items = vec![Item::Block(vec![0; MAX_FRAME_BYTES].into())];
    let error = Message::EventNotify(EventNotifyMessage { items }).encode(&mut out).unwrap_err();
    assert_eq!((error.code(), out), (ErrorCode::TooLarge, vec![1]));
    let long = Message::Error(ErrorMessage { code: ErrorCode::Busy, message: "é".repeat(200) });
    match Message::decode(&encoded(&long)).unwrap() {
        Message::Error(error) => assert_eq!(error.message, "é".repeat(128)),
        other => panic!("{other:?}"),
    }
}
