//! The orchestrator: life and failures over a disk and a network that tests hold in hand, and the app's calls.
#![cfg(not(target_arch = "wasm32"))]

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use privstack_sync::crdt::{Edit, FieldValue};
use privstack_sync::engine::{Call, EntityEdit, Level, LinkId, SyncEvent};
use privstack_sync::error::{Error, ErrorCode, Result};
use privstack_sync::orchestrator::{
    CloudConfig, EventStream, Filter, ICloudConfig, Opened, OrchestratorConfig, OrchestratorHandle, SyncCommand,
    SyncConfig, SyncOrchestrator, Update, World, block_on, create_enterprise_orchestrator,
    create_personal_orchestrator, drive_store, store_channel,
};
use privstack_sync::platform::entropy;
use privstack_sync::platform::native::thread;
use privstack_sync::platform::native::time::Clock;
use privstack_sync::policy::{PolicyKind, SyncRole};
use privstack_sync::store::{MemoryStore, Read, Rows, Store, WriteBatch};
use privstack_sync::transport::memory::MemoryNetwork;
use privstack_sync::transport::p2p::P2pConfig;
use privstack_sync::transport::{Transport, TransportEvent};
use privstack_sync::types::{EntityId, EntityType, FieldName, Instant, Keypair, PeerId, Value};
use tokio::sync::{mpsc, watch};
use zeroize::Zeroizing;

/// A disk in memory that can be made slow, full or broken.
struct Disk {
    rows: Mutex<MemoryStore>,
    held: AtomicBool,
    /// Commits wait while this is false.
    turning: watch::Sender<bool>,
    /// Commits begun.
    begun: watch::Sender<usize>,
    /// What commits fail with.
    refuses: Mutex<Option<ErrorCode>>,
    broken: AtomicBool,
}

impl Disk {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            rows: Mutex::default(),
            held: AtomicBool::new(false),
            turning: watch::Sender::new(true),
            begun: watch::Sender::new(0),
            refuses: Mutex::new(None),
            broken: AtomicBool::new(false),
        })
    }

    fn open(self: Arc<Self>) -> Result<OpenDisk> {
        if self.broken.load(Ordering::SeqCst) {
            return Err(Error::storage("the disk is broken"));
        }
        if self.held.swap(true, Ordering::SeqCst) {
            return Err(Error::new(ErrorCode::Locked, "the disk is held"));
        }
        Ok(OpenDisk(self))
    }
}

struct OpenDisk(Arc<Disk>);

impl Drop for OpenDisk {
    fn drop(&mut self) {
        self.0.held.store(false, Ordering::SeqCst);
    }
}

impl Store for OpenDisk {
    async fn commit(&mut self, batch: WriteBatch) -> Result<()> {
        self.0.begun.send_modify(|begun| *begun += 1);
        self.0.turning.subscribe().wait_for(|turning| *turning).await.unwrap();
        if let Some(code) = *self.0.refuses.lock().unwrap() {
            return Err(Error::new(code, "the disk takes nothing"));
        }
        self.0.rows.lock().unwrap().apply(batch);
        Ok(())
    }

    async fn read(&self, read: &Read) -> Result<Rows> {
        Ok(self.0.rows.lock().unwrap().rows(read))
    }

    async fn used_bytes(&self) -> Result<u64> {
        Ok(0)
    }
}

/// A network that says what the test says, and on which nobody is.
struct Script(mpsc::UnboundedReceiver<TransportEvent>);

impl Transport for Script {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<TransportEvent> {
        match self.0.poll_recv(cx) {
            Poll::Ready(Some(event)) => Poll::Ready(event),
            _ => Poll::Pending,
        }
    }
    fn send(&mut self, _: LinkId, _: Vec<u8>) {}
    fn hang_up(&mut self, _: LinkId) {}
    fn dial(&mut self, _: PeerId, _: Vec<String>) {}
    fn dial_address(&mut self, _: &str) -> Result<()> {
        Ok(())
    }
    fn pause(&mut self) {}
    fn resume(&mut self) {}
}

struct TestWorld<T> {
    seed: u8,
    disk: Arc<Disk>,
    network: Option<T>,
    clock: Clock,
}

