//! What the server is made of, or where it is already.

use super::{
    SERVER, hetzner,
    network::address_of_node,
    target::{Proxmox, Target},
    text,
};
use crate::wizard::{
    check::check,
    dialog::{Dialog, joined},
    prompt::{Ask, Choice},
    talk::{Line, Step, Stop},
};
use ostler_core::{
    Blame, Failure,
    spec::{NAMED_IMAGES, Question, Value},
};
use ostler_providers::proxmox::{BridgeOffer, NodeOffer, StorageOffer};
use std::collections::BTreeMap;

/// Asks; the bridges that there are where it is made.
pub fn ask(dialog: &mut Dialog<'_>, target: &Target) -> Step<Vec<BridgeOffer>> {
    dialog.talk.screen(SERVER);
    name(dialog)?;
    dialog.put(&["provider"], text(target.provider()));
    if let Target::Existing = target {
        existing(dialog)?;
        return Ok(Vec::new());
    }
    if let Target::Hetzner(hetzner) = target {
        hetzner::ask(dialog, hetzner)?;
        return Ok(Vec::new());
    }
    image(dialog)?;
    dialog.ask(&["size", "cpus"], "CPUs:")?;
    dialog.ask(&["size", "memory"], "Memory:")?;
    dialog.ask(&["size", "disk"], "Disk:")?;
    match target {
        Target::Proxmox(proxmox) => place(dialog, proxmox),
        _ => {
            dialog.ask(&["local", "forward"], "Port here:")?;
            Ok(Vec::new())
        }
    }
}

fn name(dialog: &mut Dialog<'_>) -> Step<()> {
    let (around, draft) = (dialog.around, &dialog.draft);
    let good = |name: &str| {
        let path = ["servers".to_owned(), name.to_owned()];
        check(around, &draft.with(&path, Value::Map(BTreeMap::new())), &joined(&path), true)
    };
    let ask = Ask { question: "Name:", help: "also its host name" };
    dialog.server = dialog.talk.text("name", ask, Line { default: Some("web1"), optional: false }, good)?;
    Ok(())
}

fn image(dialog: &mut Dialog<'_>) -> Step<()> {
    let known = NAMED_IMAGES.iter().map(|name| Choice::new(*name, "fetched from its vendor and checked"));
    let others = [Choice::new("a file", "a qcow2 or raw image here"), Choice::new("a URL", "with its checksum")];
    let choices: Vec<Choice> = known.chain(others).collect();
    let ask = Ask { question: "Image:", help: "what it boots from" };
    match dialog.talk.choose("image", ask, &choices, 0)? {
        named if named < NAMED_IMAGES.len() => dialog.put(&["image"], text(NAMED_IMAGES[named])),
        file if file == NAMED_IMAGES.len() => {
            let question = |question: &mut Question| {
                (question.default, question.required) = (None, true);
                question.help.clear();
            };
            dialog.ask_as(&["image"], "Path of the image:", question)?;
        }
        _ => {
            dialog.ask(&["image", "url"], "URL of the image:")?;
            dialog.ask(&["image", "checksum"], "Checksum:")?;
        }
    }
    Ok(())
}

fn existing(dialog: &mut Dialog<'_>) -> Step<()> {
    dialog.ask(&["existing", "address"], "Address:")?;
    dialog.ask(&["existing", "port"], "SSH port:")?;
    dialog.ask(&["existing", "user"], "Log in as:")?;
    let choices = [
        Choice::new("ssh-agent", "with the keys that it holds"),
        Choice::new("a key", "a private key without a passphrase"),
        Choice::new("a password", "for SSH and sudo; it is kept encrypted"),
    ];
    let ask = Ask { question: "How do you log in there now?", help: "" };
    match dialog.talk.choose("existing.way", ask, &choices, 0)? {
        1 => drop(dialog.ask_as(&["existing", "key"], "Private key:", |question| question.required = true)?),
        2 => {
            dialog.ask_as(&["existing", "password"], "Password there:", |question| question.required = true)?;
        }
        _ => {}
    }
    Ok(())
}

