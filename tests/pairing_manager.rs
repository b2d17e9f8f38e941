//! Pairing as a few plain calls, between two devices over real sockets on loopback.
#![cfg(all(feature = "p2p", not(target_arch = "wasm32")))]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use privstack_sync::engine::SyncEvent;
use privstack_sync::error::{Error, ErrorCode};
use privstack_sync::orchestrator::{
    DiscoveredPeerInfo, EventStream, OrchestratorConfig, OrchestratorHandle, PairingManager, SyncCommand, SyncConfig,
    create_enterprise_orchestrator, create_orchestrator_with_pairing,
};
use privstack_sync::pairing::{MAX_TRIES, SyncCode};
use privstack_sync::policy::SyncRole;
use privstack_sync::transport::p2p::P2pConfig;
use privstack_sync::types::{Instant, Keypair, PeerId};
use zeroize::Zeroizing;

const PATIENCE: Duration = Duration::from_secs(30);

/// A device in a folder of its own, and the events from its start on.
struct Device {
    handle: OrchestratorHandle,
    events: EventStream,
    _folder: tempfile::TempDir,
}

impl Device {
    async fn start(name: &str, make: fn(OrchestratorConfig) -> OrchestratorHandle) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let handle = make(OrchestratorConfig {
            sync_config: SyncConfig { device_name: name.into(), ..SyncConfig::default() },
            p2p_config: P2pConfig {
                listen_addr: "/ip4/127.0.0.1/udp/0/quic-v1".into(),
                enable_mdns: false,
                ..P2pConfig::default()
            },
            cloud_config: None,
            db_path: folder.path().join("data"),
        });
        let mut device = Self { events: handle.events(), handle, _folder: folder };
        device.handle.start().await.unwrap();
        device.until(|event| matches!(event, SyncEvent::Listening(_)).then_some(())).await;
        device
    }

    async fn with_vault(name: &str, make: fn(OrchestratorConfig) -> OrchestratorHandle) -> Self {
        let device = Self::start(name, make).await;
        device.handle.init().await.unwrap();
        device
    }

    fn id(&self) -> PeerId {
        self.handle.peer_id().unwrap()
    }

    /// Reads events until one is as wished.
    async fn until<T>(&mut self, mut wished: impl FnMut(SyncEvent) -> Option<T>) -> T {
        let reading = async {
            loop {
                if let Some(found) = wished(self.events.next().await.expect("events go on")) {
                    return found;
                }
            }
        };
        tokio::time::timeout(PATIENCE, reading).await.expect("the event comes")
    }

    async fn until_members(&mut self, pairing: &PairingManager, peers: &[PeerId]) {
        let members = || pairing.trusted_peers().into_iter().map(|peer| peer.peer_id).collect::<Vec<_>>();
        let is_it = |found: Vec<PeerId>| found.len() == peers.len() && peers.iter().all(|peer| found.contains(peer));
        if !is_it(members()) {
            self.until(|event| (matches!(event, SyncEvent::MembersChanged) && is_it(members())).then_some(())).await;
        }
        assert!(peers.iter().all(|peer| pairing.is_trusted(peer)));
    }
}

fn is_paired(event: SyncEvent) -> Option<PeerId> {
    match event {
        SyncEvent::PairingCompleted(peer) => Some(peer),
        SyncEvent::PairingEnded(code, text) => panic!("{code:?}: {text}"),
        _ => None,
    }
}

#[tokio::test]
async fn two_devices_pair_and_one_trusts_and_revokes() {
    let mut desk = Device::with_vault("desk", create_orchestrator_with_pairing).await;
    let mut laptop = Device::start("laptop", create_orchestrator_with_pairing).await;
    let (mut at_desk, mut at_laptop) = (desk.handle.pairing(), laptop.handle.pairing());

    // Two calls before the engine has heard of the first: one code, and it is the one that is shown.
    let code = at_desk.generate_sync_code();
    assert!(at_desk.generate_sync_code().is_same(&code));
    let shown = desk
        .until(|event| match event {
            SyncEvent::PairingCode(shown) => Some(shown),
            _ => None,
        })
        .await;
    assert!(shown.code.is_same(&code) && at_desk.generate_sync_code().is_same(&code));

    // By the link, which says where the desk is: `PairDevice` takes either.
    laptop.handle.send(SyncCommand::PairDevice(shown.link.clone())).unwrap();
    let confirm = |device: &Device| {
        let handle = device.handle.clone();
        tokio::spawn(async move { handle.pair_confirm(SyncRole::Member).await })
    };
    let found = |event| match event {
        SyncEvent::PairingFound(peer) => Some(peer.words),
        SyncEvent::PairingEnded(code, text) => panic!("{code:?}: {text}"),
        _ => None,
    };
    let words = [desk.until(found).await, laptop.until(found).await];
    assert_eq!(words[0], words[1]);
    assert!(!at_desk.is_trusted(&laptop.id()) && at_laptop.trusted_peers().is_empty(), "nothing before both said yes");
    let answers = (confirm(&desk), confirm(&laptop));
    assert_eq!(answers.0.await.unwrap().unwrap(), laptop.id());
    assert_eq!(answers.1.await.unwrap().unwrap(), desk.id());
    assert_eq!((desk.until(is_paired).await, laptop.until(is_paired).await), (laptop.id(), desk.id()));
    desk.until_members(&at_desk, &[laptop.id()]).await;
    laptop.until_members(&at_laptop, &[desk.id()]).await;
    assert!(!at_desk.generate_sync_code().is_same(&code), "a code is for one use");

    // The app vouches for a third; the Member sees it, and may not take it out again: an event says so.
    let third = Keypair::from_seed(&[9; 32]).peer_id();
    at_desk.trust_peer(third, DiscoveredPeerInfo { device_name: "phone".into(), ..DiscoveredPeerInfo::default() });
    desk.until_members(&at_desk, &[laptop.id(), third]).await;
    laptop.until_members(&at_laptop, &[desk.id(), third]).await;
    at_laptop.revoke_trust(&third);
    let refused = laptop
        .until(|event| match event {
            SyncEvent::SyncError(peer, text) if peer == third => Some(Error::from_text(&text)),
            _ => None,
        })
        .await;
    assert_eq!(refused.code(), ErrorCode::PolicyDenied);
    at_desk.revoke_trust(&third);
    desk.until_members(&at_desk, &[laptop.id()]).await;
    laptop.until_members(&at_laptop, &[desk.id()]).await;
}

