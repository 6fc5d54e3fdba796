# Hook of mmdebstrap, once all packages are there; $1 is the tree.
cd "$1"
# /sys is the machine's own: a target must not play back its devices' events.
for unit in systemd-udevd.service systemd-udev-trigger.service systemd-udevd-kernel.socket systemd-udevd-control.socket; do
    ln -sf /dev/null "etc/systemd/system/$unit"
done
# There are no modules of this machine's kernel in there.
mkdir -p etc/systemd/system/systemd-modules-load.service.d
printf '[Service]\nExecStart=\nExecStart=-/usr/lib/systemd/systemd-modules-load\n' \
    >etc/systemd/system/systemd-modules-load.service.d/no-modules.conf
# The package index is empty, and must look it: Ansible goes by this date.
touch -d @0 var/lib/apt/lists
# Each target makes its own.
rm -f etc/ssh/ssh_host_*
: >etc/machine-id