/// Where on Proxmox VE.
fn place(dialog: &mut Dialog<'_>, proxmox: &Proxmox) -> Step<Vec<BridgeOffer>> {
    let node = node(dialog, proxmox)?;
    let next = proxmox.inventory.next_vmid;
    let vmid = dialog.ask(&["proxmox", "vmid"], &format!("VMID (the next is {next}):"))?;
    if let Some(Value::Int(vmid)) = vmid {
        let vmid = u32::try_from(vmid).unwrap_or(u32::MAX);
        if !dialog.around.is_free(&proxmox.place, vmid)? {
            return Err(Stop::Again(1, format!("VMID {vmid} is taken")));
        }
    }
    storages(dialog, &node)?;
    bridge(dialog, &node.bridges)?;
    dialog.ask(&["proxmox", "vlan"], "VLAN:")?;
    dialog.ask(&["proxmox", "tags"], "Tag")?;
    Ok(node.bridges)
}

fn node(dialog: &mut Dialog<'_>, proxmox: &Proxmox) -> Step<NodeOffer> {
    let nodes = &proxmox.inventory.nodes;
    let own = dialog.around.node();
    let index = match nodes.as_slice() {
        [] => {
            let failure = Failure::new(Blame::Provider, format!("no node of `{}` is online", proxmox.provider));
            return Err(Stop::Failed(failure));
        }
        [_] => 0,
        nodes => {
            let choices: Vec<Choice> = nodes.iter().map(|node| Choice::new(node.name.clone(), "")).collect();
            let default = nodes.iter().position(|node| Some(&node.name) == own.as_ref()).unwrap_or(0);
            dialog.talk.choose("proxmox.node", Ask { question: "Node:", help: "" }, &choices, default)?
        }
    };
    dialog.put(&["proxmox", "node"], text(&nodes[index].name));
    Ok(nodes[index].clone())
}

fn storages(dialog: &mut Dialog<'_>, node: &NodeOffer) -> Step<()> {
    let fit: Vec<&StorageOffer> = node.storages.iter().filter(|storage| storage.disks).collect();
    let roomiest = fit.iter().max_by_key(|storage| storage.free).map(|storage| storage.name.clone());
    let Some(roomiest) = roomiest else {
        let failure = Failure::new(Blame::Provider, format!("no storage of {} takes disks of VMs", node.name));
        return Err(Stop::Failed(
            failure.with_hint("`pvesm set STORAGE --content images,…` on the node lets one take them"),
        ));
    };
    storage(dialog, "storage", "Storage of its disk:", &fit, &roomiest)?;
    let fit: Vec<&StorageOffer> = node.storages.iter().filter(|storage| storage.images).collect();
    match fit.as_slice() {
        [] => dialog.talk.say([
            "No storage takes the content types `import` and `iso`, which images and seeds need.".to_owned(),
            "On the node: `pvesm set local --content iso,vztmpl,backup,import`".to_owned(),
        ]),
        [only] => dialog.put(&["proxmox", "images"], text(&only.name)),
        fit => storage(dialog, "images", "Storage of images:", fit, "local")?,
    }
    Ok(())
}

fn storage(dialog: &mut Dialog<'_>, key: &str, question: &str, fit: &[&StorageOffer], default: &str) -> Step<()> {
    let choices: Vec<Choice> =
        fit.iter().map(|storage| Choice::new(storage.name.clone(), free(storage.free))).collect();
    let default = fit.iter().position(|storage| storage.name == default).unwrap_or(0);
    let id = format!("proxmox.{key}");
    let chosen = dialog.talk.choose(&id, Ask { question, help: "" }, &choices, default)?;
    dialog.put(&["proxmox", key], text(&fit[chosen].name));
    Ok(())
}

fn bridge(dialog: &mut Dialog<'_>, bridges: &[BridgeOffer]) -> Step<()> {
    let index = match bridges {
        [] => {
            dialog.ask(&["proxmox", "bridge"], "Bridge:")?;
            return Ok(());
        }
        [_] => 0,
        bridges => {
            let choice = |bridge: &BridgeOffer| Choice::new(bridge.name.clone(), address_of_node(bridge));
            let choices: Vec<Choice> = bridges.iter().map(choice).collect();
            let default = bridges.iter().position(|bridge| bridge.name == "vmbr0").unwrap_or(0);
            dialog.talk.choose("proxmox.bridge", Ask { question: "Bridge:", help: "" }, &choices, default)?
        }
    };
    dialog.put(&["proxmox", "bridge"], text(&bridges[index].name));
    Ok(())
}

/// Space in the unit that people think in.
fn free(bytes: u64) -> String {
    match bytes >> 30 {
        0 => format!("{} MiB free", bytes >> 20),
        gib => format!("{gib} GiB free"),
    }
}