impl<T: Transport + 'static> World for TestWorld<T> {
    async fn open(&mut self) -> Result<Opened> {
        let (store, end) = store_channel();
        let disk = self.disk.clone();
        thread::spawn_with(
            "test-store",
            move || async move { Ok((disk.open()?, ())) },
            |store| drive_store(store, end),
        )
        .await?;
        Ok(Opened { keypair: Keypair::from_seed(&[self.seed; 32]), instance_mark: [1; 16], browser: false, store })
    }

    async fn connect(&mut self, _: &Keypair) -> Result<Option<Box<dyn Transport>>> {
        Ok(self.network.take().map(|network| Box::new(network) as Box<dyn Transport>))
    }

    fn now(&self) -> Instant {
        self.clock.now()
    }

    async fn sleep(&self, micros: u64) {
        tokio::time::sleep(Duration::from_micros(micros)).await;
    }

    fn entropy(&self) -> Result<Zeroizing<[u8; 32]>> {
        entropy::bytes()
    }
}

/// An orchestrator on a disk in memory, and the script of its network.
fn in_memory(disk: &Arc<Disk>) -> (OrchestratorHandle, mpsc::UnboundedSender<TransportEvent>) {
    let (script, events) = mpsc::unbounded_channel();
    (in_world(7, disk, Script(events)), script)
}

fn in_world(seed: u8, disk: &Arc<Disk>, network: impl Transport + Send + 'static) -> OrchestratorHandle {
    let world = TestWorld { seed, disk: disk.clone(), network: Some(network), clock: Clock::new() };
    let (orchestrator, handle) = SyncOrchestrator::new(world, config(Path::new("unused")), PolicyKind::Personal);
    thread::spawn("test-engine", move || orchestrator.run()).unwrap();
    handle
}

fn config(folder: &Path) -> OrchestratorConfig {
    OrchestratorConfig {
        sync_config: SyncConfig { device_name: "laptop".into(), offline: true, ..SyncConfig::default() },
        p2p_config: P2pConfig::default(),
        cloud_config: None,
        db_path: folder.to_owned(),
    }
}

fn on_disk(folder: &Path) -> OrchestratorHandle {
    create_personal_orchestrator(config(folder))
}

/// Runs a test's future; a test that waits too long fails.
fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(30), future).await.expect("30 s have passed") })
}

async fn wait_for(events: &mut EventStream, wanted: impl Fn(&SyncEvent) -> bool) -> SyncEvent {
    loop {
        let event = events.next().await.expect("the events have ended");
        if wanted(&event) {
            return event;
        }
    }
}

fn note() -> EntityType {
    EntityType::new("note").unwrap()
}

fn title(text: &str) -> Edit {
    Edit::Set(FieldName::new("title").unwrap(), Value::Text(text.into()))
}

fn code<T: std::fmt::Debug>(result: Result<T>) -> ErrorCode {
    result.unwrap_err().code()
}

#[test]
fn factories_return_at_once_and_touch_no_disk() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("data");
    for handle in [on_disk(&folder), create_enterprise_orchestrator(config(&folder))] {
        assert_eq!(code(handle.call_blocking(Call::Status)), ErrorCode::Closed);
        assert_eq!(handle.peer_id(), None);
        assert!(!folder.exists());
    }
}

#[test]
fn a_failed_start_is_the_first_event_and_the_answer_to_every_call() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("data");
    std::fs::write(&folder, "a file where the folder should be").unwrap();
    let handle = on_disk(&folder);
    handle.send(SyncCommand::Start).unwrap();
    let failure = run(handle.status()).unwrap_err();
    assert!(failure.message().contains("data"), "{failure}");
    assert_eq!(run(handle.peers()).unwrap_err(), failure);
    assert_eq!(run(handle.start()).unwrap_err().code(), failure.code());
    let told = run(async { handle.events().next().await });
    assert_eq!(told, Some(SyncEvent::StartFailed(failure.code(), failure.message().into())));

    std::fs::remove_file(&folder).unwrap();
    run(handle.start()).unwrap();
    assert!(handle.peer_id().is_some(), "a start after the cause is gone succeeds");
}

