//! Maps and sets in the order of their keys, for code that is small: what the engine keeps has some seventy pairs of key
//! and value, and for each of them the standard library's B-tree is compiled anew, a good 1 kB gzipped in a browser's
//! module. Here it is a third of that: entries lie in sorted leaves of up to 64, the leaves in one list, which is two
//! levels instead of a tree. A look-up takes two binary searches; an insert moves half a leaf, and once in a leaf's life
//! the list, so that a million entries are no slower than in a tree.

mod iter;
mod map;
mod serial;
mod set;
#[cfg(test)]
mod tests;

pub use iter::{Iter, Keys};
pub use map::{Entry, SortedMap, VacantEntry};
pub use set::SortedSet;

/// How many entries a leaf has at most.
const LEAF: usize = 64;
