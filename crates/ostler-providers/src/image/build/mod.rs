//! Debian 13 with cloud-init, made from packages: boots by BIOS, UEFI and Secure Boot, as Debian's own cloud image does.
//!
//! Neither a loop device nor a mount is needed, so it works in containers and, where the user has subordinate ids
//! (subuid(5)), without root. mmdebstrap installs the packages; the file systems are made from folders; GRUB's BIOS code is
//! put in place by `disk`. The hooks say which trap each of their lines avoids.

mod child;
mod disk;
mod mirror;

use super::{
    blocking,
    error::ImageError,
    store::{Folder, Origin},
    sum::Sum,
};
use child::Runner;
use disk::Ids;
use mirror::Mirror;
use ostler_core::{
    event::{EventKind, Level, ProgressUnit},
    ports::Reporter,
};
use std::{
    fs::Permissions,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// The programs that [`super::ImageStore::build`] runs, each with the Debian package that holds it.
pub const BUILD_PROGRAMS: &[(&str, &str)] = &[
    ("mmdebstrap", "mmdebstrap"),
    ("newuidmap", "uidmap"),
    ("unshare", "util-linux"),
    ("setpriv", "util-linux"),
    ("sfdisk", "fdisk"),
    ("mkfs.ext4", "e2fsprogs"),
    ("mkfs.vfat", "dosfstools"),
    ("mcopy", "mtools"),
    ("qemu-img", "qemu-utils"),
];

/// What is in the image beside Debian's essential packages. python3-apt spares Ansible its installation.
const PACKAGES: &str = "systemd-sysv dbus libpam-systemd polkitd udev kmod systemd-resolved systemd-timesyncd \
    linux-image-cloud-amd64 initramfs-tools zstd grub-cloud-amd64 efibootmgr dosfstools e2fsprogs \
    cloud-init cloud-guest-utils gdisk fdisk netplan.io iproute2 iputils-ping openssh-server openssh-client \
    sudo locales tzdata ca-certificates curl less nano vim-tiny procps psmisc bash-completion lsb-release \
    python3 python3-apt apt-utils man-db file apparmor";

/// Bytes that a build needs at its widest: the packed tree, the tree, and its file system.
const SPACE: u64 = 4 << 30;

/// What a build does, in order.
const STEPS: [&str; 6] = [
    "installing Debian's packages",
    "making the root file system",
    "making the boot partition",
    "assembling the disk",
    "compressing the image",
    "storing the image",
];

/// Makes the image and takes it into the folder. Leaves nothing but the log if it fails or is broken off.
pub(super) async fn build(folder: &Folder, name: &str, reporter: &dyn Reporter) -> Result<PathBuf, ImageError> {
    check_programs(child::is_installed)?;
    let waiting = async || {
        let message = format!("waiting for another Ostler that is getting image {name}");
        reporter.report(EventKind::Notice { level: Level::Info, message }).await;
    };
    let _lock = folder.lock(name, waiting).await?;
    folder.check_space(SPACE)?;
    // The programs run in another folder than this process.
    let root = std::path::absolute(folder.path()).map_err(ImageError::file("find", folder.path()))?;
    let dir = root.join(format!("{name}.build"));
    child::remove_folder(&dir)?;
    std::fs::create_dir(&dir).map_err(ImageError::file("make", &dir))?;
    let dir = RemovedOnDrop(dir);
    let log = root.join(format!("{name}-build.log"));
    let mirror = Mirror::of_host(Path::new("/etc/apt"));
    let work = Build {
        runner: Runner::new(dir.0.clone(), log.clone())?,
        dir: &dir.0,
        ids: Ids::new(),
        sources: mirror.sources(),
        name,
        reporter,
    };
    let image = work.run().await?;
    work.begin(5).await;
    let sum = blocking("read", &image, Sum::sha512_of).await?;
    let path = folder.add(&image, name, sum, Origin::Built(mirror.main))?;
    let _ = std::fs::remove_file(&log);
    work.begin(STEPS.len()).await;
    Ok(path)
}

/// All that is missing, in one error.
fn check_programs(is_installed: impl Fn(&str) -> bool) -> Result<(), ImageError> {
    let mut missing: Vec<_> = BUILD_PROGRAMS.iter().filter(|(program, _)| !is_installed(program)).copied().collect();
    if !Path::new(mirror::KEYRING).exists() {
        missing.push((mirror::KEYRING, "debian-archive-keyring"));
    }
    if missing.is_empty() {
        return Ok(());
    }
    let (programs, mut packages): (Vec<_>, Vec<_>) = missing.into_iter().unzip();
    packages.sort_unstable();
    packages.dedup();
    Err(ImageError::ProgramsMissing { programs, packages })
}

/// One build.
struct Build<'a> {
    runner: Runner,
    /// Its scratch folder.
    dir: &'a Path,
    ids: Ids,
    /// apt's sources, for the build and for the image.
    sources: String,
    name: &'a str,
    reporter: &'a dyn Reporter,
}

