//! How often somebody guessed wrong. It is on disk before a guess is answered, so that no crash gives guesses back.

use crate::error::{Error, ErrorCode, Result};
use crate::types::codec::{Reader, put_varint};

/// Wrong tries that burn a code.
pub const MAX_TRIES: u8 = 3;
/// Codes burned within [`WINDOW_MS`] that lock pairing.
pub const MAX_BURNED: usize = 5;
/// Milliseconds that a burned code counts.
pub const WINDOW_MS: u64 = 15 * 60 * 1_000;
const FORMAT: u8 = 1;

/// See the module. Times are the wall clock's, for they outlive a run.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Tries {
    /// Wrong tries since a code was last burned or used. They go over to the next code: showing a new one every two
    /// minutes must not give everybody new guesses.
    wrong: u8,
    /// When codes were burned, the latest last; at most [`MAX_BURNED`].
    burned: Vec<u64>,
    locked: bool,
}

/// What a try led to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Try {
    /// It was right.
    Right,
    /// It was wrong, and more are left.
    Counted,
    /// The code is burned.
    Burned,
    /// That and pairing is locked.
    Locked,
}

impl Tries {
    /// Counts a try, before it is known whether it is right.
    pub fn count(&mut self) {
        self.wrong = self.wrong.saturating_add(1);
    }

    /// What the counted try comes to.
    pub fn judge(&mut self, right: bool, wall: u64) -> Try {
        if right {
            self.wrong = 0;
            return Try::Right;
        }
        if self.wrong < MAX_TRIES {
            return Try::Counted;
        }
        self.burn(wall);
        if self.locked { Try::Locked } else { Try::Burned }
    }

    fn burn(&mut self, wall: u64) {
        self.wrong = 0;
        // A clock that was set back makes old ones count longer, never shorter.
        self.burned.retain(|at| wall < at.saturating_add(WINDOW_MS));
        self.burned.push(wall);
        if self.burned.len() >= MAX_BURNED {
            self.burned.clear();
            self.locked = true;
        }
    }

    /// The store was opened: a code that somebody had guessed at is gone, and counts as burned. Whether there was one.
    pub fn opened(&mut self, wall: u64) -> bool {
        let guessed = self.wrong > 0;
        if guessed {
            self.burn(wall);
        }
        guessed
    }

    pub fn unlock(&mut self) {
        *self = Self::default();
    }

    pub fn check(&self) -> Result<()> {
        match self.locked {
            true => Err(locked()),
            false => Ok(()),
        }
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![FORMAT, self.wrong, u8::from(self.locked)];
        put_varint(&mut out, self.burned.len() as u64);
        self.burned.iter().for_each(|at| put_varint(&mut out, *at));
        out
    }

    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let (format, wrong, locked) = (reader.byte()?, reader.byte()?, reader.byte()?);
        if format != FORMAT {
            return Err(Error::storage("the row that counts pairing tries is of another version; update privstack"));
        }
        let count = reader.count(MAX_BURNED, "burned codes")?;
        let burned = (0..count).map(|_| reader.varint()).collect::<Result<_>>()?;
        reader.finish()?;
        Ok(Self { wrong, burned, locked: locked != 0 })
    }
}

pub(super) fn locked() -> Error {
    Error::new(
        ErrorCode::PairingLocked,
        "pairing is locked: too many wrong codes were tried; if that was nobody you know, look who is on your network, \
         then unlock pairing on the device that shows the code",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test;

    fn wrong(tries: &mut Tries, wall: u64) -> Try {
        tries.count();
        tries.judge(false, wall)
    }

    #[test]
    fn three_tries_burn_a_code_and_five_burned_ones_in_a_quarter_of_an_hour_lock() {
        let mut tries = Tries::default();
        for code in 0..5_u64 {
            assert_eq!(wrong(&mut tries, code), Try::Counted);
            assert_eq!(wrong(&mut tries, code), Try::Counted);
            assert!(tries.check().is_ok());
            assert_eq!(wrong(&mut tries, code), if code < 4 { Try::Burned } else { Try::Locked });
        }
        assert_eq!(tries.check().unwrap_err().code(), ErrorCode::PairingLocked);
        assert_eq!(Tries::decode(&tries.encode()).unwrap(), tries);
        tries.unlock();
        assert!(tries.check().is_ok());
    }

    #[test]
    fn slow_guesses_do_not_lock_and_a_right_one_forgives_the_wrong_ones() {
        let mut tries = Tries::default();
        for code in 0..100 {
            for _ in 0..3 {
                assert_ne!(wrong(&mut tries, code * WINDOW_MS / 4), Try::Locked);
            }
        }
        wrong(&mut tries, 0);
        wrong(&mut tries, 0);
        tries.count();
        assert_eq!(tries.judge(true, 0), Try::Right, "the third may be right");
        assert_eq!(wrong(&mut tries, 0), Try::Counted);
    }

    #[test]
    fn a_crash_gives_no_guesses_back() {
        let mut tries = Tries::default();
        for run in 0..5 {
            tries.count();
            tries = Tries::decode(&tries.encode()).unwrap();
            assert!(tries.opened(run));
        }
        assert!(tries.check().is_err());
    }

    #[test]
    fn a_damaged_row_is_refused() {
        for bytes in [&[][..], &[2, 0, 0, 0], &[1, 0, 0, 200, 1], &[1, 0, 0, 0, 0]] {
            assert!(Tries::decode(bytes).is_err());
        }
    }
}
