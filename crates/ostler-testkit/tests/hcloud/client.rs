//! A plain client of the API.

use ostler_testkit::hcloud::{FakeCloud, Records, TOKEN};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

pub const SSH_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJKKaEXrwLvhJFzXvJRHpRBhIbqJ1JlzfPlfp+z1ym2m somebody@somewhere";

/// A cloud with its machines, and a token's way to it.
pub struct Client {
    pub cloud: FakeCloud,
    pub machines: Arc<Records>,
    http: reqwest::Client,
    token: &'static str,
}

/// A status with a body.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
    pub headers: reqwest::header::HeaderMap,
}

impl Answer {
    /// The error's code; empty where it is none.
    pub fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or_default()
    }

    /// Fields that are wrong with the request.
    pub fn fields(&self) -> Vec<&str> {
        let fields = self.body["error"]["details"]["fields"].as_array().map_or(&[][..], Vec::as_slice);
        fields.iter().filter_map(|field| field["name"].as_str()).collect()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// That and what an error says.
pub type Refused = (u16, String);

impl Client {
    pub async fn start() -> Self {
        let (cloud, machines) = FakeCloud::start().await.expect("a cloud");
        // Another test of this process may have done it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self { cloud, machines, http: reqwest::Client::new(), token: TOKEN }
    }

    /// From now on with another token.
    pub fn with_token(&mut self, token: &'static str) {
        self.token = token;
    }

    /// Sends one, whatever comes of it.
    pub async fn send(&self, method: &str, path: &str, body: String) -> Result<Answer, reqwest::Error> {
        let method = method.parse().expect("a method");
        let request =
            self.http.request(method, format!("{}{path}", self.cloud.url())).bearer_auth(self.token).body(body);
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await?;
        Ok(Answer { status, headers, body: serde_json::from_str(&text).unwrap_or_default() })
    }

    pub async fn call(&self, method: &str, path: &str, body: Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.send(method, path, body).await.expect("an answer")
    }

    pub async fn get(&self, path: &str) -> Value {
        self.succeed("GET", path, Value::Null).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Value {
        self.succeed("POST", path, body).await
    }

    pub async fn succeed(&self, method: &str, path: &str, body: Value) -> Value {
        let answer = self.call(method, path, body).await;
        assert!(answer.status < 300, "{method} {path}: {} {}", answer.status, answer.body);
        answer.body
    }

    /// Status and code of one that is refused.
    pub async fn refused(&self, method: &str, path: &str, body: Value) -> Refused {
        let answer = self.call(method, path, body).await;
        assert!(answer.status >= 400, "{method} {path}: {} {}", answer.status, answer.body);
        (answer.status, answer.code().to_owned())
    }

    /// What an action is when it is over.
    pub async fn over(&self, action: &Value) -> Value {
        loop {
            let now = self.get(&format!("/actions/{}", action["id"])).await["action"].clone();
            if now["status"] != "running" {
                return now;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Sends one and waits for all of its actions, which succeed.
    pub async fn done(&self, method: &str, path: &str, body: Value) -> Value {
        let answer = self.succeed(method, path, body).await;
        let lists = ["actions", "next_actions"].iter().filter_map(|list| answer[*list].as_array()).flatten();
        for action in lists.chain(answer.get("action")).filter(|action| !action.is_null()) {
            let over = self.over(action).await;
            assert_eq!(over["status"], "success", "{over}");
        }
        answer
    }

    /// A server with nothing special that runs; its id.
    pub async fn server(&self, name: &str) -> u64 {
        self.server_with(name, json!({})).await
    }

    /// The same with more in the request.
    pub async fn server_with(&self, name: &str, more: Value) -> u64 {
        let mut body = json!({ "name": name, "server_type": "cx23", "image": "debian-13", "location": "fsn1" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.done("POST", "/servers", body).await["server"]["id"].as_u64().unwrap()
    }

    /// What a server is now.
    pub async fn shown(&self, server: u64) -> Value {
        self.get(&format!("/servers/{server}")).await["server"].clone()
    }

    /// Does something with a server, and waits for it.
    pub async fn act(&self, server: u64, verb: &str, body: Value) -> Value {
        self.done("POST", &format!("/servers/{server}/actions/{verb}"), body).await
    }
}

pub fn refusal(status: u16, code: &str) -> Refused {
    (status, code.to_owned())
}
