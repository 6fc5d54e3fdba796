use async_trait::async_trait;
use ostler_core::{Result, secret::Secret, spec::SecretRef};
use serde::Serialize;
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

/// Resolves the secrets by which vendors are asked.
#[async_trait]
pub trait Tokens: Send + Sync {
    /// The value of a token.
    async fn token(&self, reference: &SecretRef) -> Result<Secret>;
}

/// The clients of a vendor's endpoints, each made once; so their connections are kept.
pub(crate) struct Clients<C> {
    tokens: Box<dyn Tokens>,
    made: Mutex<HashMap<String, C>>,
}

impl<C: Clone> Clients<C> {
    pub(crate) fn new(tokens: Box<dyn Tokens>) -> Self {
        Self { tokens, made: Mutex::default() }
    }

    /// That of an endpoint; `make` is called with its token where there is none yet.
    pub(crate) async fn of(
        &self,
        endpoint: &impl Serialize,
        token: &SecretRef,
        make: impl FnOnce(&Secret) -> Result<C>,
    ) -> Result<C> {
        let key = serde_json::to_string(endpoint).expect("an endpoint has only text keys");
        let lock = || self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = lock().get(&key) {
            return Ok(client.clone());
        }
        let client = make(&self.tokens.token(token).await?)?;
        lock().insert(key, client.clone());
        Ok(client)
    }
}
