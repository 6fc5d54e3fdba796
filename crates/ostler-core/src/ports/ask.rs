//! The person in front of the terminal, if there is one.

use crate::{error::Result, secret::Secret};
use async_trait::async_trait;

/// Asks. The same question is asked once; later its answer is remembered.
#[async_trait]
pub trait Ask: Send + Sync {
    /// A secret that is typed unseen; `None` where nobody can be asked.
    async fn secret(&self, question: &str) -> Result<Option<Secret>>;

    /// Yes or no; `None` where nobody can be asked.
    async fn confirm(&self, question: &str) -> Result<Option<bool>>;
}
