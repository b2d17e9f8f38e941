#![no_main]

#[path = "../bodies.rs"]
#[allow(dead_code)] // each target calls one of them
mod bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::pairing(data));
