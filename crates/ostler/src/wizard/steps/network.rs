//! The network card of a new machine.

use super::{NETWORK, target::Target, text};
use crate::wizard::{
    dialog::Dialog,
    prompt::{Ask, Choice},
    talk::Step,
};
use ostler_core::spec::Value;
use ostler_providers::proxmox::BridgeOffer;

/// Asks, where the network is not the provider's own affair.
pub fn ask(dialog: &mut Dialog<'_>, target: &Target, bridge: Option<&BridgeOffer>) -> Step<()> {
    let Target::Proxmox(_) = target else { return Ok(()) };
    dialog.talk.screen(NETWORK);
    let choices = [
        Choice::new("DHCP", "the network gives it an address"),
        Choice::new("fixed", "an address that you choose, with gateway and name servers"),
    ];
    if dialog.talk.choose("network", Ask { question: "Address:", help: "" }, &choices, 0)? == 0 {
        dialog.put(&["network", "address"], text("dhcp"));
        return Ok(());
    }
    let of_bridge = bridge.and_then(|bridge| bridge.cidr.as_ref());
    let known = of_bridge.map_or(String::new(), |cidr| format!("; the node itself is {cidr}"));
    dialog.ask_as(&["network", "address"], "Address with its prefix:", |question| {
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
    // So is that it resolves names, as it does in most homes.
    let guess = gateway.map(|gateway| Value::List(vec![gateway]));
    dialog.ask_as(&["network", "dns"], "Name server", |question| question.default = guess)?;
    dialog.ask(&["network", "search"], "Search domain")?;
    Ok(())
}