#[test]
fn a_start_with_cloud_storage_says_that_there_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = CloudConfig::ICloud(ICloudConfig { container_path: "x".into() });
    let handle =
        create_personal_orchestrator(OrchestratorConfig { cloud_config: Some(cloud), ..config(folder.path()) });
    assert_eq!(code(run(handle.start())), ErrorCode::Unsupported);
    assert_eq!(code(run(handle.status())), ErrorCode::Unsupported);
}

#[test]
fn stop_releases_the_folder_and_so_does_dropping_the_last_handle() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (on_disk(folder.path()), on_disk(folder.path()));
    run(async {
        first.start().await.unwrap();
        assert_eq!(code(second.start().await), ErrorCode::Locked);
        first.stop().await.unwrap();
        assert_eq!(code(first.status().await), ErrorCode::Closed);
        second.start().await.unwrap();
        assert_eq!(second.peer_id(), first.peer_id(), "the same folder is the same device");
        let mut events = second.events();
        let clone = second.clone();
        drop(second);
        clone.start().await.unwrap();
        drop(clone);
        wait_for(&mut events, |event| *event == SyncEvent::Stopped).await;
        assert_eq!(events.next().await, None);
        first.start().await.unwrap();
    });
}

#[test]
fn a_desktop_tells_where_it_listens() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path());
    config.sync_config.offline = false;
    config.p2p_config = P2pConfig {
        listen_addr: "/ip4/127.0.0.1/udp/0/quic-v1".into(),
        extra_listen: Vec::new(),
        enable_mdns: false,
        ..P2pConfig::default()
    };
    let handle = create_personal_orchestrator(config);
    run(async {
        let mut events = handle.events();
        handle.start().await.unwrap();
        let told = wait_for(&mut events, |event| matches!(event, SyncEvent::Listening(_))).await;
        let address = handle.addresses().pop().unwrap();
        assert!(address.ends_with(&format!("/p2p/{}", handle.peer_id().unwrap())), "{address}");
        assert_eq!(told, SyncEvent::Listening(address));
        assert_eq!(code(handle.dial("nowhere").await), ErrorCode::Invalid);
        handle.stop().await.unwrap();
        assert!(handle.addresses().is_empty());
    });
}

#[test]
fn a_slow_reader_of_events_is_told_that_it_lagged_and_the_engine_goes_on() {
    let (handle, script) = in_memory(&Disk::new());
    run(async {
        handle.start().await.unwrap();
        handle.init().await.unwrap();
        let mut slow = handle.events();
        assert_eq!(slow.next().await, Some(SyncEvent::Started));
        assert_eq!(slow.next().await, Some(SyncEvent::MembersChanged), "it has made a vault");
        let mut quick = handle.events();
        for number in 0..3_000 {
            script.send(TransportEvent::Listening(format!("/memory/{number}"))).unwrap();
            assert_eq!(quick.next().await, Some(SyncEvent::Listening(format!("/memory/{number}"))));
        }
        handle.create(note(), vec![title("x")]).await.unwrap();
        let Some(SyncEvent::Lagged(lost)) = slow.next().await else { panic!("it did not say that it lagged") };
        assert!(lost >= 3_000 - 1_024, "{lost}");
        let first_left = SyncEvent::Listening(format!("/memory/{lost}"));
        assert_eq!(slow.next().await, Some(first_left));
        assert_eq!(handle.addresses().len(), 3_000);
    });
}

#[test]
fn a_failed_write_fails_its_call_and_the_store_is_opened_again() {
    let disk = Disk::new();
    let (handle, _script) = in_memory(&disk);
    run(async {
        let mut events = handle.events();
        handle.start().await.unwrap();
        handle.init().await.unwrap();
        let kept = handle.create(note(), vec![title("kept")]).await.unwrap();
        wait_for(&mut events, |event| *event == SyncEvent::Started).await;

        *disk.refuses.lock().unwrap() = Some(ErrorCode::Quota);
        let lost = handle.create(note(), vec![title("lost")]).await;
        assert_eq!(code(lost), ErrorCode::Quota);
        let told = wait_for(&mut events, |event| matches!(event, SyncEvent::StorageFailed(..))).await;
        assert!(matches!(told, SyncEvent::StorageFailed(ErrorCode::Quota, _)), "{told:?}");

        *disk.refuses.lock().unwrap() = None;
        wait_for(&mut events, |event| *event == SyncEvent::Started).await;
        let new = handle.create(note(), vec![title("new")]).await.unwrap();
        assert_ne!(kept, new);
        handle.stop().await.unwrap();
    });
    assert!(!disk.held.load(Ordering::SeqCst));
}

