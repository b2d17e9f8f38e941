//! Futures that run by themselves, taking turns with everything else on the page's or the worker's event loop.

use std::future::Future;

use wasm_bindgen_futures::spawn_local;

use crate::error::Result;

/// Runs the future that `make` gives. The name is for the twin, which has threads to name.
pub fn spawn<F: Future<Output = ()> + 'static>(_name: &str, make: impl FnOnce() -> F + 'static) -> Result<()> {
    spawn_local(make());
    Ok(())
}

/// Opens something and lets the future run that `run` makes of it; answers, when it is open, what `open` says of it.
pub async fn spawn_with<T, A, O: Future<Output = Result<(T, A)>>, F: Future<Output = ()> + 'static>(
    name: &str,
    open: impl FnOnce() -> O,
    run: impl FnOnce(T) -> F + 'static,
) -> Result<A>
where
    T: 'static,
{
    let (value, answer) = open().await?;
    spawn(name, move || run(value))?;
    Ok(answer)
}