#[tokio::test]
async fn a_code_is_checked_three_times_and_for_120_seconds() {
    let mut desk = Device::with_vault("desk", create_orchestrator_with_pairing).await;
    let wall = Arc::new(AtomicU64::new(1_795_305_600_000));
    let clock = wall.clone();
    let seed = AtomicU64::new(0);
    let manager = PairingManager::with(
        desk.handle.clone(),
        move || Instant { mono: 0, wall: clock.load(Ordering::SeqCst) },
        move || Ok(Zeroizing::new([seed.fetch_add(1, Ordering::SeqCst) as u8; 32])),
    );
    let other =
        PairingManager::with(desk.handle.clone(), || Instant { mono: 0, wall: 0 }, || Ok(Zeroizing::new([99; 32])));
    desk.handle.stop().await.unwrap();
    let code = manager.generate_sync_code();
    // The engine was stopped: it is told, and the code is this manager's alone.
    let told = desk
        .until(|event| match event {
            SyncEvent::Warning(code, _) => Some(code),
            _ => None,
        })
        .await;
    assert_eq!(told, ErrorCode::Closed);
    let wrong = other.generate_sync_code();
    assert!(manager.verify_sync_code(&code) && !manager.verify_sync_code(&wrong));
    wall.fetch_add(119_999, Ordering::SeqCst);
    assert!(manager.verify_sync_code(&code));
    wall.fetch_add(1, Ordering::SeqCst);
    assert!(!manager.verify_sync_code(&code), "it is over");
    let next = manager.generate_sync_code();
    assert!(!next.is_same(&code));
    for _ in 0..MAX_TRIES {
        assert!(!manager.verify_sync_code(&wrong));
    }
    assert!(!manager.verify_sync_code(&next), "three wrong ones");
}

#[tokio::test]
async fn wrong_codes_that_are_typed_here_burn_the_code_that_is_shown() {
    let mut desk = Device::with_vault("desk", create_orchestrator_with_pairing).await;
    let pairing = desk.handle.pairing();
    let code = pairing.generate_sync_code();
    let shown = |event| match event {
        SyncEvent::PairingCode(shown) => Some(shown.code.clone()),
        _ => None,
    };
    desk.until(shown).await;
    let wrong: SyncCode = if code.shown().as_str() == "000 000" { "111111" } else { "000000" }.parse().unwrap();
    for _ in 0..MAX_TRIES {
        assert!(!pairing.verify_sync_code(&wrong));
    }
    assert!(!pairing.verify_sync_code(&code), "whether the engine has counted already or not");
    let next = desk.until(shown).await;
    assert!(!next.is_same(&code));
    assert!(pairing.verify_sync_code(&next));
}

#[tokio::test]
async fn a_vault_s_policy_says_how_its_codes_are_spelled() {
    let desk = Device::with_vault("desk", create_enterprise_orchestrator).await;
    assert_eq!(letters(&desk), 8);
    // This one's factory is for personal vaults; the vault that it joins is none.
    let mut laptop = Device::start("laptop", create_orchestrator_with_pairing).await;
    let invite = desk.handle.invite(laptop.id(), SyncRole::Admin).await.unwrap();
    laptop.handle.join(invite).await.unwrap();
    let pairing = laptop.handle.pairing();
    laptop.until_members(&pairing, &[desk.id()]).await;
    assert_eq!(letters(&laptop), 8);
}

fn letters(device: &Device) -> usize {
    device.handle.pairing().generate_sync_code().shown().chars().filter(char::is_ascii_alphanumeric).count()
}
