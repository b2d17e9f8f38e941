//! The bytes of the wire, frozen: today's build writes exactly what the files in `tests/golden` hold, and reads them.
//!
//! `GOLDEN_WRITE=1 cargo test --test golden` writes the files again. That is right only where a new version of the
//! protocol or the format was made, never to make a test pass.
#![cfg(not(target_arch = "wasm32"))]

use std::path::PathBuf;
use std::sync::Arc;

use privstack_sync::error::ErrorCode;
use privstack_sync::pairing::{
    About, Inner, OfferOptions, PairLink, Pairing, PairingEvent, PairingMessage, PairingOutput,
};
use privstack_sync::policy::{
    AddMember, AuditEntry, AuditKind, AuditRecord, AuditSubject, Body, Cut, Cuts, EntityAcl, Genesis, LogRange, Op,
    PolicyKind, Remove, RootVoid, SetAcl, SetKey, SetName, SetPolicy, SetRole, SetTeams, SyncRole, TeamId,
};
use privstack_sync::types::{
    Commit, CommitHeader, Dot, EntityId, EntityType, Epoch, Event, FieldName, FieldOp, Hash, HybridTimestamp, Keypair,
    LogId, LogName, PeerId, StandsFor, Value, VaultId, VectorClock, events_hash,
};
use privstack_sync::wire::*;
use zeroize::Zeroizing;

/// Compares `bytes` with a golden file, or writes it.
fn golden(name: &str, bytes: &[u8]) {
    assert!(frozen(name, bytes) == bytes, "{name}: this build writes other bytes than the frozen format has");
}

/// What a golden file holds, once it was written with `bytes` where that is asked for.
fn frozen(name: &str, bytes: &[u8]) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("GOLDEN_WRITE").is_some() {
        std::fs::write(&path, bytes).expect("a golden file can be written");
    }
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

const VAULT: VaultId = VaultId([9; 32]);

fn hash(byte: u8) -> Hash {
    Hash::derive("privstack-sync golden files", &[byte])
}

fn sorted(heads: &[Hash]) -> Vec<Hash> {
    let mut heads = heads.to_vec();
    heads.sort_unstable();
    heads
}

fn id(byte: u8) -> EntityId {
    let [.., a, b, c, d, e, f, g, h, i, j] = hash(byte).0;
    EntityId::new_v7(1_760_000_000_000 + u64::from(byte), [a, b, c, d, e, f, g, h, i, j])
}

fn field(name: &str) -> FieldName {
    FieldName::new(name).unwrap()
}

fn note() -> EntityType {
    EntityType::new("note").unwrap()
}

fn author() -> Keypair {
    Keypair::from_seed(&[1; 32])
}

fn own_log() -> LogId {
    LogId { author: author().peer_id(), epoch: Epoch(0x0102_0304_0506_0708) }
}

fn other_log(byte: u8) -> LogId {
    LogId { author: Keypair::from_seed(&[byte; 32]).peer_id(), epoch: Epoch(u64::from(byte)) }
}

struct Author {
    prev: Hash,
    seq: u64,
    hlc: HybridTimestamp,
}

impl Author {
    fn new() -> Self {
        Self { prev: Hash::ZERO, seq: 0, hlc: HybridTimestamp::from_millis(1_760_000_000_000) }
    }

    fn commit(&mut self, heads: &[Hash], stands_for: Option<StandsFor>, events: Vec<Event>) -> Commit {
        self.seq += 1;
        let header = CommitHeader {
            vault: VAULT,
            log: LogName { entity_type: note(), id: own_log() },
            seq: self.seq,
            prev: self.prev,
            hlc: self.hlc,
            heads: sorted(heads).into(),
            stands_for,
            events: events_hash(&events, &mut Vec::new()),
        };
        self.prev = header.hash();
        // A tick, a jump, a step back: each has a form of its own in a block.
        self.hlc = HybridTimestamp(match self.seq % 3 {
            0 => self.hlc.0 + 1,
            1 => self.hlc.0 + (1_500 << 16),
            _ => self.hlc.0 - (20 << 16) + 3,
        });
        let signature = Some(author().sign_commit(&self.prev));
        Commit { header, hash: self.prev, events, signature }
    }
}