#[test]
fn a_store_that_another_tab_has_taken_over_is_not_taken_back() {
    let disk = Disk::new();
    let (handle, _script) = in_memory(&disk);
    run(async {
        handle.start().await.unwrap();
        handle.init().await.unwrap();
        *disk.refuses.lock().unwrap() = Some(ErrorCode::TabConflict);
        assert_eq!(code(handle.create(note(), vec![title("of the other tab")]).await), ErrorCode::TabConflict);
        *disk.refuses.lock().unwrap() = None;
        // A store that is opened again would answer this.
        assert_eq!(code(handle.status().await), ErrorCode::TabConflict);
        assert!(!disk.held.load(Ordering::SeqCst));
        handle.stop().await.unwrap();
    });
}

#[test]
fn while_the_store_cannot_be_opened_again_calls_fail_at_once_and_a_stop_ends_the_wait() {
    let disk = Disk::new();
    let (handle, _script) = in_memory(&disk);
    run(async {
        handle.start().await.unwrap();
        handle.init().await.unwrap();
        let mut events = handle.events();
        disk.broken.store(true, Ordering::SeqCst);
        *disk.refuses.lock().unwrap() = Some(ErrorCode::Quota);
        assert_eq!(code(handle.create(note(), vec![title("lost")]).await), ErrorCode::Quota);
        let broken = SyncEvent::StorageFailed(ErrorCode::Storage, "the disk is broken".into());
        wait_for(&mut events, |event| *event == broken).await;
        assert_eq!(code(handle.status().await), ErrorCode::Storage);
        handle.stop().await.unwrap();
        wait_for(&mut events, |event| *event == SyncEvent::Stopped).await;
    });
}

#[test]
fn a_stop_finishes_the_writes_in_flight() {
    let disk = Disk::new();
    // Again and again, for the stop may be seen before the disk turns again or after it.
    for _ in 0..50 {
        let (handle, _script) = in_memory(&disk);
        run(async {
            handle.start().await.unwrap();
            if handle.status().await.unwrap().vault.is_none() {
                handle.init().await.unwrap();
            }
            let mut begun = disk.begun.subscribe();
            let before = *begun.borrow();
            disk.turning.send_replace(false);
            let written = handle.create(note(), vec![title("x")]);
            let stopped = async {
                begun.wait_for(|begun| *begun > before).await.unwrap();
                handle.send(SyncCommand::Stop).unwrap();
                tokio::task::yield_now().await;
                disk.turning.send_replace(true);
                handle.stop().await
            };
            let (written, stopped) = tokio::join!(written, stopped);
            written.unwrap();
            stopped.unwrap();
        });
        assert!(!disk.held.load(Ordering::SeqCst));
    }
}

#[test]
fn calls_that_wait_for_ever_are_bounded_and_those_given_up_make_room() {
    let (handle, _script) = in_memory(&Disk::new());
    run(async {
        handle.start().await.unwrap();
        handle.init().await.unwrap();
        // It is at least on a peer's disk once there is a peer: never, here.
        handle.create(note(), vec![title("x")]).await.unwrap();
        let mut waiting = tokio::task::JoinSet::new();
        for _ in 0..4_096 {
            let handle = handle.clone();
            waiting.spawn(async move { handle.settled(Level::Peer).await });
        }
        let refused = async || handle.status().await.is_err_and(|error| error.code() == ErrorCode::Busy);
        while !refused().await {
            tokio::task::yield_now().await;
        }
        waiting.shutdown().await;
        assert!(!refused().await);
    });
}

