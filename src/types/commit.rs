//! Commits: what an author makes at once, hash-chained into a log and signed.

use std::sync::Arc;

use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use zeroize::Zeroizing;

use super::codec::put_varint;
use super::event::{Event, InFull};
use super::ids::{EntityType, Epoch, Hash, LogId, LogName, PeerId, VaultId};
use super::time::HybridTimestamp;
use crate::error::{Error, ErrorCode, Result};

/// An Ed25519 signature.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature(pub [u8; 64]);

impl std::fmt::Debug for Signature {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Signature({:02x}{:02x}…)", self.0[0], self.0[1])
    }
}

/// What is signed, so that a signature for one thing is never one for another (RFC 8032 signs raw bytes).
const COMMIT_DOMAIN: &[u8] = b"privstack-sync/commit/1\0";
/// Keys of BLAKE3's keyed mode, one for each thing that is hashed: they separate domains and cost no input bytes, so
/// that a small commit is hashed in three compressions.
const LOG_DOMAIN: &[u8; 32] = b"privstack-sync/log/1............";
const EVENTS_DOMAIN: &[u8; 32] = b"privstack-sync/events/1.........";

/// A commit made again under a new epoch names the one it stands for, by the same author (PROTOCOL.md section 8).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct StandsFor {
    /// The epoch of the original.
    pub epoch: Epoch,
    /// Its number there.
    pub seq: u64,
    /// Its hash.
    pub hash: Hash,
}

/// What is hashed and signed of a commit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CommitHeader {
    /// The vault.
    pub vault: VaultId,
    /// The log: type, author, epoch.
    pub log: LogName,
    /// The commit's number in its log, from 1.
    pub seq: u64,
    /// The hash of the commit before it; zero before the first.
    pub prev: Hash,
    /// When, by its author's clock.
    pub hlc: HybridTimestamp,
    /// The membership heads that its author knew, ascending; they only advance along a log.
    pub heads: Arc<[Hash]>,
    /// The original that this one stands for.
    pub stands_for: Option<StandsFor>,
    /// [`events_hash`] of its events.
    pub events: Hash,
}

/// What keys the hashes of all commits of one log: a hash of vault, author, epoch and type. Made once a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogKey(Hash);

impl LogKey {
    /// The key of a log.
    pub fn new(vault: &VaultId, log: &LogName) -> Self {
        let entity_type = log.entity_type.as_str().as_bytes();
        let mut out = Vec::with_capacity(72 + entity_type.len());
        out.extend_from_slice(&vault.0);
        out.extend_from_slice(&log.id.author.0);
        out.extend_from_slice(&log.id.epoch.0.to_le_bytes());
        out.extend_from_slice(entity_type);
        Self(Hash(*blake3::keyed_hash(LOG_DOMAIN, &out).as_bytes()))
    }
}

impl CommitHeader {
    /// The commit's hash: BLAKE3 of the header's canonical encoding, keyed by its log.
    pub fn hash(&self) -> Hash {
        self.hash_with(&LogKey::new(&self.vault, &self.log), &mut Vec::with_capacity(160))
    }

    /// [`CommitHeader::hash`] with the key of its log, and a buffer to use again.
    pub fn hash_with(&self, key: &LogKey, out: &mut Vec<u8>) -> Hash {
        out.clear();
        out.extend_from_slice(&self.prev.0);
        out.extend_from_slice(&self.events.0);
        put_varint(out, self.seq);
        put_varint(out, self.hlc.0);
        put_varint(out, self.heads.len() as u64);
        self.heads.iter().for_each(|head| out.extend_from_slice(&head.0));
        match &self.stands_for {
            None => out.push(0),
            Some(original) => {
                out.push(1);
                out.extend_from_slice(&original.epoch.0.to_le_bytes());
                put_varint(out, original.seq);
                out.extend_from_slice(&original.hash.0);
            }
        }
        Hash(*blake3::keyed_hash(&key.0.0, out).as_bytes())
    }

    /// Author and epoch.
    pub fn log_id(&self) -> LogId {
        self.log.id
    }

    /// The type of its entities.
    pub fn entity_type(&self) -> &EntityType {
        &self.log.entity_type
    }
}

/// The hash of a commit's events in their canonical encoding; `out` is a buffer to use again, and holds that encoding
/// afterwards.
pub fn events_hash(events: &[Event], out: &mut Vec<u8>) -> Hash {
    out.clear();
    put_varint(out, events.len() as u64);
    for event in events {
        event.encode(out, &mut InFull);
    }
    encoded_events_hash(out)
}

/// [`events_hash`] of events that are encoded already: their number, then each in full.
pub fn encoded_events_hash(encoded: &[u8]) -> Hash {
    Hash(*blake3::keyed_hash(EVENTS_DOMAIN, encoded).as_bytes())
}

/// A commit with its events. The signature is there where the commit ends a block.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Commit {
    /// What was hashed.
    pub header: CommitHeader,
    /// [`CommitHeader::hash`].
    pub hash: Hash,
    /// What it changes: 1 to [`super::limits::MAX_BATCH_SIZE`] events.
    pub events: Vec<Event>,
    /// The author's signature over the hash.
    pub signature: Option<Signature>,
}

/// A device's key pair, or a vault's root key pair. Debug output and errors never show the secret.
#[derive(Clone)]
pub struct Keypair(SigningKey);

impl Keypair {
    /// The key pair of a 32-byte Ed25519 seed.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The seed, wiped when dropped.
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The public key as a peer id.
    pub fn peer_id(&self) -> PeerId {
        PeerId(self.0.verifying_key().to_bytes())
    }

    /// Signs a commit's hash.
    pub fn sign_commit(&self, hash: &Hash) -> Signature {
        self.sign(COMMIT_DOMAIN, &hash.0)
    }

    /// Signs `message` for one purpose; `domain` ends in a zero byte and holds no other.
    pub fn sign(&self, domain: &[u8], message: &[u8]) -> Signature {
        Signature(self.0.sign(&[domain, message].concat()).to_bytes())
    }

    /// The clamped X25519 secret of the same key (RFC 7748; the birational map of RFC 8032 curves), for sealing.
    pub fn x25519_secret(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_scalar_bytes())
    }
}

impl std::fmt::Debug for Keypair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keypair({})", self.peer_id())
    }
}

impl PeerId {
    /// The X25519 public key of the same device, for sealing to it; fails on a key that is no curve point.
    pub fn x25519_public(&self) -> Result<[u8; 32]> {
        Ok(verifying_key(self)?.to_montgomery().to_bytes())
    }
}

/// Checks a signature strictly: no small-order keys, canonical encodings only, never in batches (the two can disagree
/// on crafted signatures, and then replicas would).
pub fn verify(author: &PeerId, domain: &[u8], message: &[u8], signature: &Signature) -> Result<()> {
    let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
    verifying_key(author)?
        .verify_strict(&[domain, message].concat(), &signature)
        .map_err(|_| Error::protocol(format!("a signature that {author} did not make")))
}

impl Commit {
    /// Checks the author's signature over a commit's hash.
    pub fn verify_signature(author: &PeerId, hash: &Hash, signature: &Signature) -> Result<()> {
        verify(author, COMMIT_DOMAIN, &hash.0, signature)
    }
}

fn verifying_key(peer: &PeerId) -> Result<VerifyingKey> {
    VerifyingKey::from_bytes(&peer.0)
        .map_err(|_| Error::new(ErrorCode::Protocol, format!("{peer} is not a valid Ed25519 key")))
}
