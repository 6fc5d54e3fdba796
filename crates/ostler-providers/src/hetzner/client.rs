//! Requests to Hetzner Cloud's REST API (<https://docs.hetzner.cloud>).
//!
//! Any request may be sent again where its answer does not come: whatever Ostler makes has a name that is unique in the project, so asking
//! twice makes no twin, and `uniqueness_error` is where whoever asked looks for its own.

use super::{
    bucket::Bucket,
    error::{Again, HetznerError},
    wire::{Acted, Action, Meta, Refused},
};
use ostler_core::{secret::Secret, spec::HetznerEndpoint};
use reqwest::{
    Method, Response,
    header::{self, HeaderValue},
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::{path::Path, sync::Once, time::Duration};
use tokio::time::Instant;

/// How long a request bears with the vendor.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For a connection.
    pub connect: Duration,
    /// For an answer.
    pub answer: Duration,
    /// Attempts of what may do better soon.
    pub attempts: u32,
    /// Pause after the first attempt; it doubles, up to [`Patience::longest_pause`].
    pub pause: Duration,
    /// See [`Patience::pause`].
    pub longest_pause: Duration,
    /// For what waits for another action, or for requests to come back.
    pub waits: Duration,
    /// For an action.
    pub action: Duration,
    /// Pause between two looks at an action.
    pub poll: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            answer: Duration::from_secs(60),
            attempts: 5,
            pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(10),
            waits: Duration::from_secs(600),
            action: Duration::from_secs(900),
            poll: Duration::from_millis(500),
        }
    }
}

/// A client of one project.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    endpoint: HetznerEndpoint,
    token: Secret,
    authorization: HeaderValue,
    bucket: Option<Bucket>,
    /// Its patience.
    pub patience: Patience,
}

/// Most entries of a page.
const PER_PAGE: &str = "50";

impl Client {
    /// For an endpoint, with the value of its token; requests are counted in this folder, if there is one.
    pub fn new(
        endpoint: &HetznerEndpoint,
        token: &Secret,
        buckets: Option<&Path>,
        patience: Patience,
    ) -> Result<Self, HetznerError> {
        static PROVIDER: Once = Once::new();
        // Fails only if there is one already, which serves as well.
        PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
        let token = Secret::new(token.expose().trim());
        let bad = || HetznerError::BadToken(endpoint.name.clone());
        if token.expose().is_empty() {
            return Err(bad());
        }
        let mut authorization = HeaderValue::from_str(&format!("Bearer {}", token.expose())).map_err(|_| bad())?;
        authorization.set_sensitive(true);
        let http = reqwest::Client::builder()
            .user_agent(concat!("ostler/", env!("CARGO_PKG_VERSION")))
            .https_only(endpoint.url.starts_with("https:"))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(patience.connect)
            .timeout(patience.answer)
            .build()
            .map_err(HetznerError::Client)?;
        let bucket = buckets.map(|buckets| Bucket::of(buckets, token.expose()));
        Ok(Self { http, endpoint: endpoint.clone(), token, authorization, bucket, patience })
    }

