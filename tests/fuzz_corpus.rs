//! Replays the fuzz corpus on stable through the same functions as `cargo fuzz` calls.
//!
//! `CORPUS_WRITE=1 cargo test --test fuzz_corpus` adds the seeds again: every golden file, and changes of it.
#![cfg(not(target_arch = "wasm32"))]

use std::fs;
use std::path::{Path, PathBuf};

#[path = "../fuzz/bodies.rs"]
mod bodies;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect();
    files.sort();
    files
}

/// Adds golden files whose name starts with `prefix` to a target's corpus: each as it is (behind what `wrap` puts
/// before it), cut short, with a changed byte and with a changed length.
fn write_seeds(target: &str, prefix: &str, wrap: impl Fn(Vec<u8>) -> Vec<u8>) {
    if std::env::var_os("CORPUS_WRITE").is_none() {
        return;
    }
    let corpus = root().join("fuzz/corpus").join(target);
    fs::create_dir_all(&corpus).unwrap();
    for path in files(&root().join("tests/golden")) {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let bytes = fs::read(&path).unwrap();
        if !name.starts_with(prefix) || bytes.len() > 4_096 {
            continue;
        }
        let bytes = wrap(bytes);
        let middle = bytes.len() / 2;
        let with = |at: usize, byte: u8| {
            let mut changed = bytes.clone();
            changed[at] = byte;
            changed
        };
        let seeds = [
            bytes.clone(),
            bytes[..middle].to_vec(),
            with(middle, bytes[middle].wrapping_add(1)),
            with(bytes.len() / 3, 0xff),
        ];
        for (number, seed) in seeds.iter().enumerate() {
            fs::write(corpus.join(format!("{name}-{number}")), seed).unwrap();
        }
    }
}

fn replay(target: &str, body: fn(&[u8])) {
    let files = files(&root().join("fuzz/corpus").join(target));
    assert!(files.len() >= 12, "{target}: only {} corpus files", files.len());
    for path in files {
        let bytes = fs::read(&path).unwrap();
        println!("{}", path.display());
        body(&bytes);
    }
}

fn framed(bytes: Vec<u8>) -> Vec<u8> {
    let mut out = Vec::new();
    // Twice: a stream goes on after a frame.
    for _ in 0..2 {
        out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
        out.extend_from_slice(&bytes);
    }
    out
}

#[test]
fn no_message_in_the_corpus_panics() {
    write_seeds("message", "message_", |bytes| bytes);
    replay("message", bodies::message);
}

#[test]
fn no_block_in_the_corpus_panics() {
    write_seeds("block", "block_", |bytes| bytes);
    replay("block", bodies::block);
}

#[test]
fn no_membership_operation_in_the_corpus_panics() {
    write_seeds("membership", "membership_", |bytes| bytes);
    replay("membership", bodies::membership);
}

#[test]
fn nothing_that_pairing_reads_in_the_corpus_panics() {
    write_seeds("pairing", "pairing_", |bytes| bytes);
    replay("pairing", bodies::pairing);
}

#[test]
fn no_stream_of_frames_in_the_corpus_panics() {
    write_seeds("frame", "message_", framed);
    write_seeds("frame", "block_", |block| {
        use privstack_sync::wire::{EventNotifyMessage, Item, Message};
        let mut out = Vec::new();
        let items = vec![Item::Block(block.into())];
        Message::EventNotify(EventNotifyMessage { items }).encode(&mut out).unwrap();
        framed(out)
    });
    replay("frame", bodies::frame);
}
