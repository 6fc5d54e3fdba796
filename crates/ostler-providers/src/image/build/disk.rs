//! A disk image put together from its parts, without a loop device: partition table, file systems, boot code.
//!
//! The layout is that of Debian's own cloud images: BIOS boot partition 14, EFI system partition 15, and root as number 1
//! but last on the disk, so that it can grow.

use super::super::error::ImageError;
use rustix::fs::SeekFrom as Extent;
use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    path::Path,
};
use uuid::Uuid;

/// Bytes of a sector.
pub const SECTOR: u64 = 512;

/// Bytes of the disk; the guest grows it to what it is given.
pub const DISK_SIZE: u64 = 3 << 30;

/// First sector of the BIOS boot partition.
const BIOS_START: u64 = 2048;
/// Sectors of the BIOS boot partition.
const BIOS_SECTORS: u64 = 6144;
/// First sector of the EFI system partition.
const ESP_START: u64 = 8192;
/// Sectors of the EFI system partition.
const ESP_SECTORS: u64 = 253_952;
/// First sector of the root partition.
const ROOT_START: u64 = 262_144;
/// Sectors of the root partition; what follows it holds the second partition table.
const ROOT_SECTORS: u64 = DISK_SIZE / SECTOR - ROOT_START - 2048;

/// Bytes of the EFI system partition.
pub const ESP_SIZE: u64 = ESP_SECTORS * SECTOR;
/// Bytes of the root partition.
pub const ROOT_SIZE: u64 = ROOT_SECTORS * SECTOR;

/// What an image's parts know one another by.
pub struct Ids {
    /// Of the root file system.
    pub root: Uuid,
    /// Of the root partition.
    pub root_partition: Uuid,
    /// Of the EFI system partition.
    pub esp_partition: Uuid,
}

impl Ids {
    /// Fresh ones.
    pub fn new() -> Self {
        Self { root: Uuid::new_v4(), root_partition: Uuid::new_v4(), esp_partition: Uuid::new_v4() }
    }

    /// Input of sfdisk(8). The types are those of the Discoverable Partitions Specification, and GRUB's BIOS boot partition.
    pub fn partition_table(&self) -> String {
        let Self { root_partition, esp_partition, .. } = self;
        format!(
            "label: gpt\nunit: sectors\nsector-size: {SECTOR}\n\
             1 : start={ROOT_START}, size={ROOT_SECTORS}, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, uuid={root_partition}\n\
             14 : start={BIOS_START}, size={BIOS_SECTORS}, type=21686148-6449-6E6F-744E-656564454649\n\
             15 : start={ESP_START}, size={ESP_SECTORS}, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, uuid={esp_partition}\n"
        )
    }
}

/// Makes a file of this size without writing to it.
pub fn make_sparse(path: &Path, size: u64) -> Result<(), ImageError> {
    File::create(path).and_then(|file| file.set_len(size)).map_err(ImageError::file("make", path))
}

/// Copies both file systems into the partitions of `disk`.
pub fn place(disk: &Path, esp: &Path, root: &Path) -> io::Result<()> {
    let mut to = File::options().write(true).open(disk)?;
    copy_sparse(esp, &mut to, ESP_START * SECTOR)?;
    copy_sparse(root, &mut to, ROOT_START * SECTOR)
}

/// Copies a sparse file to where the target holds zeros already, so its holes are left out (lseek(2)).
fn copy_sparse(from: &Path, to: &mut File, offset: u64) -> io::Result<()> {
    let mut from = File::open(from)?;
    let mut at = 0;
    loop {
        let start = match rustix::fs::seek(&from, Extent::Data(at)) {
            Err(rustix::io::Errno::NXIO) => return Ok(()),
            start => start?,
        };
        let end = rustix::fs::seek(&from, Extent::Hole(start))?;
        from.seek(SeekFrom::Start(start))?;
        to.seek(SeekFrom::Start(offset + start))?;
        io::copy(&mut Read::by_ref(&mut from).take(end - start), to)?;
        at = end;
    }
}

