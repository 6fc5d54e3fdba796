//! How an adapter says what is going on: it never prints.

use crate::event::EventKind;
use async_trait::async_trait;

/// Takes events of the operation at hand. Cannot fail for the caller: where events can't be stored, neither can the
/// journal's next entry, and that ends the operation.
#[async_trait]
pub trait Reporter: Send + Sync {
    /// Appends an event to the log.
    async fn report(&self, kind: EventKind);
}
