//! What a certificate says of itself.

use crate::AcmeError;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jiff::Timestamp;
use ostler_core::ports::IssuedCertificate;
use sha2::{Digest, Sha256};
use x509_parser::{extensions::ParsedExtension, pem::Pem, prelude::X509Certificate};

/// Reads a chain in PEM, its first certificate being the one that counts.
pub(crate) fn read(chain: String) -> Result<IssuedCertificate, AcmeError> {
    let bad = |error: &dyn std::fmt::Display| AcmeError::Chain(error.to_string());
    let pem = Pem::iter_from_buffer(chain.as_bytes()).next();
    let pem = pem.ok_or_else(|| AcmeError::Chain("there is none".into()))?.map_err(|error| bad(&error))?;
    let certificate = pem.parse_x509().map_err(|error| bad(&error))?;
    let time = |seconds: i64| Timestamp::from_second(seconds).map_err(|error| bad(&error));
    let serial: String = certificate.raw_serial().iter().map(|byte| format!("{byte:02X}")).collect();
    // A leading zero keeps the number positive in DER, and is no part of it for people.
    let serial = serial.strip_prefix("00").unwrap_or(&serial).to_owned();
    let (not_before, not_after) =
        (time(certificate.validity().not_before.timestamp())?, time(certificate.validity().not_after.timestamp())?);
    let renewal_id = renewal_id(&certificate);
    let fingerprint = Sha256::digest(&pem.contents).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(IssuedCertificate { serial, fingerprint, not_before, not_after, renewal_id, chain })
}

/// RFC 9773, section 4.1.
fn renewal_id(certificate: &X509Certificate<'_>) -> Option<String> {
    let issuer = certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(authority) => authority.key_identifier.as_ref(),
        _ => None,
    })?;
    let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    Some(format!("{}.{}", encode(issuer.0), encode(certificate.raw_serial())))
}
