//! What Proxmox VE answers. It is Perl: numbers come as texts, truth values as 0 and 1, and both change between versions; so
//! everything is read leniently, and only what is needed.

use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::Value;
use std::collections::BTreeMap;

/// The envelope of every answer.
#[derive(Debug, Deserialize)]
pub struct Answer<T> {
    /// The answer.
    pub data: Option<T>,
    /// Parameters at fault, with what is wrong (status 400).
    #[serde(default)]
    pub errors: BTreeMap<String, Value>,
    /// What the status line says too.
    #[serde(default)]
    pub message: Option<String>,
}

/// `GET /version`
#[derive(Debug, Deserialize)]
pub struct Version {
    /// `9.1.3`
    pub version: String,
}

impl Version {
    /// `(9, 1)`
    pub fn number(&self) -> (u32, u32) {
        let mut numbers = self.version.split(['.', '-', '~']).map(|number| number.parse().unwrap_or(0));
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    }
}

/// `GET /nodes`
#[derive(Debug, Deserialize)]
pub struct Node {
    /// Name.
    pub node: String,
    /// `online`, `offline`, `unknown`.
    #[serde(default)]
    pub status: String,
}

/// `GET /cluster/resources?type=vm`
#[derive(Debug, Deserialize)]
pub struct Resource {
    /// Its VMID.
    #[serde(default, deserialize_with = "number")]
    pub vmid: u64,
    /// Where it is.
    #[serde(default)]
    pub node: String,
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// Whether it is a template.
    #[serde(default, deserialize_with = "flag")]
    pub template: bool,
    /// Its tags, with `;` between.
    #[serde(default)]
    pub tags: String,
}

/// `GET /nodes/{node}/status`
#[derive(Debug, Deserialize)]
pub struct NodeStatus {
    /// Processors.
    pub cpuinfo: CpuInfo,
    /// Memory.
    pub memory: Memory,
}

/// Processors of a node.
#[derive(Debug, Deserialize)]
pub struct CpuInfo {
    /// Logical ones.
    #[serde(deserialize_with = "number")]
    pub cpus: u64,
    /// Whether they virtualise in hardware.
    #[serde(default = "yes", deserialize_with = "flag")]
    pub hvm: bool,
}

/// Memory of a node, in bytes.
#[derive(Debug, Deserialize)]
pub struct Memory {
    /// All of it.
    #[serde(deserialize_with = "number")]
    pub total: u64,
}

/// `GET /nodes/{node}/storage`
#[derive(Debug, Deserialize)]
pub struct Storage {
    /// Name.
    pub storage: String,
    /// `dir`, `lvmthin` and so on.
    #[serde(default, rename = "type")]
    pub kind: String,
    /// Content types, with commas between.
    #[serde(default)]
    pub content: String,
    /// Can be reached.
    #[serde(default, deserialize_with = "flag")]
    pub active: bool,
    /// Is not switched off.
    #[serde(default = "yes", deserialize_with = "flag")]
    pub enabled: bool,
    /// Bytes that are free.
    #[serde(default, deserialize_with = "number")]
    pub avail: u64,
    /// Is the same on every node.
    #[serde(default, deserialize_with = "flag")]
    pub shared: bool,
}

impl Storage {
    /// Whether it takes a content type.
    pub fn takes(&self, content: &str) -> bool {
        self.content.split(',').any(|taken| taken.trim() == content)
    }
}

/// `GET /nodes/{node}/storage/{storage}/content`
#[derive(Debug, Deserialize)]
pub struct Volume {
    /// `STORAGE:...`
    pub volid: String,
    /// Bytes.
    #[serde(default, deserialize_with = "number")]
    pub size: u64,
}

/// `GET /nodes/{node}/network`
#[derive(Debug, Deserialize)]
pub struct Interface {
    /// Name.
    pub iface: String,
}

/// `GET /nodes/{node}/tasks`
#[derive(Debug, Deserialize)]
pub struct TaskEntry {
    /// Its id.
    pub upid: String,
}

/// `GET /nodes/{node}/tasks/{upid}/status`
#[derive(Debug, Deserialize)]
pub struct TaskStatus {
    /// `running` or `stopped`.
    pub status: String,
    /// `OK`, `WARNINGS: 1`, or what went wrong.
    #[serde(default)]
    pub exitstatus: Option<String>,
}

/// `GET /nodes/{node}/tasks/{upid}/log`
#[derive(Debug, Deserialize)]
pub struct LogLine {
    /// Its number, from 1.
    #[serde(deserialize_with = "number")]
    pub n: u64,
    /// Its text.
    #[serde(default)]
    pub t: String,
}

/// `GET /nodes/{node}/qemu/{vmid}/status/current`
#[derive(Debug, Deserialize)]
pub struct VmStatus {
    /// `running` or `stopped`.
    pub status: String,
}

