//! Bytes from anywhere never panic.

use crate::test;
use proptest::prelude::*;

use super::order::{AUTHORS, Only, apply_in, log};
use super::world::{bytes, table, view, visible};
use crate::crdt::*;
use crate::types::codec::Reader;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn damaged_cache_pages_read_as_an_error_or_as_some_state(
        logs in prop::collection::vec(log(Only::Everything), 2..=3),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut table = table(AUTHORS);
        let mut page = encode_page(&[(crate::types::EntityId([1; 16]), apply_in(&logs, &[1, 2], &mut table))]);
        prop_assert!(decode_page(&page[..cut.index(page.len())]).is_err());
        for (place, byte) in damage {
            let place = place.index(page.len());
            page[place] = byte;
        }
        for (_, state) in decode_page(&page).unwrap_or_default() {
            let _ = (view(&state, &table), visible(&state, &table), state.seen_for(LogIx(0), &table));
            let _ = (state.memory_bytes(), state.is_visible());
            prop_assert!(EntityState::decode(&mut Reader::new(&bytes(&state))).is_ok());
        }
    }

    #[test]
    fn any_bytes_read_as_an_error_or_as_some_state(noise in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = decode_page(&noise);
    }
}
