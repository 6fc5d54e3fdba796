//! The network cards of a new machine.

use super::{NETWORK, target::Target, text};
use crate::wizard::{
    dialog::Dialog,
    prompt::{Ask, Choice},
    talk::Step,
};
use ostler_core::spec::{Question, QuestionKind, Value, Word};
use ostler_providers::proxmox::BridgeOffer;

/// Asks, where the network is not the provider's own affair. `bridges` are those of the node.
pub fn ask(dialog: &mut Dialog<'_>, target: &Target, bridges: &[BridgeOffer]) -> Step<()> {
    let Target::Proxmox(_) = target else { return Ok(()) };
    dialog.talk.screen(NETWORK);
    let choices = [
        Choice::new("DHCP", "the network gives it an address"),
        Choice::new("fixed", "an address that you choose, with gateway and name servers"),
    ];
    if dialog.talk.choose("network", Ask { question: "Address:", help: "" }, &choices, 0)? == 0 {
        dialog.put(&["network", "address"], text("dhcp"));
        ipv6(dialog)?;
    } else {
        let chosen = dialog.text_at(&["proxmox", "bridge"]);
        fixed(dialog, bridges.iter().find(|bridge| bridge.name == chosen))?;
    }
    dialog.ask_for_more(&["network"], "Network card", |question| {
        question.help = "beside the first, which has the default route".to_owned();
        if let QuestionKind::Fields(fields) = &mut question.kind {
            *fields = ["bridge", "vlan", "address", "address6"].map(|key| of_another_card(fields, key, bridges)).into();
        }
    })
}

fn fixed(dialog: &mut Dialog<'_>, bridge: Option<&BridgeOffer>) -> Step<()> {
    let known = bridge.and_then(|bridge| bridge.cidr.as_ref());
    let known = known.map_or(String::new(), |cidr| format!("; the node itself is {cidr}"));
    let address = dialog.ask_as(&["network", "address"], "Address with its prefix:", |question| {
        (question.default, question.required) = (None, true);
        question.help = format!("such as 192.168.1.20/24{known}");
    })?;
    // The node's own gateway is a good guess, where it is within reach.
    let good = dialog.checker(dialog.of_server(&["network", "gateway"]));
    let guess = bridge.and_then(|bridge| bridge.gateway.clone()).map(Value::String);
    let guess = guess.filter(|gateway| good(gateway.clone()).is_ok());
    let gateway = dialog.ask_as(&["network", "gateway"], "Gateway:", |question| {
        (question.default, question.required) = (guess, true);
    })?;
    if !matches!(&address, Some(Value::String(address)) if address.contains(':')) {
        ipv6(dialog)?;
    }
    // So is that it resolves names, as it does in most homes.
    let guess = gateway.map(|gateway| Value::List(vec![gateway]));
    dialog.ask_as(&["network", "dns"], "Name server", |question| question.default = guess)?;
    dialog.ask(&["network", "search"], "Search domain")?;
    Ok(())
}

/// What a card has beside IPv4.
fn ipv6(dialog: &mut Dialog<'_>) -> Step<()> {
    let help = "such as 2001:db8::20/64. Empty: as routers announce";
    let address = dialog.ask_as(&["network", "address6"], "IPv6 address with its prefix:", |question| {
        question.help = help.to_owned()
    })?;
    if address.is_some() {
        dialog.ask(&["network", "gateway6"], "IPv6 gateway:")?;
    }
    Ok(())
}

/// A key of a card that is not the first.
fn of_another_card(fields: &[Question], key: &str, bridges: &[BridgeOffer]) -> Question {
    let field = fields.iter().find(|field| field.key == key);
    let mut question = field.cloned().unwrap_or_else(|| panic!("the spec has no key network.{key}"));
    match key {
        // Said in any case: without it, the card would be on the first one's bridge and VLAN.
        "bridge" => {
            (question.required, question.help) = (true, String::new());
            if !bridges.is_empty() {
                question.kind = QuestionKind::Choice(bridges.iter().map(word).collect());
            }
        }
        "vlan" => question.help = "VLAN of this card".to_owned(),
        _ => {}
    }
    question
}

fn word(bridge: &BridgeOffer) -> Word {
    Word { value: text(&bridge.name), help: address_of_node(bridge) }
}

/// The node's own address on a bridge, in words.
pub fn address_of_node(bridge: &BridgeOffer) -> String {
    bridge.cidr.as_ref().map_or(String::new(), |cidr| format!("the node is {cidr}"))
}
