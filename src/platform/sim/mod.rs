//! The third platform: network, disks and clocks of several devices, simulated from one seed.
//!
//! [`run`] makes a world of 2 to 8 devices, lets them work for a number of steps while links, disks, clocks and members
//! fail in every way that [`Fault`] names, heals everything, and then asks what must hold: all replicas show the same, what
//! an app was told is saved is there, nothing is stuck, and every store opens again to the same state. Where members come
//! and go, that holds among all who take each other for members, and nothing has an effect that the rules do not let count.
//! The same seed gives the same run.

mod actions;
mod check;
mod circle;
mod device;
mod disk;
mod expect;
mod faults;
mod members;
mod network;
mod pairing;
mod rng;
mod verdicts;
mod world;

pub use faults::{Fault, Faults};

use world::World;

/// How a run goes.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How many things happen before everything is healed.
    pub steps: usize,
    /// How many of the last events are kept, in words.
    pub trace: usize,
    /// Every world is one in which members come and go.
    pub members: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { steps: 200, trace: 0, members: false }
    }
}

/// What a run was like.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How many faults of each kind there were.
    pub faults: Faults,
    /// A hash over everything that happened: equal for equal seeds.
    pub fingerprint: u64,
    /// Frames that went over links.
    pub frames: u64,
    /// What was violated; empty where all is well.
    pub failure: Option<String>,
    /// The last events, where they were asked for.
    pub trace: Vec<String>,
}

/// Runs the world of a seed.
pub fn run(seed: u64, options: Options) -> Outcome {
    let mut world = World::new(seed, options);
    let failure = world.play().err();
    world.outcome(failure)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test;

    #[test]
    fn a_few_worlds_hold_together() {
        for seed in 0..8 {
            let outcome = run(seed, Options { steps: 60, ..Options::default() });
            assert_eq!(outcome.failure, None, "seed {seed}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_run() {
        let [one, two] = [(); 2].map(|()| run(3, Options { steps: 40, ..Options::default() }));
        assert_eq!((one.fingerprint, one.frames), (two.fingerprint, two.frames));
    }
}
