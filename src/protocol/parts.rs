//! An item that does not fit into a frame comes in parts.

use crate::error::{Error, Result};
use crate::types::limits::MAX_ITEM_BYTES;

/// The item that is coming in, if one is.
#[derive(Default, Debug)]
pub struct Parts {
    total: usize,
    bytes: Vec<u8>,
}

impl Parts {
    /// Whether parts of an item have come and others are missing.
    pub fn is_open(&self) -> bool {
        self.total > 0
    }

    /// Adds a part; gives the whole item with its last part. Memory grows with what has come, never with what is
    /// claimed.
    pub fn add(&mut self, total: u32, part: &[u8]) -> Result<Option<Vec<u8>>> {
        let total = total as usize;
        if total > MAX_ITEM_BYTES || (self.total > 0 && self.total != total) || part.is_empty() {
            *self = Self::default();
            return Err(Error::protocol("parts of an item that do not fit together, or an item over its limit"));
        }
        self.total = total;
        self.bytes.extend_from_slice(part);
        match self.bytes.len().cmp(&total) {
            std::cmp::Ordering::Less => Ok(None),
            std::cmp::Ordering::Equal => Ok(Some(std::mem::take(self).bytes)),
            std::cmp::Ordering::Greater => {
                *self = Self::default();
                Err(Error::protocol("more parts than the item has"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test;

    #[test]
    fn parts_make_the_block_again_and_lies_about_its_length_are_refused() {
        let mut parts = Parts::default();
        assert_eq!(parts.add(5, &[1, 2]).unwrap(), None);
        assert!(parts.is_open());
        assert_eq!(parts.add(5, &[3, 4, 5]).unwrap(), Some(vec![1, 2, 3, 4, 5]));
        assert!(!parts.is_open());
        assert!(parts.add(u32::MAX, &[1]).is_err());
        parts.add(3, &[1]).unwrap();
        assert!(parts.add(4, &[1]).is_err());
        parts.add(3, &[1]).unwrap();
        assert!(parts.add(3, &[1, 2, 3]).is_err());
        assert!(parts.add(3, &[]).is_err());
    }
}
