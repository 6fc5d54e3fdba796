//! Where the server comes from.

use super::{WHERE, text};
use crate::output::hints;
use crate::wizard::{
    dialog::Dialog,
    discover::Place,
    prompt::{Ask, Choice},
    talk::{Line, Step, Stop},
};
use ostler_core::{
    Failure,
    secret::Secret,
    spec::{PROVIDER_KINDS, ProxmoxEndpoint, ProxmoxTrust, SecretRef, Value},
};
use ostler_providers::{
    hetzner::Offers,
    proxmox::{self, Inventory},
};

/// Where the server comes from.
#[derive(Clone, Debug)]
pub enum Target {
    /// A virtual machine on Proxmox VE.
    Proxmox(Box<Proxmox>),
    /// A virtual machine on this computer.
    Local,
    /// A server that is there already.
    Existing,
    /// A server of Hetzner Cloud.
    Hetzner(Box<Hetzner>),
}

/// A project of Hetzner Cloud.
#[derive(Clone, Debug)]
pub struct Hetzner {
    /// Its name under `providers`.
    pub provider: String,
    /// What it can choose from.
    pub offers: Offers,
}

/// A Proxmox VE.
#[derive(Clone, Debug)]
pub struct Proxmox {
    /// Its name under `providers`.
    pub provider: String,
    /// Where it is asked.
    pub place: Place,
    /// What it has to offer.
    pub inventory: Inventory,
    /// The secret that a new token is kept as, if one is to be made on this host.
    pub new_token: Option<String>,
}

impl Target {
    /// What `provider` of the server says.
    pub fn provider(&self) -> &str {
        match self {
            Target::Proxmox(proxmox) => &proxmox.provider,
            Target::Local => "local",
            Target::Existing => "existing",
            Target::Hetzner(hetzner) => &hetzner.provider,
        }
    }

    /// The secret that a new token is kept as, if one is to be made on this host.
    pub fn new_token(&self) -> Option<&str> {
        match self {
            Target::Proxmox(proxmox) => proxmox.new_token.as_deref(),
            _ => None,
        }
    }
}

/// Asks.
pub fn ask(dialog: &mut Dialog<'_>) -> Step<Target> {
    dialog.talk.screen(WHERE);
    let node = dialog.around.node();
    let mut choices = vec![
        Choice::new("Proxmox VE elsewhere", "a virtual machine on a node that you have a token for"),
        Choice::new("this computer", "a virtual machine by QEMU"),
        Choice::new("a server that is there", "any Debian 13 that SSH reaches"),
        Choice::new("Hetzner Cloud", "a server in a project that you have a token for"),
    ];
    if let Some(node) = &node {
        choices.insert(0, Choice::new("this Proxmox VE host", format!("a virtual machine on {node}")));
    }
    let ask = Ask { question: "Where should the server be?", help: "" };
    let chosen = dialog.talk.choose("target", ask, &choices, 0)?;
    match (node, chosen) {
        (Some(node), 0) => on_host(dialog, node),
        (node, chosen) => match chosen - usize::from(node.is_some()) {
            0 => elsewhere(dialog),
            1 => Ok(Target::Local),
            2 => Ok(Target::Existing),
            _ => super::hetzner::project(dialog),
        },
    }
}

/// What a token must look like.
const TOKEN: &str = "USER@REALM!TOKENID=UUID";

fn on_host(dialog: &mut Dialog<'_>, node: String) -> Step<Target> {
    let kept = dialog.around.secrets()?.contains(&node);
    let mut choices = vec![
        Choice::new("make one", "roles, the user ostler@pve and a token, as `ostler proxmox setup` does"),
        Choice::new("type one", TOKEN),
    ];
    if kept {
        choices.insert(0, Choice::new("the one that is kept", format!("as the secret `{node}`")));
    }
    let ask = Ask { question: "Ostler's token on this host:", help: "it is made at the very end" };
    let chosen = dialog.talk.choose("token", ask, &choices, 0)?;
    let (reference, new_token) = match chosen + usize::from(!kept) {
        0 => (SecretRef::Secret(node.clone()), None),
        1 => (SecretRef::Secret(node.clone()), Some(node.clone())),
        _ => {
            let token = dialog.talk.secret("token.value", Ask { question: "Token:", help: TOKEN }, false)?;
            (dialog.new_secret(&node, token)?, None)
        }
    };
    let inventory = dialog.around.inventory(&Place::Host).map_err(|failure| Stop::Again(1, told(&failure)))?;
    let fingerprint = dialog.around.host_fingerprint()?;
    let provider = provider_name(&node);
    put(dialog, &provider, &proxmox::url(&node), reference, &fingerprint);
    Ok(Target::Proxmox(Box::new(Proxmox { provider, place: Place::Host, inventory, new_token })))
}

