//! Cache pages: the states of several entities as bytes. Numbers of logs stand in them as they are on this device.

use super::counter::Counter;
use super::life::{Logs, out_of_order};
use super::register::Register;
use super::set::{EarlyRemovals, Set};
use super::state::{EntityState, Field, FieldState};
use super::updates::Updates;
use crate::error::Result;
use crate::types::codec::{Reader, put_bytes, put_varint};
use crate::types::limits::MAX_NAME_BYTES;
use crate::types::{EntityId, FieldName, SortedSet};

impl EntityState {
    /// Appends the state: equal states give equal bytes, in whatever order their events came.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.logs.encode(out);
        put_varint(out, self.fields.len() as u64);
        for field in &self.fields {
            put_bytes(out, field.name.as_str().as_bytes());
            out.push(field.state.kind() as u8);
            match &field.state {
                FieldState::Register(register) => register.encode(out),
                FieldState::Counter(counter) => counter.encode(out),
                FieldState::Set(set) => set.encode(out),
                FieldState::Text(updates) | FieldState::Opaque(updates) => updates.encode(out),
            }
        }
        match &self.early {
            None => put_varint(out, 0),
            Some(early) => early.encode(out),
        }
    }

    /// Reads what [`EntityState::encode`] wrote; anything else is an error.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        Self::decode_sharing(reader, &mut SortedSet::new())
    }

    /// `names` keeps one copy of each field's name for all entities of a page.
    fn decode_sharing(reader: &mut Reader<'_>, names: &mut SortedSet<FieldName>) -> Result<Self> {
        let logs = Logs::decode(reader)?;
        let count = reader.count(usize::MAX, "fields of an entity")?;
        let mut fields = Vec::<Field>::new();
        for _ in 0..count {
            let name = reader.text(MAX_NAME_BYTES, "a field name")?;
            let name = match names.get(name) {
                Some(known) => known.clone(),
                None => {
                    let name = FieldName::new(name)?;
                    names.insert(name.clone());
                    name
                }
            };
            let state = match reader.byte()? {
                0 => FieldState::Register(Register::decode(reader)?),
                1 => FieldState::Counter(Box::new(Counter::decode(reader)?)),
                2 => FieldState::Set(Box::new(Set::decode(reader)?)),
                3 => FieldState::Text(Box::new(Updates::decode(reader)?)),
                4 => FieldState::Opaque(Box::new(Updates::decode(reader)?)),
                _ => return Err(out_of_order()),
            };
            if fields.last().is_some_and(|last| (&last.name, last.state.kind()) >= (&name, state.kind())) {
                return Err(out_of_order());
            }
            fields.push(Field { name, state });
        }
        fields.shrink_to_fit();
        let early = EarlyRemovals::decode(reader)?;
        Ok(Self { logs, fields, early: (!early.is_empty()).then(|| Box::new(early)) })
    }
}

/// The bytes of a cache page: how many entities, then for each its id, the length of its state, its state.
pub fn encode_page(entities: &[(EntityId, EntityState)]) -> Vec<u8> {
    let states: Vec<(EntityId, Vec<u8>)> = entities
        .iter()
        .map(|(id, state)| {
            let mut out = Vec::new();
            state.encode(&mut out);
            (*id, out)
        })
        .collect();
    let states: Vec<(EntityId, &[u8])> = states.iter().map(|(id, state)| (*id, state.as_slice())).collect();
    join_page(&states)
}

/// The same from states that are encoded already.
pub fn join_page(entities: &[(EntityId, &[u8])]) -> Vec<u8> {
    let mut out = Vec::with_capacity(entities.iter().map(|(_, state)| state.len() + 20).sum::<usize>() + 4);
    put_varint(&mut out, entities.len() as u64);
    for (id, state) in entities {
        out.extend_from_slice(&id.0);
        put_bytes(&mut out, state);
    }
    out
}

/// Takes a page apart without reading its states: most of them go into the next page as they are.
pub fn split_page(bytes: &[u8]) -> Result<Vec<(EntityId, &[u8])>> {
    let mut reader = Reader::new(bytes);
    let count = reader.count(usize::MAX, "entities of a page")?;
    let mut entities = Vec::with_capacity(count);
    for _ in 0..count {
        entities.push((EntityId(reader.array()?), reader.bytes(usize::MAX, "an entity's state")?));
    }
    reader.finish()?;
    Ok(entities)
}

/// Reads one state of a [`split_page`].
pub fn decode_state(bytes: &[u8]) -> Result<EntityState> {
    let mut reader = Reader::new(bytes);
    let state = EntityState::decode(&mut reader)?;
    reader.finish()?;
    Ok(state)
}

/// Reads [`encode_page`]; a page that is anything else is an error, and is to be built again.
pub fn decode_page(bytes: &[u8]) -> Result<Vec<(EntityId, EntityState)>> {
    let mut names = SortedSet::new();
    let mut entities = Vec::new();
    for (id, state) in split_page(bytes)? {
        let mut reader = Reader::new(state);
        entities.push((id, EntityState::decode_sharing(&mut reader, &mut names)?));
        reader.finish()?;
    }
    Ok(entities)
}
