//! The password-authenticated key exchange: CPace (draft-irtf-cfrg-cpace) over ristretto255 with SHA-512, behind a
//! trait of our own. Whoever does not know the password learns nothing from a run but whether one guess was right.

use std::fmt;

use pakery_cpace::{CpaceInitiator, CpaceMode, CpaceResponder, InitiatorState};
use pakery_crypto::CpaceRistretto255;
use zeroize::Zeroizing;

use super::source::Source;
use crate::error::{Error, Result};

/// Bytes of a share.
pub(super) const SHARE_BYTES: usize = 32;

/// What both sides must agree on, beside the password; all of it goes into the key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context<'a> {
    /// Who talks to whom.
    pub channel: &'a [u8],
    /// Names this run.
    pub session: &'a [u8],
    /// What the initiator has said before its share, and the responder.
    pub said: (&'a [u8], &'a [u8]),
}

/// A key that both have if their passwords and contexts were the same.
pub(super) type SharedKey = Zeroizing<Vec<u8>>;

/// A balanced PAKE of one message each way.
pub(super) trait Pake {
    /// What the initiator keeps between its share and the other's.
    type Started;

    /// The initiator's share.
    fn start(password: &[u8], context: Context<'_>, source: &mut Source) -> Result<([u8; SHARE_BYTES], Self::Started)>;
    /// The responder's share and its key; fails on a share that is none.
    fn respond(
        password: &[u8],
        context: Context<'_>,
        share: &[u8; SHARE_BYTES],
        source: &mut Source,
    ) -> Result<([u8; SHARE_BYTES], SharedKey)>;
    /// The initiator's key; fails on a share that is none.
    fn finish(started: Self::Started, context: Context<'_>, share: &[u8; SHARE_BYTES]) -> Result<SharedKey>;
}

/// CPace in its initiator-responder mode.
pub(super) struct CPace;

const MODE: CpaceMode = CpaceMode::InitiatorResponder;

impl Pake for CPace {
    type Started = InitiatorState<CpaceRistretto255>;

    fn start(password: &[u8], context: Context<'_>, source: &mut Source) -> Result<([u8; SHARE_BYTES], Self::Started)> {
        let (share, state) = CpaceInitiator::start(password, context.channel, context.session, context.said.0, source)
            .map_err(failed)?;
        Ok((sized(&share)?, state))
    }

    fn respond(
        password: &[u8],
        context: Context<'_>,
        share: &[u8; SHARE_BYTES],
        source: &mut Source,
    ) -> Result<([u8; SHARE_BYTES], SharedKey)> {
        let (channel, session, (theirs, ours)) = (context.channel, context.session, context.said);
        let (answer, output) =
            CpaceResponder::<CpaceRistretto255>::respond(share, password, channel, session, theirs, ours, MODE, source)
                .map_err(failed)?;
        Ok((sized(&answer)?, Zeroizing::new(output.isk.as_bytes().to_vec())))
    }

    fn finish(started: Self::Started, context: Context<'_>, share: &[u8; SHARE_BYTES]) -> Result<SharedKey> {
        let output = started.finish(share, context.said.1, MODE).map_err(failed)?;
        Ok(Zeroizing::new(output.isk.as_bytes().to_vec()))
    }
}

fn failed(error: impl fmt::Debug) -> Error {
    Error::protocol(format!("a share of the key exchange that is none: {error:?}"))
}

fn sized(share: &[u8]) -> Result<[u8; SHARE_BYTES]> {
    share.try_into().map_err(|_| Error::protocol("a share of the key exchange has another length"))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use hpke::rand_core::{TryCryptoRng, TryRng};
    use pakery_cpace::generator::{calculate_generator, generator_string};
    use pakery_cpace::transcript::{derive_session_id, transcript_ir};

    use super::*;
    use crate::test;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    // Appendix B.3 of draft-irtf-cfrg-cpace-21: CPace with ristretto255 and SHA-512.
    const PASSWORD: &[u8] = b"Password";
    const CI: &str = "0b415f696e69746961746f720b425f726573706f6e646572";
    const SID: &str = "7e4b4791d6a8ef019b936c79fb7f2c57";
    const YA_SCALAR: &str = "da3d23700a9e5699258aef94dc060dfda5ebb61f02a5ea77fad53f4ff0976d08";
    const YA: &str = "d6bac480f2c386c394efc7c47adb9925dcd2630b64f240c50f8d0eec482b9157";
    const YB_SCALAR: &str = "d2316b454718c35362d83d69df6320f38578ed5984651435e2949762d900b80d";
    const YB: &str = "3ea7e0b19560d7c0b0f5734f63b955286dfa8232b5ebe63324e2d9e7433f7258";
    const ISK: &str = "b69effbf61b51d56401c0f65601abe428de8206feaaf0e32198896dcae7b35cd\
                       2b38950a39dfd5d4a79164614c2984f7daa460b588c1e80c3fa2068af7900447";
    const SID_OUTPUT: &str = "bb1c449b35f0ea79a65c209f329a693d475e0ce2387bed9fe4b78f60b2a27c21\
                              9813fb2cfe175ef40d2222d9261e66da7d78f7c55a303b1b8611dcdfab880c47";

    /// Gives the scalar of a vector: 64 bytes that are reduced to it.
    struct Fixed(Vec<u8>);

    impl TryRng for Fixed {
        type Error = Infallible;
        fn try_next_u32(&mut self) -> Result<u32, Infallible> {
            unreachable!("a scalar is drawn as bytes")
        }
        fn try_next_u64(&mut self) -> Result<u64, Infallible> {
            unreachable!("a scalar is drawn as bytes")
        }
        fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
            out.fill(0);
            out[..self.0.len()].copy_from_slice(&self.0);
            Ok(())
        }
    }

    impl TryCryptoRng for Fixed {}

    #[test]
    fn the_generator_is_that_of_the_draft() {
        let string = generator_string::<CpaceRistretto255>(PASSWORD, &hex(CI), &hex(SID));
        let expected =
            format!("11435061636552697374726574746f3235350850617373776f726464{}18{CI}10{SID}", "00".repeat(100));
        assert_eq!(string, hex(&expected));
        // That the point made of it is the draft's too shows in the shares below, which are multiples of it.
        assert!(calculate_generator::<CpaceRistretto255>(PASSWORD, &hex(CI), &hex(SID)).is_ok());
    }

    #[test]
    fn shares_and_key_are_those_of_the_draft() {
        let (ci, sid) = (hex(CI), hex(SID));
        let (ya, started) =
            CpaceInitiator::<CpaceRistretto255>::start(PASSWORD, &ci, &sid, b"ADa", &mut Fixed(hex(YA_SCALAR)))
                .unwrap();
        assert_eq!(ya, hex(YA));
        let (yb, output) = CpaceResponder::<CpaceRistretto255>::respond(
            &ya,
            PASSWORD,
            &ci,
            &sid,
            b"ADa",
            b"ADb",
            MODE,
            &mut Fixed(hex(YB_SCALAR)),
        )
        .unwrap();
        assert_eq!(yb, hex(YB));
        assert_eq!(output.isk.as_bytes(), hex(ISK));
        assert_eq!(output.session_id, hex(SID_OUTPUT));
        assert_eq!(started.finish(&yb, b"ADb", MODE).unwrap().isk.as_bytes(), hex(ISK));
        assert_eq!(transcript_ir(&ya, b"ADa", &yb, b"ADb"), hex(&format!("20{YA}0341446120{YB}03414462")));
        assert_eq!(derive_session_id::<CpaceRistretto255>(&ya, b"ADa", &yb, b"ADb", MODE), hex(SID_OUTPUT));
    }

    #[test]
    fn shares_that_are_no_points_or_the_neutral_one_are_refused() {
        // The invalid ones of the draft, and what no point is encoded as.
        let invalid = "2b3c6b8c4f3800e7aef6864025b4ed79bd599117e427c41bd47d93d654b4a51c";
        for share in [hex(invalid), vec![0; 32], vec![0xff; 32], vec![1; 32]] {
            let share: [u8; 32] = share.try_into().unwrap();
            let context = Context { channel: b"c", session: b"s", said: (b"a", b"b") };
            let mut source = Source::new(&Zeroizing::new([1; 32]));
            assert!(CPace::respond(b"482951", context, &share, &mut source).is_err());
            let (_, started) = CPace::start(b"482951", context, &mut source).unwrap();
            assert!(CPace::finish(started, context, &share).is_err());
        }
    }

    #[test]
    fn another_password_channel_session_or_word_gives_another_key() {
        let run = |ours: (&[u8], Context<'_>), theirs: (&[u8], Context<'_>)| {
            let mut source = Source::new(&Zeroizing::new([1; 32]));
            let (share, started) = CPace::start(ours.0, ours.1, &mut source).unwrap();
            let (answer, theirs) = CPace::respond(theirs.0, theirs.1, &share, &mut source).unwrap();
            CPace::finish(started, ours.1, &answer).unwrap() == theirs
        };
        let context = Context { channel: b"c", session: b"s", said: (b"a", b"b") };
        assert!(run((b"482951", context), (b"482951", context)));
        assert!(!run((b"482951", context), (b"482952", context)));
        for other in [
            Context { channel: b"d", ..context },
            Context { session: b"t", ..context },
            Context { said: (b"x", b"b"), ..context },
            Context { said: (b"a", b"x"), ..context },
        ] {
            assert!(!run((b"482951", context), (b"482951", other)));
        }
    }
}
