# Hook of mmdebstrap, once the essential packages are there: what the kernel's own hooks must find when it is installed, so
# that its initramfs knows the file systems. $1 is the tree; ROOT_PARTUUID and ESP_PARTUUID name the partitions to be.
set -e
tree=$1
cat > "$tree/etc/fstab" <<F
PARTUUID=$ROOT_PARTUUID / ext4 rw,discard,errors=remount-ro,x-systemd.growfs 0 1
PARTUUID=$ESP_PARTUUID /boot/efi vfat defaults,umask=0077,nofail 0 2
F
echo localhost > "$tree/etc/hostname"
cat > "$tree/etc/hosts" <<F
127.0.0.1 localhost
::1 localhost ip6-localhost ip6-loopback
ff02::1 ip6-allnodes
ff02::2 ip6-allrouters
F
printf 'do_symlinks = yes\nlink_in_boot = no\ndo_initrd = yes\n' > "$tree/etc/kernel-img.conf"
mkdir -p "$tree/boot/efi" "$tree/boot/grub" "$tree/etc/default/grub.d" "$tree/etc/cloud/cloud.cfg.d"
cat > "$tree/etc/default/grub.d/50_image.cfg" <<F
GRUB_TIMEOUT=0
GRUB_TERMINAL="console serial"
GRUB_DISABLE_OS_PROBER=true
# root=PARTUUID=, as in Debian's own cloud images
GRUB_DISABLE_LINUX_UUID=true
GRUB_DISABLE_LINUX_PARTUUID=false
F
