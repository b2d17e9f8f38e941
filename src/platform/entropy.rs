//! Randomness from the operating system or the browser.

use zeroize::Zeroizing;

use crate::error::{Error, ErrorCode, Result};

/// 32 random bytes, fit for keys.
pub fn bytes() -> Result<Zeroizing<[u8; 32]>> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *bytes).map_err(|error| {
        Error::new(ErrorCode::Unsupported, format!("the operating system gave no random bytes: {error}"))
    })?;
    Ok(bytes)
}
