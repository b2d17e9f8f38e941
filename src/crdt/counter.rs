//! Counters: a wrapping sum of additions, kept per log; a clear takes back what its author had seen of each.

use super::life::{out_of_order, put_pos, read_log, read_pos};
use super::logs::{LogIx, LogTable, Pos};
use crate::error::Result;
use crate::types::Dot;
use crate::types::codec::{Reader, put_signed, put_varint};

/// One log's part.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Share {
    log: LogIx,
    /// All additions so far.
    total: i64,
    /// The last of them.
    last: Pos,
    /// The last addition that a clear has seen, if any, and what the additions came to by then.
    base: Pos,
    base_sum: i64,
}

impl Share {
    /// Whether it has come to what the clear has seen; before that it adds nothing.
    fn reached(&self) -> bool {
        self.last >= self.base
    }

    fn value(&self) -> i64 {
        if self.reached() { self.total.wrapping_sub(self.base_sum) } else { 0 }
    }

    fn is_cleared(&self) -> bool {
        !self.reached() || (self.last == self.base && self.total == self.base_sum)
    }
}

/// Sorted by log.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Counter(Vec<Share>);

impl Counter {
    fn share(&mut self, log: LogIx) -> &mut Share {
        let found = match self.0.binary_search_by_key(&log, |share| share.log) {
            Ok(found) => found,
            Err(place) => {
                self.0.reserve_exact(1);
                self.0.insert(place, Share { log, ..Share::default() });
                place
            }
        };
        &mut self.0[found]
    }

    pub fn add(&mut self, log: LogIx, at: Pos, by: i64) {
        let share = self.share(log);
        share.total = share.total.wrapping_add(by);
        share.last = at;
    }

    pub fn clear(&mut self, log: LogIx, seen: Pos, sum: i64) {
        let share = self.share(log);
        if (seen, sum) > (share.base, share.base_sum) || !share.base.is_some() {
            (share.base, share.base_sum) = (seen, sum);
        }
    }

    /// What a clear names: all that is here.
    pub fn sums(&self, logs: &LogTable) -> Vec<(Dot, i64)> {
        let added = self.0.iter().filter(|share| share.last.is_some() && !share.is_cleared());
        let mut sums: Vec<_> =
            added.filter_map(|share| Some((logs.dot(share.log, share.last)?, share.total))).collect();
        sums.sort_unstable();
        sums
    }

    /// The sum; `None` where all was taken back.
    pub fn value(&self) -> Option<i64> {
        if self.0.iter().all(Share::is_cleared) {
            return None;
        }
        Some(self.0.iter().fold(0, |sum, share| sum.wrapping_add(share.value())))
    }

    pub fn memory_bytes(&self) -> usize {
        self.0.capacity() * size_of::<Share>()
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.0.len() as u64);
        for share in &self.0 {
            put_varint(out, u64::from(share.log.0));
            put_signed(out, share.total);
            put_pos(out, share.last);
            put_pos(out, share.base);
            put_signed(out, share.base_sum);
        }
    }

    pub fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        let mut shares = Vec::<Share>::new();
        for _ in 0..reader.count(usize::MAX, "shares of a counter")? {
            let share = Share {
                log: read_log(reader)?,
                total: reader.signed()?,
                last: read_pos(reader)?,
                base: read_pos(reader)?,
                base_sum: reader.signed()?,
            };
            if shares.last().is_some_and(|last| last.log >= share.log) {
                return Err(out_of_order());
            }
            shares.push(share);
        }
        shares.shrink_to_fit();
        Ok(Self(shares))
    }
}
