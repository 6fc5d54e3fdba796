//! A plain client of the API.

use ostler_testkit::cloudflare::{ACCOUNT, FakeCloudflare, TOKEN};
use serde_json::{Value, json};

pub struct Client {
    pub fake: FakeCloudflare,
    http: reqwest::Client,
    token: String,
}

impl Client {
    pub async fn start() -> Self {
        // Another test of this process may have done it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let fake = FakeCloudflare::start().await.expect("the fake starts");
        Self { fake, http: reqwest::Client::new(), token: TOKEN.to_owned() }
    }

    /// From now on with another token.
    pub fn with_token(&mut self, token: String) {
        self.token = token;
    }

    /// Status and body.
    pub async fn call(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let method = method.parse().expect("a method");
        let path = path.replace("ACCOUNT", &format!("accounts/{ACCOUNT}"));
        let request = self.http.request(method, format!("{}/{path}", self.fake.url())).bearer_auth(&self.token);
        let request = if body.is_null() { request } else { request.body(body.to_string()) };
        let response = request.send().await.expect("an answer");
        let status = response.status().as_u16();
        (status, serde_json::from_str(&response.text().await.expect("a body")).expect("JSON"))
    }

    /// The result of one that succeeds.
    pub async fn done(&self, method: &str, path: &str, body: Value) -> Value {
        let (status, body) = self.call(method, path, body).await;
        assert_eq!((status, &body["success"]), (200, &json!(true)), "{method} {path}: {body}");
        body["result"].clone()
    }

    /// Status and error code of one that is refused.
    pub async fn refused(&self, method: &str, path: &str, body: Value) -> (u16, u64) {
        let (status, body) = self.call(method, path, body).await;
        assert!(status >= 400 && body["success"] == false && body["result"].is_null(), "{method} {path}: {body}");
        (status, body["errors"][0]["code"].as_u64().expect("a code"))
    }

    pub async fn zone(&self) -> String {
        let zones = self.done("GET", "zones?name=example.com", Value::Null).await;
        format!("zones/{}", zones[0]["id"].as_str().expect("an id"))
    }

    pub async fn tunnel(&self, name: &str) -> String {
        let body = json!({ "name": name, "config_src": "cloudflare" });
        let tunnel = self.done("POST", "ACCOUNT/cfd_tunnel", body).await;
        tunnel["id"].as_str().expect("an id").to_owned()
    }
}