/// Every field operation and every sort of value.
fn all_ops() -> Vec<FieldOp> {
    let dot = |byte| Dot { log: other_log(byte), seq: 300, index: 2 };
    let mut dots = vec![dot(2), dot(3)];
    dots.sort_unstable();
    let sums = dots.iter().map(|dot| (*dot, -5)).collect();
    let map = [("a".to_owned(), Value::from(1)), ("b".to_owned(), Value::float(f64::NAN))].into();
    let list = vec![Value::Null, true.into(), false.into(), (-1).into(), 0.5.into(), Value::Bytes(vec![1, 2])];
    vec![
        FieldOp::Create,
        FieldOp::Delete,
        FieldOp::Set { field: field("title"), value: "Grüße".into(), lift: 0 },
        FieldOp::Set { field: field("title"), value: Value::Map(map), lift: 70_000 },
        FieldOp::Clear { field: field("title"), lift: 0 },
        FieldOp::Add { field: field("stars"), by: -3 },
        FieldOp::ClearCounter { field: field("stars"), sums },
        FieldOp::Insert { field: field("tags"), item: Value::List(list) },
        FieldOp::Remove { field: field("tags"), item: "x".into(), dots: dots.clone() },
        FieldOp::ClearSet { field: field("tags"), dots },
        FieldOp::Text { field: field("body"), update: vec![1, 2, 3] },
        FieldOp::Opaque { field: field("other"), bytes: vec![4, 5] },
    ]
}

fn set(entity: u8, value: impl Into<Value>) -> Event {
    let op = FieldOp::Set { field: field("title"), value: value.into(), lift: 0 };
    Event { entity: id(entity), seen: vec![], ops: vec![op] }
}

fn many_commits() -> Vec<Commit> {
    let mut author = Author::new();
    let mut seen = vec![(other_log(2), 7), (other_log(3), 1)];
    seen.sort_unstable();
    let original = StandsFor { epoch: Epoch(5), seq: 4, hash: hash(6) };
    let mut commits = vec![
        author.commit(&[hash(1)], None, vec![set(1, "one")]),
        author.commit(&[hash(1)], None, vec![Event { entity: id(2), seen, ops: all_ops() }]),
        author.commit(&[hash(2), hash(3)], Some(original), vec![set(1, "two"), set(3, 3)]),
    ];
    commits.extend((0..20).map(|n| author.commit(&[hash(4)], None, vec![set(n % 4, "an edit like the others")])));
    commits
}

/// A frozen block reads as these commits, and its signature holds. What is before and after its body is written as
/// frozen, and so is a body that is stored; LZ4 has many ways to say the same, and its encoder is no part of the format.
fn golden_block(name: &str, commits: &[Commit]) -> Vec<u8> {
    let written = encode_block(commits).unwrap();
    let block = frozen(name, &written);
    let read = decode_block(&block, VAULT).unwrap();
    verify_block(&read).unwrap();
    let hashes = |commits: &[Commit]| commits.iter().map(|commit| commit.hash).collect::<Vec<_>>();
    assert_eq!(hashes(&read), hashes(commits), "{name}");
    assert!(read.iter().zip(commits).all(|(a, b)| a.header == b.header && a.events == b.events), "{name}");
    assert_eq!(decode_header(&block).unwrap(), decode_header(&written).unwrap(), "{name}");
    assert_eq!(block.last_chunk::<64>(), written.last_chunk::<64>(), "{name}");
    assert!(block[2] == 1 || block == written, "{name}: this build writes other bytes than the frozen format has");
    block
}

#[test]
fn blocks_are_written_and_read_as_frozen() {
    let mut author = Author::new();
    let single = [author.commit(&[], None, vec![set(1, "one")])];
    let single = golden_block("block_single_stored.bin", &single);
    let packed = golden_block("block_many_lz4.bin", &many_commits());
    assert_eq!((single[2], packed[2]), (0, 1), "one is stored, one compressed");
    golden_block("block_later.bin", &many_commits()[15..]);
    let events = (0..100).map(|n| set(n, "large ".repeat(200))).collect();
    let large = golden_block("block_large.bin", &[Author::new().commit(&[], None, events)]);
    assert!(decode_header(&large).unwrap().body_bytes > 60 << 10);
}

#[test]
fn hashes_and_signatures_of_commits_are_frozen() {
    let mut lines = String::new();
    for commit in many_commits() {
        let signature: String = commit.signature.unwrap().0.iter().map(|byte| format!("{byte:02x}")).collect();
        lines += &format!("{} {} {} {signature}\n", commit.header.seq, commit.header.events, commit.hash);
    }
    golden("commits.txt", lines.as_bytes());
}

