//! How an orchestrator is set up.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::pairing::SyncCode;
use crate::store::SealKey;
use crate::transport::p2p::P2pConfig;
use crate::types::PeerId;

/// Everything that [`super::create_personal_orchestrator`] and [`super::create_enterprise_orchestrator`] need.
#[derive(Clone, Debug)]
pub struct OrchestratorConfig {
    /// How this device syncs.
    pub sync_config: SyncConfig,
    /// How it reaches others.
    pub p2p_config: P2pConfig,
    /// Where it leaves data for devices that it cannot reach. This version has no cloud drivers: a start with one set
    /// fails with `unsupported`.
    pub cloud_config: Option<CloudConfig>,
    /// The data folder of this device; made with mode 0700 if there is none. One process at a time.
    pub db_path: PathBuf,
}

/// How a device syncs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SyncConfig {
    /// This device's name as others see it: at most `MAX_DEVICE_NAME_BYTES` bytes.
    pub device_name: String,
    /// Push edits as they happen; otherwise they go with the next comparison.
    pub live: bool,
    /// How often to compare with each connected peer.
    pub resync_interval: Duration,
    /// Make a vault by itself when the app writes or invites and there is none; without this, that is refused with
    /// `no_vault`. Its recovery words: [`super::OrchestratorHandle::recovery_words`].
    pub makes_vault: bool,
    /// Use no network at all, neither listen nor dial: for tools that only read and write the folder.
    pub offline: bool,
    /// Seals what this device keeps, its key too: [`super::seal_key`] makes it of a passphrase. A wrong one, or none where
    /// one is needed, fails with `locked`, and so does one for data that was made without.
    pub seal: Option<SealKey>,
}

impl Default for SyncConfig {
    /// A device named `device`, live, compared every 60 s.
    fn default() -> Self {
        Self {
            device_name: "device".to_owned(),
            live: true,
            resync_interval: Duration::from_secs(60),
            makes_vault: true,
            offline: false,
            seal: None,
        }
    }
}

/// Cloud storage that the user already has. Not available in this version; see [`OrchestratorConfig::cloud_config`].
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum CloudConfig {
    /// A folder in Google Drive.
    GoogleDrive(GoogleDriveConfig),
    /// A folder in iCloud Drive.
    ICloud(ICloudConfig),
}

/// Access to a folder in Google Drive.
#[derive(Clone, PartialEq, Eq)]
pub struct GoogleDriveConfig {
    /// The OAuth client's id.
    pub client_id: String,
    /// The OAuth client's secret.
    pub client_secret: String,
    /// The user's refresh token.
    pub refresh_token: String,
    /// The folder's name.
    pub folder_name: String,
}

impl fmt::Debug for GoogleDriveConfig {
    /// Leaves the secrets out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GoogleDriveConfig").field("folder_name", &self.folder_name).finish_non_exhaustive()
    }
}

/// Access to a folder in iCloud Drive.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ICloudConfig {
    /// The path of the container on this machine.
    pub container_path: String,
}

/// What an app can tell an orchestrator to do.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum SyncCommand {
    /// Open the folder and the network. Nothing happens if it is open.
    Start,
    /// Save what is in flight, close all links, release the folder.
    Stop,
    /// Compare with every connected peer now.
    ForceSync,
    /// Keep a link to this peer wanted; it grants nothing.
    AddPeer(PeerId),
    /// Stop wanting a link to this peer; it revokes nothing.
    RemovePeer(PeerId),
    /// Join by the code that another device shows. [`crate::engine::SyncEvent::PairingFound`] tells when it is time to
    /// compare the words and to call [`super::OrchestratorHandle::pair_confirm`].
    PairDevice(SyncCode),
}
