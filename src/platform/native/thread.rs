//! Named threads that each run one future to its end.

use std::future::Future;

use tokio::runtime::Builder;
use tokio::sync::oneshot;

use crate::error::{Error, ErrorCode, Result};

/// Starts a thread and runs on it the future that `make` gives; the future never leaves the thread, so it need not be
/// `Send`.
pub fn spawn<F: Future<Output = ()>>(name: &str, make: impl FnOnce() -> F + Send + 'static) -> Result<()> {
    let failed = |what: &str, error: std::io::Error| {
        Error::new(ErrorCode::Unsupported, format!("{what} for `{name}` could not be started: {error}"))
    };
    let runtime = Builder::new_current_thread().enable_all().build().map_err(|error| failed("a runtime", error))?;
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || runtime.block_on(make()))
        .map_err(|error| failed("a thread", error))?;
    Ok(())
}

/// Starts a thread, opens something on it, and runs the future that `run` makes of it; answers, when it is open, what
/// `open` says of it. What is opened never leaves the thread.
pub async fn spawn_with<T, A: Send + 'static, O: Future<Output = Result<(T, A)>>, F: Future<Output = ()>>(
    name: &str,
    open: impl FnOnce() -> O + Send + 'static,
    run: impl FnOnce(T) -> F + Send + 'static,
) -> Result<A> {
    let (told, opened) = oneshot::channel();
    spawn(name, move || async move {
        match open().await {
            Ok((value, answer)) => {
                // Nobody waits any more: what was opened closes again when `run` finds its other end gone.
                let _ = told.send(Ok(answer));
                run(value).await;
            }
            Err(error) => {
                let _ = told.send(Err(error));
            }
        }
    })?;
    let died = |_| Err(Error::new(ErrorCode::Storage, format!("the thread `{name}` ended before it was open")));
    opened.await.unwrap_or_else(died)
}
