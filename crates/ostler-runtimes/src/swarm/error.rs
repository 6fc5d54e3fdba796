//! What can go wrong with Docker on a server.

use ostler_core::{Blame, Classify, hint::Hint};

/// Why Docker did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum SwarmError {
    /// The question did not reach it.
    #[error("Docker on the server can't be asked: {0}")]
    Unasked(String),
    /// It refused.
    #[error("Docker refused to {doing}: {words} (status {status})")]
    Refused {
        /// For people: `make the service shop-3`.
        doing: String,
        /// HTTP status.
        status: u16,
        /// Its own words.
        words: String,
    },
    /// Its answer has another shape than expected.
    #[error("the answer of Docker can't be read: {0}")]
    Unreadable(String),
    /// The server is no manager of a swarm.
    #[error("this server is no manager of a swarm")]
    NoManager,
    /// A site of this name was deployed there by an Ostler with another state.
    #[error("the site {0} on this server is another Ostler's")]
    OfAnother(String),
    /// A service vanished while it was worked on.
    #[error("the service {0} is gone, though Ostler did not remove it")]
    Gone(String),
    /// An image can't be had.
    #[error("the image `{image}` can't be had: {words}")]
    NoImage {
        /// As the user named it.
        image: String,
        /// Docker's words.
        words: String,
    },
    /// No space for an image.
    #[error("there is no space on the server for the image `{image}`: {words}")]
    NoSpace {
        /// As the user named it.
        image: String,
        /// Docker's words.
        words: String,
    },
    /// This machine can't make requests at all.
    #[error("requests over TLS can't be made: {0}")]
    NoTls(String),
}

impl Classify for SwarmError {
    fn blame(&self) -> Blame {
        match self {
            Self::NoManager | Self::OfAnother(_) => Blame::User,
            Self::NoTls(_) => Blame::Provider,
            _ => Blame::Target,
        }
    }

    fn hints(&self) -> Vec<Hint> {
        match self {
            Self::NoManager => vec!["sites run on a manager: name another server, or promote this one".into()],
            Self::OfAnother(_) => {
                vec!["remove it with the state that it belongs to, or give the site another name".into()]
            }
            Self::NoImage { .. } => vec!["is the name right, and does the server reach its registry?".into()],
            Self::NoSpace { .. } => {
                vec!["`docker system df` on the server shows what takes it, and `docker image prune` frees some".into()]
            }
            _ => Vec::new(),
        }
    }
}
