//! Where Debian publishes its images, and the HTTP client that asks there.

use super::{error::ImageError, sum::Sum};
use std::{sync::Once, time::Duration};

/// Debian's own site.
pub(super) const DEBIAN: &str = "https://cloud.debian.org/images/cloud";

/// An image that Ostler knows by name: <https://cloud.debian.org/images/cloud/> explains the variants.
pub(super) struct Known {
    /// Its name.
    pub name: &'static str,
    /// Its folder, which also holds `SHA512SUMS`. `latest` moves.
    folder: &'static str,
    /// Its file.
    file: &'static str,
}

const KNOWN: [Known; 1] =
    [Known { name: "debian-13", folder: "trixie/latest", file: "debian-13-genericcloud-amd64.qcow2" }];

/// The image of this name.
pub(super) fn known(name: &str) -> Result<&'static Known, ImageError> {
    KNOWN.iter().find(|image| image.name == name).ok_or_else(|| ImageError::Unknown(name.to_owned()))
}

/// The names, for people.
pub(super) fn names() -> String {
    KNOWN.map(|image| image.name).join(", ")
}

/// Whether a URL, of whatever mirror, is that of a known image or its checksums.
pub(super) fn is_known_url(url: &str) -> bool {
    KNOWN.iter().any(|image| url.contains(&format!("/{}/", image.folder)))
}

impl Known {
    /// URL of the file.
    pub fn url(&self, site: &str) -> String {
        format!("{}/{}/{}", site.trim_end_matches('/'), self.folder, self.file)
    }

    /// URL of the list of checksums.
    pub fn sums_url(&self, site: &str) -> String {
        format!("{}/{}/SHA512SUMS", site.trim_end_matches('/'), self.folder)
    }

    /// Its checksum in the list, whose lines are as sha512sum(1) writes them.
    pub fn sum_in(&self, list: &str, url: &str) -> Result<Sum, ImageError> {
        list.lines()
            .filter_map(|line| line.split_once(char::is_whitespace))
            .find(|(_, file)| file.trim_start().trim_start_matches('*') == self.file)
            .ok_or_else(|| ImageError::NotListed { url: url.to_owned(), file: self.file.to_owned() })
            .and_then(|(hex, _)| format!("sha512:{hex}").parse())
    }
}

/// How long a download bears with a site.
#[derive(Clone, Debug)]
pub struct Patience {
    /// Attempts in a row that bring nothing new.
    pub attempts: u32,
    /// Pause after the first of them; it doubles.
    pub pause: Duration,
    /// Longest pause, also if the site asks for a longer one: then it is left alone.
    pub longest_pause: Duration,
    /// How long a connection may take to come about.
    pub connect: Duration,
    /// How long nothing may come.
    pub idle: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            attempts: 5,
            pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(60),
            connect: Duration::from_secs(10),
            idle: Duration::from_secs(30),
        }
    }
}

/// A client for one download.
///
/// No redirection leads from `https` to `http`: the list of checksums is only as good as the way that it comes.
pub(super) fn client(patience: &Patience, url: &str) -> Result<reqwest::Client, ImageError> {
    static PROVIDER: Once = Once::new();
    // Fails only if there is one already, which serves as well.
    PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
    reqwest::Client::builder()
        .user_agent(concat!("ostler/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(patience.connect)
        .https_only(url.starts_with("https:"))
        .build()
        .map_err(ImageError::Client)
}
