//! What is stored where: keys and rows. Numbers in keys are big-endian, so that keys sort as numbers do.
//!
//! | table | key | value |
//! |---|---|---|
//! | Meta | a name | format, vault key, epoch, instance mark, checkpoint, stale ranges, wanted peers … |
//! | Logs | 0, type number | the type's name |
//! | Logs | 1, log number | author and epoch |
//! | Logs | 2, type number, log number | [`super::log::Log`] |
//! | Logs | 3, type number, log number | the proof of its fork: two blocks |
//! | Membership | place in the order of arrival | an operation |
//! | Blocks | type number, log number, first seq | a block |
//! | Pages | type number | the first ids of the type's pages |
//! | Pages | type number, first entity id | a page of entity states |
//! | Peers | peer | [`super::peers::Peer`] |
//! | Audit | see [`super::audit`] | |

use crate::crdt::LogIx;
use crate::error::{Error, Result};
use crate::types::codec::Reader;
use crate::types::{EntityId, PeerId};

/// The version of this layout.
pub const FORMAT: u64 = 1;

/// A small local number of an entity type.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct TypeIx(pub u32);

/// A log on this device: type and (author, epoch), by their numbers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct LogKey {
    /// The type.
    pub ty: TypeIx,
    /// Author and epoch.
    pub ix: LogIx,
}

/// Names of the rows of `Meta`.
pub mod meta {
    pub const FORMAT: &[u8] = b"format";
    pub const DEVICE_NAME: &[u8] = b"device_name";
    pub const EPOCH: &[u8] = b"epoch";
    pub const INSTANCE: &[u8] = b"instance";
    pub const VAULT_KEY: &[u8] = b"vault_key";
    pub const FIRST_KEY: &[u8] = b"first_key";
    pub const RECOVERY: &[u8] = b"recovery";
    pub const CREDENTIAL: &[u8] = b"credential";
    pub const CHECKPOINT: &[u8] = b"checkpoint";
    pub const STALE: &[u8] = b"stale";
    pub const REMAKE: &[u8] = b"remake";
    pub const TABS: &[u8] = b"tabs";
    pub const ALIASES: &[u8] = b"aliases";
    pub const PAIRING: &[u8] = b"pairing";
}

pub const TYPE_ROW: u8 = 0;
pub const LOG_ID_ROW: u8 = 1;
pub const LOG_ROW: u8 = 2;
pub const FORK_ROW: u8 = 3;

/// The row of the audit log's two ends.
pub const AUDIT_ENDS: [u8; 1] = [0];
pub const AUDIT_ENTRY: u8 = 1;

/// The row of an entry of the audit log.
pub fn audit_row(number: u64) -> Vec<u8> {
    [&[AUDIT_ENTRY][..], &number.to_be_bytes()].concat()
}

/// A key after every key that starts with `prefix`.
pub fn after_prefix(prefix: &[u8]) -> Vec<u8> {
    let mut key = prefix.to_vec();
    while let Some(last) = key.pop() {
        if last < 0xff {
            key.push(last + 1);
            return key;
        }
    }
    vec![0xff; 64]
}

pub fn type_row(ty: TypeIx) -> Vec<u8> {
    [&[TYPE_ROW][..], &ty.0.to_be_bytes()].concat()
}

pub fn log_id_row(ix: LogIx) -> Vec<u8> {
    [&[LOG_ID_ROW][..], &ix.0.to_be_bytes()].concat()
}

pub fn log_row(key: LogKey) -> Vec<u8> {
    [&[LOG_ROW][..], &key.ty.0.to_be_bytes(), &key.ix.0.to_be_bytes()].concat()
}

pub fn fork_row(key: LogKey) -> Vec<u8> {
    [&[FORK_ROW][..], &key.ty.0.to_be_bytes(), &key.ix.0.to_be_bytes()].concat()
}

/// All blocks of a type start so.
pub fn type_prefix(ty: TypeIx) -> Vec<u8> {
    ty.0.to_be_bytes().to_vec()
}

/// All blocks of a log start so.
pub fn log_prefix(key: LogKey) -> Vec<u8> {
    [key.ty.0.to_be_bytes(), key.ix.0.to_be_bytes()].concat()
}

pub fn block_row(key: LogKey, first_seq: u64) -> Vec<u8> {
    [&log_prefix(key)[..], &first_seq.to_be_bytes()].concat()
}

/// Reads a key of `Blocks`.
pub fn read_block_row(key: &[u8]) -> Result<(LogKey, u64)> {
    let mut reader = Reader::new(key);
    let ty = TypeIx(u32::from_be_bytes(reader.array()?));
    let ix = LogIx(u32::from_be_bytes(reader.array()?));
    let seq = u64::from_be_bytes(reader.array()?);
    reader.finish()?;
    Ok((LogKey { ty, ix }, seq))
}

pub fn directory_row(ty: TypeIx) -> Vec<u8> {
    type_prefix(ty)
}

pub fn page_row(ty: TypeIx, first: &EntityId) -> Vec<u8> {
    [&ty.0.to_be_bytes()[..], &first.0].concat()
}

pub fn membership_row(place: usize) -> Vec<u8> {
    (place as u64).to_be_bytes().to_vec()
}

pub fn peer_row(peer: &PeerId) -> Vec<u8> {
    peer.0.to_vec()
}

/// The four bytes after the first of a key of `Logs`.
pub fn row_number(key: &[u8]) -> Result<u32> {
    key.get(1..5)
        .and_then(|bytes| bytes.try_into().ok())
        .map(u32::from_be_bytes)
        .ok_or_else(|| Error::storage("a key of the logs table that this version does not know"))
}
