//! Waiting for an answer on a thread that may block.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future of this module to its end on this thread, which sleeps meanwhile:
/// `block_on(handle.get(note, id))`. It needs no runtime and works beside any; inside async code it holds up whatever
/// else that thread should do.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            // A wake between the poll and here is not lost: it leaves a token that `park` takes.
            Poll::Pending => thread::park(),
        }
    }
}
