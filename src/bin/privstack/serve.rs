//! The JSON-lines protocol: a request a line in, a line for each answer and event out. `run --json` speaks it on
//! standard input and output, the control socket to each that connects.

use std::io::{self, BufRead, ErrorKind, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use privstack_sync::error::{Error, ErrorCode, Result};
use serde_json::{Value as Json, json};

use crate::client::{Engine, into_object};
use crate::reply::{error_to_json, event_to_json};
use crate::request;

/// Bytes of one request line; a longer one is answered with `too_large` and skipped.
pub const MAX_REQUEST_BYTES: usize = 16 << 20;

/// Requests of one connection that wait for other devices or long work at once.
const MAX_WAITING: usize = 64;

/// Where lines go: one whole line at a time, from any thread.
pub struct Lines(Mutex<Box<dyn Write + Send>>);

impl Lines {
    /// Lines to a writer.
    pub fn new(writer: impl Write + Send + 'static) -> Self {
        Self(Mutex::new(Box::new(writer)))
    }

    /// Writes a line and flushes it.
    pub fn send(&self, json: &Json) -> io::Result<()> {
        let line = format!("{json}\n");
        let mut writer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        writer.write_all(line.as_bytes())?;
        writer.flush()
    }
}

/// A count that is given back on drop.
pub struct Slot(Arc<AtomicUsize>);

impl Slot {
    /// Takes one of `limit` slots; `None` if all are taken.
    pub fn take(count: &Arc<AtomicUsize>, limit: usize) -> Option<Self> {
        count
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |taken| (taken < limit).then(|| taken + 1))
            .ok()
            .map(|_| Self(count.clone()))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The first line of every connection.
pub fn ready(engine: &dyn Engine) -> Result<Json> {
    let status = request::status(engine)?;
    Ok(json!({ "event": "ready", "peer_id": status.peer_id.to_string(), "addresses": engine.addresses() }))
}

/// Writes the engine's events to `out` until either ends.
pub fn forward_events(engine: &dyn Engine, out: Arc<Lines>) -> Result<JoinHandle<()>> {
    let events = engine.events();
    let forward = move || {
        for event in events {
            if event_to_json(&event).is_some_and(|line| out.send(&line).is_err()) {
                return;
            }
        }
    };
    thread::Builder::new().name("events".into()).spawn(forward).map_err(no_thread)
}

fn no_thread(error: io::Error) -> Error {
    Error::new(ErrorCode::Quota, format!("the system gave no thread: {error}"))
}

/// Answers requests until the input ends or the output cannot be written, then waits for those still under way.
/// Requests are carried out in order, but for those that may wait long: their answers come when they come.
pub fn serve(engine: &Arc<dyn Engine>, mut input: impl BufRead, out: &Arc<Lines>) -> io::Result<()> {
    let waiting = Arc::new(AtomicUsize::new(0));
    let mut workers: Vec<JoinHandle<()>> = Vec::new();
    let result = loop {
        let line = match read_line(&mut input, MAX_REQUEST_BYTES) {
            Ok(Some(line)) => line,
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        };
        if let Line::Text(text) = &line
            && text.iter().all(u8::is_ascii_whitespace)
        {
            continue;
        }
        workers.retain(|worker| !worker.is_finished());
        let (id, request) = parse(&line);
        let answer = match request {
            Ok(request) if request.get("cmd").and_then(Json::as_str) == Some("subscribe") => {
                forward_events(&**engine, out.clone()).map(|_| json!({}))
            }
            Ok(request) if request::may_wait(&request) => match Slot::take(&waiting, MAX_WAITING) {
                None => Err(Error::new(ErrorCode::Busy, format!("{MAX_WAITING} long requests are under way; wait"))),
                Some(slot) => {
                    let (engine, out, id) = (engine.clone(), out.clone(), id.clone());
                    let work = move || {
                        let answer = request::perform(&*engine, request);
                        // A reader that has gone needs no answer.
                        let _ = out.send(&answer_line(&id, answer));
                        drop(slot);
                    };
                    match thread::Builder::new().name("request".into()).spawn(work) {
                        Ok(worker) => {
                            workers.push(worker);
                            continue;
                        }
                        Err(error) => Err(no_thread(error)),
                    }
                }
            },
            Ok(request) => request::perform(&**engine, request),
            Err(error) => Err(error),
        };
        if let Err(error) = out.send(&answer_line(&id, answer)) {
            break Err(error);
        }
    };
    for worker in workers {
        let _ = worker.join();
    }
    result
}

fn answer_line(id: &Json, answer: Result<Json>) -> Json {
    match answer {
        Ok(answer) => json!({ "id": id, "ok": answer }),
        Err(error) => json!({ "id": id, "error": error_to_json(&error) }),
    }
}

/// The request's number, `null` if it cannot be read, and the rest of it.
fn parse(line: &Line) -> (Json, Result<serde_json::Map<String, Json>>) {
    let Line::Text(text) = line else {
        let limit = format!("the request is longer than {MAX_REQUEST_BYTES} bytes; split it");
        return (Json::Null, Err(Error::too_large(limit)));
    };
    let parsed = serde_json::from_slice(text)
        .map_err(|error| Error::invalid(format!("the line is not JSON: {error}")))
        .and_then(into_object);
    match parsed {
        Ok(mut request) => match request.remove("id") {
            id @ (None | Some(Json::Null | Json::Number(_) | Json::String(_))) => (id.unwrap_or_default(), Ok(request)),
            Some(_) => (Json::Null, Err(Error::invalid("the `id` of a request is a number or a string"))),
        },
        Err(error) => (Json::Null, Err(error)),
    }
}

/// A line without its end.
#[derive(PartialEq, Eq, Debug)]
pub enum Line {
    /// What stands in it.
    Text(Vec<u8>),
    /// It was over the limit, and is skipped.
    TooLong,
}

/// The next line; `None` at the end of the input.
pub fn read_line(input: &mut impl BufRead, limit: usize) -> io::Result<Option<Line>> {
    let mut text = Vec::new();
    let (mut too_long, mut any) = (false, false);
    loop {
        let buffer = match input.fill_buf() {
            Ok(buffer) => buffer,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        any |= !buffer.is_empty();
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let part = buffer.get(..end.unwrap_or(buffer.len())).unwrap_or_default();
        if text.len() + part.len() > limit {
            too_long = true;
            text = Vec::new();
        } else if !too_long {
            text.extend_from_slice(part);
        }
        let at_end = buffer.is_empty();
        let used = end.map_or(buffer.len(), |end| end + 1);
        input.consume(used);
        if end.is_some() || at_end {
            return Ok(any.then_some(if too_long { Line::TooLong } else { Line::Text(text) }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_within_their_bound_and_the_ones_after_a_long_one_too() {
        let mut input = io::BufReader::with_capacity(3, &b"ab\n0123456789\n\nlast"[..]);
        assert_eq!(read_line(&mut input, 8).unwrap(), Some(Line::Text(b"ab".to_vec())));
        assert_eq!(read_line(&mut input, 8).unwrap(), Some(Line::TooLong));
        assert_eq!(read_line(&mut input, 8).unwrap(), Some(Line::Text(vec![])));
        assert_eq!(read_line(&mut input, 8).unwrap(), Some(Line::Text(b"last".to_vec())));
        assert_eq!(read_line(&mut input, 8).unwrap(), None);
    }

    #[test]
    fn a_malformed_line_keeps_its_number_where_it_can_be_read() {
        let parse = |text: &str| parse(&Line::Text(text.as_bytes().to_vec()));
        assert_eq!(parse("{").0, Json::Null);
        assert!(parse("[1]").1.is_err());
        let (id, request) = parse("{\"id\":7,\"cmd\":\"digest\"}");
        assert_eq!((id, request.unwrap().len()), (json!(7), 1));
        assert!(parse("{\"id\":[1]}").1.is_err());
    }

    #[test]
    fn slots_are_given_back() {
        let count = Arc::new(AtomicUsize::new(0));
        let first = Slot::take(&count, 1);
        assert!(first.is_some() && Slot::take(&count, 1).is_none());
        drop(first);
        assert!(Slot::take(&count, 1).is_some());
    }
}
