//! What can go wrong in IndexedDB, in words.

use indexed_db_futures::error::{DomException, Error as IdbError, OpenDbError};
use wasm_bindgen::JsValue;

use super::database::IndexedDb;
use super::unsupported;
use crate::error::{Error, ErrorCode};
use crate::platform::web::seal;

/// Before it is known of which database.
#[derive(Debug)]
pub(super) enum Fault {
    /// Another tab has opened the database since.
    Fenced,
    /// A newer version of the app wants to change the database, and this tab made room.
    Outdated,
    /// The user or the browser deleted it.
    Deleted,
    /// Its passphrase is being changed.
    Changing,
    /// The opening waits for another tab, which does not let go.
    Blocked,
    /// An exception: its name and what it says.
    Exception { name: String, message: String },
}

impl Fault {
    pub fn of(self, db: &IndexedDb) -> Error {
        // Why a database was closed says more than that a request found it closed.
        db.closed_by().unwrap_or(self).named(db.name())
    }

    pub fn named(self, database: &str) -> Error {
        let error = |code, text: String| Error::new(code, format!("the database `{database}` {text}"));
        match self {
            Self::Fenced => error(
                ErrorCode::TabConflict,
                "was taken over by another tab; this tab writes nothing more and works through that one".into(),
            ),
            Self::Outdated => error(
                ErrorCode::Locked,
                "is being changed by a newer version of this app in another tab; reload this page".into(),
            ),
            Self::Deleted => error(
                ErrorCode::Storage,
                "was deleted while it was open (site data cleared, or evicted); what this page still shows can be \
                 exported, other devices still have what they were sent"
                    .into(),
            ),
            Self::Changing => seal::is_changing(),
            Self::Blocked => error(
                ErrorCode::Locked,
                "cannot be opened while an older version of this app is open in another tab; close that tab".into(),
            ),
            Self::Exception { name, message } => match name.as_str() {
                "QuotaExceededError" => error(
                    ErrorCode::Quota,
                    "is full: the browser gives this site no more room; free some on this device, and it goes on"
                        .into(),
                ),
                "VersionError" => error(
                    ErrorCode::Version,
                    "has the format of a newer version of this app; reload the page or update the app".into(),
                ),
                "SecurityError" | "NotSupportedError" => unsupported(),
                _ => error(ErrorCode::Storage, format!("failed: {name}: {message}; reload the page to open it again")),
            },
        }
    }
}

impl Fault {
    /// Why a transaction failed: it knows itself (that the disk is full, say), which the request's error does not tell.
    pub fn of_transaction(transaction: &web_sys::IdbTransaction, error: impl Into<Fault>) -> Self {
        transaction.error().map_or_else(|| error.into(), Self::from)
    }
}

impl From<web_sys::DomException> for Fault {
    fn from(exception: web_sys::DomException) -> Self {
        Self::Exception { name: exception.name(), message: exception.message() }
    }
}

impl From<IdbError> for Fault {
    fn from(error: IdbError) -> Self {
        match error {
            IdbError::DomException(exception) => {
                let exception: &JsValue = exception.as_ref();
                let exception: &web_sys::DomException = wasm_bindgen::JsCast::unchecked_ref(exception);
                exception.clone().into()
            }
            error => Self::Exception { name: "Error".into(), message: error.to_string() },
        }
    }
}

impl From<DomException> for Fault {
    fn from(error: DomException) -> Self {
        IdbError::from(error).into()
    }
}

impl From<OpenDbError> for Fault {
    fn from(error: OpenDbError) -> Self {
        match error {
            OpenDbError::Base(error) => error.into(),
            OpenDbError::UnsupportedEnvironment | OpenDbError::NullFactory => {
                Self::Exception { name: "NotSupportedError".into(), message: error.to_string() }
            }
            OpenDbError::VersionZero => Self::Exception { name: "Error".into(), message: error.to_string() },
        }
    }
}
