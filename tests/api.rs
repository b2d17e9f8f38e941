//! The public names that the specification fixes, with their types: when one drifts, this does not compile.
#![cfg(not(target_arch = "wasm32"))]

use std::path::PathBuf;
use std::time::Duration;

use privstack_sync::crdt::EventApplicator;
use privstack_sync::engine::{SyncEngine, SyncEvent};
use privstack_sync::error::Result;
use privstack_sync::orchestrator::{
    CloudConfig, DiscoveredPeerInfo, EventStream, GoogleDriveConfig, ICloudConfig, OrchestratorConfig,
    OrchestratorHandle, PairingManager, SyncCode, SyncCommand, SyncConfig, SyncOrchestrator, TrustedPeer,
    create_enterprise_orchestrator, create_orchestrator_with_pairing, create_personal_orchestrator,
};
use privstack_sync::platform::native::p2p::P2pTransport;
use privstack_sync::policy::{
    AuditAction, AuditDecision, EnterpriseSyncPolicy, EntityAcl, PersonalSyncPolicy, SyncPolicy, SyncRole, TeamId,
};
use privstack_sync::protocol::{
    ErrorMessage, EventAckMessage, EventBatchMessage, EventNotifyMessage, HelloAckMessage, HelloMessage,
    MAX_BATCH_SIZE, PROTOCOL_VERSION, SubscribeMessage, SyncRequestMessage, SyncStateMessage,
};
use privstack_sync::transport::Transport;
use privstack_sync::transport::p2p::P2pConfig;
use privstack_sync::types::{EntityId, Event, HybridTimestamp, PeerId, VectorClock};

fn exists<T>() {}

#[test]
fn the_protocol_has_its_messages_and_constants() {
    let limit: usize = MAX_BATCH_SIZE;
    assert_eq!(limit, 1_000);
    assert_eq!(u64::from(PROTOCOL_VERSION), 1);
    exists::<HelloMessage>();
    exists::<HelloAckMessage>();
    exists::<SyncRequestMessage>();
    exists::<SyncStateMessage>();
    exists::<EventBatchMessage>();
    exists::<EventAckMessage>();
    exists::<EventNotifyMessage>();
    exists::<SubscribeMessage>();
    exists::<ErrorMessage>();
}

#[test]
fn the_engine_and_its_words_exist() {
    exists::<SyncEngine>();
    exists::<EventApplicator>();
    exists::<Event>();
    exists::<EntityId>();
    exists::<PeerId>();
    exists::<VectorClock>();
    exists::<HybridTimestamp>();
}

fn config() -> OrchestratorConfig {
    OrchestratorConfig {
        sync_config: SyncConfig {
            device_name: String::from("laptop"),
            live: true,
            resync_interval: Duration::from_secs(60),
            ..SyncConfig::default()
        },
        p2p_config: P2pConfig {
            listen_addr: String::from("/ip4/0.0.0.0/udp/0/quic-v1"),
            bootstrap_nodes: Vec::<String>::new(),
            enable_mdns: true,
            enable_dht: false,
            enable_relay: false,
            ..P2pConfig::default()
        },
        cloud_config: None::<CloudConfig>,
        db_path: PathBuf::from("/nowhere"),
    }
}

#[test]
fn the_configuration_has_its_fields_and_defaults() {
    let config = config();
    assert_eq!(SyncConfig::default().resync_interval, Duration::from_secs(60));
    assert!(config.sync_config.live);
    let drive = GoogleDriveConfig {
        client_id: String::from("id"),
        client_secret: String::from("a secret"),
        refresh_token: String::from("a token"),
        folder_name: String::from("notes"),
    };
    let clouds = [CloudConfig::GoogleDrive(drive), CloudConfig::ICloud(ICloudConfig { container_path: String::new() })];
    let shown = format!("{clouds:?}");
    assert!(shown.contains("notes") && !shown.contains("secret") && !shown.contains("token"), "{shown}");
}

#[test]
fn the_factories_give_a_handle_that_goes_anywhere() {
    fn goes_anywhere<T: Send + Sync + Clone + 'static>(_: &T) {}
    let factories: [fn(OrchestratorConfig) -> OrchestratorHandle; 3] =
        [create_personal_orchestrator, create_enterprise_orchestrator, create_orchestrator_with_pairing];
    for factory in factories {
        let handle = factory(config());
        goes_anywhere(&handle);
        let _: EventStream = handle.events();
        let _: Result<()> = handle.send(SyncCommand::Stop);
    }
    exists::<SyncOrchestrator>();
}

#[test]
fn commands_and_events_have_their_variants() {
    let peer = PeerId([1; 32]);
    let commands = [
        SyncCommand::Start,
        SyncCommand::Stop,
        SyncCommand::ForceSync,
        SyncCommand::AddPeer(peer),
        SyncCommand::RemovePeer(peer),
        SyncCommand::PairDevice("482951".parse::<SyncCode>().unwrap()),
    ];
    assert_eq!(commands.len(), 6);
    let events = [
        SyncEvent::PeerConnected(peer),
        SyncEvent::PeerDisconnected(peer),
        SyncEvent::SyncCompleted(peer),
        SyncEvent::SyncError(peer, String::new()),
        SyncEvent::EntitiesUpdated(vec![EntityId([1; 16])]),
        SyncEvent::PairingCompleted(peer),
    ];
    assert_eq!(events.len(), 6);
}

#[test]
fn pairing_has_its_calls() {
    let peer = PeerId([1; 32]);
    let mut pairing: PairingManager = create_orchestrator_with_pairing(config()).pairing();
    let code: SyncCode = pairing.generate_sync_code();
    assert!(pairing.verify_sync_code(&code));
    let info = DiscoveredPeerInfo {
        device_name: String::from("phone"),
        platform: String::from("desktop"),
        addresses: Vec::<String>::new(),
    };
    pairing.trust_peer(peer, info);
    pairing.revoke_trust(&peer);
    assert!(!pairing.is_trusted(&peer));
    let trusted: Vec<TrustedPeer> = pairing.trusted_peers();
    assert!(trusted.is_empty(), "the engine is not even started");
    let role = |peer: TrustedPeer| -> (PeerId, String, SyncRole, HybridTimestamp) {
        (peer.peer_id, peer.device_name, peer.role, peer.trusted_at)
    };
    let _ = role;
}

#[test]
fn the_transport_is_one() {
    fn is_transport<T: Transport>() {}
    is_transport::<P2pTransport>();
}

#[test]
fn policies_answer_who_may_send_and_receive() {
    fn is_policy<T: SyncPolicy>() {}
    is_policy::<PersonalSyncPolicy>();
    is_policy::<EnterpriseSyncPolicy>();
    fn asks(
        policy: &(dyn SyncPolicy + Send + Sync),
        peer: &PeerId,
        action: AuditAction,
    ) -> (bool, bool, AuditDecision) {
        (policy.can_send("note", peer), policy.can_receive("note", peer), policy.audit(action))
    }
    let _ = asks;
    let acl = EntityAcl {
        entity_type: String::from("note"),
        allowed_roles: vec![SyncRole::Admin, SyncRole::Member, SyncRole::ReadOnly],
        team_id: None::<TeamId>,
    };
    assert_eq!(acl.allowed_roles.len(), 3);
    let name = |decision| match decision {
        AuditDecision::Allow => "allow",
        AuditDecision::Deny => "deny",
        AuditDecision::AllowAndRecord => "allow and record",
        #[allow(unreachable_patterns)] // it may grow
        _ => "another",
    };
    assert_eq!(name(AuditDecision::Deny), "deny");
}
