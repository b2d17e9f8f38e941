//! Whole worlds of devices in a page: the core counts, hashes and sorts there as it does natively.

use privstack_sync::platform::sim::{Options, run};
use wasm_bindgen_test::wasm_bindgen_test as test;

#[test]
fn simulated_worlds_converge_in_a_page_and_lose_nothing() {
    for seed in 0..12 {
        let outcome = run(seed, Options { steps: 100, ..Options::default() });
        assert_eq!(outcome.failure, None, "seed {seed}");
        assert!(outcome.frames > 0, "seed {seed} had no traffic");
    }
}
