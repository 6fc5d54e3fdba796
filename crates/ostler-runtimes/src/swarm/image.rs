//! Images on a server: what a name means there, and how one gets there.

use super::{
    docker::{self, Request, encoded},
    error::SwarmError,
};
use crate::folder::Packed;
use ostler_core::{
    Blame, Failure,
    event::{EventKind, Level},
    ids::SiteName,
    ports::{Place, Reporter, SiteImage},
    text::one_line,
};
use serde::Deserialize;
use serde_json::Value;
use std::path::Path;

/// Lines of a build that failed.
const SHOWN: usize = 20;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Image {
    id: String,
    /// What registries call it; none where it was made on the server.
    #[serde(default)]
    repo_digests: Option<Vec<String>>,
}

/// What a reference means on the server now.
pub(super) async fn known(place: &Place<'_>, reference: &str) -> Result<Option<SiteImage>, SwarmError> {
    let answer = docker::ask(place, Request::get(format!("/images/{reference}/json"))).await?;
    if answer.status == 404 {
        return Ok(None);
    }
    let image: Image = answer.well(format!("show the image {reference}"))?.json()?;
    Ok(Some(pinned(reference, image)))
}

fn pinned(reference: &str, image: Image) -> SiteImage {
    let (name, _) = split(reference);
    let digests = image.repo_digests.unwrap_or_default();
    let same_name = digests.iter().find(|digest| digest.split('@').next() == Some(name));
    match same_name.or(digests.first()) {
        // Whoever names an id means what is here.
        Some(digest) if !is_id(reference) => SiteImage { pinned: digest.clone(), here_alone: false },
        _ => SiteImage { pinned: image.id, here_alone: true },
    }
}

/// The image, which is pulled where a registry may know better.
pub(super) async fn get(place: &Place<'_>, reference: &str, reporter: &dyn Reporter) -> Result<SiteImage, SwarmError> {
    let here = known(place, reference).await?;
    if let Some(here) = here.filter(|here| here.here_alone || reference.contains('@')) {
        return Ok(here);
    }
    let no_image = |words: &str| {
        let (image, words) = (reference.to_owned(), one_line(words));
        match words.contains("no space left") {
            true => SwarmError::NoSpace { image, words },
            false => SwarmError::NoImage { image, words },
        }
    };
    if is_id(reference) {
        return Err(no_image("no image on the server has this id"));
    }
    let message = format!("getting the image {reference}");
    reporter.report(EventKind::Notice { level: Level::Info, message }).await;
    let (name, version) = split(reference);
    let path = format!("/images/create?fromImage={}&tag={}", encoded(name), encoded(version));
    let pulled = docker::ask(place, Request::post(path, Value::Null).slow()).await?;
    if pulled.status >= 300 {
        return Err(no_image(&pulled.words()));
    }
    // It is told what went wrong while a pull is under way in its last line.
    let told = pulled.text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    if let Some(error) = told.filter_map(|line| Some(line["error"].as_str()?.to_owned())).next_back() {
        return Err(no_image(&error));
    }
    known(place, reference).await?.ok_or_else(|| no_image("it was pulled, and is not there"))
}

/// What the image of a folder is called.
pub(super) fn built_name(site: &SiteName, packed: &Packed) -> String {
    format!("ostler-{site}:{}", packed.digest)
}

/// Makes the image of a folder on the server, which gets the folder by standard input.
pub(super) async fn build(
    place: &Place<'_>,
    site: &SiteName,
    folder: &Path,
    reporter: &dyn Reporter,
) -> Result<SiteImage, Failure> {
    let packed = Packed::of(folder)?;
    let name = built_name(site, &packed);
    let message = format!("building {} on the server ({} KiB)", folder.display(), packed.tar.len().div_ceil(1024));
    reporter.report(EventKind::Notice { level: Level::Info, message }).await;
    let script = format!("exec sudo -n docker build --quiet --tag {name} -");
    let built = place.session.run(&script, &packed.tar).await?;
    if built.status != 0 {
        let said: Vec<String> = built.stderr.lines().map(one_line).filter(|line| !line.is_empty()).collect();
        let last = said[said.len().saturating_sub(SHOWN)..].to_vec();
        return Err(Failure::new(Blame::Target, format!("`docker build` ended with status {}", built.status))
            .because_of(format!("the image of {site} can't be built of {}", folder.display()))
            .with_lines(last));
    }
    let missing = || SwarmError::NoImage { image: name.clone(), words: "it was built, and is not there".into() };
    Ok(known(place, &name).await?.ok_or_else(missing)?)
}

/// Name, and tag or digest.
fn split(reference: &str) -> (&str, &str) {
    if let Some((name, digest)) = reference.split_once('@') {
        let slash = name.rfind('/').map_or(0, |at| at + 1);
        let name = name[slash..].find(':').map_or(name, |at| &name[..slash + at]);
        return (name, digest);
    }
    let slash = reference.rfind('/').map_or(0, |at| at + 1);
    match reference[slash..].find(':') {
        Some(at) => (&reference[..slash + at], &reference[slash + at + 1..]),
        None => (reference, "latest"),
    }
}

/// Whether it names no image but is one's id.
fn is_id(reference: &str) -> bool {
    reference.strip_prefix("sha256:").is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_split_as_docker_does_it() {
        assert_eq!(split("shop"), ("shop", "latest"));
        assert_eq!(split("localhost:5000/shop"), ("localhost:5000/shop", "latest"));
        assert_eq!(split("localhost:5000/shop:1.2"), ("localhost:5000/shop", "1.2"));
        assert_eq!(split("registry.example.org/a/shop:1@sha256:ab"), ("registry.example.org/a/shop", "sha256:ab"));
    }

    #[test]
    fn an_image_of_a_registry_is_pinned_by_digest_and_any_other_by_id() {
        let image = |digests: &[&str]| Image {
            id: "sha256:id".into(),
            repo_digests: Some(digests.iter().map(|&digest| digest.to_owned()).collect()),
        };
        let pin = |reference, digests: &[&str]| {
            let SiteImage { pinned, here_alone } = pinned(reference, image(digests));
            (pinned, here_alone)
        };
        assert_eq!(pin("shop:1", &["other@sha256:1", "shop@sha256:2"]), ("shop@sha256:2".to_owned(), false));
        assert_eq!(pin("shop:1", &[]), ("sha256:id".to_owned(), true));
    }
}
