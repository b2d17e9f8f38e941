//! `Genesis`: the start of a vault.

use std::fmt;

use zeroize::Zeroizing;

use super::super::roles::PolicyKind;
use crate::types::PeerId;

/// The start of a vault. Debug output never shows the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Genesis {
    /// The public key of the recovery key, which signs the Genesis and may do everything.
    pub root: PeerId,
    /// Which rules the vault follows.
    pub policy: PolicyKind,
    /// The first Admin.
    pub admin: PeerId,
    /// Its name: at most `MAX_DEVICE_NAME_BYTES` bytes, may be empty.
    pub admin_name: String,
    /// Random; keys the vault selector, so only members know it.
    pub secret: Zeroizing<[u8; 32]>,
}

impl fmt::Debug for Genesis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Genesis")
            .field("root", &self.root)
            .field("policy", &self.policy)
            .field("admin", &self.admin)
            .field("admin_name", &self.admin_name)
            .finish_non_exhaustive()
    }
}
