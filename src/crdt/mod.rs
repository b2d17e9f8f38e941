//! How field operations merge: an event and an entity's state in, the new state out (DESIGN section 4).

mod edit;
mod view;

pub use edit::Edit;
pub use view::{EntityView, FieldValue, Mark};
