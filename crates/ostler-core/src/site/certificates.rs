//! Certificates for a site's domains, as far as they lie in zones that records are made in: ordered, and delivered to its server.

use super::{
    entrance::Entrance,
    names,
    record::{self, Delivered, SiteRecord},
    release::SiteContext,
};
use crate::{
    certificate::{self, Order, TRAEFIK},
    error::{Blame, Failure, Result},
    ids::{OperationId, SiteName},
    ports::{CertificateAuthority, CertificateProfile},
    spec::{Domain, SiteCertificate, ZoneSpec},
    subject::{Subject, SubjectKind},
    world::World,
};
use std::time::Duration;

/// How long to wait for whoever deploys a site, before what was renewed is delivered.
const TURN: Duration = Duration::from_secs(60);

/// What the certificate shall be; `None`: no domain lies in a zone, or none is wanted.
pub(super) fn order(wanted: Option<&SiteCertificate>, zones: &[ZoneSpec], domains: &[Domain]) -> Result<Option<Order>> {
    let names = names::in_zones(zones, domains);
    let Some(wanted) = wanted.filter(|_| !names.is_empty()) else { return Ok(None) };
    let profile = wanted.profile.as_deref().map(|word| match word {
        "classic" => Ok(CertificateProfile::Classic),
        "tlsserver" => Ok(CertificateProfile::Tlsserver),
        "shortlived" => Ok(CertificateProfile::Shortlived),
        other => Err(Failure::new(Blame::Configuration, format!("there is no certificate of the kind `{other}`"))),
    });
    Ok(Some(Order {
        names,
        zones: zones.to_vec(),
        authority: CertificateAuthority { url: wanted.authority.clone(), root: wanted.root.clone() },
        profile: profile.transpose()?,
    }))
}

/// What is ordered, for people.
pub(super) fn in_words(order: &Order) -> String {
    format!("for {} from {}", order.names.join(", "), order.authority.url)
}

/// Sees to it that the server has the certificate. The site's record names it before it is ordered.
pub(super) async fn ensure(ctx: &SiteContext<'_>, order: &Order) -> Result<()> {
    let mut site = ctx.record().await?;
    if !site.certificates.iter().any(|known| known.order.name() == order.name()) {
        site.certificates.push(Delivered { order: order.clone(), serial: None });
        record::put(&*ctx.world.store, ctx.subject, &site).await?;
    }
    let certificate = certificate::ensure(ctx.world, order, &ctx.reporter).await?;
    certificate::deliver(ctx.entrance().await?.session(), &certificate, &TRAEFIK).await?;
    let mut site = ctx.record().await?;
    for known in site.certificates.iter_mut().filter(|known| known.order.name() == order.name()) {
        (known.order, known.serial) = (order.clone(), Some(certificate.issued.serial.clone()));
    }
    record::put(&*ctx.world.store, ctx.subject, &site).await
}

/// Takes away those that no domain of the release with the traffic needs.
pub(super) async fn keep_that_of(ctx: &SiteContext<'_>) -> Result<()> {
    let site = ctx.record().await?;
    let domains = site.current().map(|release| release.settings.domains.clone()).unwrap_or_default();
    let kept = order(site.desired.certificate.as_ref(), &site.desired.zones, &domains)?;
    let gone = |known: &Delivered| kept.as_ref().is_none_or(|kept| kept.name() != known.order.name());
    forget(ctx, &site, gone, true).await
}

/// Takes away all of them, also from its server unless that is gone.
pub(super) async fn forget_all(ctx: &SiteContext<'_>, has_server: bool) -> Result<()> {
    forget(ctx, &ctx.record().await?, |_| true, has_server).await
}

async fn forget(
    ctx: &SiteContext<'_>,
    site: &SiteRecord,
    gone: impl Fn(&Delivered) -> bool,
    has_server: bool,
) -> Result<()> {
    for known in site.certificates.iter().filter(|known| gone(known)) {
        let name = known.order.name();
        if has_server {
            certificate::withdraw(ctx.entrance().await?.session(), name, &TRAEFIK).await?;
        }
        certificate::forget(ctx.world, name).await?;
        let mut site = ctx.record().await?;
        site.certificates.retain(|other| other.order.name() != name);
        record::put(&*ctx.world.store, ctx.subject, &site).await?;
    }
    Ok(())
}

/// Brings certificates that were renewed to the servers of the sites that need them; what became of each such site.
pub async fn deliver_renewed(world: &World) -> Result<Vec<(SiteName, Result<()>)>> {
    let mut delivered = Vec::new();
    for (subject, site) in record::records(&*world.store).await? {
        let mut is_behind = false;
        for known in site.certificates.iter().filter(|known| known.serial.is_some()) {
            let now = certificate::get(world, known.order.name()).await?;
            is_behind |= now.is_some_and(|now| Some(&now.issued.serial) != known.serial.as_ref());
        }
        if is_behind {
            let work = deliver_to(world, subject, &site.name);
            let done = world.leaser.hold_soon((SubjectKind::Site, site.name.as_str()), TURN, work).await;
            delivered.push((site.name.clone(), done));
        }
    }
    Ok(delivered)
}

async fn deliver_to(world: &World, subject: Subject, name: &SiteName) -> Result<()> {
    let Some((_, mut site)) = record::record(&*world.store, name).await? else { return Ok(()) };
    let entrance = Entrance::open(world, name, site.server(), OperationId::new()).await?;
    let work = async {
        for index in 0..site.certificates.len() {
            let known = site.certificates[index].order.name().to_owned();
            let Some(now) = certificate::get(world, &known).await? else { continue };
            certificate::deliver(entrance.session(), &now, &TRAEFIK).await?;
            site.certificates[index].serial = Some(now.issued.serial);
            record::put(&*world.store, subject, &site).await?;
        }
        Ok(())
    };
    let result = work.await;
    entrance.close().await;
    result
}
