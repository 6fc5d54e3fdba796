//! What lies on a storage of a node.

use super::{
    client::Client,
    error::ProxmoxError,
    form::{Form, encode},
    wire::Volume,
};

/// `/nodes/NODE/storage/STORAGE/content`
pub fn content_path(node: &str, storage: &str) -> String {
    format!("/nodes/{}/storage/{}/content", encode(node), encode(storage))
}

/// The storage that a volume lies on.
pub fn of_volume(volume: &str) -> &str {
    volume.split(':').next().unwrap_or_default()
}

/// Volumes of a storage that bear a VMID.
pub async fn volumes_of(client: &Client, node: &str, storage: &str, vmid: u32) -> Result<Vec<String>, ProxmoxError> {
    let volumes: Vec<Volume> = client.get(&content_path(node, storage), &Form::new().with("vmid", vmid)).await?;
    Ok(volumes.into_iter().map(|volume| volume.volid).collect())
}