impl Build<'_> {
    /// All steps but the last; the image in the scratch folder.
    async fn run(&self) -> Result<PathBuf, ImageError> {
        self.begin(0).await;
        self.install().await?;
        self.begin(1).await;
        self.make_root().await?;
        self.begin(2).await;
        self.make_esp().await?;
        self.begin(3).await;
        self.assemble().await?;
        self.begin(4).await;
        self.compress().await
    }

    /// Tells that this step begins.
    async fn begin(&self, step: usize) {
        let what = match STEPS.get(step) {
            Some(text) => format!("{}: {text}", self.name),
            None => format!("{}: built", self.name),
        };
        let (done, total) = (step as u64, Some(STEPS.len() as u64));
        self.reporter.report(EventKind::Progress { what, done, total, unit: ProgressUnit::Steps }).await;
    }

    /// The packages, packed, because the tree belongs to users that only mmdebstrap can act as.
    async fn install(&self) -> Result<(), ImageError> {
        let packages = PACKAGES.split_whitespace().collect::<Vec<_>>().join(",");
        // The hooks are handed over as text: without root they run as a user who can't read the scratch folder.
        let options = [
            "--variant=minbase".to_owned(),
            format!("--include={packages}"),
            format!("--essential-hook={}", include_str!("before-kernel.sh")),
            format!("--customize-hook={}", include_str!("after-packages.sh")),
        ];
        let mut command = self.runner.command("mmdebstrap", options);
        command.arg(mirror::SUITE).arg(self.path("root.tar")).arg("-");
        // /tmp may be in memory; and only root's scratch folder is one that mmdebstrap's user can reach.
        let reachable = if child::is_root() { None } else { Some(reachable_folder()?) };
        command.env("TMPDIR", reachable.as_ref().map_or(self.dir, |folder| &folder.0));
        command.env("ROOT_UUID", self.ids.root.to_string());
        command.env("ROOT_PARTUUID", self.ids.root_partition.to_string());
        command.env("ESP_PARTUUID", self.ids.esp_partition.to_string());
        command.env("SOURCES", &self.sources);
        self.runner.run("mmdebstrap", command, &self.sources).await
    }

    async fn make_root(&self) -> Result<(), ImageError> {
        let root = self.path("root.ext4");
        disk::make_sparse(&root, disk::ROOT_SIZE)?;
        let mut command = self.runner.command_as_root("sh", &["-c", include_str!("file-systems.sh")]);
        command.env("TAR", self.path("root.tar")).env("TREE", self.path("tree")).env("BOOT", self.path("boot"));
        command.env("ROOT", root).env("ROOT_UUID", self.ids.root.to_string());
        self.runner.run("mkfs.ext4", command, "").await
    }

    async fn make_esp(&self) -> Result<(), ImageError> {
        disk::make_sparse(&self.path("esp.img"), disk::ESP_SIZE)?;
        let command = self.runner.command("mkfs.vfat", ["-F", "32", "-n", "EFI", "esp.img"]);
        self.runner.run("mkfs.vfat", command, "").await?;
        let mut command = self.runner.command("mcopy", ["-s", "-i", "esp.img", "boot/EFI", "::/"]);
        // Its notion of a sound file system is that of a floppy disk.
        command.env("MTOOLS_SKIP_CHECK", "1");
        self.runner.run("mcopy", command, "").await
    }

    async fn assemble(&self) -> Result<(), ImageError> {
        let disk = self.path("disk.raw");
        disk::make_sparse(&disk, disk::DISK_SIZE)?;
        let command = self.runner.command("sfdisk", ["--quiet", "disk.raw"]);
        self.runner.run("sfdisk", command, &self.ids.partition_table()).await?;
        let (esp, root) = (self.path("esp.img"), self.path("root.ext4"));
        blocking("fill", &disk, move |disk| {
            disk::place(disk, &esp, &root)?;
            std::fs::remove_file(root)
        })
        .await?;
        disk::embed_boot_code(&disk, &self.path("boot/boot.img"), &self.path("boot/core.img"))
    }

    async fn compress(&self) -> Result<PathBuf, ImageError> {
        let args = ["convert", "-q", "-f", "raw", "-O", "qcow2", "-c", "-o", "compression_type=zstd"];
        let command = self.runner.command("qemu-img", args.into_iter().chain(["disk.raw", "image.qcow2"]));
        self.runner.run("qemu-img", command, "").await?;
        Ok(self.path("image.qcow2"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

/// A folder that other users can pass through, but not look into.
fn reachable_folder() -> Result<RemovedOnDrop, ImageError> {
    let place = Path::new("/var/tmp");
    let made = tempfile::Builder::new().prefix("ostler-").permissions(Permissions::from_mode(0o711)).tempdir_in(place);
    Ok(RemovedOnDrop(made.map_err(ImageError::file("make a folder in", place))?.keep()))
}

struct RemovedOnDrop(PathBuf);

impl Drop for RemovedOnDrop {
    fn drop(&mut self) {
        let _ = child::remove_folder(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ostler_core::Classify;

    #[test]
    fn all_missing_programs_are_told_at_once_with_the_command_that_installs_them() {
        let error = check_programs(|program| !matches!(program, "sfdisk" | "unshare" | "setpriv")).unwrap_err();
        let hint = error.hints()[0].in_words(|next| next.to_string());
        assert!(error.to_string().contains("unshare, setpriv, sfdisk"), "{error}");
        assert!(hint.starts_with("install them: `sudo apt install ") && hint.contains("fdisk util-linux"), "{hint}");
    }
}
