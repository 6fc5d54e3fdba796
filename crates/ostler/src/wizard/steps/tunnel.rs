//! A tunnel to the server's SSH, offered where that is reached over the internet.

use super::{
    target::{Target, token, told},
    text,
};
use crate::wizard::{
    dialog::Dialog,
    prompt::Ask,
    talk::{Line, Step, Stop},
};
use ostler_core::{
    Blame, Failure,
    ids::ServerName,
    spec::{FIREWALLS, SecretRef, TunnelEndpoint, TunnelOptions, Value, shown},
};

/// What the account is called.
const NAME: &str = "edge";

/// Asks, where somebody elsewhere makes the way to the server.
pub fn ask(dialog: &mut Dialog<'_>, target: &Target) -> Step<()> {
    if !matches!(target, Target::Hetzner(_) | Target::Existing) {
        return Ok(());
    }
    let ask = Ask { question: "Reach its SSH through a Cloudflare Tunnel?", help: "" };
    let yes = "needs a zone at Cloudflare, and `cloudflared` on this computer";
    if !dialog.talk.confirm("tunnel", ask, yes, "by its own address", false)? {
        return Ok(());
    }
    let account = account(dialog)?;
    dialog.draft.put(&["tunnels", NAME, "kind"], text("cloudflare"));
    dialog.draft.put(&["tunnels", NAME, "account"], text(&account));
    dialog.put(&["tunnel", "via"], text(NAME));
    dialog.ask(&["tunnel", "hostname"], "Host name that leads to its SSH:")?;
    let options = TunnelOptions {
        hostname: dialog.text_at(&["tunnel", "hostname"]),
        close_ssh: false,
        via: via(dialog, account),
    };
    let form = "for tunnels, Access and DNS of that account";
    let help =
        "it may write tunnels, Access applications, service tokens and DNS, and read the zone; never the global key";
    let (kept, token) = token(dialog, "tunnel.token", form, help)?;
    let server = ServerName::parse(&dialog.server).map_err(|error| Failure::new(Blame::Bug, error.to_string()))?;
    dialog.around.try_tunnel(server, &options, &token).map_err(|failure| Stop::Again(1, told(&failure)))?;
    let reference = match kept {
        Some(name) => SecretRef::Secret(name),
        None => dialog.new_secret("cloudflare", token)?,
    };
    dialog.draft.put(&["tunnels", NAME, "token"], Value::Secret(reference));
    if let Some(url) = &dialog.around.cloudflare {
        dialog.draft.put(&["tunnels", NAME, "endpoint"], text(url));
    }
    // Only a firewall can close it.
    if FIREWALLS.iter().any(|name| dialog.draft.get(&dialog.of_server(&["modules", name])).is_some()) {
        dialog.ask(&["tunnel", "close_ssh"], "Close its SSH port?")?;
    }
    Ok(())
}

fn account(dialog: &mut Dialog<'_>) -> Step<String> {
    let path = ["tunnels", NAME, "account"].map(str::to_owned);
    let help = format!("{}; the dashboard's address has it", dialog.question(&path).help);
    let good = dialog.checker(path.to_vec());
    let ask = Ask { question: "Account at Cloudflare:", help: &help };
    dialog.talk.text("tunnel.account", ask, Line::default(), |account| good(text(account)))
}

/// Where the tunnel will end. Nobody looks the token up by its name.
fn via(dialog: &Dialog<'_>, account: String) -> TunnelEndpoint {
    let usual = dialog.question(&["tunnels", NAME, "endpoint"].map(str::to_owned)).default;
    let url = dialog.around.cloudflare.clone().or_else(|| usual.as_ref().map(shown)).unwrap_or_default();
    TunnelEndpoint { name: NAME.to_owned(), account, token: SecretRef::Secret(String::new()), url }
}
