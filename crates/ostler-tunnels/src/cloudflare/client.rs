//! Requests to Cloudflare's API (<https://developers.cloudflare.com/api/>).
//!
//! What only looks is asked again when the answer does not come. What changes something is asked again only where it was not done: no
//! connection had come about, or there were too many requests.

use super::{
    error::CloudflareError,
    wire::{Envelope, Verified},
};
use ostler_core::{secret::Secret, spec::TunnelEndpoint};
use reqwest::{
    Method,
    header::{self, HeaderValue},
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::{sync::Once, time::Duration};

/// How long a request bears with the API.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For a connection.
    pub connect: Duration,
    /// For an answer.
    pub answer: Duration,
    /// Attempts of what may be asked again.
    pub attempts: u32,
    /// Pause after the first attempt; it doubles.
    pub pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            answer: Duration::from_secs(60),
            attempts: 6,
            pause: Duration::from_secs(1),
        }
    }
}

/// A client of one account.
pub(super) struct Client {
    http: reqwest::Client,
    url: String,
    account: String,
    /// The tunnel's name in the spec.
    name: String,
    authorization: HeaderValue,
    pub patience: Patience,
}

/// How many items of a list are asked for at once.
const PER_PAGE: u32 = 50;

impl Client {
    pub fn new(via: &TunnelEndpoint, token: &Secret, patience: Patience) -> Result<Self, CloudflareError> {
        static PROVIDER: Once = Once::new();
        // Fails only if there is one already, which serves as well.
        PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
        let bad = || CloudflareError::BadToken { name: via.name.clone() };
        let token = token.expose().trim();
        let mut authorization = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| bad())?;
        authorization.set_sensitive(true);
        if token.is_empty() {
            return Err(bad());
        }
        let http = reqwest::Client::builder()
            .user_agent(concat!("ostler/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .https_only(via.url.starts_with("https:"))
            .connect_timeout(patience.connect)
            .timeout(patience.answer)
            .build()
            .map_err(CloudflareError::Client)?;
        Ok(Self {
            http,
            url: via.url.clone(),
            account: via.account.clone(),
            name: via.name.clone(),
            authorization,
            patience,
        })
    }

    /// Whether the token is known and active. A token of the account itself is known to another endpoint than a user's.
    pub async fn verify(&self) -> Result<(), CloudflareError> {
        let of_user = self.call::<Verified>(Method::GET, "user/tokens/verify", None, "").await;
        let verified = match of_user {
            Err(unknown @ CloudflareError::Unknown { .. }) => {
                let path = format!("accounts/{}/tokens/verify", self.account);
                self.call(Method::GET, &path, None, "").await.map_err(|_| unknown)
            }
            other => other,
        };
        match verified {
            Ok(Some(Verified { status })) if status != "active" => {
                Err(CloudflareError::Inactive { name: self.name.clone(), status })
            }
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub async fn get<T: DeserializeOwned>(&self, path: &str, permission: &'static str) -> Result<T, CloudflareError> {
        self.needed(Method::GET, path, None, permission).await
    }

    /// All pages of a list.
    pub async fn all<T: DeserializeOwned>(
        &self,
        path: &str,
        permission: &'static str,
    ) -> Result<Vec<T>, CloudflareError> {
        let (mut all, mut page) = (Vec::new(), 1);
        loop {
            let path = format!("{path}?per_page={PER_PAGE}&page={page}");
            let envelope: Envelope<Vec<T>> = self.attempts(&Method::GET, &path, None, permission).await?;
            all.extend(envelope.result.into_iter().flatten());
            if envelope.result_info.map_or(1, |info| info.pages()) <= page {
                return Ok(all);
            }
            page += 1;
        }
    }

    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &Value,
        permission: &'static str,
    ) -> Result<T, CloudflareError> {
        self.needed(Method::POST, path, Some(body), permission).await
    }

    pub async fn put(&self, path: &str, body: &Value, permission: &'static str) -> Result<(), CloudflareError> {
        self.call::<Value>(Method::PUT, path, Some(body), permission).await.map(drop)
    }

    pub async fn delete(&self, path: &str, permission: &'static str) -> Result<(), CloudflareError> {
        self.call::<Value>(Method::DELETE, path, None, permission).await.map(drop)
    }

    async fn needed<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        permission: &'static str,
    ) -> Result<T, CloudflareError> {
        let what = what(&method, path);
        let result = self.call(method, path, body, permission).await?;
        result.ok_or_else(|| CloudflareError::Garbled { what, source: serde::de::Error::custom("`result` is null") })
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        permission: &'static str,
    ) -> Result<Option<T>, CloudflareError> {
        Ok(self.attempts::<T>(&method, path, body, permission).await?.result)
    }

    async fn attempts<T: DeserializeOwned>(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
        permission: &'static str,
    ) -> Result<Envelope<T>, CloudflareError> {
        let mut attempt = 1;
        loop {
            let error = match self.attempt(method, path, body, permission).await {
                Ok(envelope) => return Ok(envelope),
                Err(error) => error,
            };
            let again = match &error {
                CloudflareError::NoAnswer { source, .. } => *method == Method::GET || source.is_connect(),
                CloudflareError::Refused { status: 429, .. } => true,
                CloudflareError::Refused { status: 500.., .. } => *method == Method::GET,
                _ => false,
            };
            if !again || attempt >= self.patience.attempts {
                return Err(error);
            }
            tokio::time::sleep(self.patience.pause * (1 << (attempt - 1).min(6))).await;
            attempt += 1;
        }
    }

    async fn attempt<T: DeserializeOwned>(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
        permission: &'static str,
    ) -> Result<Envelope<T>, CloudflareError> {
        let what = what(method, path);
        let request = self.http.request(method.clone(), format!("{}/{path}", self.url));
        let mut request = request.header(header::AUTHORIZATION, self.authorization.clone());
        if let Some(body) = body {
            request = request.header(header::CONTENT_TYPE, "application/json").body(body.to_string());
        }
        let no_answer =
            |source: reqwest::Error| CloudflareError::NoAnswer { what: what.clone(), source: source.without_url() };
        let response = request.send().await.map_err(no_answer)?;
        let status = response.status().as_u16();
        let bytes = response.bytes().await.map_err(no_answer)?;
        if (200..300).contains(&status) {
            return serde_json::from_slice(&bytes).map_err(|source| CloudflareError::Garbled { what, source });
        }
        // What is no JSON, such as a proxy's page, leaves the status.
        let errors =
            serde_json::from_slice::<Envelope<Value>>(&bytes).map(|envelope| envelope.errors).unwrap_or_default();
        let (code, message) = errors.into_iter().next().map_or((0, String::new()), |error| (error.code, error.message));
        Err(match (status, code) {
            (_, 1000 | 6003 | 9109) => CloudflareError::Unknown { name: self.name.clone(), message },
            (401 | 403, _) => CloudflareError::Forbidden { name: self.name.clone(), what, permission },
            (404, _) => CloudflareError::NotFound { what },
            _ => CloudflareError::Refused { what, status, code, message },
        })
    }
}

/// Without ids of accounts and the like in a query.
fn what(method: &Method, path: &str) -> String {
    format!("{method} {}", path.split('?').next().unwrap_or(path))
}
