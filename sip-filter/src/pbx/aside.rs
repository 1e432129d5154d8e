//! Long work beside the runtime: whoever waits on its one thread, the promotion of a phone among them, is not to wait
//! for a table of thousands to be read.

use std::panic::resume_unwind;

use tokio::task::spawn_blocking;

use super::Fault;

/// Has another thread do that.
pub(super) async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Fault> {
    match spawn_blocking(work).await {
        Ok(done) => Ok(done),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // It was never begun, since the runtime ends.
            Err(_) => Err(Fault::Unwanted),
        },
    }
}