/// `GET /nodes/{node}/qemu/{vmid}/config`: keys as they are, for disks and cards are numbered.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub struct VmConfig(BTreeMap<String, Value>);

impl VmConfig {
    /// A key as text, whatever PVE wrote it as.
    pub fn text(&self, key: &str) -> Option<String> {
        match self.0.get(key)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }

    /// Its keys.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Whether it is a template.
    pub fn is_template(&self) -> bool {
        self.number("template") == Some(1)
    }

    /// A key as a number; of `current=2048` or `2048,x=y` the number that leads.
    pub fn number(&self, key: &str) -> Option<u64> {
        let text = self.text(key)?;
        let first = text.split(',').next()?;
        first.rsplit('=').next()?.parse().ok()
    }

    /// A property of a drive: `size` of `local-lvm:vm-100-disk-0,size=3G`.
    pub fn property(&self, key: &str, property: &str) -> Option<String> {
        let text = self.text(key)?;
        text.split(',').find_map(|part| Some(part.strip_prefix(property)?.strip_prefix('=')?.to_owned()))
    }

    /// The volume of a drive.
    pub fn volume(&self, key: &str) -> Option<String> {
        Some(self.text(key)?.split(',').next()?.trim_start_matches("file=").to_owned())
    }
}

/// `disk-size` of PVE in bytes: `3G`, `3072M`, `1T`, plain bytes.
pub fn size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: u64 = match text[digits.len()..].chars().next() {
        None => 1,
        Some('K') => 1 << 10,
        Some('M') => 1 << 20,
        Some('G') => 1 << 30,
        Some('T') => 1 << 40,
        Some(_) => return None,
    };
    if let Ok(whole) = digits.parse::<u64>() {
        return whole.checked_mul(unit);
    }
    digits.parse::<f64>().ok().filter(|number| *number >= 0.0).map(|number| (number * unit as f64) as u64)
}

/// `GET /nodes/{node}/qemu/{vmid}/agent/network-get-interfaces`
#[derive(Debug, Deserialize)]
pub struct AgentInterfaces {
    /// The guest's cards.
    #[serde(default)]
    pub result: Vec<AgentInterface>,
}

/// A card as the guest agent sees it.
#[derive(Debug, Deserialize)]
pub struct AgentInterface {
    /// MAC address.
    #[serde(default, rename = "hardware-address")]
    pub mac: String,
    /// Its addresses.
    #[serde(default, rename = "ip-addresses")]
    pub addresses: Vec<AgentAddress>,
}

/// An address of a card.
#[derive(Debug, Deserialize)]
pub struct AgentAddress {
    /// Without a prefix.
    #[serde(rename = "ip-address")]
    pub address: String,
}

/// A number, or a text that is one.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::Number(number) => number.as_u64().unwrap_or_else(|| number.as_f64().unwrap_or(0.0).max(0.0) as u64),
        Value::String(text) => text.parse().map_err(|_| serde::de::Error::custom(format!("`{text}` is no number")))?,
        _ => 0,
    })
}

/// 0, 1, `"1"`, `true`.
fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::Bool(flag) => flag,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !matches!(text.as_str(), "" | "0"),
        _ => false,
    })
}

fn yes() -> bool {
    true
}

/// `nextid` is declared a number, and comes as a text.
pub fn lenient_number(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

/// Reads an answer's envelope.
pub fn read<T: DeserializeOwned>(body: &[u8]) -> Result<Answer<T>, serde_json::Error> {
    serde_json::from_slice(body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn perl_is_read_leniently() {
        let cpu: CpuInfo = serde_json::from_value(json!({ "cpus": "8", "hvm": "0" })).unwrap();
        assert_eq!((cpu.cpus, cpu.hvm), (8, false));
        let storage: Storage =
            serde_json::from_value(json!({ "storage": "local", "content": "iso,import", "active": 1 })).unwrap();
        assert!(storage.active && storage.enabled && storage.takes("import") && !storage.takes("images"));
        assert_eq!([lenient_number(&json!("101")), lenient_number(&json!(102))], [Some(101), Some(102)]);
    }

    #[test]
    fn a_configuration_is_read_by_key() {
        let config: VmConfig = serde_json::from_value(
            json!({ "cores": 2, "memory": "2048", "scsi0": "local-lvm:vm-100-disk-0,discard=on,size=3G" }),
        )
        .unwrap();
        assert_eq!((config.number("cores"), config.number("memory")), (Some(2), Some(2048)));
        assert_eq!(config.volume("scsi0").as_deref(), Some("local-lvm:vm-100-disk-0"));
        assert_eq!(config.property("scsi0", "size").as_deref().and_then(size), Some(3 << 30));
        assert_eq!(
            [size("3072M"), size("1.5K"), size("512"), size("3X")],
            [Some(3 << 30), Some(1536), Some(512), None]
        );
    }
}
