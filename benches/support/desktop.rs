//! Two whole devices as an app runs them: orchestrators with disk stores, QUIC on loopback between them.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use privstack_sync::crdt::Edit;
use privstack_sync::engine::{EntityEdit, SyncEvent};
use privstack_sync::orchestrator::{
    EventStream, OrchestratorConfig, OrchestratorHandle, SyncConfig, create_personal_orchestrator,
};
use privstack_sync::policy::SyncRole;
use privstack_sync::transport::p2p::P2pConfig;
use privstack_sync::types::Value;

use super::median;
use super::meter::{Meter, Taken};
use super::work::{field, note, text};

fn desktop(folder: &Path) -> OrchestratorHandle {
    create_personal_orchestrator(OrchestratorConfig {
        sync_config: SyncConfig { resync_interval: Duration::from_secs(3_600), ..SyncConfig::default() },
        p2p_config: P2pConfig {
            listen_addr: "/ip4/127.0.0.1/udp/0/quic-v1".into(),
            extra_listen: Vec::new(),
            enable_mdns: false,
            ..P2pConfig::default()
        },
        cloud_config: None,
        db_path: folder.to_owned(),
    })
}

async fn wait_for(events: &mut EventStream, wanted: impl Fn(&SyncEvent) -> bool) {
    loop {
        let event = events.next().await.expect("the events go on");
        if let SyncEvent::StartFailed(_, why) = &event {
            panic!("{why}");
        }
        if wanted(&event) {
            return;
        }
    }
}

/// A device with a vault.
pub async fn first(folder: &Path) -> OrchestratorHandle {
    let device = desktop(folder);
    let mut events = device.events();
    device.start().await.expect("a start");
    device.init().await.expect("a vault");
    wait_for(&mut events, |event| matches!(event, SyncEvent::Listening(_))).await;
    device
}

/// W2 in passes, a thousand events a commit.
pub async fn w2(device: &OrchestratorHandle, entities: usize) {
    let mut ids = Vec::new();
    for pass in 0..10 {
        for from in (0..entities).step_by(1_000) {
            let change = |entity: usize| EntityEdit {
                id: ids.get(entity).copied(),
                edits: vec![Edit::Set(field(&format!("f{pass}")), Value::Text(text((entity * 10 + pass) as u64, 25)))],
            };
            let changes = (from..entities.min(from + 1_000)).map(change).collect();
            let written = device.batch(note(), changes).await.expect("a write");
            if pass == 0 {
                ids.extend(written);
            }
        }
    }
}

/// A new device joins, finds the first one at the address in the invite, and fetches all: from the open session until
/// nothing is owed.
pub async fn join(first: &OrchestratorHandle, folder: &Path) -> (OrchestratorHandle, Taken) {
    let device = desktop(folder);
    device.start().await.expect("a start");
    let mut events = device.events();
    let invite = first.invite(device.peer_id().expect("an id"), SyncRole::Member).await.expect("an invite");
    device.join(invite).await.expect("a vault");
    wait_for(&mut events, |event| matches!(event, SyncEvent::PeerConnected(_))).await;
    let meter = Meter::start();
    wait_for(&mut events, |event| matches!(event, SyncEvent::SyncCompleted(_))).await;
    let taken = meter.taken();
    assert_eq!(first.digest().await.expect("a digest"), device.digest().await.expect("a digest"));
    (device, taken)
}

/// What the disk itself takes for a small write: seconds for 200 bytes and fdatasync (median).
pub fn raw_sync(folder: &Path, count: usize) -> f64 {
    let mut file = std::fs::File::create(folder.join("raw")).expect("a file");
    let times = (0..count).map(|_| {
        let start = Instant::now();
        file.write_all(&[7; 200]).and_then(|()| file.sync_data()).expect("a disk that writes");
        start.elapsed().as_secs_f64()
    });
    median(times.collect())
}

/// One edit after the other: seconds until it is durable, and until the other app is told (medians).
pub async fn edits(a: &OrchestratorHandle, b: &OrchestratorHandle, count: usize) -> (f64, f64) {
    let id = a.create(note(), vec![Edit::Create]).await.expect("a note");
    let mut events = b.events();
    wait_for(&mut b.events(), |event| matches!(event, SyncEvent::EntitiesUpdated(_))).await;
    let (mut durable, mut seen) = (Vec::new(), Vec::new());
    for number in 0..count {
        let start = Instant::now();
        let edit = Edit::Set(field("title"), Value::Text(text(number as u64, 25)));
        a.update(note(), id, vec![edit]).await.expect("a write");
        durable.push(start.elapsed().as_secs_f64());
        wait_for(&mut events, |event| matches!(event, SyncEvent::EntitiesUpdated(ids) if ids.contains(&id))).await;
        seen.push(start.elapsed().as_secs_f64());
        // The other's disk is at rest before the next one, as it is when a person edits.
        a.settled(privstack_sync::engine::Level::Peer).await.expect("delivered");
    }
    assert_eq!(a.digest().await.expect("a digest"), b.digest().await.expect("a digest"));
    (median(durable), median(seen))
}
