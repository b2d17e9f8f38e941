//! Pairing: the handle's methods for it, and [`PairingManager`] for apps that want it as a few plain calls.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use zeroize::Zeroizing;

use super::config::SyncCommand;
use super::handle::{OrchestratorHandle, unexpected};
#[cfg(doc)]
use crate::engine::SyncEvent;
use crate::engine::{Call, MemberChange, Offer, Reply, TrustedPeer};
use crate::error::Result;
use crate::pairing::{CODE_SECONDS, CodeKind, MAX_TRIES, PairingPeer, ShownCode, SyncCode};
use crate::platform::entropy;
use crate::platform::host::time;
use crate::policy::SyncRole;
use crate::types::{Instant, PeerId};

impl OrchestratorHandle {
    /// Pairing as a few plain calls.
    pub fn pairing(&self) -> PairingManager {
        PairingManager::new(self.clone())
    }

    /// Shows a pairing code, or the one that is shown already. A new one takes the place of one that has ended:
    /// [`SyncEvent::PairingCode`] tells of each.
    pub async fn pair_offer(&self, offer: Offer) -> Result<ShownCode> {
        match self.call(Call::PairOffer(offer)).await? {
            Reply::PairingCode(shown) => Ok(*shown),
            reply => unexpected(reply),
        }
    }

    /// Waits for a device whose user typed the code; then both users compare the words.
    pub async fn pair_wait(&self) -> Result<PairingPeer> {
        self.pairing_peer(Call::PairWait).await
    }

    /// Joins by a code that another device shows; answers once both have proved that they know it. `addresses` may
    /// say where that device is, each ending in `/p2p/` and its PeerId; without any it is looked for.
    pub async fn pair_join(&self, code: SyncCode, addresses: Vec<String>) -> Result<PairingPeer> {
        self.pairing_peer(Call::PairJoin { code, addresses }).await
    }

    async fn pairing_peer(&self, call: Call) -> Result<PairingPeer> {
        match self.call(call).await? {
            Reply::PairingPeer(peer) => Ok(*peer),
            reply => unexpected(reply),
        }
    }

    /// This device's user has compared the words. On the device that shows the code, `role` is what the other becomes.
    /// Answers when both devices trust each other; fails with `rejected`, `aborted` or `timeout` where they do not.
    pub async fn pair_confirm(&self, role: SyncRole) -> Result<PeerId> {
        match self.call(Call::PairConfirm(role)).await? {
            Reply::Paired(peer) => Ok(peer),
            reply => unexpected(reply),
        }
    }

    /// This device's user says no: the words differ, or it is not the device.
    pub async fn pair_reject(&self) -> Result<()> {
        self.call(Call::PairReject).await.map(drop)
    }

    /// Ends whatever pairing is under way.
    pub async fn pair_cancel(&self) -> Result<()> {
        self.call(Call::PairCancel).await.map(drop)
    }

    /// Lets pairing go on after `pairing_locked`.
    pub async fn pair_unlock(&self) -> Result<()> {
        self.call(Call::PairUnlock).await.map(drop)
    }
}

/// A device as discovery or the app describes it.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct DiscoveredPeerInfo {
    /// Its name.
    pub device_name: String,
    /// `desktop` or `web`.
    pub platform: String,
    /// Where it can be reached: multiaddresses.
    pub addresses: Vec<String>,
}

type Clock = Box<dyn Fn() -> Instant + Send + Sync>;
type Random = Box<dyn Fn() -> Result<Zeroizing<[u8; 32]>> + Send + Sync>;

/// Codes, and who is trusted. What needs the disk or another device is queued: its end shows as an event
/// ([`crate::engine::SyncEvent::PairingCompleted`], `PairingEnded`, `SyncError`).
///
/// The network path never compares codes: it is the key exchange of [`crate::pairing`].
pub struct PairingManager {
    handle: OrchestratorHandle,
    clock: Clock,
    random: Random,
    codes: Mutex<Codes>,
}

/// What this manager knows of codes beside the engine.
#[derive(Default)]
struct Codes {
    /// The code made here last, which the engine may not have heard of yet.
    made: Option<Made>,
    /// The code that was tried here last, and how often wrongly.
    tried: Option<(SyncCode, u8)>,
}

struct Made {
    code: SyncCode,
    /// Wall clock milliseconds.
    ends: u64,
    /// How many pairings had ended when it was made.
    pairings: u64,
}

impl fmt::Debug for PairingManager {
    /// Leaves the code out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PairingManager").field("handle", &self.handle).finish_non_exhaustive()
    }
}