fn hello(credential: Vec<Arc<[u8]>>) -> HelloMessage {
    HelloMessage {
        versions: (1, 1),
        features: 5,
        nonce: [7; 16],
        proof: hash(8),
        heads: sorted(&[hash(1), hash(2)]),
        credential,
    }
}

fn entries() -> Vec<FrontierEntry> {
    let entry = |name: &str, log, seq, forked| FrontierEntry {
        entity_type: EntityType::new(name).unwrap(),
        log,
        seq,
        hash: hash(seq as u8),
        forked,
    };
    let again = LogId { epoch: Epoch(99), ..other_log(2) };
    vec![
        entry("note", own_log(), 1_000, false),
        entry("note", other_log(2), 3, true),
        entry("task", other_log(2), 4, false),
        entry("task", again, 5, false),
    ]
}

fn summary() -> FrontierSummary {
    FrontierSummary { digest: hash(3), base: 0x1122_3344_5566_7788, entries: entries(), complete: true }
}

fn messages() -> Vec<(&'static str, Message)> {
    let task = EntityType::new("task").unwrap();
    let ack = |ack| Message::HelloAck(ack);
    let request = |scope, have| Message::SyncRequest(SyncRequestMessage { id: 300, scope, have });
    let state = |state| Message::SyncState(SyncStateMessage { id: 300, state });
    let bytes = |byte| Arc::<[u8]>::from([byte; 10]);
    let items = vec![Item::Block(bytes(1)), Item::Membership(bytes(2)), Item::Fork(bytes(3), bytes(4))];
    let clock = VectorClock::from_iter([(own_log(), 4), (other_log(2), 200)]);
    let nothing = FrontierSummary { digest: hash(3), base: 0, entries: vec![], complete: false };
    vec![
        ("hello", Message::Hello(hello(vec![]))),
        ("hello_credential", Message::Hello(hello(vec![bytes(1), bytes(2)]))),
        ("hello_ack_accepted", ack(HelloAckMessage::Accepted { version: 1, hello: hello(vec![]) })),
        ("hello_ack_rejected", ack(HelloAckMessage::Rejected { reason: ErrorCode::Paused })),
        ("sync_request_all", request(Scope::All, nothing)),
        ("sync_request_types", request(Scope::Types(vec![note(), task.clone()]), summary())),
        (
            "sync_request_entities",
            request(Scope::Entities(vec![(note(), id(1)), (note(), id(2)), (task.clone(), id(3))]), summary()),
        ),
        ("sync_state_equal", state(SyncState::Equal)),
        ("sync_state_have", state(SyncState::Have(summary()))),
        ("sync_state_types", state(SyncState::Types(vec![(note(), 1), (task.clone(), u64::MAX)]))),
        (
            "sync_state_entries",
            state(SyncState::Entries { types: vec![note(), task.clone()], entries: entries(), last: true }),
        ),
        (
            "sync_state_clocks",
            state(SyncState::Clocks(vec![(note(), id(1), clock), (task.clone(), id(2), VectorClock::new())])),
        ),
        ("sync_state_membership", state(SyncState::Membership(vec![1, u64::MAX]))),
        ("event_batch_items", Message::EventBatch(EventBatchMessage::Items(items.clone()))),
        ("event_batch_part", Message::EventBatch(EventBatchMessage::Part { total: 70_000, bytes: vec![6; 20] })),
        ("event_ack", Message::EventAck(EventAckMessage { stored: 1 << 40, window: 1 << 20 })),
        ("event_notify", Message::EventNotify(EventNotifyMessage { items })),
        ("subscribe", Message::Subscribe(SubscribeMessage { scope: Scope::Types(vec![task]), live: true })),
        ("error", Message::Error(ErrorMessage { code: ErrorCode::NotAuthorized, message: "not a member".into() })),
        ("ping", Message::Ping(u64::MAX)),
        ("pong", Message::Pong(0)),
    ]
}

#[test]
fn messages_are_written_and_read_as_frozen() {
    for (name, message) in messages() {
        let mut bytes = Vec::new();
        message.encode(&mut bytes).unwrap();
        assert_eq!(Message::decode(&bytes).unwrap(), message, "{name}");
        golden(&format!("message_{name}.bin"), &bytes);
    }
}

