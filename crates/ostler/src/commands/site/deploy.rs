//! `ostler site deploy`

use super::{site_name, work};
use crate::{cli::Global, commands::spec_file, wiring::Session};
use ostler_core::{
    Blame, Failure, Result,
    ids::SiteName,
    ports::Store,
    site,
    spec::{SiteSource, SiteSpec},
    subject::SubjectKind,
};
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Bring a site to its spec; what serves goes on until the new release has answered.
///
/// A release that does not come up is taken away again, and the exit code says so: 5 where the release is at fault. Where nothing differs
/// from what serves, nothing is done.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The site.
    #[arg(value_parser = site_name)]
    name: SiteName,
    /// The spec file that it stands in [default: the spec that was deployed last]
    file: Option<PathBuf>,
    /// Another image than the spec names; it is the site's from then on, until a spec file says otherwise.
    #[arg(long, value_name = "REF")]
    image: Option<String>,
}

/// Runs the command.
pub async fn run(global: &Global, session: Session, arguments: Arguments) -> Result<ExitCode> {
    let Arguments { name, file, image } = arguments;
    let spec = match &file {
        Some(file) => Some(from_file(global, &session, &name, file).await?),
        None => {
            if session.store.subject(SubjectKind::Site, name.as_str()).await?.is_none() {
                return Err(site::unknown(&name).with_hint(format!("`ostler site deploy {name} FILE` deploys it")));
            }
            None
        }
    };
    let session = if let Some(file) = &file { session.with_spec_file(file) } else { session };
    let code = work::work_on(&session, global.output, &name, async |world| {
        let deployed = match spec {
            Some(mut spec) => {
                if let Some(image) = image {
                    spec.source = SiteSource::Image(image);
                }
                site::deploy::deploy(world, &spec).await
            }
            None => site::deploy::deploy_again(world, &name, image.as_deref()).await,
        };
        deployed.map(Some)
    });
    Ok(ExitCode::from(code.await))
}

async fn from_file(global: &Global, session: &Session, name: &SiteName, file: &Path) -> Result<SiteSpec> {
    let (mut spec, _) = spec_file::read(global, file, false).await?;
    let known: Vec<String> = spec.sites.iter().map(|site| format!("`{}`", site.name)).collect();
    let Some(index) = spec.sites.iter().position(|site| site.name == *name) else {
        let failure = Failure::new(Blame::User, format!("{} has no site `{name}`", file.display()));
        return Err(match known.is_empty() {
            true => failure.with_hint("it has no sites at all"),
            false => failure.with_hint(format!("it has: {}", known.join(", "))),
        });
    };
    let site = spec.sites.swap_remove(index);
    // Other sites may stand in the file whose servers are not made yet.
    let elsewhere = spec.elsewhere.into_iter().filter(|other| other.server == site.server).collect();
    spec_file::must_be_known(session, file, elsewhere).await?;
    Ok(site)
}
