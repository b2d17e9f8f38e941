//! One table of error codes: Rust variant, wire byte, stable string.
//!
//! Every error of this crate is an [`Error`]: a stable [`ErrorCode`] for programs, and one sentence for people that
//! says what happened to what, and what to do about it. Secrets never appear in either.

use std::fmt;

/// The result type of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $byte:literal, $name:literal, $retryable:literal;)*) => {
        /// A stable error code. The string form is the TypeScript `SyncErrorCode`, the byte goes over the wire.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
        #[non_exhaustive]
        pub enum ErrorCode { $($(#[$doc])* $variant,)* }

        impl ErrorCode {
            /// Every code, in the order of its wire byte.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$variant,)*];

            /// The stable string, in snake case.
            pub const fn as_str(self) -> &'static str {
                match self { $(ErrorCode::$variant => $name,)* }
            }

            /// The byte that stands for this code on the wire.
            pub const fn to_byte(self) -> u8 {
                match self { $(ErrorCode::$variant => $byte,)* }
            }

            /// The code of a wire byte; a byte from a newer version reads as [`ErrorCode::Protocol`].
            pub const fn from_byte(byte: u8) -> Self {
                match byte { $($byte => ErrorCode::$variant,)* _ => ErrorCode::Protocol }
            }

            /// Whether the same call may succeed later without anybody changing anything.
            pub const fn retryable(self) -> bool {
                match self { $(ErrorCode::$variant => $retryable,)* }
            }
        }
    };
}

codes! {
    /// The peer sent something that the protocol does not allow.
    Protocol = 0, "protocol", false;
    /// The two sides share no protocol version.
    Version = 1, "version", false;
    /// The peer is not a member of this vault, or this device is not one of its.
    NotAuthorized = 2, "not_trusted", false;
    /// The policy does not allow it.
    PolicyDenied = 3, "policy_denied", false;
    /// The other side has paused.
    Paused = 4, "paused", true;
    /// The other side is busy.
    Busy = 5, "busy", true;
    /// A value, a batch or a message is over its limit.
    TooLarge = 6, "too_large", false;
    /// Storage or a bounded queue is full.
    Quota = 7, "quota", true;
    /// The store failed or is damaged.
    Storage = 8, "storage", true;
    /// The network failed.
    Transport = 9, "transport", true;
    /// No way to the peer was found.
    Unreachable = 10, "unreachable", true;
    /// The entity is deleted; restore it first.
    Deleted = 11, "deleted", false;
    /// No such entity, peer or file.
    NotFound = 12, "not_found", false;
    /// The input is not what the call takes.
    Invalid = 13, "invalid", false;
    /// The store is sealed, or another process holds it.
    Locked = 14, "locked", true;
    /// The engine was stopped.
    Closed = 15, "closed", false;
    /// The call was given up before it ended.
    Aborted = 16, "aborted", true;
    /// Not available here.
    Unsupported = 17, "unsupported", false;
    /// The device has no vault yet.
    NoVault = 18, "no_vault", false;
    /// It took longer than it may.
    Timeout = 19, "timeout", true;
    /// The page is not served from where browsers allow what it needs.
    InsecureContext = 20, "insecure_context", false;
    /// The store is open in another tab, and was asked for alone; or another tab has taken it over.
    TabConflict = 21, "tab_conflict", false;
    /// The pairing code is not the one that the other device shows.
    CodeMismatch = 24, "code_mismatch", false;
    /// The pairing code's time is over.
    CodeExpired = 25, "code_expired", false;
    /// The pairing code was used, or tried wrongly too often.
    CodeBurned = 26, "code_burned", false;
    /// Too many wrong pairing codes: the user must unlock pairing.
    PairingLocked = 27, "pairing_locked", false;
    /// The user of the other device, or of this one, said no.
    Rejected = 28, "rejected", false;
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What went wrong: a stable code and one sentence for people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Error {
    code: ErrorCode,
    message: String,
}

impl Error {
    /// An error with this code; `message` says what happened to what, and what to do.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// The stable code.
    pub fn code(&self) -> ErrorCode {
        self.code
    }

    /// The sentence for people.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Reads what an error's `Display` writes: the sentence, and the code in brackets behind it. A text without a code is
    /// a `transport` error.
    pub fn from_text(text: &str) -> Self {
        let parts = text.strip_suffix(')').and_then(|text| text.rsplit_once(" ("));
        let coded = parts.and_then(|(message, name)| {
            let code = ErrorCode::ALL.iter().find(|code| code.as_str() == name)?;
            Some(Self::new(*code, message))
        });
        coded.unwrap_or_else(|| Self::new(ErrorCode::Transport, text))
    }

    /// Short for a peer's bytes that break the protocol.
    pub fn protocol(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Protocol, message)
    }

    /// Short for input that the call does not take.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Invalid, message)
    }

    /// Short for something over its limit.
    pub fn too_large(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::TooLarge, message)
    }

    /// Short for a store that failed or is damaged.
    pub fn storage(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Storage, message)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test;

    #[test]
    fn an_error_is_read_back_from_its_text_and_any_other_text_is_one_of_the_network() {
        for code in ErrorCode::ALL {
            let error = Error::new(*code, "the disk (of the other) is full");
            assert_eq!(Error::from_text(&error.to_string()), error);
        }
        for text in ["", ")", " ()", "no answer", "no answer (timeouts)", "(timeout)"] {
            assert_eq!(Error::from_text(text), Error::new(ErrorCode::Transport, text));
        }
    }

    #[test]
    fn codes_survive_the_wire_and_have_unique_names() {
        let mut names = std::collections::BTreeSet::new();
        for &code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_byte(code.to_byte()), code);
            assert!(names.insert(code.as_str()), "{code} stands twice");
        }
        assert_eq!(ErrorCode::from_byte(255), ErrorCode::Protocol);
    }
}
