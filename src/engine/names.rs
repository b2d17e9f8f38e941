//! Types and logs by name and by local number.

use super::SyncEngine;
use super::layout::{LogKey, TypeIx};
use super::log::Log;
use crate::crdt::LogIx;
use crate::types::{EntityType, LogId, LogName, SortedMap};

impl SyncEngine {
    /// The number of a type, given to it now if it has none.
    pub(super) fn type_ix(&mut self, name: &EntityType) -> TypeIx {
        match self.find_type(name) {
            Some(ty) => ty,
            None => {
                self.types.push(name.clone());
                TypeIx(self.types.len() as u32 - 1)
            }
        }
    }

    pub(super) fn find_type(&self, name: &EntityType) -> Option<TypeIx> {
        // Types are few: a user's app has a handful.
        self.types.iter().position(|known| known == name).map(|place| TypeIx(place as u32))
    }

    pub(super) fn type_name(&self, ty: TypeIx) -> Option<&EntityType> {
        self.types.get(ty.0 as usize)
    }

    /// The log of that name, made now if it is not known.
    pub(super) fn log_mut(&mut self, name: &LogName) -> &mut Log {
        let key = match self.log_names.get(name) {
            Some(key) => *key,
            None => {
                let key = LogKey { ty: self.type_ix(&name.entity_type), ix: self.ids.intern(name.id) };
                self.log_names.insert(name.clone(), key);
                key
            }
        };
        self.logs.entry(key).or_insert_with(|| Log::new(name.clone(), key))
    }

    pub(super) fn own_log(&self, entity_type: &EntityType) -> LogName {
        LogName { entity_type: entity_type.clone(), id: LogId { author: self.me, epoch: self.epoch } }
    }
}

/// The logs of one type.
pub fn logs_of(logs: &SortedMap<LogKey, Log>, ty: TypeIx) -> impl Iterator<Item = &Log> {
    logs.range(LogKey { ty, ix: LogIx(0) }..=LogKey { ty, ix: LogIx(u32::MAX) }).map(|(_, log)| log)
}
