//! What tabs of one origin have in common: a channel, a lock, and whether somebody looks at them.

use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use futures::future::{Either, select};
use js_sys::{Array, Function, Object, Promise, Reflect, Uint8Array};
use tokio::sync::oneshot;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::{AbortController, BroadcastChannel, MessageEvent};

use super::time::sleep;
use crate::error::{Error, ErrorCode, Result};

// web-sys has Web Locks behind an unstable flag only.
#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = ["navigator", "locks"], js_name = request, catch)]
    fn request_lock(name: &str, options: &JsValue, callback: &JsValue) -> Result<Promise, JsValue>;
}

/// The name of the lock, and of the channel, that the tabs of a store share.
pub fn lock_name(store: &str) -> String {
    format!("privstack-sync {store}")
}

/// How a lock is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LockMode {
    /// If it is free.
    IfFree,
    /// When it is this tab's turn.
    InLine,
    /// At once, whoever holds it.
    Steal,
}

/// What becomes of a lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LockNews {
    /// It is this tab's.
    Granted,
    /// It is somebody else's.
    Refused,
    /// It was this tab's and was stolen, or this tab left the line.
    Lost,
}

/// A lock that was asked for; dropped, it is given back, or the line left.
#[derive(Debug)]
pub struct Lock {
    release: Function,
    line: Option<AbortController>,
}

impl Lock {
    /// Asks for the lock of this origin with that name; `told` hears what becomes of it.
    pub fn request(name: &str, mode: LockMode, told: impl Fn(LockNews) + Clone + 'static) -> Result<Self> {
        let unavailable = |_| {
            Error::new(
                ErrorCode::InsecureContext,
                "this page has no Web Locks, which keep its tabs apart: serve it over https:// or from localhost",
            )
        };
        let options = Object::new();
        let set = |name: &str, value: &JsValue| drop(Reflect::set(&options, &name.into(), value));
        let line = match mode {
            LockMode::IfFree => {
                set("ifAvailable", &JsValue::TRUE);
                None
            }
            LockMode::Steal => {
                set("steal", &JsValue::TRUE);
                None
            }
            LockMode::InLine => {
                let line = AbortController::new().map_err(unavailable)?;
                set("signal", &line.signal());
                Some(line)
            }
        };
        let mut release = None;
        let held = Promise::new(&mut |resolve, _| release = Some(resolve));
        let granted = told.clone();
        let callback = Closure::once_into_js(move |lock: JsValue| {
            if lock.is_null() || lock.is_undefined() {
                granted(LockNews::Refused);
                return JsValue::UNDEFINED;
            }
            granted(LockNews::Granted);
            held.into()
        });
        let ended = request_lock(name, &options, &callback).map_err(unavailable)?;
        spawn_local(async move {
            if JsFuture::from(ended).await.is_err() {
                told(LockNews::Lost);
            }
        });
        // The executor of a promise runs before its constructor returns.
        let release = release.ok_or_else(|| Error::new(ErrorCode::Unsupported, "promises do not work here"))?;
        Ok(Self { release, line })
    }

    /// Waits in line for that lock, and gives it; nothing where it does not come in time.
    pub async fn within(name: &str, limit: Duration) -> Result<Option<Self>> {
        let (told, heard) = oneshot::channel();
        let told = Rc::new(Cell::new(Some(told)));
        let mut lock = Self::request(name, LockMode::InLine, move |news| {
            if let Some(told) = told.take() {
                let _ = told.send(news);
            }
        })?;
        let Either::Left((Ok(LockNews::Granted), _)) = select(heard, pin!(sleep(limit))).await else { return Ok(None) };
        lock.granted();
        Ok(Some(lock))
    }

    /// The lock is this tab's now: dropping it no longer leaves a line.
    pub fn granted(&mut self) {
        self.line = None;
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Some(line) = &self.line {
            line.abort();
        }
        let _ = self.release.call0(&JsValue::UNDEFINED);
    }
}

/// A channel to the other tabs of this origin.
#[derive(Debug)]
pub struct Channel {
    channel: BroadcastChannel,
    _heard: Closure<dyn FnMut(MessageEvent)>,
}

impl Channel {
    /// Joins the channel of that name; `heard` gets the bytes that others post.
    pub fn join(name: &str, mut heard: impl FnMut(Vec<u8>) + 'static) -> Result<Self> {
        let channel = BroadcastChannel::new(name).map_err(|_| {
            Error::new(ErrorCode::Unsupported, "this browser has no BroadcastChannel, by which tabs talk; update it")
        })?;
        let heard = Closure::new(move |event: MessageEvent| {
            if let Ok(bytes) = event.data().dyn_into::<Uint8Array>() {
                heard(bytes.to_vec());
            }
        });
        channel.set_onmessage(Some(heard.as_ref().unchecked_ref()));
        Ok(Self { channel, _heard: heard })
    }

    /// Posts bytes to all other tabs.
    pub fn post(&self, bytes: &[u8]) {
        // It fails on a closed channel only.
        let _ = self.channel.post_message(&Uint8Array::from(bytes));
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.channel.set_onmessage(None);
        self.channel.close();
    }
}

/// Whether somebody looks at this page; a worker counts as looked at.
pub fn is_visible() -> bool {
    let document = Reflect::get(&js_sys::global(), &"document".into()).unwrap_or_default();
    let state = Reflect::get(&document, &"visibilityState".into()).unwrap_or_default();
    state.as_string().is_none_or(|state| state == "visible")
}

/// Tells when the page comes into view or goes, until it is dropped.
#[derive(Debug)]
pub struct Visibility {
    document: JsValue,
    changed: Closure<dyn FnMut()>,
}

impl Visibility {
    /// Starts listening.
    pub fn listen(mut told: impl FnMut(bool) + 'static) -> Self {
        let document = Reflect::get(&js_sys::global(), &"document".into()).unwrap_or_default();
        let changed = Closure::new(move || told(is_visible()));
        call(&document, "addEventListener", &changed);
        Self { document, changed }
    }
}

impl Drop for Visibility {
    fn drop(&mut self) {
        call(&self.document, "removeEventListener", &self.changed);
    }
}

fn call(document: &JsValue, method: &str, listener: &Closure<dyn FnMut()>) {
    if let Ok(method) = Reflect::get(document, &method.into())
        && let Ok(method) = method.dyn_into::<Function>()
    {
        let arguments = Array::of2(&"visibilitychange".into(), listener.as_ref());
        let _ = method.apply(document, &arguments);
    }
}