#[test]
fn membership_operations_are_written_and_read_as_frozen() {
    let (root, admin, at) = (Keypair::from_seed(&[3; 32]), author(), HybridTimestamp::from_millis(1_760_000_000_000));
    let genesis = Genesis {
        root: root.peer_id(),
        policy: PolicyKind::Enterprise,
        admin: admin.peer_id(),
        admin_name: "desk".into(),
        secret: Zeroizing::new([5; 32]),
    };
    let genesis = Op::genesis(&root, genesis, at).unwrap();
    let add = |role| AddMember { peer: other_log(2).author, role, name: "Büro".into() };
    let sign = |parents, body| Op::sign(&admin, genesis.vault_id(), parents, at, body).unwrap();
    let first = sign(vec![genesis.hash()], Body::AddMember(add(SyncRole::Member)));
    let second = sign(vec![genesis.hash()], Body::AddMember(add(SyncRole::ReadOnly)));
    let both = sign(vec![first.hash(), second.hash()], Body::Unknown { code: 14, bytes: vec![1, 2, 3] });
    let operations =
        [("genesis", &genesis), ("add_member", &first), ("add_read_only", &second), ("unknown_kind", &both)];
    for (name, operation) in operations {
        golden(&format!("membership_{name}.bin"), operation.encoded());
        assert_eq!(&Op::decode(operation.encoded()).unwrap(), operation, "{name}");
    }
}

/// Every kind of operation that changes who may do what.
fn changes() -> Vec<(&'static str, Body)> {
    let log = |name: &str, id| LogName { entity_type: EntityType::new(name).unwrap(), id };
    let peer = other_log(2).author;
    let cuts: Cuts =
        [("note", own_log(), 300), ("note", other_log(2), 1), ("task", own_log(), 2), ("task", other_log(3), 0)]
            .into_iter()
            .map(|(name, id, seq)| (log(name, id), Cut { seq, hash: hash(seq as u8) }))
            .collect();
    let range = LogRange { log: log("note", other_log(2)), from: 301, to: 400, hash: hash(7) };
    let entry = |allowed_roles: &[SyncRole], team: Option<&str>| EntityAcl {
        entity_type: "note".into(),
        allowed_roles: allowed_roles.to_vec(),
        team_id: team.map(|team| TeamId(team.into())),
    };
    let entries = vec![entry(&[SyncRole::Admin, SyncRole::Member], Some("blue")), entry(&[SyncRole::ReadOnly], None)];
    let teams = ["blue", "grün"].map(|team| TeamId(team.into())).into();
    let sealed = [(peer, vec![1; 80]), (other_log(3).author, vec![2; 80])].into();
    vec![
        ("set_role", Body::SetRole(SetRole { peer, role: SyncRole::ReadOnly, cuts: cuts.clone() })),
        ("remove", Body::Remove(Remove { peer, cuts: cuts.clone() })),
        ("set_teams", Body::SetTeams(SetTeams { peer, teams, cuts: Cuts::new() })),
        ("set_acl", Body::SetAcl(SetAcl { entity_type: note(), entries, cuts: cuts.clone() })),
        ("set_policy", Body::SetPolicy(SetPolicy { policy: PolicyKind::Enterprise, cuts: cuts.clone() })),
        ("accept_range", Body::AcceptRange(range.clone())),
        ("raise_cut", Body::RaiseCut(range)),
        ("accept_branch", Body::AcceptBranch { log: log("note", other_log(2)), seq: 301, hash: hash(8) }),
        ("set_key", Body::SetKey(SetKey { name: SetKey::name_of(&[6; 32]), sealed })),
        ("set_name", Body::SetName(SetName { peer, name: "Büro".into() })),
        ("leave", Body::Leave { cuts }),
        ("root_void", Body::RootVoid(RootVoid { ops: [hash(1), hash(2)].into() })),
    ]
}

#[test]
fn operations_that_change_who_may_do_what_are_written_and_read_as_frozen() {
    let at = HybridTimestamp::from_millis(1_760_000_000_000);
    for (name, body) in changes() {
        let operation = Op::sign(&author(), VAULT, vec![hash(1)], at, body).unwrap();
        golden(&format!("membership_{name}.bin"), operation.encoded());
        assert_eq!(Op::decode(operation.encoded()).unwrap(), operation, "{name}");
    }
}

