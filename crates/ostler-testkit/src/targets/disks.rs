//! Disks that are attached to running targets: loop devices over sparse files of the lab.
//!
//! A target has no udev, and a `/dev` of its own. So tmpfiles.d makes the device and the path by which a server of Hetzner knows it, at each boot
//! as well as at once.

use super::{lab::Lab, succeed, target::Target};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::{linux::fs::MetadataExt as _, unix::fs::FileTypeExt as _},
    path::PathBuf,
    process::Stdio,
};

/// What makes them, in the target.
const DEVICES: &str = "/usr/lib/tmpfiles.d/volumes.conf";

impl Lab {
    /// Attaches a disk of so many GB to this machine; returns its device. What is on it stays, and it never shrinks.
    fn plug_disk(&self, id: u64, size: u64) -> String {
        let file = self.disk(id);
        fs::create_dir_all(file.parent().expect("a folder")).expect("a folder for disks");
        let disk = File::options().create(true).append(true).open(&file).expect("a file for the disk");
        disk.set_len(size << 30).expect("it is sparse");
        match self.device_of(id) {
            Some(device) => {
                succeed(self.command("losetup").args(["--set-capacity", &device]));
                device
            }
            None => succeed(self.command("losetup").args(["--find", "--show"]).arg(&file)).trim().to_owned(),
        }
    }

    /// Detaches one, if it is attached. One that is mounted is gone once it is mounted no more.
    fn unplug_disk(&self, id: u64) {
        if let Some(device) = self.device_of(id) {
            let _ = self.command("losetup").args(["--detach", &device]).stderr(Stdio::null()).status();
        }
    }

    /// Removes one with all that is on it.
    pub(crate) fn remove_disk(&self, id: u64) {
        self.unplug_disk(id);
        let file = self.disk(id);
        let _ = fs::remove_file(&file);
        // The folder goes with the last one.
        let _ = fs::remove_dir(file.parent().expect("a folder"));
    }

    fn device_of(&self, id: u64) -> Option<String> {
        let all = succeed(
            self.command("losetup")
                .args(["--list", "--noheadings", "--output", "NAME", "--associated"])
                .arg(self.disk(id)),
        );
        all.split_whitespace().next().map(str::to_owned)
    }

    fn disk(&self, id: u64) -> PathBuf {
        self.folder().join("disks").join(id.to_string())
    }
}

impl Target {
    /// It has these disks, of so many GB each, and no others; those that `before` had and that are not among them are detached.
    pub(crate) fn disks(&self, lab: &Lab, before: &BTreeMap<u64, u64>, now: &BTreeMap<u64, u64>) {
        let mut lines = "d /dev/disk 0755\nd /dev/disk/by-id 0755\n".to_owned();
        for (id, size) in now {
            let device = lab.plug_disk(*id, *size);
            let metadata = fs::metadata(&device).expect("a device");
            assert!(metadata.file_type().is_block_device(), "{device}");
            let (number, name) = (metadata.st_rdev(), device.trim_start_matches("/dev/"));
            let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
            lines += &format!("b+ {device} 0660 root disk - {major}:{minor}\nL+ {} - - - - ../../{name}\n", path(*id));
        }
        let gone: Vec<u64> = before.keys().filter(|id| !now.contains_key(id)).copied().collect();
        let forget: String = gone.iter().map(|id| format!("rm -f \"$(readlink -f {0})\" {0}\n", path(*id))).collect();
        let script = format!("{forget}cat >{DEVICES} <<'END'\n{lines}END\n");
        self.inside_or_root(&script, &format!("systemd-tmpfiles --create --prefix=/dev {DEVICES}"));
        gone.into_iter().for_each(|id| lab.unplug_disk(id));
    }
}

/// By which a server of Hetzner knows a volume.
fn path(id: u64) -> String {
    format!("/dev/disk/by-id/scsi-0HC_Volume_{id}")
}
