# As root of a user namespace, or as root: the tree that mmdebstrap packed into TAR becomes the ext4 file system ROOT with
# UUID ROOT_UUID; what boots it is laid out in BOOT. TREE is a scratch folder.
set -e
trap 'rm -rf "$TREE"' EXIT
trap 'exit 143' TERM INT HUP
mkdir "$TREE"
tar -C "$TREE" --numeric-owner --xattrs --xattrs-include='*' -xpf "$TAR" --exclude='./dev/*'
rm -f "$TAR"
cd "$TREE"
mv -f etc/resolv.conf.new etc/resolv.conf
# Empty, so that each machine makes its own at first boot (machine-id(5)).
: > etc/machine-id
rm -f var/lib/dbus/machine-id var/lib/systemd/random-seed
ln -s /etc/machine-id var/lib/dbus/machine-id

mkdir -p "$BOOT/EFI/BOOT" "$BOOT/EFI/debian"
cp boot/grub/i386-pc/boot.img boot/grub/i386-pc/core.img "$BOOT/"
cat > "$BOOT/EFI/debian/grub.cfg" <<F
search.fs_uuid $ROOT_UUID root
set prefix=(\$root)'/boot/grub'
configfile \$prefix/grub.cfg
F
cp usr/lib/shim/shimx64.efi.signed "$BOOT/EFI/debian/shimx64.efi"
cp usr/lib/shim/mmx64.efi.signed "$BOOT/EFI/debian/mmx64.efi"
cp usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed "$BOOT/EFI/debian/grubx64.efi"
# Firmware without a boot entry, which is any first boot, looks here.
cp "$BOOT"/EFI/debian/* "$BOOT/EFI/BOOT/"
mv "$BOOT/EFI/BOOT/shimx64.efi" "$BOOT/EFI/BOOT/BOOTX64.EFI"

# Without two features that older GRUBs and e2fscks do not know.
cd /
mkfs.ext4 -q -F -U "$ROOT_UUID" -L root -O ^metadata_csum_seed,^orphan_file \
    -E lazy_itable_init=0,lazy_journal_init=0,nodiscard,root_owner=0:0 -d "$TREE" "$ROOT"