    /// `GET` of one thing.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, HetznerError> {
        self.call(Method::GET, path, Value::Null).await
    }

    /// All pages of a list, whose entries stand under the last word of the path.
    pub async fn list<T: DeserializeOwned>(&self, path: &str, query: &[(&str, &str)]) -> Result<Vec<T>, HetznerError> {
        let (mut all, mut page) = (Vec::new(), Some(1));
        let key = path.rsplit('/').next().unwrap_or_default();
        while let Some(number) = page {
            let number = number.to_string();
            let paging = [("page", number.as_str()), ("per_page", PER_PAGE)];
            let query: Vec<String> =
                query.iter().chain(&paging).map(|(key, value)| format!("{key}={}", encode(value))).collect();
            let what = format!("{path}?{}", query.join("&"));
            let mut answer: Value = self.get(&what).await?;
            let garbled = |source| HetznerError::Garbled { what: format!("GET {path}"), source };
            let entries: Vec<T> = serde_json::from_value(answer[key].take()).map_err(garbled)?;
            all.extend(entries);
            let meta: Meta = serde_json::from_value(answer["meta"].take()).unwrap_or_default();
            page = meta.pagination.next_page;
        }
        Ok(all)
    }

    /// The one of a list that has this name.
    pub async fn named<T: DeserializeOwned>(&self, path: &str, name: &str) -> Result<Option<T>, HetznerError> {
        Ok(self.list(path, &[("name", name)]).await?.into_iter().next())
    }

    /// `POST`.
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: Value) -> Result<T, HetznerError> {
        self.call(Method::POST, path, body).await
    }

    /// `PUT`, whatever it answers.
    pub async fn put(&self, path: &str, body: Value) -> Result<(), HetznerError> {
        self.call::<Value>(Method::PUT, path, body).await.map(drop)
    }

    /// `DELETE`, and its action to the end. What is not there is deleted already.
    pub async fn delete(&self, path: &str, what: &str) -> Result<(), HetznerError> {
        match self.call::<Acted>(Method::DELETE, path, Value::Null).await {
            Err(error) if error.code() == "not_found" => Ok(()),
            answer => self.finish(answer?.all(), what).await,
        }
    }

    /// Does something that is an action, to its end.
    pub async fn act(&self, path: &str, body: Value, what: &str) -> Result<(), HetznerError> {
        let acted: Acted = self.post(path, body).await?;
        self.finish(acted.all(), what).await
    }

    /// Waits until all of these actions have ended; fails with the first that failed.
    pub async fn finish(&self, mut actions: Vec<Action>, what: &str) -> Result<(), HetznerError> {
        let begun = Instant::now();
        loop {
            if let Some(failed) = actions.iter().find(|action| action.status == "error") {
                let reason = failed.error.clone().unwrap_or_default();
                let message = self.masked(&reason.message);
                return Err(HetznerError::Action { what: what.to_owned(), code: reason.code, message });
            }
            // Whatever word says that it runs: these two say that it does not.
            let running: Vec<String> = actions
                .iter()
                .filter(|action| action.status != "success")
                .map(|action| format!("id={}", action.id))
                .collect();
            if running.is_empty() {
                return Ok(());
            }
            let waited = begun.elapsed();
            if waited > self.patience.action {
                return Err(HetznerError::ActionTooLong { what: what.to_owned(), waited });
            }
            tokio::time::sleep(self.patience.poll).await;
            let acted: Acted = self.get(&format!("/actions?{}", running.join("&"))).await?;
            actions = acted.all();
        }
    }

    async fn call<T: DeserializeOwned>(&self, method: Method, path: &str, body: Value) -> Result<T, HetznerError> {
        let what = format!("{method} {}", path.split('?').next().unwrap_or(path));
        let (begun, mut attempt) = (Instant::now(), 1);
        loop {
            if let Some(bucket) = &self.bucket {
                bucket.take().await?;
            }
            let error = match self.attempt(&method, path, &what, &body).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let again = match error.again() {
                Again::No => false,
                Again::Soon => attempt < self.patience.attempts,
                Again::Waits => begun.elapsed() < self.patience.waits,
            };
            if !again {
                return Err(error);
            }
            let pause = self.patience.pause * (1 << (attempt - 1).min(8));
            tokio::time::sleep(pause.min(self.patience.longest_pause)).await;
            attempt += 1;
        }
    }

    async fn attempt<T: DeserializeOwned>(
        &self,
        method: &Method,
        path: &str,
        what: &str,
        body: &Value,
    ) -> Result<T, HetznerError> {
        let url = format!("{}{path}", self.endpoint.url);
        let mut request =
            self.http.request(method.clone(), url).header(header::AUTHORIZATION, self.authorization.clone());
        if !body.is_null() {
            request = request.header(header::CONTENT_TYPE, "application/json").body(body.to_string());
        }
        let response = request.send().await.map_err(|source| self.failed(what, source))?;
        let status = response.status().as_u16();
        if let (Some(bucket), Some(remaining)) = (&self.bucket, remaining(&response)) {
            bucket.heard(remaining)?;
        }
        let bytes = response.bytes().await.map_err(|source| self.failed(what, source))?;
        if (200..300).contains(&status) {
            // 204 has no body.
            let text: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
            return serde_json::from_slice(text)
                .map_err(|source| HetznerError::Garbled { what: what.to_owned(), source });
        }
        Err(self.refusal(what, status, &bytes))
    }

    fn refusal(&self, what: &str, status: u16, body: &[u8]) -> HetznerError {
        let reason = serde_json::from_slice::<Refused>(body).map(|refused| refused.error).unwrap_or_default();
        let code = match (reason.code.as_str(), status) {
            // A proxy's page.
            ("", 429) => "rate_limit_exceeded".to_owned(),
            ("", 502) => "bad_gateway".to_owned(),
            ("", 503) => "unavailable".to_owned(),
            ("", 504) => "timeout".to_owned(),
            ("", status) => status.to_string(),
            (code, _) => code.to_owned(),
        };
        let message = self.masked(&reason.message);
        match code.as_str() {
            "unauthorized" | "401" => HetznerError::Unauthorized { name: self.endpoint.name.clone(), message },
            "token_readonly" => HetznerError::ReadOnly(self.endpoint.name.clone()),
            _ => HetznerError::Refused { what: what.to_owned(), code, message },
        }
    }

    fn failed(&self, what: &str, source: reqwest::Error) -> HetznerError {
        let source = source.without_url();
        match source.is_connect() {
            true => HetznerError::Unreachable { url: self.endpoint.url.clone(), source },
            false => HetznerError::NoAnswer { what: what.to_owned(), source },
        }
    }

    /// The vendor's words without the token, of which a part stands in some of them.
    fn masked(&self, text: &str) -> String {
        mask(text, self.token.expose())
    }
}

/// Characters of a token that may be shown: fewer tell nothing.
const TELLS_NOTHING: usize = 8;

/// Every beginning of the token that is long enough to tell something.
fn mask(text: &str, token: &str) -> String {
    let Some(begin) = token.get(..TELLS_NOTHING.min(token.len())).filter(|begin| !begin.is_empty()) else {
        return text.to_owned();
    };
    let mut parts = text.split(begin);
    let mut masked = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = &token[begin.len()..];
        let shown = part.bytes().zip(rest.bytes()).take_while(|(a, b)| a == b).count();
        masked.push_str("********");
        // Both are the same up to there, so it is between two characters of either.
        masked.push_str(part.get(shown..).unwrap_or_default());
    }
    masked
}

fn remaining(response: &Response) -> Option<f64> {
    response.headers().get("RateLimit-Remaining")?.to_str().ok()?.parse().ok()
}

/// For a query.
fn encode(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_part_of_a_token_is_shown() {
        let token = "abcdefghijklmnopqrstuvwxyz";
        let masked = mask("for token 'abcdefghijklm...' and abcdefghijklmnopqrstuvwxyz, abc", token);
        assert_eq!(masked, "for token '********...' and ********, abc");
        assert_eq!(encode("ostler/state=a b"), "ostler%2Fstate%3Da%20b");
    }
}
