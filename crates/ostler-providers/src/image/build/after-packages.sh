# Hook of mmdebstrap, once all packages are there: boot loader, services, cloud-init, sources. $1 is the tree; ROOT_UUID and
# ROOT_PARTUUID name the root file system to be, SOURCES is apt's debian.sources.
set -e
tree=$1

# The real update-grub with a stand-in for grub-probe: there is no block device yet. Empty hints are what the real one says
# for virtio disks, too.
probe=$tree/usr/sbin/grub-probe
mv "$probe" "$probe.real"
cat > "$probe" <<F
#!/bin/sh
t=fs
while [ \$# -gt 0 ]; do
    case "\$1" in -t) t=\$2; shift ;; --target=*) t=\${1#*=} ;; --target) t=\$2; shift ;; esac
    shift
done
case "\$t" in
    device) echo /dev/vda1 ;;
    disk) echo /dev/vda ;;
    drive) echo "(hd0,gpt1)" ;;
    fs) echo ext2 ;;
    fs_uuid) echo $ROOT_UUID ;;
    partuuid) echo $ROOT_PARTUUID ;;
    partmap) echo gpt ;;
esac
F
chmod 755 "$probe"
mkdir -p "$tree/dev/disk/by-uuid" "$tree/dev/disk/by-partuuid"
: > "$tree/dev/disk/by-uuid/$ROOT_UUID"
: > "$tree/dev/disk/by-partuuid/$ROOT_PARTUUID"
for platform in i386-pc x86_64-efi; do
    mkdir -p "$tree/boot/grub/$platform"
    cp "$tree/usr/lib/grub/$platform"/*.mod "$tree/usr/lib/grub/$platform"/*.lst "$tree/boot/grub/$platform/"
done
mkdir -p "$tree/boot/grub/fonts"
cp "$tree/usr/lib/grub/i386-pc/boot.img" "$tree/boot/grub/i386-pc/"
cp "$tree/usr/share/grub/unicode.pf2" "$tree/boot/grub/fonts/"
chroot "$tree" grub-editenv /boot/grub/grubenv create
chroot "$tree" grub-mkimage -O i386-pc -p '(,gpt1)/boot/grub' -o /boot/grub/i386-pc/core.img \
    biosdisk part_gpt ext2 search_fs_uuid
chroot "$tree" update-grub
rm -rf "$tree/dev/disk"
mv "$probe.real" "$probe"
# From now on grub-cloud-amd64 itself reinstalls GRUB when GRUB or the shim are upgraded in the guest.
: > "$tree/etc/grub.d/enable_cloud"

rm -f "$tree"/etc/ssh/ssh_host_*
chroot "$tree" systemctl enable systemd-networkd systemd-resolved systemd-timesyncd ssh
# mmdebstrap owns resolv.conf for now; this one takes its place when the tree is unpacked.
ln -sf ../run/systemd/resolve/stub-resolv.conf "$tree/etc/resolv.conf.new"
chroot "$tree" passwd -l root

# - Exactly [X, None], or ds-identify switches cloud-init off without a seed: no host keys, no growing of the disk.
# - manage_etc_hosts, or `hostname -f` is short.
# - cloud-init would replace the sources below with its own.
cat > "$tree/etc/cloud/cloud.cfg.d/90_image.cfg" <<F
datasource_list: [ NoCloud, None ]
manage_etc_hosts: true
apt: { preserve_sources_list: true }
F
rm -f "$tree/etc/apt/sources.list" "$tree"/etc/apt/sources.list.d/*
printf '%s' "$SOURCES" > "$tree/etc/apt/sources.list.d/debian.sources"
