//! What each fuzz target does with its input; `tests/fuzz_corpus.rs` does the same on stable with every corpus file.
//! A target finds a panic, an endless loop, memory beyond the input's bounds, or a broken round trip.

use privstack_sync::pairing::{Inner, PairingMessage, SyncCode};
use privstack_sync::policy::Op;
use privstack_sync::types::VaultId;
use privstack_sync::types::limits::MAX_FRAME_BYTES;
use privstack_sync::wire::{
    EventBatchMessage, Item, Message, block_entities, cut_suffix, decode_block, decode_header, encode_block,
    merge_blocks, verify_block,
};

const VAULT: VaultId = VaultId([9; 32]);

/// A session's bytes: frames behind their lengths, each a message, its items decoded too.
pub fn frame(mut data: &[u8]) {
    while let Some((prefix, rest)) = data.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*prefix) as usize;
        let Some((bytes, rest)) = rest.split_at_checked(length).filter(|_| (1..=MAX_FRAME_BYTES).contains(&length))
        else {
            return;
        };
        data = rest;
        let items = match Message::decode(bytes) {
            Ok(Message::EventBatch(EventBatchMessage::Items(items))) => items,
            Ok(Message::EventNotify(notify)) => notify.items,
            _ => continue,
        };
        for item in items {
            match item {
                Item::Block(one) => block(&one),
                Item::Fork(one, other) => {
                    block(&one);
                    block(&other);
                }
                Item::Membership(operation) => membership(&operation),
            }
        }
    }
}

/// One message.
pub fn message(data: &[u8]) {
    let Ok(message) = Message::decode(data) else { return };
    let mut again = Vec::new();
    // Only its own names written twice in full can make a message longer than what it is encoded to.
    message.encode(&mut again).expect("what was read can be written");
    assert!(again.len() <= data.len());
    assert_eq!(Message::decode(&again).expect("what was written can be read"), message);
}

/// One block.
pub fn block(data: &[u8]) {
    let _ = block_entities(data);
    let Ok(mut commits) = decode_block(data, VAULT) else { return };
    let _ = verify_block(&commits);
    let header = decode_header(data).expect("a block that was read has a header");
    let again = encode_block(&commits).expect("what was read can be written");
    assert_eq!(decode_block(&again, VAULT).expect("what was written can be read"), commits);
    assert_eq!(merge_blocks(&[data], VAULT).expect("one block"), [again]);
    // Any commit that is signed may begin a suffix: only the last is, so it is the one that can be cut.
    if commits.len() > 1 {
        let last = commits.split_off(commits.len() - 1);
        let suffix = cut_suffix(data, VAULT, header.last_seq() - 1).expect("a suffix of one commit");
        assert_eq!(decode_block(&suffix, VAULT).expect("a suffix is a block"), last);
    }
}

/// One membership operation. What passes has a signature, so a change of the encoding alone hardly ever does.
pub fn membership(data: &[u8]) {
    let Ok(operation) = Op::decode(data) else { return };
    assert_eq!(&**operation.encoded(), data);
    assert_eq!(Op::decode(operation.encoded()).expect("the same bytes").hash(), operation.hash());
}

/// What pairing reads of others: a message, what is sealed in one, and what a user pastes.
pub fn pairing(data: &[u8]) {
    if let Ok(message) = PairingMessage::decode(data) {
        let again = message.to_bytes();
        assert!(again == data || matches!(message, PairingMessage::Abort(_)), "an unknown code reads as `protocol`");
        assert_eq!(PairingMessage::decode(&again).expect("what was written can be read"), message);
    }
    if let Ok(inner) = Inner::decode(data) {
        assert_eq!(&**inner.to_bytes(), data);
    }
    let text = String::from_utf8_lossy(data);
    if let Ok(code) = text.parse::<SyncCode>() {
        assert_eq!(code.shown().parse::<SyncCode>().expect("what is shown can be read"), code);
    }
}
