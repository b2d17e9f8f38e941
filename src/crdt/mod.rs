//! How field operations merge: an event and an entity's state in, the new state out (PROTOCOL.md section 9).

mod check;
mod counter;
mod edit;
mod life;
mod logs;
mod opaque;
mod page;
mod prepare;
mod read;
mod register;
mod set;
mod state;
mod text;
mod typing;
mod updates;
mod view;

pub use check::check_event;
pub use edit::Edit;
pub use logs::{EventAt, LogIx, LogTable};
pub use page::{StateReader, decode_page, decode_state, encode_page, join_page, split_page};
pub use state::{Changed, EntityState, EventApplicator};
pub use text::{MAX_TEXT_SESSIONS, TextSession, text_client_id, typed_in};
#[cfg(feature = "text")]
pub use text::{TextChange, TextDocument};
pub use view::{EntityView, FieldValue, Mark};

#[cfg(test)]
mod tests;
