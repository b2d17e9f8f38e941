//! What a reader sees of an entity.

use crate::types::{EntityId, EntityType, FieldKind, FieldName, SortedMap, SortedSet, Value, VectorClock};

/// What a reader sees of one field in one kind.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FieldValue {
    /// A register's value.
    Register(Value),
    /// A counter's sum.
    Counter(i64),
    /// A set's items.
    Set(SortedSet<Value>),
    /// A text, and its marks in the order of their ranges.
    Text(String, Vec<Mark>),
    /// Another CRDT's updates that are ready to be handed on, in an order in which each follows what it has seen.
    Opaque(Vec<Vec<u8>>),
}

impl FieldValue {
    /// Its kind.
    pub fn kind(&self) -> FieldKind {
        match self {
            FieldValue::Register(_) => FieldKind::Register,
            FieldValue::Counter(_) => FieldKind::Counter,
            FieldValue::Set(_) => FieldKind::Set,
            FieldValue::Text(..) => FieldKind::Text,
            FieldValue::Opaque(_) => FieldKind::Opaque,
        }
    }
}

/// A marked range of a text, in UTF-16 code units.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mark {
    /// Where it starts.
    pub at: u32,
    /// How long it is.
    pub length: u32,
    /// The mark.
    pub key: String,
    /// Its value.
    pub value: Value,
}

/// What a reader sees of an entity.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EntityView {
    /// Its type.
    pub entity_type: EntityType,
    /// Its id.
    pub id: EntityId,
    /// Whether it is deleted; its fields are told all the same.
    pub deleted: bool,
    /// What this view has seen of it.
    pub clock: VectorClock,
    /// Its fields: in each, the kinds present in ascending order.
    pub fields: SortedMap<FieldName, Vec<FieldValue>>,
}

impl EntityView {
    /// A field as a reader without a schema sees it: in the highest kind present.
    pub fn field(&self, name: &str) -> Option<&FieldValue> {
        self.fields.get(name)?.last()
    }

    /// A field in one kind.
    pub fn field_of(&self, name: &str, kind: FieldKind) -> Option<&FieldValue> {
        self.fields.get(name)?.iter().find(|value| value.kind() == kind)
    }
}
