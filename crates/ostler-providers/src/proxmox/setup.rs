//! `ostler proxmox setup`: roles, a user and a token of Ostler's own on the node, with what it needs and no more.
//!
//! It may be run again: what is there is brought to what it shall be. A token's value is shown only when it is made, so a token that
//! is there already is replaced.

use super::{
    error::ProxmoxError,
    host::Host,
    preflight::{CLONE, VM, agent_privilege},
    tls,
};
use ostler_core::secret::Secret;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use serde::Deserialize;

/// The user that tokens belong to.
pub const USER: &str = "ostler@pve";
/// Id of its token.
pub const TOKEN: &str = "ostler";

/// What Ostler may use on the node.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Storage of disks.
    pub storage: String,
    /// Storage of images and seeds.
    pub images: String,
    /// Bridges of network cards.
    pub bridges: Vec<String>,
}

/// What was made.
#[derive(Debug)]
pub struct Made {
    /// Name of the node.
    pub node: String,
    /// `USER@REALM!TOKENID=UUID`
    pub token: Secret,
    /// SHA-256 of the certificate that pveproxy shows, `AB:CD:…`
    pub fingerprint: String,
}

struct Role {
    name: &'static str,
    /// Where the user has it.
    paths: Vec<String>,
    privileges: Vec<&'static str>,
}

impl Setup {
    /// Makes all of it on this host.
    pub async fn run(&self, host: &Host) -> Result<Made, ProxmoxError> {
        let node = host.node().ok_or(ProxmoxError::NotAHost)?;
        let fingerprint = fingerprint(host)?;
        let version = host.output("pveversion", &[]).await?;
        user(host).await?;
        let known = host.output("pveum", &["role", "list", "--output-format", "json"]).await?;
        let known = names(&known, "roleid");
        for role in self.roles(&node, if version.contains("pve-manager/8.") { 8 } else { 9 }) {
            let privileges = role.privileges.join(",");
            // `modify` does not make what is not there, and `add` does not change what is.
            let verb = if known.iter().any(|name| name == role.name) { "modify" } else { "add" };
            host.output("pveum", &["role", verb, role.name, "--privs", &privileges]).await?;
            for path in &role.paths {
                host.output("pveum", &["acl", "modify", path, "--users", USER, "--roles", role.name]).await?;
            }
        }
        Ok(Made { node, token: token(host).await?, fingerprint })
    }

    /// docs/proxmox.md says why each is needed.
    fn roles(&self, node: &str, major: u32) -> Vec<Role> {
        let role_on = |name, paths, privileges: &[&'static str]| Role { name, paths, privileges: privileges.to_vec() };
        let role = |name, path, privileges| role_on(name, vec![path], privileges);
        let bridges = self.bridges.iter().map(|bridge| format!("/sdn/zones/localnetwork/{bridge}"));
        let vm: Vec<&'static str> = VM.iter().copied().chain([CLONE, agent_privilege(major)]).collect();
        vec![
            role("OstlerVM", "/vms".to_owned(), &vm),
            role("OstlerDisks", format!("/storage/{}", self.storage), &["Datastore.AllocateSpace", "Datastore.Audit"]),
            role(
                "OstlerImages",
                format!("/storage/{}", self.images),
                &["Datastore.Allocate", "Datastore.AllocateTemplate", "Datastore.Audit"],
            ),
            role("OstlerNode", format!("/nodes/{node}"), &["Sys.AccessNetwork", "Sys.Audit"]),
            role_on("OstlerBridge", bridges.collect(), &["SDN.Use"]),
        ]
    }
}

async fn user(host: &Host) -> Result<(), ProxmoxError> {
    let users = host.output("pveum", &["user", "list", "--output-format", "json"]).await?;
    if !names(&users, "userid").iter().any(|name| name == USER) {
        host.output("pveum", &["user", "add", USER, "--comment", "Ostler"]).await?;
    }
    Ok(())
}

/// Makes the token anew; its value is in the answer alone.
async fn token(host: &Host) -> Result<Secret, ProxmoxError> {
    let tokens = host.output("pveum", &["user", "token", "list", USER, "--output-format", "json"]).await?;
    if names(&tokens, "tokenid").iter().any(|name| name == TOKEN) {
        host.output("pveum", &["user", "token", "remove", USER, TOKEN]).await?;
    }
    #[derive(Deserialize)]
    struct Answer {
        value: String,
    }
    // Without a separation of its own it may what the user may, who has nothing but these roles.
    let add = ["user", "token", "add", USER, TOKEN, "--privsep", "0", "--output-format", "json"];
    let answer = host.output("pveum", &add).await?;
    let answer: Answer = serde_json::from_str(&answer)
        .map_err(|source| ProxmoxError::Garbled { what: "pveum user token add".to_owned(), source })?;
    Ok(Secret::new(format!("{USER}!{TOKEN}={}", answer.value)))
}

/// One field of every entry of a list.
fn names(json: &str, field: &str) -> Vec<String> {
    let entries: Vec<serde_json::Value> = serde_json::from_str(json).unwrap_or_default();
    entries.iter().filter_map(|entry| entry[field].as_str().map(str::to_owned)).collect()
}

/// Of the certificate that an administrator put there, or else of the node's own.
pub(super) fn fingerprint(host: &Host) -> Result<String, ProxmoxError> {
    let own = host.cluster_file("local/pveproxy-ssl.pem");
    let path = if own.exists() { own } else { host.cluster_file("local/pve-ssl.pem") };
    let certificate = CertificateDer::from_pem_file(&path)
        .map_err(|error| ProxmoxError::BadAuthority(format!("{}: {error}", path.display())))?;
    Ok(tls::with_colons(&tls::fingerprint(&certificate)))
}
