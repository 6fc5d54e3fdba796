//! A fresh system on a server that is there.

use super::{
    client::Client,
    create::{check_user_data, protect},
    error::HetznerError,
    offers::{self, Catalog},
    wire::Server,
};
use ostler_core::{
    model::{ImageHandle, MachineOrder},
    spec::HetznerOptions,
};
use serde_json::json;

/// Rebuilds it with the order's image and seed. Without user-data the vendor would serve the old one again, whose key others may know.
pub async fn make(
    client: &Client,
    server: &Server,
    order: &MachineOrder,
    image: &ImageHandle,
    options: &HetznerOptions,
) -> Result<(), HetznerError> {
    check_user_data(order)?;
    let catalog = Catalog::read(client).await?;
    let architecture = catalog.server_type(&server.server_type.name).map_or("x86", |it| it.architecture.as_str());
    let missing = || HetznerError::NoImage { name: image.0.clone(), architecture: architecture.to_owned() };
    let image = offers::image(client, &image.0, architecture).await?.ok_or_else(missing)?;
    if server.protection.delete {
        protect(client, server.id, false).await?;
    }
    let path = format!("/servers/{}/actions/rebuild", server.id);
    let body = json!({ "image": image.id.to_string(), "user_data": order.seed.user_data });
    client.act(&path, body, &format!("rebuild the server {}", server.name)).await?;
    if options.protect {
        protect(client, server.id, true).await?;
    }
    Ok(())
}
