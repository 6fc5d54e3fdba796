//! The seed's file: written, replaced by one without secrets, and wiped.
//!
//! The scrubbed seed says the same instance-id, host name and network, so cloud-init sees the same instance at the next
//! boot: nothing of the first boot runs again, and the network comes up as before. Without any seed it would take the
//! machine for a new one and replace its host keys.

use super::{error::LocalError, iso, machine::Home, machine::write_private};
use ostler_core::model::Seed;
use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    path::Path,
};

/// File name of the medium.
pub const SEED: &str = "seed.iso";
/// The medium with secrets, from the moment that it is replaced until it is wiped.
const OLD: &str = "seed.iso.old";

/// Writes the medium.
pub fn write(home: &Home, seed: &Seed) -> Result<(), LocalError> {
    write_private(&home.file(SEED), &image(seed))
}

/// Replaces the medium by one without secrets. The old one is kept aside for [`wipe`], so that a crash can't lose it unwiped.
pub fn replace(home: &Home, meta_data: &str, network_config: &str) -> Result<(), LocalError> {
    let (medium, old) = (home.file(SEED), home.file(OLD));
    match fs::hard_link(&medium, &old) {
        Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists) => {
            return Err(LocalError::file("keep", old)(error));
        }
        _ => {}
    }
    write(home, &bare(meta_data, network_config))
}

/// A seed of the same instance that tells nothing.
pub(crate) fn bare(meta_data: &str, network_config: &str) -> Seed {
    Seed {
        meta_data: meta_data.to_owned(),
        user_data: "#cloud-config\n{}\n".to_owned(),
        network_config: network_config.to_owned(),
    }
}

/// Overwrites and removes the medium that [`replace`] kept aside.
pub fn wipe(home: &Home) -> Result<(), LocalError> {
    let old = home.file(OLD);
    match overwrite(&old).and_then(|()| fs::remove_file(&old)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(LocalError::file("wipe", old)(error)),
        _ => Ok(()),
    }
}

fn overwrite(path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(0);
    file.write_all(&vec![0; length])?;
    file.sync_all()
}

/// The medium: what NoCloud looks for.
pub(crate) fn image(seed: &Seed) -> Vec<u8> {
    let files =
        [("META-DATA", &*seed.meta_data), ("NETWORK-CONFIG", &*seed.network_config), ("USER-DATA", &*seed.user_data)];
    iso::image("cidata", &files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_has_the_label_and_the_whole_files() {
        let seed = Seed {
            meta_data: "instance-id: i-1\n".into(),
            user_data: format!("#cloud-config\n# {}\n", "x".repeat(5000)),
            network_config: "{}\n".into(),
        };
        let image = image(&seed);
        assert_eq!(image.len() % 2048, 0);
        assert_eq!(&image[16 * 2048 + 40..16 * 2048 + 46], b"cidata");
        for (name, text) in [
            ("META-DATA;1", &seed.meta_data),
            ("NETWORK-CONFIG;1", &seed.network_config),
            ("USER-DATA;1", &seed.user_data),
        ] {
            assert_eq!(read(&image, name), text.as_bytes(), "{name}");
        }
    }

    /// What a reader of ECMA-119 finds, starting from the descriptor.
    fn read(image: &[u8], wanted: &str) -> Vec<u8> {
        let le = |at: usize| u32::from_le_bytes(image[at..at + 4].try_into().unwrap()) as usize;
        let mut at = le(16 * 2048 + 156 + 2) * 2048;
        while image[at] != 0 {
            let name = &image[at + 33..at + 33 + usize::from(image[at + 32])];
            if name == wanted.as_bytes() {
                let start = le(at + 2) * 2048;
                return image[start..start + le(at + 10)].to_vec();
            }
            at += usize::from(image[at]);
        }
        panic!("no {wanted}");
    }
}
