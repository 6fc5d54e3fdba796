//! When an authority wishes a certificate to be renewed (RFC 9773).

use crate::AcmeError;
use jiff::Timestamp;
use ostler_core::ports::{CertificateAuthority, IssuedCertificate, RenewalWindow};
use serde::Deserialize;
use std::{sync::Once, time::Duration};

const ANSWER: Duration = Duration::from_secs(20);
/// Where the authority does not say when to ask again: section 4.3.3 advises six hours.
const ASK_AGAIN: u64 = 6 * 60 * 60;
/// An authority that says something else than minutes to a day is not followed blindly.
const SENSIBLE: (u64, u64) = (60, 24 * 60 * 60);

#[derive(Deserialize)]
struct Directory {
    #[serde(rename = "renewalInfo")]
    renewal_info: Option<String>,
}

#[derive(Deserialize)]
struct Info {
    #[serde(rename = "suggestedWindow")]
    window: Window,
}

#[derive(Deserialize)]
struct Window {
    start: Timestamp,
    end: Timestamp,
}

/// Asks; `None` where the authority or the certificate knows nothing of it.
pub(crate) async fn ask(
    authority: &CertificateAuthority,
    certificate: &IssuedCertificate,
) -> Result<Option<RenewalWindow>, AcmeError> {
    let Some(id) = &certificate.renewal_id else { return Ok(None) };
    let http = client(authority)?;
    let directory: Directory = get(&http, &authority.url).await?.0;
    let Some(base) = directory.renewal_info else { return Ok(None) };
    let url = format!("{}/{id}", base.trim_end_matches('/'));
    let (Info { window }, after): (Info, Option<u64>) = get(&http, &url).await?;
    if window.end <= window.start {
        return Err(AcmeError::Answer { url });
    }
    let after = Duration::from_secs(after.unwrap_or(ASK_AGAIN).clamp(SENSIBLE.0, SENSIBLE.1));
    let ask_again = Timestamp::now() + after;
    Ok(Some(RenewalWindow { start: window.start, end: window.end, ask_again }))
}

async fn get<T: serde::de::DeserializeOwned>(http: &reqwest::Client, url: &str) -> Result<(T, Option<u64>), AcmeError> {
    let failed = |source| AcmeError::Ask { url: url.to_owned(), source };
    let answer = http.get(url).send().await.and_then(|answer| answer.error_for_status()).map_err(failed)?;
    let after = answer.headers().get("retry-after").and_then(|after| after.to_str().ok()?.parse().ok());
    let text = answer.text().await.map_err(failed)?;
    let value = serde_json::from_str(&text).map_err(|_| AcmeError::Answer { url: url.to_owned() })?;
    Ok((value, after))
}

fn client(authority: &CertificateAuthority) -> Result<reqwest::Client, AcmeError> {
    static PROVIDER: Once = Once::new();
    // Fails only if there is one already, which serves as well.
    PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
    let bad = || AcmeError::Root { url: authority.url.clone() };
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("ostler/", env!("CARGO_PKG_VERSION")))
        .https_only(true)
        .timeout(ANSWER);
    if let Some(root) = &authority.root {
        let roots = reqwest::Certificate::from_pem_bundle(root.as_bytes()).map_err(|_| bad())?;
        builder = builder.tls_certs_only(roots);
    }
    builder.build().map_err(|_| bad())
}
