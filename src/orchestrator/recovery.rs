//! How a run ends and goes on: crash-only. Where the store fails, everything built on it is dropped and opened again, as
//! after a power cut.

use tokio::sync::mpsc;

use super::core::{Core, sleep_until};
use super::handle::{Request, answer};
use super::running::{Running, Stop, next_event};
use super::world::World;
use crate::engine::{Input, SyncEvent};
use crate::error::{Error, ErrorCode, Result};
use crate::transport::TransportEvent;

/// How long a stop lets links send what they have.
const HANG_UP_LIMIT_US: u64 = 500_000;
/// The store is opened again at once, and then after this wait, which doubles with each failure up to the last.
const FIRST_BACKOFF_US: u64 = 100_000;
const LAST_BACKOFF_US: u64 = 30_000_000;
/// After so long without a failure the waits start anew.
const CALM_US: u64 = 60_000_000;

impl<W: World> Running<'_, W> {
    /// Drops what stood on a store that failed and opens it again, as often as it takes; `Some` if a stop came first.
    pub(super) async fn open_again(
        &mut self,
        mut error: Error,
        requests: &mut mpsc::Receiver<Request>,
    ) -> Option<Stop> {
        let now = self.world.now().mono;
        // A store that opens but soon fails again (a full disk) is not opened in a tight loop.
        let mut backoff = match self.last_failure {
            Some((at, backoff)) if now.saturating_sub(at) < CALM_US => next_backoff(backoff),
            // At once the first time: readers hardly notice.
            _ => 0,
        };
        if error.code() == ErrorCode::TabConflict {
            // To open it would be to take it back. Whoever lost the lock as well is stopped before the wait ends.
            backoff = LAST_BACKOFF_US;
        }
        if let Some(network) = &mut self.network {
            network.pause();
            network.set_pairing(false);
        }
        self.links.clear();
        for peer in std::mem::take(&mut self.online) {
            self.app.emit(SyncEvent::PeerDisconnected(peer));
        }
        if !std::mem::take(&mut self.failure_told) {
            self.tell_failure(&error);
        }
        for (_, caller) in self.calls.drain() {
            answer(caller, Err(error.clone()));
        }
        if let Some(core) = self.core.take()
            && let Err(late) = core.close(self.world).await
        {
            error = late;
        }
        loop {
            if backoff > 0
                && let Some(stop) = self.wait_closed(backoff, &error, requests).await
            {
                return Some(stop);
            }
            match Core::open(self.world, self.config, self.app.policy).await {
                Ok((core, _, outside)) => {
                    self.core = Some(core);
                    self.outside = outside;
                    break;
                }
                Err(again) => {
                    if again != error {
                        error = again;
                        self.tell_failure(&error);
                    }
                    backoff = next_backoff(backoff);
                }
            }
        }
        self.last_failure = Some((self.world.now().mono, backoff));
        self.tell_relayed();
        self.tell_addresses();
        for call in self.standing.calls() {
            let id = self.call_id();
            self.input(Input::Call(id, call));
        }
        for (peer, addresses) in self.standing.found() {
            self.input(Input::PeerFound(peer, addresses));
        }
        if let Some(network) = self.network.as_mut().filter(|_| !self.standing.paused()) {
            network.resume();
        }
        self.carry_out();
        None
    }

    fn tell_failure(&self, error: &Error) {
        self.app.emit(SyncEvent::StorageFailed(error.code(), error.message().to_owned()));
    }

    /// Waits with the store closed: requests are refused, the network's news noted.
    async fn wait_closed(
        &mut self,
        micros: u64,
        error: &Error,
        requests: &mut mpsc::Receiver<Request>,
    ) -> Option<Stop> {
        let until = self.world.now().mono.saturating_add(micros);
        loop {
            tokio::select! {
                () = sleep_until(self.world, Some(until)) => return None,
                request = requests.recv() => match request {
                    None => return Some(None),
                    Some(Request::Stop(stopper)) => return Some(Some(stopper)),
                    Some(request) => request.refuse(error, self.app),
                },
                event = next_event(&mut self.network) => {
                    // Links and dials belong to the engine that is gone.
                    match event {
                        TransportEvent::LinkUp { .. }
                        | TransportEvent::LinkDown(_)
                        | TransportEvent::Frame(..)
                        | TransportEvent::Sent(..)
                        | TransportEvent::PairingUp { .. }
                        | TransportEvent::PairingFailed(..)
                        | TransportEvent::NameplateClaimed(_)
                        | TransportEvent::NameplateFound(..)
                        | TransportEvent::DialFailed(..) => {}
                        event => self.network_event(event),
                    }
                }
            }
        }
    }

    pub(super) async fn close(mut self) -> Result<()> {
        if let Some(core) = &mut self.core {
            core.finish(self.world, &mut self.outside).await;
            self.carry_out();
        }
        let error = Error::new(ErrorCode::Closed, "the engine was stopped before it answered");
        for (_, caller) in self.calls.drain() {
            answer(caller, Err(error.clone()));
        }
        let limit = self.world.now().mono.saturating_add(HANG_UP_LIMIT_US);
        if let Some(network) = &mut self.network {
            self.links.iter().for_each(|link| network.hang_up(*link));
        }
        while !self.links.is_empty() {
            tokio::select! {
                () = sleep_until(self.world, Some(limit)) => break,
                event = next_event(&mut self.network) => {
                    if let TransportEvent::LinkDown(link) = event {
                        self.links.remove(&link);
                    }
                }
            }
        }
        for peer in std::mem::take(&mut self.online) {
            self.app.emit(SyncEvent::PeerDisconnected(peer));
        }
        match self.core {
            Some(core) => core.close(self.world).await,
            None => Ok(()),
        }
    }
}

fn next_backoff(backoff: u64) -> u64 {
    backoff.saturating_mul(2).clamp(FIRST_BACKOFF_US, LAST_BACKOFF_US)
}
