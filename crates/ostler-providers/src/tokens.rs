use async_trait::async_trait;
use ostler_core::{Result, secret::Secret, spec::SecretRef};

/// Resolves the secrets by which vendors are asked.
#[async_trait]
pub trait Tokens: Send + Sync {
    /// The value of a token.
    async fn token(&self, reference: &SecretRef) -> Result<Secret>;
}