/// Writes GRUB's code for BIOS machines into `disk`, as grub-bios-setup(8) does on a mounted one.
pub fn embed_boot_code(disk: &Path, boot: &Path, core: &Path) -> Result<(), ImageError> {
    let boot_code = fs::read(boot).map_err(ImageError::file("read", boot))?;
    let core_code = fs::read(core).map_err(ImageError::file("read", core))?;
    let sector = boot_sector(&boot_code).map_err(|why| ImageError::BootCode { path: boot.to_owned(), why })?;
    let core_code = core_image(core_code).map_err(|why| ImageError::BootCode { path: core.to_owned(), why })?;
    let write = || {
        let mut file = File::options().write(true).open(disk)?;
        file.write_all(&sector)?;
        file.seek(SeekFrom::Start(BIOS_START * SECTOR))?;
        file.write_all(&core_code)
    };
    write().map_err(ImageError::file("write", disk))
}

/// The code part of the boot sector: `boot.img` with the fields of GRUB's `include/grub/i386/pc/boot.h` filled in. The
/// disk's signature and partition table, which follow it, stay as sfdisk made them.
fn boot_sector(boot: &[u8]) -> Result<[u8; BOOT_CODE_END], &'static str> {
    if boot.len() as u64 != SECTOR {
        return Err("it is not one sector long");
    }
    let mut code = [0; BOOT_CODE_END];
    code.copy_from_slice(&boot[..BOOT_CODE_END]);
    // GRUB_BOOT_MACHINE_KERNEL_SECTOR: where core.img begins.
    code[0x5c..0x64].copy_from_slice(&BIOS_START.to_le_bytes());
    // GRUB_BOOT_MACHINE_BOOT_DRIVE: the one that the BIOS says.
    code[0x64] = 0xff;
    // GRUB_BOOT_MACHINE_DRIVE_CHECK: a jump for BIOSes that say nonsense; two NOPs on a hard disk.
    code[0x66..0x68].copy_from_slice(&[0x90, 0x90]);
    Ok(code)
}

/// Length of the code in a master boot record.
const BOOT_CODE_END: usize = 0x1b8;

/// `core.img`, whose first sector loads the rest by a list of blocks that stands at its end (`diskboot.S`).
fn core_image(mut core: Vec<u8>) -> Result<Vec<u8>, &'static str> {
    core.resize(core.len().next_multiple_of(SECTOR as usize), 0);
    let sectors = core.len() as u64 / SECTOR;
    if sectors < 2 {
        return Err("it is too short");
    }
    if sectors > BIOS_SECTORS {
        return Err("it is too long for its partition");
    }
    // struct grub_pc_bios_boot_blocklist: start, length, and the segment to load at.
    core[0x1f4..0x1fc].copy_from_slice(&(BIOS_START + 1).to_le_bytes());
    core[0x1fc..0x1fe].copy_from_slice(&(sectors as u16 - 1).to_le_bytes());
    core[0x1fe..0x200].copy_from_slice(&0x820_u16.to_le_bytes());
    Ok(core)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boot_code_is_embedded_around_the_partition_table() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("boot"), [1; 512]).unwrap();
        fs::write(path("core"), [2; 1300]).unwrap();
        fs::write(path("disk"), [3; 512]).unwrap();
        embed_boot_code(&path("disk"), &path("boot"), &path("core")).unwrap();
        let disk = fs::read(path("disk")).unwrap();
        assert_eq!(disk[0x5c..0x68], [0, 8, 0, 0, 0, 0, 0, 0, 0xff, 1, 0x90, 0x90]);
        assert!(disk[0x1b8..512].iter().all(|byte| *byte == 3));
        let core = &disk[(BIOS_START * SECTOR) as usize..];
        assert_eq!(core.len(), 3 * 512);
        assert_eq!(core[0x1f4..0x200], [1, 8, 0, 0, 0, 0, 0, 0, 2, 0, 0x20, 0x08]);
        assert!(core[0x200..1300].iter().all(|byte| *byte == 2) && core[1300..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn holes_stay_holes() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        make_sparse(&from, 20 << 20).unwrap();
        let mut file = File::options().write(true).open(&from).unwrap();
        for at in [0, 5 << 20, (20 << 20) - 3] {
            file.seek(SeekFrom::Start(at)).unwrap();
            file.write_all(b"abc").unwrap();
        }
        make_sparse(&to, 30 << 20).unwrap();
        copy_sparse(&from, &mut File::options().write(true).open(&to).unwrap(), 1000).unwrap();
        let copied = fs::read(&to).unwrap();
        assert!(copied[1000..1000 + (20 << 20)] == fs::read(&from).unwrap(), "the copy differs");
        let blocks = std::os::unix::fs::MetadataExt::blocks(&fs::metadata(&to).unwrap());
        assert!(blocks * 512 < 1 << 20, "{blocks} blocks");
    }
}
