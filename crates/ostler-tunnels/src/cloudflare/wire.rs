//! What the API answers, as far as we read it. Fields that we do not know are nothing to us.

use serde::Deserialize;
use serde_json::Value;

/// Around every answer.
#[derive(Deserialize)]
pub(super) struct Envelope<T> {
    #[serde(default = "Option::default")]
    pub result: Option<T>,
    #[serde(default)]
    pub errors: Vec<ApiError>,
    #[serde(default)]
    pub result_info: Option<PageInfo>,
}

#[derive(Deserialize)]
pub(super) struct ApiError {
    pub code: u32,
    #[serde(default)]
    pub message: String,
}

#[derive(Deserialize)]
pub(super) struct PageInfo {
    #[serde(default)]
    pub total_pages: Option<u32>,
    #[serde(default)]
    pub total_count: Option<u32>,
    #[serde(default)]
    pub per_page: Option<u32>,
}

impl PageInfo {
    /// Not every list says it itself.
    pub fn pages(&self) -> u32 {
        let counted =
            self.total_count.zip(self.per_page.filter(|size| *size > 0)).map(|(all, size)| all.div_ceil(size));
        self.total_pages.or(counted).unwrap_or(1)
    }
}

#[derive(Deserialize)]
pub(super) struct Verified {
    pub status: String,
}

#[derive(Deserialize)]
pub(super) struct Zone {
    pub id: String,
}

#[derive(Deserialize)]
pub(super) struct Tunnel {
    pub id: String,
}

/// The whole document of a tunnel; none at first.
#[derive(Deserialize)]
pub(super) struct Configuration {
    #[serde(default)]
    pub config: Option<Value>,
}

#[derive(Deserialize)]
pub(super) struct DnsRecord {
    pub id: String,
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default)]
    pub content: String,
    #[serde(default)]
    pub proxied: bool,
    #[serde(default)]
    pub comment: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct App {
    pub id: String,
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub domain: Option<String>,
    #[serde(default)]
    policies: Vec<Policy>,
}

#[derive(Deserialize)]
struct Policy {
    #[serde(default)]
    decision: String,
    #[serde(default)]
    include: Vec<Value>,
}

impl App {
    /// Whether it lets in this service token and nobody else.
    pub fn admits_only(&self, pass: &str) -> bool {
        let [policy] = self.policies.as_slice() else { return false };
        let [rule] = policy.include.as_slice() else { return false };
        policy.decision == "non_identity" && rule["service_token"]["token_id"] == pass
    }
}

#[derive(Deserialize)]
pub(super) struct Pass {
    pub id: String,
    #[serde(default)]
    pub name: String,
}

/// A service token when it is made: the only time that its secret is shown.
#[derive(Deserialize)]
pub(super) struct Created {
    pub id: String,
    pub client_id: String,
    pub client_secret: String,
}
