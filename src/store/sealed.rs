//! A store whose values are sealed at rest, each under its table and key: XChaCha20-Poly1305 (RFC 8439 with the extended
//! nonce of draft-irtf-cfrg-xchacha-03). What stays readable is the rows' keys (numbers, device ids, entity ids, which
//! hold the time at which they were made) and the sizes of values.

use std::fmt;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

use super::{Read, Rows, Store, Table, WriteBatch, WriteOp};
use crate::error::{Error, Result};

const NONCE_BYTES: usize = 24;
/// Random bytes of a nonce; the rest counts, so that no nonce of one opening comes twice.
const PREFIX_BYTES: usize = 16;

/// The key that seals what a device keeps. Debug output does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct SealKey(Zeroizing<[u8; 32]>);

impl SealKey {
    /// A key of 32 bytes: random, or derived from a passphrase by a function that is made for that (Argon2id).
    pub fn new(bytes: Zeroizing<[u8; 32]>) -> Self {
        Self(bytes)
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&(*self.0).into())
    }

    /// Seals `plain` for one purpose; `nonce` never twice with one key. Fails beyond the cipher's limit of 256 GiB.
    pub fn seal(&self, nonce: [u8; NONCE_BYTES], purpose: &[u8], plain: &[u8]) -> Result<Vec<u8>> {
        seal(&self.cipher(), nonce, purpose, plain)
    }

    /// Opens what was sealed with this key for this purpose; `None` for anything else.
    pub fn unseal(&self, purpose: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        unseal(&self.cipher(), purpose, sealed).map(Zeroizing::new)
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealKey")
    }
}

fn seal(cipher: &XChaCha20Poly1305, nonce: [u8; NONCE_BYTES], purpose: &[u8], plain: &[u8]) -> Result<Vec<u8>> {
    let sealed = cipher
        .encrypt(&XNonce::from(nonce), Payload { msg: plain, aad: purpose })
        .map_err(|_| Error::too_large("a value that is too large to be sealed"))?;
    Ok([&nonce[..], &sealed].concat())
}

fn unseal(cipher: &XChaCha20Poly1305, purpose: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (nonce, sealed) = sealed.split_first_chunk::<NONCE_BYTES>()?;
    cipher.decrypt(&XNonce::from(*nonce), Payload { msg: sealed, aad: purpose }).ok()
}

/// A store that seals what another keeps. A value that does not open, by another key say, is a damaged one.
pub struct Sealed<S> {
    inner: S,
    cipher: XChaCha20Poly1305,
    prefix: [u8; PREFIX_BYTES],
    next: u64,
}

impl<S> Sealed<S> {
    /// Seals what `inner` keeps; `entropy` is 32 fresh random bytes.
    pub fn new(inner: S, key: &SealKey, entropy: &Zeroizing<[u8; 32]>) -> Self {
        let mut prefix = [0; PREFIX_BYTES];
        prefix.copy_from_slice(&entropy[..PREFIX_BYTES]);
        Self { inner, cipher: key.cipher(), prefix, next: 0 }
    }

    /// What it keeps its values in.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    fn nonce(&mut self) -> [u8; NONCE_BYTES] {
        let mut nonce = [0; NONCE_BYTES];
        nonce[..PREFIX_BYTES].copy_from_slice(&self.prefix);
        nonce[PREFIX_BYTES..].copy_from_slice(&self.next.to_be_bytes());
        self.next += 1;
        nonce
    }
}

impl<S: Store> Sealed<S> {
    fn opened(&self, table: Table, found: Rows) -> Rows {
        let mut rows = Rows { rows: Vec::with_capacity(found.rows.len()), damaged: found.damaged };
        for (key, sealed) in found.rows {
            match unseal(&self.cipher, &place(table, &key), &sealed) {
                Some(value) => rows.rows.push((key, value)),
                None => rows.damaged.push(key),
            }
        }
        rows.damaged.sort_unstable();
        rows
    }
}

impl<S: fmt::Debug> fmt::Debug for Sealed<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealed").field("inner", &self.inner).finish_non_exhaustive()
    }
}

fn place(table: Table, key: &[u8]) -> Vec<u8> {
    [&[table as u8], key].concat()
}

impl<S: Store> Store for Sealed<S> {
    async fn commit(&mut self, mut batch: WriteBatch) -> Result<()> {
        for op in &mut batch.ops {
            if let WriteOp::Put(table, key, value) = op {
                let nonce = self.nonce();
                *value = seal(&self.cipher, nonce, &place(*table, key), value)?;
            }
        }
        self.inner.commit(batch).await
    }

