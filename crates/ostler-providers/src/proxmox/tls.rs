//! Which certificate is the right one: the one that is pinned, or one of the cluster's own authority. Never any other.

use super::error::ProxmoxError;
use ostler_core::spec::ProxmoxTrust;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use sha2::{Digest, Sha256};
use std::sync::{Arc, Mutex, PoisonError};

/// The fingerprint that a server showed last, as 64 hexadecimal digits.
#[derive(Clone, Debug, Default)]
pub struct Shown(Arc<Mutex<Option<String>>>);

impl Shown {
    /// It, if a server came so far.
    pub fn get(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// TLS for one endpoint.
pub fn config(trust: &ProxmoxTrust, shown: &Shown) -> Result<ClientConfig, ProxmoxError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(ProxmoxError::Tls)?;
    Ok(match trust {
        ProxmoxTrust::Fingerprint(pinned) => {
            let pin = Pin { pinned: pinned.clone(), shown: shown.clone(), provider };
            builder.dangerous().with_custom_certificate_verifier(Arc::new(pin)).with_no_client_auth()
        }
        ProxmoxTrust::Authority(pem) => {
            let mut roots = RootCertStore::empty();
            for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                let certificate = certificate.map_err(|error| ProxmoxError::BadAuthority(error.to_string()))?;
                roots.add(certificate).map_err(ProxmoxError::Tls)?;
            }
            builder.with_root_certificates(roots).with_no_client_auth()
        }
    })
}

/// Accepts the one certificate whose SHA-256 is pinned; its names and dates don't matter, for nobody else has its key.
#[derive(Debug)]
struct Pin {
    pinned: String,
    shown: Shown,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pin {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let found = fingerprint(certificate);
        let right = found == self.pinned;
        *self.shown.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
        if right {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// SHA-256 of a certificate, as 64 hexadecimal digits in lower case.
pub fn fingerprint(certificate: &[u8]) -> String {
    Sha256::digest(certificate).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// As PVE writes a fingerprint: `AB:CD:…`
pub fn with_colons(hex: &str) -> String {
    let pairs: Vec<&str> = hex.as_bytes().chunks(2).filter_map(|pair| std::str::from_utf8(pair).ok()).collect();
    pairs.join(":").to_uppercase()
}
