//! Serves the tabs of a device from its engine.

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::mpsc;

use super::handle::OrchestratorHandle;
use crate::engine::SyncEvent;
use crate::tabs::{Hub, HubInput, HubOutput, ToLeader, ToTab};

/// Messages of tabs that wait for the engine.
pub const TAB_CAPACITY: usize = 16_384;

/// Serves tabs from an engine that is started, until `messages` ends or the engine stops. `post` tells a tab, or all.
pub async fn serve_tabs(
    handle: OrchestratorHandle,
    mut messages: mpsc::Receiver<ToLeader>,
    mut post: impl FnMut(ToTab),
) {
    let Some(me) = handle.peer_id() else { return };
    let mut hub = Hub::new(me);
    let mut events = handle.events();
    let mut calls: FuturesUnordered<LocalBoxFuture<'static, HubInput>> = FuturesUnordered::new();
    let mut outputs = hub.take_out();
    loop {
        for output in outputs.drain(..) {
            let handle = handle.clone();
            match output {
                HubOutput::Post(message) => post(message),
                HubOutput::Call(number, call) => {
                    calls.push(async move { HubInput::Reply(number, handle.call(call).await) }.boxed_local());
                }
                HubOutput::Dial(number, address) => {
                    calls.push(async move { HubInput::Dialled(number, handle.dial(address).await) }.boxed_local());
                }
            }
        }
        // Answers before events: a state that was read before a change must not come after it.
        let input = tokio::select! {
            biased;
            Some(input) = calls.next(), if !calls.is_empty() => input,
            event = events.next() => match event {
                Some(SyncEvent::Stopped) | None => return,
                Some(event) => HubInput::Event(event),
            },
            message = messages.recv() => match message {
                Some(message) => HubInput::Message(message),
                None => return,
            },
        };
        outputs = hub.handle(input);
    }
}
