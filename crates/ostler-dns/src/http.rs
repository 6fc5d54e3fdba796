//! Requests to the APIs of vendors.
//!
//! What only looks is asked again when the answer does not come. What changes something is asked again only where it was not done: no
//! connection had come about, or there were too many requests.

use crate::{Patience, error::DnsError};
use ostler_core::{secret::Secret, spec::ZoneSpec};
use reqwest::{
    Method,
    header::{self, HeaderValue},
};
use serde_json::Value;
use std::sync::Once;

/// A client with the token of one zone.
pub struct Client {
    http: reqwest::Client,
    url: String,
    zone: String,
    authorization: HeaderValue,
    pub patience: Patience,
}

impl Client {
    pub fn new(zone: &ZoneSpec, url: &str, token: &Secret, patience: Patience) -> Result<Self, DnsError> {
        static PROVIDER: Once = Once::new();
        // Fails only if there is one already, which serves as well.
        PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
        let bad = || DnsError::BadToken { zone: zone.name.clone() };
        let token = token.expose().trim();
        let mut authorization = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| bad())?;
        authorization.set_sensitive(true);
        if token.is_empty() {
            return Err(bad());
        }
        let http = reqwest::Client::builder()
            .user_agent(concat!("ostler/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .https_only(url.starts_with("https:"))
            .timeout(patience.answer)
            .build()
            .map_err(DnsError::Client)?;
        Ok(Self { http, url: url.to_owned(), zone: zone.name.clone(), authorization, patience })
    }

    pub async fn get(&self, path: &str) -> Result<Value, DnsError> {
        self.call(Method::GET, path, None).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, DnsError> {
        self.call(Method::POST, path, Some(body)).await
    }

    pub async fn delete(&self, path: &str) -> Result<(), DnsError> {
        self.call(Method::DELETE, path, None).await.map(drop)
    }

    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, DnsError> {
        let mut attempt = 1;
        loop {
            let error = match self.attempt(&method, path, body).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let again = match &error {
                DnsError::NoAnswer { source, .. } => method == Method::GET || source.is_connect(),
                DnsError::Refused { status: 429, .. } => true,
                // Of Hetzner: something else changes the zone just now.
                DnsError::Refused { code, .. } if ["conflict", "locked"].contains(&code.as_str()) => true,
                DnsError::Refused { status: 500.., .. } => method == Method::GET,
                _ => false,
            };
            if !again || attempt >= self.patience.attempts {
                return Err(error);
            }
            tokio::time::sleep(self.patience.pause * (1 << (attempt - 1).min(6))).await;
            attempt += 1;
        }
    }

    async fn attempt(&self, method: &Method, path: &str, body: Option<&Value>) -> Result<Value, DnsError> {
        let what = format!("{method} {}", path.split('?').next().unwrap_or(path));
        let request = self.http.request(method.clone(), format!("{}/{path}", self.url));
        let mut request = request.header(header::AUTHORIZATION, self.authorization.clone());
        if let Some(body) = body {
            request = request.header(header::CONTENT_TYPE, "application/json").body(body.to_string());
        }
        let no_answer =
            |source: reqwest::Error| DnsError::NoAnswer { what: what.clone(), source: source.without_url() };
        let response = request.send().await.map_err(no_answer)?;
        let status = response.status().as_u16();
        let bytes = response.bytes().await.map_err(no_answer)?;
        if status == 204 {
            return Ok(Value::Null);
        }
        let answer = serde_json::from_slice::<Value>(&bytes);
        if (200..300).contains(&status) {
            return answer.map_err(|error| DnsError::Garbled { what, about: error.to_string() });
        }
        // What is no JSON, such as a proxy's page, leaves the status. Cloudflare lists errors, Hetzner has one.
        let answer = answer.unwrap_or_default();
        let error = if answer["error"].is_null() { &answer["errors"][0] } else { &answer["error"] };
        let text = |value: &Value| match value {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other => other.to_string(),
        };
        let (code, message) = (text(&error["code"]), DnsError::words(&text(&error["message"])));
        // 1000, 6003 and 9109 are Cloudflare's for tokens that it does not know.
        Err(match (status, code.as_str()) {
            (401 | 403, _) | (_, "1000" | "6003" | "9109") => {
                DnsError::Unauthorized { zone: self.zone.clone(), status, message }
            }
            (_, "incorrect_zone_mode") => DnsError::Secondary { zone: self.zone.clone() },
            _ => DnsError::Refused { what, status, code, message },
        })
    }
}
