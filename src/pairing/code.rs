//! Sync codes: what one device shows and the user types into the other. A code is a password for the exchange
//! (`pake.rs`); it never travels, and nothing public is computed from it.

use std::fmt;
use std::str::FromStr;

use zeroize::Zeroizing;

use super::link::PairingLink;
use super::source::Source;
use crate::error::{Error, ErrorCode, Result};
use crate::types::Instant;

/// How long a code is valid unless the app says otherwise, in seconds.
pub const CODE_SECONDS: u64 = 120;
/// Digits of a nameplate: 1000 to 9999.
pub const NAMEPLATES: std::ops::RangeInclusive<u16> = 1_000..=9_999;

/// Crockford's base32: no I, L, O, U.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const DIGITS: usize = 6;
const LETTERS: usize = 8;
const NAMEPLATE_DIGITS: usize = 4;
/// Characters that are read at most; a link is longer (see [`super::MAX_LINK_BYTES`]).
const MAX_TYPED: usize = 64;

/// How a code is spelled.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum CodeKind {
    /// Six digits: 20 bits, enough against three guesses.
    #[default]
    Digits,
    /// Eight characters of Crockford's base32: 40 bits. The default of enterprise vaults.
    Letters,
}

/// What the exchange is told of a code: the password and its sort, which both sides must name alike.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Sort {
    /// Typed.
    Typed = 0,
    /// From a link or QR code.
    Link = 1,
}

/// A code as shown, typed or read from a link. `Debug` shows none of it.
#[derive(Clone, PartialEq, Eq)]
pub struct SyncCode {
    /// The relay's short number of the device that shows the code.
    nameplate: Option<u16>,
    secret: Secret,
}

#[derive(Clone, PartialEq, Eq)]
enum Secret {
    /// Upper case, without blanks.
    Typed(Zeroizing<String>),
    Link(Box<PairingLink>),
}

impl SyncCode {
    /// A random code.
    pub(super) fn random(kind: CodeKind, source: &mut Source) -> Self {
        let mut text = Zeroizing::new(String::with_capacity(LETTERS));
        let (length, base) = match kind {
            CodeKind::Digits => (DIGITS, 10),
            CodeKind::Letters => (LETTERS, ALPHABET.len()),
        };
        for _ in 0..length {
            let index = source.below(base as u64) as usize;
            text.push(char::from(ALPHABET.get(index).copied().unwrap_or(b'0')));
        }
        Self { nameplate: None, secret: Secret::Typed(text) }
    }

    /// A random code from 32 fresh random bytes.
    pub fn generate(kind: CodeKind, entropy: &Zeroizing<[u8; 32]>) -> Self {
        Self::random(kind, &mut Source::new(entropy))
    }

    /// The same code under a relay's number.
    pub fn with_nameplate(mut self, nameplate: Option<u16>) -> Self {
        self.nameplate = nameplate.filter(|number| NAMEPLATES.contains(number));
        self
    }

    /// The relay's number of the device that shows the code, if one was typed.
    pub fn nameplate(&self) -> Option<u16> {
        self.nameplate
    }

    /// What a link says beside its secret.
    pub fn link(&self) -> Option<&PairingLink> {
        match &self.secret {
            Secret::Typed(_) => None,
            Secret::Link(link) => Some(link),
        }
    }

    /// The code as it is shown to the user: `482 951`, `4821-482951`, `K7QM-2XPW`, or the link.
    pub fn shown(&self) -> Zeroizing<String> {
        let text = match &self.secret {
            Secret::Link(link) => return link.uri(),
            Secret::Typed(text) => text,
        };
        let (first, second) = text.split_at_checked(text.len() / 2).unwrap_or((text, ""));
        Zeroizing::new(match (self.nameplate, text.len()) {
            (Some(number), DIGITS) => format!("{number}-{}", **text),
            (Some(number), _) => format!("{number}-{first}-{second}"),
            (None, DIGITS) => format!("{first} {second}"),
            (None, _) => format!("{first}-{second}"),
        })
    }

    /// The password, and of which sort.
    pub(super) fn password(&self) -> (Sort, Zeroizing<Vec<u8>>) {
        match &self.secret {
            Secret::Typed(text) => (Sort::Typed, Zeroizing::new(text.as_bytes().to_vec())),
            Secret::Link(link) => (Sort::Link, Zeroizing::new(link.secret.to_vec())),
        }
    }

    /// Whether both are the same password; compared in constant time. Nameplates do not matter.
    pub fn is_same(&self, other: &SyncCode) -> bool {
        let hash = |code: &SyncCode| {
            let (sort, password) = code.password();
            blake3::hash(&Zeroizing::new([&[sort as u8][..], &password].concat()))
        };
        hash(self) == hash(other)
    }

    /// Fails with `code_expired` where a link says so.
    pub(super) fn check_time(&self, now: Instant) -> Result<()> {
        match self.link() {
            Some(link) if link.expires_at <= now.wall / 1_000 => Err(Error::new(
                ErrorCode::CodeExpired,
                "this link has expired; let the other device show a new one (and check both clocks)",
            )),
            _ => Ok(()),
        }
    }

