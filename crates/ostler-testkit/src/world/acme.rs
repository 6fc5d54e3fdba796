//! An authority that issues at once, if the DNS proves the names: `certificates.json` has the serial numbers.

use super::FakeWorld;
use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use ostler_core::{
    Blame, Failure, Result,
    ports::{Acme, AcmeOrder, CertificateAuthority, IssuedCertificate, RenewalWindow, Validation},
    secret::Secret,
};

const FILE: &str = "certificates.json";

#[async_trait]
impl Acme for FakeWorld {
    async fn obtain(&self, order: AcmeOrder<'_>, validation: &dyn Validation) -> Result<(IssuedCertificate, Secret)> {
        if order.account.is_none() {
            validation.keep_account(&Secret::new("an account")).await?;
        }
        for name in order.names {
            let challenge = format!("_acme-challenge.{}", name.trim_start_matches("*."));
            validation.publish(&challenge, "proof").await?;
            if !self.dns_records().iter().any(|record| record.name == challenge) {
                return Err(Failure::new(Blame::Provider, format!("there is no TXT record at {challenge}")));
            }
            validation.withdraw(&challenge, "proof").await?;
        }
        self.faults
            .around("acme.obtain", async {
                let mut serials: Vec<String> = self.dir.read(FILE).unwrap_or_default();
                let serial = format!("{:02X}", serials.len() + 1);
                serials.push(serial.clone());
                self.dir.write(FILE, &serials);
                let now = Timestamp::now();
                let issued = IssuedCertificate {
                    chain: format!("certificate {serial}"),
                    fingerprint: format!("{:016}", serials.len()),
                    serial,
                    not_before: now,
                    not_after: now + SignedDuration::from_hours(24 * 90),
                    renewal_id: None,
                };
                Ok((issued, Secret::new("a key")))
            })
            .await
    }

    async fn renewal_window(&self, _: &CertificateAuthority, _: &IssuedCertificate) -> Result<Option<RenewalWindow>> {
        Ok(None)
    }
}

impl FakeWorld {
    /// How many certificates were issued.
    pub fn certificates(&self) -> usize {
        self.dir.read::<Vec<String>>(FILE).unwrap_or_default().len()
    }
}