#[test]
fn calls_block_a_plain_thread_and_their_futures_may_cross_threads() {
    fn may_cross<T: Send>(value: T) -> T {
        value
    }
    let (handle, _script) = in_memory(&Disk::new());
    block_on(handle.start()).unwrap();
    block_on(handle.init()).unwrap();
    let id = block_on(may_cross(handle.create(note(), vec![title("x")]))).unwrap();
    let mut events = handle.events().blocking();
    std::thread::scope(|scope| {
        scope.spawn(|| block_on(handle.update(note(), id, vec![title("y")])).unwrap());
        assert!(events.any(|event| event == SyncEvent::EntitiesUpdated(vec![id])));
    });
}

// ---- what the app asks of the engine ---------------------------------------------------------------------------------

async fn started() -> (OrchestratorHandle, mpsc::UnboundedSender<TransportEvent>) {
    let (handle, script) = in_memory(&Disk::new());
    handle.start().await.unwrap();
    handle.init().await.unwrap();
    (handle, script)
}

fn text_of(view: &privstack_sync::crdt::EntityView) -> Option<&str> {
    match view.field("title") {
        Some(FieldValue::Register(Value::Text(text))) => Some(text),
        _ => None,
    }
}

#[test]
fn an_entity_is_created_read_listed_deleted_restored_and_remembers_its_history() {
    run(async {
        let (handle, _script) = started().await;
        let id = handle.create(note(), vec![title("one")]).await.unwrap();
        handle.update(note(), id, vec![title("two")]).await.unwrap();
        let view = handle.get(note(), id).await.unwrap();
        assert_eq!((text_of(&view), view.deleted), (Some("two"), false));
        assert_eq!(handle.find(None, id).await.unwrap(), std::slice::from_ref(&view));
        assert_eq!(handle.list(Some(note()), None, 10).await.unwrap(), [view]);
        let other = EntityType::new("task").unwrap();
        assert_eq!(code(handle.get(other, id).await), ErrorCode::NotFound);

        let before = handle.digest().await.unwrap();
        handle.delete(note(), id).await.unwrap();
        assert!(handle.get(note(), id).await.unwrap().deleted);
        assert_ne!(handle.digest().await.unwrap(), before);
        assert_eq!(code(handle.update(note(), id, vec![title("three")]).await), ErrorCode::Deleted);
        handle.restore(note(), id).await.unwrap();
        let view = handle.get(note(), id).await.unwrap();
        assert_eq!((text_of(&view), view.deleted), (Some("two"), false));

        let changes = handle.history(id).await.unwrap();
        assert_eq!(changes.len(), 4);
        assert!(changes.iter().all(|change| Some(change.by) == handle.peer_id() && change.counts));
        assert!(changes.is_sorted_by_key(|change| change.at));
    });
}

#[test]
fn batches_of_several_types_are_one_commit_a_type() {
    run(async {
        let (handle, _script) = started().await;
        let task = EntityType::new("task").unwrap();
        let new = |text: &str| EntityEdit { id: None, edits: vec![title(text)] };
        let batches = vec![(note(), vec![new("a"), new("b")]), (task.clone(), vec![new("c")]), (note(), Vec::new())];
        let answers = handle.batches(batches).await;
        assert_eq!(answers[0].as_ref().unwrap().len(), 2);
        assert_eq!(answers[1].as_ref().unwrap().len(), 1);
        assert_eq!(answers[2].as_ref().unwrap_err().code(), ErrorCode::Invalid, "an empty batch is none");
        let types = handle.status().await.unwrap().types;
        let commits: BTreeMap<_, _> = types.iter().map(|(name, held)| (name.as_str(), held.commits)).collect();
        assert_eq!((commits["note"], commits["task"]), (1, 1));
    });
}

#[test]
fn a_subscription_tells_what_the_entities_of_its_filter_read_now() {
    run(async {
        let (handle, _script) = started().await;
        let task = EntityType::new("task").unwrap();
        let mut notes = handle.subscribe(Filter::of_type(note()));
        let done = handle.create(task.clone(), vec![title("a task")]).await.unwrap();
        let mut one = handle.subscribe(Filter::of_ids([done]));
        let id = handle.create(note(), vec![title("a note")]).await.unwrap();
        handle.update(task, done, vec![title("done")]).await.unwrap();
        let Some(Ok(Update::Entities(seen))) = notes.next().await else { panic!("no update") };
        assert_eq!(seen.iter().map(|view| view.id).collect::<Vec<EntityId>>(), [id]);
        let Some(Ok(Update::Entities(seen))) = one.next().await else { panic!("no update") };
        assert_eq!((seen[0].id, text_of(&seen[0])), (done, Some("done")));
        handle.stop().await.unwrap();
        assert!(notes.next().await.is_none());
    });
}

