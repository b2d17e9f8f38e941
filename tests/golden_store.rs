//! A store as an earlier build left it: today's build opens it and shows the same.
//!
//! `GOLDEN_WRITE=1` writes the file anew; that is right only together with a new format version and its migration.
#![cfg(not(target_arch = "wasm32"))]

use std::collections::VecDeque;
use std::path::PathBuf;

use privstack_sync::crdt::Edit;
use privstack_sync::engine::{Call, CallId, EngineConfig, EntityEdit, Input, Output, Reply, SyncEngine};
use privstack_sync::error::Result;
use privstack_sync::policy::{PolicyKind, SyncRole};
use privstack_sync::store::{MemoryStore, Read, Table, WriteBatch};
use privstack_sync::types::codec::{Reader, put_bytes};
use privstack_sync::types::{EntityId, EntityType, FieldName, Hash, Instant, Keypair, Value};

/// A device on a store in memory whose writes are done at once.
struct Device {
    engine: SyncEngine,
    store: MemoryStore,
    now: Instant,
    calls: u64,
}

impl Device {
    fn open(store: MemoryStore) -> Self {
        let engine = SyncEngine::new(EngineConfig {
            keypair: Keypair::from_seed(&[7; 32]),
            device_name: "golden".into(),
            browser: false,
            live: true,
            resync_interval_ms: 60_000,
            instance_mark: [3; 16],
            seed: [9; 32],
        });
        let mut device = Self { engine, store, now: Instant { mono: 1, wall: 1_790_000_000_000 }, calls: 0 };
        device.handle(Input::Tick);
        device
    }

    fn handle(&mut self, input: Input) -> Vec<(CallId, Result<Reply>)> {
        let mut replies = Vec::new();
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            self.now.mono += 1;
            let mut out = Vec::new();
            self.engine.handle(self.now, input, &mut out);
            for output in out {
                match output {
                    Output::Write(ticket, batch) => {
                        self.store.apply(batch);
                        inputs.push_back(Input::Written(ticket, Ok(())));
                    }
                    Output::Read(ticket, read) => inputs.push_back(Input::Rows(ticket, Ok(self.store.rows(&read)))),
                    Output::Reply(call, reply) => replies.push((call, reply)),
                    _ => {}
                }
            }
        }
        replies
    }

    fn call(&mut self, call: Call) -> Reply {
        self.calls += 1;
        self.now.wall += 1_000;
        let id = CallId(self.calls);
        let replies = self.handle(Input::Call(id, call));
        replies.into_iter().find(|(call, _)| *call == id).expect("an answer").1.expect("no error")
    }

    fn write(&mut self, name: &str, id: Option<EntityId>, edits: Vec<Edit>) -> EntityId {
        let entity_type = EntityType::new(name).unwrap();
        match self.call(Call::Write { entity_type, changes: vec![EntityEdit { id, edits }] }) {
            Reply::Written(ids) => ids[0],
            other => panic!("{other:?}"),
        }
    }

    fn digest(&mut self) -> Hash {
        match self.call(Call::Digest) {
            Reply::Digest(digest) => digest,
            other => panic!("{other:?}"),
        }
    }
}

fn field(name: &str) -> FieldName {
    FieldName::new(name).unwrap()
}

/// A store with something of every kind in it, and enough events for a checkpoint.
fn filled() -> Device {
    let mut device = Device::open(MemoryStore::new());
    let root = [5; 32].into();
    device.call(Call::Init { device_name: "golden".into(), policy: PolicyKind::Personal, root });
    let peer = Keypair::from_seed(&[8; 32]).peer_id();
    device.call(Call::Invite { peer, role: SyncRole::Member, addresses: vec!["/ip4/192.0.2.1/tcp/4001".into()] });
    device.call(Call::AddPeer(peer, vec!["/ip4/192.0.2.2/udp/4001/quic-v1".into()]));
    let id =
        device.write("note", None, vec![Edit::Set(field("title"), Value::from("first")), Edit::Add(field("reads"), 3)]);
    let edits = vec![
        Edit::Insert(field("tags"), Value::from("a")),
        Edit::Insert(field("tags"), Value::from("b")),
        Edit::TextInsert(field("body"), 0, "Hello wörld".into()),
        Edit::Opaque(field("board"), vec![1, 2, 3]),
    ];
    device.write("note", Some(id), edits);
    device.write(
        "note",
        Some(id),
        vec![Edit::Remove(field("tags"), Value::from("a")), Edit::TextDelete(field("body"), 0, 6)],
    );
    let gone = device.write("task", None, vec![Edit::Set(field("title"), Value::from("gone"))]);
    device.write("task", Some(gone), vec![Edit::Delete]);
    let entity_type = EntityType::new("row").unwrap();
    let rows: Vec<EntityId> = (0..200).map(|_| device.write("row", None, vec![Edit::Create])).collect();
    for _ in 0..20 {
        let changes = rows.iter().cycle().take(1_000);
        let changes = changes.map(|id| EntityEdit { id: Some(*id), edits: vec![Edit::Add(field("n"), 1)] });
        device.call(Call::Write { entity_type: entity_type.clone(), changes: changes.collect() });
    }
    device.write("note", Some(id), vec![Edit::Set(field("title"), Value::from("after the checkpoint"))]);
    device
}

fn golden_path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/store.lz4")
}

fn dump(store: &MemoryStore) -> Vec<u8> {
    let mut out = Vec::new();
    for table in Table::ALL {
        let read =
            Read::Range { table, from: Vec::new(), to: vec![0xff; 64], max_rows: usize::MAX, max_bytes: usize::MAX };
        for (key, value) in store.rows(&read).rows {
            out.push(table as u8);
            put_bytes(&mut out, &key);
            put_bytes(&mut out, &value);
        }
    }
    out
}

fn load(bytes: &[u8]) -> MemoryStore {
    let mut store = MemoryStore::new();
    let mut batch = WriteBatch::default();
    let mut reader = Reader::new(bytes);
    while !reader.is_empty() {
        let table = reader.byte().unwrap();
        let table = Table::ALL.into_iter().find(|known| *known as u8 == table).unwrap();
        let key = reader.bytes(usize::MAX, "a key").unwrap();
        batch.put(table, key, reader.bytes(usize::MAX, "a value").unwrap());
    }
    store.apply(batch);
    store
}

#[test]
fn todays_build_opens_the_golden_store_and_shows_what_it_showed() {
    if std::env::var_os("GOLDEN_WRITE").is_some() {
        let mut device = filled();
        let digest = device.digest();
        let bytes = [&digest.0[..], &dump(&device.store)].concat();
        std::fs::write(golden_path(), lz4_flex::compress_prepend_size(&bytes)).unwrap();
    }
    let bytes = lz4_flex::decompress_size_prepended(&std::fs::read(golden_path()).unwrap()).unwrap();
    let (digest, rows) = bytes.split_at(32);
    let mut device = Device::open(load(rows));
    assert_eq!(device.digest().0, digest);
    // It goes on: an old store takes new commits, and the state folded from its blocks is the same.
    device.write("note", None, vec![Edit::Set(field("title"), Value::from("new"))]);
    let digest = device.digest();
    let mut batch = WriteBatch::default();
    batch.clear(Table::Pages);
    batch.delete(Table::Meta, b"checkpoint".as_slice());
    device.store.apply(batch);
    assert_eq!(Device::open(device.store).digest(), digest);
}