impl PairingManager {
    /// For this device, with the platform's clock and randomness.
    pub fn new(handle: OrchestratorHandle) -> Self {
        // Of the clock only the wall's time is used, so a new one each time will do.
        Self::with(handle, || time::Clock::new().now(), entropy::bytes)
    }

    /// The same with another clock and other randomness, for tests.
    pub fn with(
        handle: OrchestratorHandle,
        clock: impl Fn() -> Instant + Send + Sync + 'static,
        random: impl Fn() -> Result<Zeroizing<[u8; 32]>> + Send + Sync + 'static,
    ) -> Self {
        Self { handle, clock: Box::new(clock), random: Box::new(random), codes: Mutex::default() }
    }

    /// The code to show now: the one that is shown already, else a new one, which this device then answers to. If the
    /// engine cannot (`pairing_locked`, no vault, not started, no randomness), an event says so and the code leads nowhere.
    pub fn generate_sync_code(&self) -> SyncCode {
        let now = (self.clock)().wall;
        let mut codes = self.codes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(code) = self.current(&codes, now) {
            return code;
        }
        let kind = CodeKind::default_for(self.handle.policy());
        let random = match (self.random)() {
            Ok(random) => random,
            Err(error) => {
                self.handle.warn(&error);
                return SyncCode::generate(kind, &Zeroizing::default());
            }
        };
        let code = SyncCode::generate(kind, &random);
        let pairings = self.handle.facts(|facts| facts.pairings);
        codes.made = Some(Made { code: code.clone(), ends: now.saturating_add(CODE_SECONDS * 1_000), pairings });
        self.handle.queue(Call::PairOffer(Offer { code: Some(code.clone()), ..Offer::default() }));
        code
    }

    /// The code that is shown, or will be once the engine has heard of it.
    fn current(&self, codes: &Codes, now: u64) -> Option<SyncCode> {
        let (shown, pairings) = self.handle.facts(|facts| (facts.code.clone(), facts.pairings));
        if let Some(shown) = shown {
            return (now < shown.expires_at).then_some(shown.code);
        }
        let made = codes.made.as_ref().filter(|made| made.pairings == pairings && now < made.ends)?;
        Some(made.code.clone())
    }

    /// Whether `code` is the one shown now. A local check in constant time that counts as a try, for a user who types
    /// it on this device; the network path uses the key exchange only. After three wrong ones none is right.
    pub fn verify_sync_code(&self, code: &SyncCode) -> bool {
        let now = (self.clock)().wall;
        let mut codes = self.codes.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(current) = self.current(&codes, now) else { return false };
        let wrong = codes.tried.as_ref().filter(|(tried, _)| tried.is_same(&current)).map_or(0, |(_, wrong)| *wrong);
        if wrong >= MAX_TRIES {
            return false;
        }
        let shown = self.handle.facts(|facts| facts.code.clone());
        // The engine counts the try, on disk; one that it will not hear of is none.
        if shown.is_some() && !self.handle.queue(Call::PairVerify(code.clone())) {
            return false;
        }
        let right = current.is_same(code) || shown.is_some_and(|shown| shown.link.is_same(code));
        codes.tried = Some((current, wrong + u8::from(!right)));
        right
    }

    /// Signs a device into the vault as a Member. The app vouches for the PeerId: nothing is asked of its user. The device
    /// itself still has to come in, by [`OrchestratorHandle::invite`] or a code: nobody can tell it of the vault else.
    pub fn trust_peer(&mut self, peer_id: PeerId, info: DiscoveredPeerInfo) {
        let DiscoveredPeerInfo { device_name: name, addresses, .. } = info;
        self.handle.queue(Call::TrustPeer { peer: peer_id, name, addresses });
    }

    /// Whether a device is a member of the vault.
    pub fn is_trusted(&self, peer_id: &PeerId) -> bool {
        self.handle.facts(|facts| facts.members.iter().any(|member| member.peer_id == *peer_id))
    }

    /// The members of the vault, but for this device.
    pub fn trusted_peers(&self) -> Vec<TrustedPeer> {
        self.handle.facts(|facts| facts.members.to_vec())
    }

    /// Takes a device out of the vault. On a device that may not, an event (`SyncError`) says so.
    pub fn revoke_trust(&mut self, peer_id: &PeerId) {
        self.handle.queue(Call::Change(MemberChange::Remove(*peer_id)));
    }

    /// Joins by a code that another device shows.
    pub fn join(&self, code: SyncCode) -> Result<()> {
        self.handle.send(SyncCommand::PairDevice(code))
    }
}
