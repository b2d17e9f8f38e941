//! Version negotiation.

use crate::wire::{OLDEST_PROTOCOL_VERSION, PROTOCOL_VERSION};

/// The highest version that both sides speak, if there is one; `theirs` is their oldest and newest.
pub fn choose_version(theirs: (u16, u16)) -> Option<u16> {
    let version = PROTOCOL_VERSION.min(theirs.1);
    (version >= OLDEST_PROTOCOL_VERSION.max(theirs.0)).then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test;

    #[test]
    fn the_highest_common_version_is_chosen_or_none() {
        assert_eq!(choose_version((1, 1)), Some(1));
        assert_eq!(choose_version((1, 9)), Some(1));
        assert_eq!(choose_version((2, 9)), None);
        assert_eq!(choose_version((9, 1)), None);
        assert_eq!(choose_version((0, 0)), None);
    }
}
