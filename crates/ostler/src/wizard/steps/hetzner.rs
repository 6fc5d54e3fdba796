//! A server of Hetzner Cloud: what its project can choose from, with prices.

use super::{
    target::{Hetzner, Target, token, told},
    text,
};
use crate::wizard::{
    dialog::Dialog,
    prompt::{Ask, Choice},
    talk::{Step, Stop},
};
use ostler_core::{
    Blame, Failure,
    spec::{NAMED_IMAGES, SecretRef, Value, hetzner_endpoint},
};
use ostler_providers::hetzner::{Offers, TypeOffer};

/// What the provider and its token are called.
const NAME: &str = "hc";

/// Asks for the project.
pub fn project(dialog: &mut Dialog<'_>) -> Step<Target> {
    let help = "with read and write access; the project's console makes one, under Security";
    let (kept, token) = token(dialog, "token", "of a project, with read and write access", help)?;
    let url = dialog.around.hetzner.clone();
    let endpoint = hetzner_endpoint(NAME, url.as_deref(), SecretRef::Secret(String::new()))
        .map_err(|fault| Stop::Failed(Failure::new(Blame::User, fault.message)))?;
    let offers = dialog.around.hetzner_offers(&endpoint, &token).map_err(|failure| Stop::Again(1, told(&failure)))?;
    let reference = match kept {
        Some(name) => SecretRef::Secret(name),
        None => dialog.new_secret("hetzner", token)?,
    };
    dialog.draft.put(&["providers", NAME, "kind"], text("hetzner"));
    dialog.draft.put(&["providers", NAME, "token"], Value::Secret(reference));
    if let Some(url) = url {
        dialog.draft.put(&["providers", NAME, "endpoint"], text(url));
    }
    Ok(Target::Hetzner(Box::new(Hetzner { provider: NAME.to_owned(), offers })))
}

/// Asks what the server is made of.
pub fn ask(dialog: &mut Dialog<'_>, hetzner: &Hetzner) -> Step<()> {
    image(dialog, &hetzner.offers)?;
    let types: Vec<&TypeOffer> = hetzner.offers.types.iter().filter(|offer| !offer.gone).collect();
    if types.is_empty() {
        return Err(Stop::Failed(Failure::new(Blame::Provider, "Hetzner offers no server types to this project")));
    }
    let choices: Vec<Choice> = types.iter().map(|offer| Choice::new(offer.name.clone(), said(offer))).collect();
    let ask = Ask { question: "Server type:", help: "prices with VAT, without addresses" };
    let chosen = types[dialog.talk.choose("hetzner.type", ask, &choices, 0)?];
    dialog.put(&["hetzner", "type"], text(&chosen.name));
    let locations = chosen.prices.iter().filter(|price| price.available);
    let choices: Vec<Choice> = locations
        .map(|price| {
            let known = hetzner.offers.locations.iter().find(|location| location.name == price.location);
            let city = known.map_or("", |location| location.city.as_str());
            Choice::new(price.location.clone(), format!("{city}; {:.2} {} a month", price.gross, price.currency))
        })
        .collect();
    if choices.is_empty() {
        return Err(Stop::Again(1, format!("{} can't be had anywhere now", chosen.name)));
    }
    let ask = Ask { question: "Location:", help: "" };
    let location = dialog.talk.choose("hetzner.location", ask, &choices, 0)?;
    dialog.put(&["hetzner", "location"], text(&choices[location].label));
    dialog.ask(&["hetzner", "backups"], "Backups?")?;
    more(dialog)
}

/// Asks for what most servers do without.
fn more(dialog: &mut Dialog<'_>) -> Step<()> {
    let help = "other types and locations where these are sold out, a private network, volumes, a placement group, addresses, protection";
    let ask = Ask { question: "Anything else of Hetzner's?", help };
    if !dialog.talk.confirm("hetzner.more", ask, "ask me", "that will do", false)? {
        return Ok(());
    }
    dialog.ask_for_more(&["hetzner", "type"], "Server type", |_| {})?;
    dialog.ask_for_more(&["hetzner", "location"], "Location", |_| {})?;
    dialog.ask(&["hetzner", "network"], "Private network:")?;
    dialog.ask_as(&["hetzner", "volumes"], "Volume", |question| {
        question.help.push_str(", such as `{ name: data, size: 20, mount: /srv/data }`");
    })?;
    dialog.ask(&["hetzner", "placement"], "Placement group:")?;
    dialog.ask(&["hetzner", "ipv4"], "Public IPv4:")?;
    dialog.ask(&["hetzner", "ipv6"], "Public IPv6:")?;
    dialog.ask(&["hetzner", "protect"], "Protect it?")?;
    Ok(())
}

/// Of those that Ostler knows, what the project has.
fn image(dialog: &mut Dialog<'_>, offers: &Offers) -> Step<()> {
    let known = |name: &&&str| offers.images.iter().any(|image| image.name == ***name);
    let names: Vec<&&str> = NAMED_IMAGES.iter().filter(known).collect();
    let index = match names.as_slice() {
        [] => return Err(Stop::Failed(Failure::new(Blame::Provider, "the project has no image that Ostler knows"))),
        [_] => 0,
        names => {
            let choices: Vec<Choice> = names.iter().map(|name| Choice::new(**name, "")).collect();
            dialog.talk.choose("image", Ask { question: "Image:", help: "what it boots from" }, &choices, 0)?
        }
    };
    dialog.put(&["image"], text(*names[index]));
    Ok(())
}

fn said(offer: &TypeOffer) -> String {
    let TypeOffer { cores, memory, disk, architecture, .. } = offer;
    let price =
        offer.cheapest().map_or_else(String::new, |price| format!(", {:.2} {} a month", price.gross, price.currency));
    let ends = offer.ends.as_ref().map_or_else(String::new, |day| format!(", until {day}"));
    format!("{cores} cores, {memory} GB, disk {disk} GB, {architecture}{price}{ends}")
}
