//! A request by host name through Traefik: from this machine, or on the server where this machine does not reach it.
//!
//! Whose certificate Traefik shows is not looked at: there may be none yet. A release names itself by a mark that nobody else knows, and the
//! request holds nothing secret.

use super::{
    error::SwarmError,
    service::{self, HEADER},
};
use ostler_core::{
    ports::{Answer, Place, Probe, Traffic},
    text::one_line,
};
use serde_json::json;
use std::{net::SocketAddr, sync::Once, time::Duration};

const ASK: &str = include_str!("scripts/ask.py");
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) async fn answer(place: &Place<'_>, probe: &Probe<'_>, traffic: Traffic) -> Result<Answer, SwarmError> {
    let said = match place.https {
        Some(address) => from_here(address, probe).await?,
        None => on_server(place, probe).await?,
    };
    Ok(match said {
        Ok((status, said)) if is_of(said.as_deref(), probe, traffic) => Answer::Release(status),
        Ok((status, _)) => Answer::Other(status),
        Err(why) => Answer::Nobody(one_line(&why)),
    })
}

fn is_of(said: Option<&str>, probe: &Probe<'_>, traffic: Traffic) -> bool {
    let with_all = service::answer(probe.mark, Traffic::All);
    said == Some(&with_all) || traffic != Traffic::All && said == Some(probe.mark)
}

type Said = Result<(u16, Option<String>), String>;

async fn from_here(address: SocketAddr, probe: &Probe<'_>) -> Result<Said, SwarmError> {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
    let client = reqwest::Client::builder()
        .tls_danger_accept_invalid_certs(true)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .resolve(probe.host, address)
        .timeout(PATIENCE)
        .build()
        .map_err(|error| SwarmError::NoTls(error.to_string()))?;
    let url = format!("https://{}:{}{}", probe.host, address.port(), probe.path);
    let answer = client.get(url).header(HEADER, probe.mark).send().await;
    Ok(match answer {
        Ok(answer) => {
            let said = answer.headers().get(HEADER).and_then(|value| value.to_str().ok()).map(str::to_owned);
            Ok((answer.status().as_u16(), said))
        }
        Err(error) => {
            let error = error.without_url();
            let causes = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
            Err(causes.last().map(ToString::to_string).unwrap_or_default())
        }
    })
}

async fn on_server(place: &Place<'_>, probe: &Probe<'_>) -> Result<Said, SwarmError> {
    let question = json!([probe.host, probe.path, HEADER, probe.mark]).to_string();
    let output = place.session.run(&format!("exec python3 -I -c '{ASK}'"), question.as_bytes()).await;
    let output = output.map_err(|failure| SwarmError::Unasked(failure.message))?;
    if output.status != 0 {
        let last = output.stderr.lines().rfind(|line| !line.trim().is_empty());
        return Ok(Err(last.unwrap_or("no answer").to_owned()));
    }
    serde_json::from_str(&output.stdout).map(Ok).map_err(|error| SwarmError::Unreadable(error.to_string()))
}
