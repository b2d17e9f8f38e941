//! Cutting all connections, at once or when the peers have been told, and taking them again.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use super::behaviour::Discovery;
use super::swarm::P2pTransport;

/// Seconds that [`P2pTransport::close`] waits for connections to close.
const REST_SECONDS: u32 = 2;

impl<D: Discovery> P2pTransport<D> {
    /// Sends what is queued, tells every peer that this device goes, and ends; after 2 s whatever is left undone.
    pub async fn close(mut self) {
        let mut limit = (self.sleep)(Duration::from_secs(REST_SECONDS.into()));
        self.swarm.behaviour_mut().streams.set_paused(true);
        self.links.hang_up_all();
        self.pairings.hang_up_all();
        poll_fn(|cx| {
            while self.poll_event(cx).is_ready() {}
            if self.links.is_empty() && self.pairings.is_empty() && !self.paused {
                self.pause_now();
                while self.poll_event(cx).is_ready() {}
            }
            if self.connections.is_empty() { Poll::Ready(()) } else { limit.as_mut().poll(cx) }
        })
        .await;
    }

    /// Cuts all connections, and takes and makes none.
    pub(super) fn pause_now(&mut self) {
        self.take_no_more();
        self.cut();
    }

    /// The same once the links have sent what they have, or after [`REST_SECONDS`].
    pub(super) fn pause_soon(&mut self) {
        self.take_no_more();
        self.links.hang_up_all();
        self.pairings.hang_up_all();
        self.resting = Some(REST_SECONDS);
    }

    /// Takes and makes connections again.
    pub(super) fn go_on(&mut self) {
        if self.resting.is_some() {
            self.cut();
        }
        self.paused = false;
        self.swarm.behaviour_mut().streams.set_paused(false);
        self.ask_relays();
    }

    pub(super) fn cut_when_sent(&mut self) {
        if self.resting.is_some() && self.links.is_empty() && self.pairings.is_empty() {
            self.cut();
        }
    }

    /// A second has gone by.
    pub(super) fn rest_tick(&mut self) {
        match &mut self.resting {
            Some(0) => self.cut(),
            Some(left) => *left -= 1,
            None => {}
        }
    }

    fn take_no_more(&mut self) {
        self.paused = true;
        self.swarm.behaviour_mut().streams.set_paused(true);
        for listener in self.relays.give_up() {
            self.swarm.remove_listener(listener);
        }
    }

    /// Ends every link and closes every connection.
    fn cut(&mut self) {
        self.resting = None;
        self.links.clear();
        self.pairings.clear();
        for id in self.connections.keys() {
            self.swarm.close_connection(*id);
        }
    }
}
