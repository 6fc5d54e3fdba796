# Makes a bare Debian with cloud-init what Hetzner's image is. Runs in its root, before its first boot. Argument: the resolver's address.
set -e
echo "nameserver $1" >/etc/resolv.conf
# As if they had run just now: a job of apt that begins by itself would hold its lock.
mkdir -p /var/lib/systemd/timers
touch /var/lib/systemd/timers/stamp-apt-daily.timer /var/lib/systemd/timers/stamp-apt-daily-upgrade.timer
sed -i 's/^#PermitRootLogin prohibit-password$/PermitRootLogin yes/' /etc/ssh/sshd_config
# A container has no SMBIOS by which the data source Hetzner would recognise its place, and its network is made outside of it.
cat >/etc/cloud/cloud.cfg.d/90-cloud.cfg <<'EOF'
datasource_list: [NoCloud]
datasource: { NoCloud: { seedfrom: "http://169.254.169.254/nocloud/" } }
network: { config: disabled }
growpart: { mode: "off" }
resize_rootfs: false
apt: { preserve_sources_list: true }
disable_root: false
manage_etc_hosts: true
system_info: { default_user: { name: root, lock_passwd: false } }
EOF