#[test]
fn pairing_messages_are_written_and_read_as_frozen() {
    let messages = [
        ("hello", PairingMessage::Hello { versions: (1, 300), sort: 1, nonce: [7; 16] }),
        ("hello_ack", PairingMessage::HelloAck { version: 1, nonce: [8; 16] }),
        ("share", PairingMessage::Share(hash(1).0)),
        ("confirm", PairingMessage::Confirm(hash(2).0)),
        ("sealed", PairingMessage::Sealed(hash(3).0.to_vec())),
        ("abort", PairingMessage::Abort(ErrorCode::CodeMismatch)),
    ];
    for (name, message) in messages {
        golden(&format!("pairing_{name}.bin"), &message.to_bytes());
        assert_eq!(PairingMessage::decode(&message.to_bytes()).unwrap(), message, "{name}");
    }
    let inner = [
        ("about", Inner::About(About { device_name: "Büro".into(), platform: "desktop".into() })),
        ("accept", Inner::Accept { brings: vec![EntityType::new("note").unwrap()] }),
        ("invite", Inner::Invite { last: true, bytes: Zeroizing::new(b"privstack-invite-1:".to_vec()) }),
        ("joined", Inner::Joined),
    ];
    for (name, inner) in inner {
        golden(&format!("pairing_inner_{name}.bin"), &inner.to_bytes());
        assert_eq!(Inner::decode(&inner.to_bytes()).unwrap(), inner, "{name}");
    }
}

/// All frames of a pairing, and its words: what they are made by is frozen too, not only their form.
#[test]
fn a_whole_pairing_says_what_it_said_before() {
    let now = privstack_sync::types::Instant { mono: 1, wall: 1_760_000_000_000 };
    let peers = [1, 2].map(|seed| Keypair::from_seed(&[seed; 32]).peer_id());
    let mut devices = [0, 1].map(|index| {
        let about = About { device_name: format!("device {index}"), platform: "desktop".into() };
        Pairing::new(peers[index], about, &Zeroizing::new([index as u8; 32]))
    });
    let options = OfferOptions { code: Some("482951".parse().unwrap()), ..OfferOptions::default() };
    devices[0].offer(now, options).unwrap();
    devices[1].join(now, "482951".parse().unwrap(), vec![(peers[0], vec![])], true).unwrap();
    let (link, mut lines, mut quiet) = (PairLink(1), String::new(), false);
    while !std::mem::replace(&mut quiet, true) {
        for index in [1, 0] {
            for output in devices[index].take_out() {
                quiet = false;
                match output {
                    PairingOutput::Dial(..) => {
                        devices[0].link_up(now, link, peers[1], false);
                        devices[1].link_up(now, link, peers[0], true);
                    }
                    PairingOutput::Send(_, frame) => {
                        let hex: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
                        lines += &format!("{} {hex}\n", ["offering", "joining"][index]);
                        devices[1 - index].frame(now, link, &frame);
                    }
                    PairingOutput::Persist(_, token) => devices[index].persisted(now, token),
                    PairingOutput::Tell(PairingEvent::Found(found)) => {
                        lines += &format!("{} sees {}\n", ["offering", "joining"][index], found.words.join(" "));
                        devices[index].confirm(now, SyncRole::Member).unwrap();
                    }
                    PairingOutput::Invite { link, .. } => {
                        devices[0].invite_ready(now, link, Ok(Zeroizing::new("an invite".to_owned())));
                    }
                    PairingOutput::Join(link, invite) => {
                        assert_eq!(*invite, "an invite");
                        devices[1].joined(now, link, Ok(()));
                    }
                    _ => {}
                }
            }
        }
    }
    golden("pairing_exchange.txt", lines.as_bytes());
    assert_eq!(lines.matches(" sees ").count(), 2);
}

#[test]
fn an_audit_entry_is_stored_and_hashed_as_frozen() {
    let (peer, by) = (PeerId(hash(1).0), PeerId(hash(2).0));
    let subject = AuditSubject { peer, kind: AuditKind::AclChanged, by, entity_type: Some(note()), allowed: true };
    let entry = AuditEntry { number: 300, at: 1_760_000_000_123, subject, count: 7 };
    let row = AuditRecord::encode(&entry, &entry.hash(&hash(3)));
    golden("audit_entry.bin", &row);
    assert_eq!(AuditRecord::decode(300, &row).entry, Some(entry));
}

#[test]
fn peer_ids_are_the_key_behind_libp2ps_prefix() {
    let mut lines = String::new();
    for seed in [1, 2] {
        let peer: PeerId = Keypair::from_seed(&[seed; 32]).peer_id();
        lines += &format!("{peer} {}\n", Hash(peer.0));
    }
    golden("peer_ids.txt", lines.as_bytes());
}
