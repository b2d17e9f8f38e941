//! Flow control: a sender may be a window ahead of what its peer has on disk, and no further.

use std::collections::VecDeque;

use crate::error::{Error, Result};

/// Bytes of batch frames that may be under way in one direction.
pub const WINDOW_BYTES: u32 = 1 << 20;

/// How far beyond the window a peer is borne with: one large item goes in one piece, and so does a membership log.
const MAX_AHEAD: u64 = 16 << 20;

/// The sending side; `T` is what a frame carries, given back once the peer has it on disk.
#[derive(Debug)]
pub struct SendWindow<T> {
    sent: u64,
    stored: u64,
    window: u32,
    under_way: VecDeque<(u64, T)>,
}

impl<T> Default for SendWindow<T> {
    fn default() -> Self {
        Self { sent: 0, stored: 0, window: WINDOW_BYTES, under_way: VecDeque::new() }
    }
}

impl<T> SendWindow<T> {
    /// Bytes that may be sent now; what is begun may go over it.
    pub fn room(&self) -> u64 {
        u64::from(self.window).saturating_sub(self.sent - self.stored)
    }

    /// Notes a frame of `bytes`, and what it carries.
    pub fn sent(&mut self, bytes: usize, carries: T) {
        self.sent += bytes as u64;
        self.under_way.push_back((self.sent, carries));
    }

    /// What the frames carry that are not acknowledged.
    pub fn under_way(&self) -> impl Iterator<Item = &T> {
        self.under_way.iter().map(|(_, carries)| carries)
    }

    /// Changes what frames under way stand for, when their arrival has come to mean something else.
    pub fn reconsider(&mut self, mut change: impl FnMut(&mut T)) {
        self.under_way.iter_mut().for_each(|(_, carries)| change(carries));
    }

    /// The peer has all up to `stored` on disk: gives back what those frames carried. Fails where the peer claims what
    /// was never sent, or goes back.
    pub fn acknowledged(&mut self, stored: u64, window: u32) -> Result<Vec<T>> {
        if stored > self.sent || stored < self.stored {
            return Err(Error::protocol("an acknowledgement of what was not sent"));
        }
        self.stored = stored;
        self.window = window.min(16 * WINDOW_BYTES);
        let mut done = Vec::new();
        while self.under_way.front().is_some_and(|(end, _)| *end <= stored) {
            done.extend(self.under_way.pop_front().map(|(_, carries)| carries));
        }
        Ok(done)
    }
}

/// The receiving side.
#[derive(Clone, Default, Debug)]
pub struct ReceiveWindow {
    received: u64,
    stored: u64,
}

impl ReceiveWindow {
    /// Notes a frame; fails where the peer sends far beyond its window.
    pub fn received(&mut self, bytes: usize) -> Result<()> {
        if self.received - self.stored >= MAX_AHEAD {
            return Err(Error::protocol("more sent than the window allows"));
        }
        self.received += bytes as u64;
        Ok(())
    }

    /// So many bytes more are on disk; answers how many are in all.
    pub fn stored(&mut self, bytes: usize) -> u64 {
        self.stored = (self.stored + bytes as u64).min(self.received);
        self.stored
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test;

    #[test]
    fn a_sender_stops_at_the_window_and_goes_on_when_it_is_acknowledged() {
        let mut sender = SendWindow::default();
        let mut receiver = ReceiveWindow::default();
        let mut frames = 0;
        while sender.room() > 0 {
            sender.sent(60_000, frames);
            receiver.received(60_000).unwrap();
            frames += 1;
        }
        assert_eq!(frames, 18);
        assert!(receiver.clone().received(17 << 20).is_ok());
        let mut flooded = receiver.clone();
        flooded.received(17 << 20).unwrap();
        assert!(flooded.received(1).is_err());
        let stored = receiver.stored(120_000);
        assert_eq!(sender.acknowledged(stored, WINDOW_BYTES).unwrap(), [0, 1]);
        assert!(sender.room() > 0);
        assert!(sender.acknowledged(u64::MAX, 0).is_err());
        assert!(sender.acknowledged(0, 0).is_err());
    }
}