    async fn read(&self, read: &Read) -> Result<Rows> {
        let (table, from, to, max_rows, max_bytes) = match read {
            Read::Get(table, _) | Read::Floor { table, .. } => {
                return Ok(self.opened(*table, self.inner.read(read).await?));
            }
            Read::Range { table, from, to, max_rows, max_bytes } => (*table, from, to, *max_rows, *max_bytes),
        };
        // Values are larger where they are kept, so a part of the range comes at a time.
        let (mut rows, mut from, mut bytes) = (Rows::default(), from.clone(), 0);
        loop {
            let count = rows.rows.len() + rows.damaged.len();
            let (max_rows, max_bytes) = (max_rows.saturating_sub(count), max_bytes.saturating_sub(bytes));
            if count > 0 && (max_rows == 0 || max_bytes == 0) {
                return Ok(rows);
            }
            let part = Read::Range { table, from: from.clone(), to: to.clone(), max_rows, max_bytes };
            let part = self.opened(table, self.inner.read(&part).await?);
            let Some(last) = part.last_key() else { return Ok(rows) };
            from = [last, &[0]].concat();
            let size = part.rows.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
            let size = size + part.damaged.iter().map(Vec::len).sum::<usize>();
            if count > 0 && size > max_bytes {
                return Ok(rows);
            }
            bytes += size;
            rows.rows.extend(part.rows);
            rows.damaged.extend(part.damaged);
        }
    }

    async fn read_all(&self, reads: &[Read]) -> Result<Vec<Rows>> {
        if reads.iter().all(|read| !matches!(read, Read::Range { .. })) {
            let found = self.inner.read_all(reads).await?;
            return Ok(reads.iter().zip(found).map(|(read, rows)| self.opened(read.table(), rows)).collect());
        }
        let mut answers = Vec::with_capacity(reads.len());
        for read in reads {
            answers.push(self.read(read).await?);
        }
        Ok(answers)
    }

    async fn used_bytes(&self) -> Result<u64> {
        self.inner.used_bytes().await
    }

    async fn failure(&self) -> Error {
        self.inner.failure().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;
    use crate::test;

    fn now(run: impl Future<Output = ()>) {
        futures::FutureExt::now_or_never(run).expect("memory never waits");
    }

    fn key(byte: u8) -> SealKey {
        SealKey::new(Zeroizing::new([byte; 32]))
    }

    fn put(table: Table, row: &[u8], value: &[u8]) -> WriteBatch {
        let mut batch = WriteBatch::default();
        batch.put(table, row, value);
        batch
    }

    #[test]
    fn a_sealed_store_gives_back_what_it_was_given_and_keeps_nothing_readable() {
        let mut store = Sealed::new(MemoryStore::default(), &key(1), &Zeroizing::new([7; 32]));
        let get = Read::Get(Table::Blocks, b"row".to_vec());
        now(async {
            store.commit(put(Table::Blocks, b"row", b"a secret note")).await.unwrap();
            assert_eq!(store.read(&get).await.unwrap().rows, [(b"row".to_vec(), b"a secret note".to_vec())]);
            let kept = store.inner().read(&get).await.unwrap().rows;
            assert!(!kept[0].1.windows(6).any(|part| part == b"secret"));
            store.commit(put(Table::Blocks, b"row", b"a secret note")).await.unwrap();
            let again = store.inner().read(&get).await.unwrap().rows;
            assert_ne!(kept, again, "the same value looks another way each time");
        });
    }

    #[test]
    fn a_value_under_another_key_or_in_another_place_is_damaged() {
        let mut store = Sealed::new(MemoryStore::default(), &key(1), &Zeroizing::new([7; 32]));
        let get = Read::Get(Table::Blocks, b"row".to_vec());
        now(async {
            store.commit(put(Table::Blocks, b"row", b"value")).await.unwrap();
            let sealed = store.inner().read(&get).await.unwrap().rows[0].1.clone();
            let other = Sealed::new(store.inner().clone(), &key(2), &Zeroizing::new([7; 32]));
            assert_eq!(other.read(&get).await.unwrap().damaged, [b"row".to_vec()]);
            let mut moved = MemoryStore::default();
            moved.commit(put(Table::Blocks, b"elsewhere", &sealed)).await.unwrap();
            let moved = Sealed::new(moved, &key(1), &Zeroizing::new([7; 32]));
            let rows = moved.read(&Read::Get(Table::Blocks, b"elsewhere".to_vec())).await.unwrap();
            assert_eq!((rows.rows.len(), rows.damaged), (0, vec![b"elsewhere".to_vec()]));
        });
    }

    #[test]
    fn what_a_key_sealed_opens_with_it_for_the_same_purpose_only() {
        let sealed = key(1).seal([3; NONCE_BYTES], b"one", b"plain").unwrap();
        assert_eq!(key(1).unseal(b"one", &sealed).as_deref().map(Vec::as_slice), Some(&b"plain"[..]));
        assert!(key(1).unseal(b"other", &sealed).is_none());
        assert!(key(2).unseal(b"one", &sealed).is_none());
        assert!(key(1).unseal(b"one", &sealed[..NONCE_BYTES - 1]).is_none());
    }
}