#[test]
fn a_first_write_makes_a_vault_whose_words_are_told_until_they_are_saved() {
    run(async {
        let (handle, _script) = in_memory(&Disk::new());
        handle.start().await.unwrap();
        assert_eq!(handle.recovery_words().await.unwrap(), None);
        handle.create(note(), vec![title("first")]).await.unwrap();
        assert!(handle.status().await.unwrap().vault.is_some());
        let words = handle.recovery_words().await.unwrap().expect("words");
        assert_eq!(words.split(' ').count(), 24);
        handle.recovery_saved().await.unwrap();
        assert_eq!(handle.recovery_words().await.unwrap(), None);
    });
}

#[test]
fn a_backup_goes_into_a_device_that_has_no_vault_yet() {
    run(async {
        let (handle, _script) = started().await;
        for number in 0..50 {
            handle.create(note(), vec![title(&number.to_string())]).await.unwrap();
        }
        let (other, _other_script) = in_memory(&Disk::new());
        other.start().await.unwrap();
        let mut parts = handle.backup();
        while let Some(items) = parts.next().await {
            other.restore_backup(items.unwrap()).await.unwrap();
        }
        assert_eq!(other.digest().await.unwrap(), handle.digest().await.unwrap());
    });
}

#[test]
fn pause_and_status_are_seen_through_the_handle() {
    run(async {
        let (handle, _script) = started().await;
        handle.pause().await.unwrap();
        assert!(handle.status().await.unwrap().paused);
        handle.resume().await.unwrap();
        let status = handle.status().await.unwrap();
        assert_eq!((status.paused, Some(status.peer_id)), (false, handle.peer_id()));
        assert_eq!(status.device_name, "laptop");
        assert_eq!(handle.explain(None).await.unwrap(), []);
    });
}

#[test]
fn two_devices_show_each_others_edits_and_go_on_after_one_lost_its_disk_for_a_while() {
    let network = MemoryNetwork::new();
    let device = |seed| {
        let disk = Disk::new();
        let peer = Keypair::from_seed(&[seed; 32]).peer_id();
        (in_world(seed, &disk, network.join(peer)), disk, peer)
    };
    let ((one, one_disk, one_id), (two, _, two_id)) = (device(1), device(2));
    run(async {
        one.start().await.unwrap();
        two.start().await.unwrap();
        let vault = one.init().await.unwrap().vault;
        let invite = one.invite(two_id, SyncRole::Member).await.unwrap();
        assert_eq!(two.join(invite).await.unwrap(), (vault, 0));
        let (mut one_sees, mut two_sees) = (one.events(), two.events());
        two.add_peer(one_id, vec![format!("/memory/{one_id}")]).await.unwrap();
        wait_for(&mut two_sees, |event| *event == SyncEvent::PeerConnected(one_id)).await;

        let id = one.create(note(), vec![title("from one")]).await.unwrap();
        wait_for(&mut two_sees, |event| *event == SyncEvent::EntitiesUpdated(vec![id])).await;
        assert_eq!(text_of(&two.get(note(), id).await.unwrap()), Some("from one"));

        *one_disk.refuses.lock().unwrap() = Some(ErrorCode::Quota);
        assert_eq!(code(one.update(note(), id, vec![title("lost")]).await), ErrorCode::Quota);
        wait_for(&mut one_sees, |event| *event == SyncEvent::PeerDisconnected(two_id)).await;
        two.update(note(), id, vec![title("from two")]).await.unwrap();
        *one_disk.refuses.lock().unwrap() = None;
        wait_for(&mut one_sees, |event| *event == SyncEvent::EntitiesUpdated(vec![id])).await;
        assert_eq!(text_of(&one.get(note(), id).await.unwrap()), Some("from two"));
        two.settled(Level::Peer).await.unwrap();
        assert_eq!(one.digest().await.unwrap(), two.digest().await.unwrap());
    });
}