fn elsewhere(dialog: &mut Dialog<'_>) -> Step<Target> {
    let url = url(dialog)?;
    let fingerprint = dialog.around.fingerprint(&url).map_err(|failure| Stop::Again(1, told(&failure)))?;
    let (first, second) = fingerprint.split_at(fingerprint.len().min(48));
    dialog.talk.say([
        "The certificate that is shown there has this SHA-256 fingerprint:".to_owned(),
        format!("  {first}"),
        format!("  {second}"),
        "On the node, `pvenode cert info` shows the right one.".to_owned(),
    ]);
    let ask = Ask { question: "Is it the same?", help: "" };
    let id = format!("certificate {fingerprint}");
    if !dialog.talk.confirm(&id, ask, "trust this certificate, and no other", "another URL", true)? {
        return Err(Stop::Again(2, "nothing was sent there".to_owned()));
    }
    let help = format!("{TOKEN}; `ostler proxmox setup` on the node makes one");
    let (kept, token) = token(dialog, "token", TOKEN, &help)?;
    let endpoint = ProxmoxEndpoint {
        name: url.clone(),
        url: url.clone(),
        token: SecretRef::Secret(String::new()),
        trust: ProxmoxTrust::fingerprint(&fingerprint),
    };
    let place = Place::Api(endpoint, token.clone());
    let inventory = dialog.around.inventory(&place).map_err(|failure| Stop::Again(1, told(&failure)))?;
    let provider = provider_name(&first_label(&url, &inventory));
    let reference = match kept {
        Some(name) => SecretRef::Secret(name),
        None => dialog.new_secret(&provider, token)?,
    };
    put(dialog, &provider, &url, reference, &fingerprint);
    Ok(Target::Proxmox(Box::new(Proxmox { provider, place, inventory, new_token: None })))
}

fn url(dialog: &mut Dialog<'_>) -> Step<String> {
    let path = ["providers", "pve", "url"].map(str::to_owned);
    let help = dialog.question(&path).help;
    let good = dialog.checker(path.to_vec());
    let ask = Ask { question: "URL of the node:", help: &help };
    dialog.talk.text("url", ask, Line::default(), |url| good(text(url)))
}

/// A token that is kept, by its name, or one that is typed; and its value. `id` tells the question from all others.
pub(super) fn token(dialog: &mut Dialog<'_>, id: &str, form: &str, help: &str) -> Step<(Option<String>, Secret)> {
    let names = dialog.around.secrets()?;
    let mut choices = vec![Choice::new("type it", form)];
    choices.extend(names.iter().map(|name| Choice::new(name.clone(), "a secret that is kept here")));
    if choices.len() > 1 {
        let chosen = dialog.talk.choose(id, Ask { question: "API token:", help: "" }, &choices, 0)?;
        if let Some(name) = chosen.checked_sub(1).map(|index| names[index].clone()) {
            let secret = dialog.around.secret(&name)?;
            let secret = secret.ok_or_else(|| Stop::Again(1, format!("there is no secret `{name}` any more")))?;
            return Ok((Some(name), secret));
        }
    }
    let typed = dialog.talk.secret(&format!("{id}.value"), Ask { question: "API token:", help }, false)?;
    Ok((None, typed))
}

fn put(dialog: &mut Dialog<'_>, name: &str, url: &str, token: SecretRef, fingerprint: &str) {
    let values = [
        ("kind", text("proxmox")),
        ("url", text(url)),
        ("token", Value::Secret(token)),
        ("fingerprint", text(fingerprint)),
    ];
    for (key, value) in values {
        dialog.draft.put(&["providers", name, key], value);
    }
}

/// What people call a node: the first part of its name, or where the URL has none, what it calls itself.
fn first_label(url: &str, inventory: &Inventory) -> String {
    let host = url.trim_start_matches("https://");
    let label: String = host.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
    match inventory.nodes.first() {
        Some(node) if label.is_empty() || label.chars().all(|c| c.is_ascii_digit()) => node.name.clone(),
        _ => label,
    }
}

/// As the name of a provider may be.
fn provider_name(name: &str) -> String {
    let name: String = name.to_ascii_lowercase().chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
    match name.trim_matches('-') {
        name if name.is_empty() || PROVIDER_KINDS.contains(&name) => "pve".to_owned(),
        name => name.chars().take(63).collect(),
    }
}

/// A failure in the lines of a notice.
pub(super) fn told(failure: &Failure) -> String {
    let causes = failure.causes.iter().map(|cause| format!(": {cause}"));
    let message = std::iter::once(failure.message.clone()).chain(causes).collect::<String>();
    hints::of(failure).fold(message, |text, hint| format!("{text}\n  hint: {hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_has_a_name_that_people_know() {
        let inventory = Inventory { nodes: Vec::new(), next_vmid: 100 };
        for (url, name) in [
            ("https://pve1.lan:8006", "pve1"),
            ("https://PVE-2:8006", "pve-2"),
            ("https://proxmox.lan:8006", "pve"),
            ("https://[::1]:8006", "pve"),
        ] {
            assert_eq!(provider_name(&first_label(url, &inventory)), name, "{url}");
        }
    }
}
