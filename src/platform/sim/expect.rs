//! What apps were told is saved, and so must be there in the end.

use std::collections::{BTreeMap, BTreeSet};

use crate::store::{MemoryStore, Table};
use crate::types::{Commit, EntityId, EntityType, FieldOp, PeerId, Value, VaultId};
use crate::wire::decode_block;

/// One edit that can be found again.
#[derive(Clone, Debug)]
pub struct Expected {
    pub author: PeerId,
    pub entity_type: EntityType,
    pub id: EntityId,
    pub token: Token,
    pub must: Must,
}

/// How an edit is found.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Token {
    /// An item of the set `tokens`.
    Item(i64),
    /// A character of the text `log`.
    Char(char),
    /// A part of the counter `count`.
    Add(i64),
}

/// Whether it must be there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Must {
    /// It was asked for, and no answer came.
    Maybe,
    /// It was saved.
    Yes,
    /// It was refused.
    Never,
}

/// All edits.
#[derive(Default, Debug)]
pub struct Expect {
    pub edits: Vec<Expected>,
    /// Whose edits may be lost: a member that cheats.
    pub cheater: Option<PeerId>,
    /// Whose edits may be cut off: they were removed or demoted at some time.
    pub cut_off: BTreeSet<PeerId>,
}

impl Expect {
    /// Notes an edit that is asked for; gives its place.
    pub fn ask(&mut self, edit: Expected) -> usize {
        self.edits.push(edit);
        self.edits.len() - 1
    }

    pub fn answer(&mut self, places: &[usize], must: Must) {
        for place in places {
            if let Some(edit) = self.edits.get_mut(*place)
                && edit.must == Must::Maybe
            {
                edit.must = must;
            }
        }
    }

    /// A device lost its disk and has an older copy: what nobody holds any more is gone. What others hold comes back.
    pub fn disk_lost(&mut self, own: &BTreeSet<Token>, others: &BTreeSet<Token>) {
        for edit in self.edits.iter_mut().filter(|edit| edit.must == Must::Yes) {
            if !own.contains(&edit.token) && !others.contains(&edit.token) {
                edit.must = Must::Maybe;
            }
        }
    }

    /// Compares with what a replica shows; answers the first difference.
    pub fn check(&self, shown: &BTreeMap<(EntityType, EntityId), Shown>) -> Result<(), String> {
        let none = Shown::default();
        let mut sums: BTreeMap<(&EntityType, EntityId), (i64, i64)> = BTreeMap::new();
        for edit in &self.edits {
            let shown = shown.get(&(edit.entity_type.clone(), edit.id)).unwrap_or(&none);
            let must = match edit.must {
                Must::Yes if self.cheater == Some(edit.author) || self.cut_off.contains(&edit.author) => Must::Maybe,
                other => other,
            };
            if let Token::Add(by) = edit.token {
                let (least, most) = sums.entry((&edit.entity_type, edit.id)).or_default();
                *least += if must == Must::Yes { by } else { 0 };
                *most += if must == Must::Never { 0 } else { by };
                continue;
            }
            let there = shown.tokens.contains(&edit.token);
            if there && must == Must::Never {
                return Err(format!("an edit that was refused is there: {edit:?}"));
            }
            if !there && must == Must::Yes {
                return Err(format!("an edit that was saved is lost: {edit:?}"));
            }
        }
        for ((entity_type, id), (least, most)) in sums {
            let sum = shown.get(&(entity_type.clone(), id)).map_or(0, |shown| shown.sum);
            if !(least..=most).contains(&sum) {
                return Err(format!("the counter of {entity_type} {id} is {sum}, not {least} to {most}"));
            }
        }
        Ok(())
    }
}

/// What a replica shows of an entity.
#[derive(Default, Debug)]
pub struct Shown {
    pub tokens: BTreeSet<Token>,
    pub sum: i64,
}

/// The edits in the blocks of a store, whether they count or not.
pub fn tokens_on_disk(store: &MemoryStore, vault: VaultId) -> BTreeSet<Token> {
    let blocks = super::disk::all(store, Table::Blocks);
    let commits = blocks.iter().flat_map(|(_, block)| decode_block(block, vault).unwrap_or_default());
    commits.flat_map(|commit| tokens_of(&commit).map(|(_, token)| token).collect::<Vec<_>>()).collect()
}

/// The edits in a commit, and of which entity.
pub fn tokens_of(commit: &Commit) -> impl Iterator<Item = (EntityId, Token)> {
    let ops = commit.events.iter().flat_map(|event| event.ops.iter().map(|op| (event.entity, op)));
    ops.flat_map(|(entity, op)| {
        let tokens: Vec<Token> = match op {
            FieldOp::Insert { field, item: Value::Int(item) } if field.as_str() == "tokens" => vec![Token::Item(*item)],
            FieldOp::Add { by, .. } => vec![Token::Add(*by)],
            // The characters of a text stand in the update as they are, three bytes each.
            FieldOp::Text { field, update } if field.as_str() == "log" => {
                let text = String::from_utf8_lossy(update);
                text.chars().filter(|c| super::actions::TOKEN_CHARS.contains(c)).map(Token::Char).collect()
            }
            _ => Vec::new(),
        };
        tokens.into_iter().map(move |token| (entity, token))
    })
}