    pub(super) fn from_link(link: PairingLink) -> Self {
        Self { nameplate: None, secret: Secret::Link(Box::new(link)) }
    }
}

impl fmt::Debug for SyncCode {
    /// Leaves the secret out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SyncCode").field("nameplate", &self.nameplate).finish_non_exhaustive()
    }
}

impl FromStr for SyncCode {
    type Err = Error;

    /// Reads what a user typed or pasted: a code, a link, or a page's address with the link in it. Forgives blanks, dashes, small letters and look-alikes (O for 0, I and L for
    /// 1); the error never repeats the text.
    fn from_str(text: &str) -> Result<Self> {
        if let Some(link) = PairingLink::find(text) {
            return link.map(Self::from_link);
        }
        let wrong = || {
            Error::invalid(
                "this is no pairing code; one looks like 482 951, 4821-482951 or K7QM-2XPW, and a link starts with \
                 privstack: or has that after its #",
            )
        };
        let mut clean = Zeroizing::new(String::with_capacity(MAX_TYPED));
        for character in text.chars().take(MAX_TYPED + 1) {
            match character.to_ascii_uppercase() {
                blank if blank.is_whitespace() || "-–—‐‑−_.".contains(blank) => {}
                'O' => clean.push('0'),
                'I' | 'L' => clean.push('1'),
                letter if u8::try_from(letter).is_ok_and(|letter| ALPHABET.contains(&letter)) => clean.push(letter),
                _ => return Err(wrong()),
            }
        }
        if text.chars().nth(MAX_TYPED).is_some() {
            return Err(wrong());
        }
        let numeric = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        // The four lengths tell the forms apart: nameplates always have four digits.
        let (number, secret) = match clean.len() {
            DIGITS | LETTERS => (None, clean.as_str()),
            length if length == NAMEPLATE_DIGITS + DIGITS || length == NAMEPLATE_DIGITS + LETTERS => {
                let (number, secret) = clean.split_at_checked(NAMEPLATE_DIGITS).ok_or_else(wrong)?;
                let number = number.parse().ok().filter(|number| NAMEPLATES.contains(number)).ok_or_else(wrong)?;
                (Some(number), secret)
            }
            _ => return Err(wrong()),
        };
        if secret.len() == DIGITS && !numeric(secret) {
            return Err(wrong());
        }
        Ok(Self { nameplate: number, secret: Secret::Typed(Zeroizing::new(secret.to_owned())) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test;

    fn source(byte: u8) -> Source {
        Source::new(&Zeroizing::new([byte; 32]))
    }

    #[test]
    fn codes_read_back_as_they_are_shown_also_when_typed_carelessly() {
        for byte in 0..50 {
            for kind in [CodeKind::Digits, CodeKind::Letters] {
                for nameplate in [None, Some(1_000), Some(4_821), Some(9_999)] {
                    let code = SyncCode::random(kind, &mut source(byte)).with_nameplate(nameplate);
                    let shown = code.shown();
                    assert_eq!(shown.parse::<SyncCode>().unwrap(), code);
                    let careless = shown.to_lowercase().replace('1', "l").replace('0', "o").replace('-', " – ");
                    assert_eq!(format!("  {careless}\n").parse::<SyncCode>().unwrap(), code, "{careless}");
                    assert_eq!(shown.replace(['-', ' '], "").parse::<SyncCode>().unwrap(), code);
                }
            }
        }
    }

    #[test]
    fn what_is_no_code_is_refused_and_never_repeated() {
        for text in [
            "",
            "73160",
            "7316077",
            "73160A",
            "ABCDEF",
            "KUQM-2XPQ",
            "0999-731607",
            "AB21-731607",
            "7316-07731A",
            "四八二九五一",
        ] {
            let error = text.parse::<SyncCode>().unwrap_err();
            assert_eq!(error.code(), ErrorCode::Invalid, "{text}");
            assert!(text.is_empty() || !error.message().contains(text));
        }
        assert!("1".repeat(1_000_000).parse::<SyncCode>().is_err());
        assert!(" ".repeat(1_000_000).parse::<SyncCode>().is_err());
    }

    #[test]
    fn shown_forms_are_those_of_the_documentation() {
        let code: SyncCode = "482951".parse().unwrap();
        assert_eq!(*code.shown(), "482 951");
        assert_eq!(*code.clone().with_nameplate(Some(4_821)).shown(), "4821-482951");
        assert_eq!(*"k7qm2xpw".parse::<SyncCode>().unwrap().shown(), "K7QM-2XPW");
        assert!(!format!("{code:?}").contains("482"));
        assert!(code.is_same(&"4821-482951".parse().unwrap()) && !code.is_same(&"482952".parse().unwrap()));
    }

    #[test]
    fn random_codes_use_the_whole_alphabet_and_do_not_repeat() {
        let mut source = source(1);
        let codes: Vec<_> = (0..200).map(|_| SyncCode::random(CodeKind::Letters, &mut source).shown()).collect();
        let all = codes.iter().map(|code| code.as_str()).collect::<String>();
        assert!(ALPHABET.iter().all(|letter| all.contains(char::from(*letter))));
        assert_eq!(codes.iter().map(|code| code.as_str()).collect::<crate::types::SortedSet<_>>().len(), 200);
    }
}
