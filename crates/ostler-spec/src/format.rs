//! Texts whose rules Ostler knows: what `format` of a module's setting or of an app's parameter names.

use super::{
    fault::{Problem, quote},
    rules,
    shape::Text,
    timezone::timezone,
};
use crate::TextFormat;
use ipnet::IpNet;
use std::net::IpAddr;

/// The rules of a format.
pub(super) fn text(format: TextFormat) -> Text {
    match format {
        TextFormat::Timezone => timezone(),
        TextFormat::Host => rules::host(),
        TextFormat::Network => Text::checked("an address or a network", None, network),
        TextFormat::Package => rules::package(),
        TextFormat::FirewallRule => Text::checked("a rule of the firewall", None, firewall_rule),
    }
}

fn network(text: &str) -> Result<(), Problem> {
    if text.parse::<IpAddr>().is_ok() || text.parse::<IpNet>().is_ok() {
        return Ok(());
    }
    Err(Problem::new(format!("{} is neither an IP address nor a network", quote(text)))
        .hint("for example `10.0.0.7`, `10.0.0.0/8` or `fd00::/8`"))
}

/// `PORT[:PORT][/tcp|/udp] [from lan|any|NETWORK]`, or `any from lan|NETWORK`.
fn firewall_rule(text: &str) -> Result<(), Problem> {
    const FORM: &str = "for example `8080/tcp`, `6000:6010/udp`, `53`, `5432/tcp from 10.0.0.0/8`, `9100/tcp from lan` or `any from 10.0.0.7`";
    let words: Vec<&str> = text.split_whitespace().collect();
    let (what, from) = match words[..] {
        [what] => (what, "any"),
        [what, "from", from] => (what, from),
        _ => return Err(Problem::new(format!("{} is not a rule", quote(text))).hint(FORM)),
    };
    match what {
        "any" if from == "any" => return Err(Problem::new("this opens every port to everybody").hint(FORM)),
        "any" => {}
        ports => {
            ports_of_rule(ports)
                .map_err(|problem| if problem.hints.is_empty() { problem.hint(FORM) } else { problem })?;
        }
    }
    if ["lan", "any"].contains(&from) { Ok(()) } else { network(from) }
}

fn ports_of_rule(text: &str) -> Result<(), Problem> {
    let ports = text.strip_suffix("/tcp").or_else(|| text.strip_suffix("/udp")).unwrap_or(text);
    let (first, last) = ports.split_once(':').unwrap_or((ports, ports));
    let port = |text: &str| {
        let digits = (1..=5).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        if !digits {
            return Err(Problem::new(format!("{} is not a port", quote(text))));
        }
        let in_range = text.parse::<u16>().ok().filter(|port| *port > 0);
        in_range.ok_or_else(|| Problem::new(format!("{} is not a port: 1 to 65535", quote(text))))
    };
    let is_range = ports.contains(':');
    if port(first)? >= port(last)? && is_range {
        return Err(Problem::new(format!("{} is not a range of ports", quote(ports))));
    }
    if is_range && ports == text {
        return Err(Problem::new("a range of ports needs a protocol").hint(format!("for example `{ports}/tcp`")));
    }
    Ok(())
}
