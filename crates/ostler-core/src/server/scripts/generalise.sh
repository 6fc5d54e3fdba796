# Run as root on a server that becomes a template ($1: its account): takes out all that makes it this one server, so that each clone is one
# of its own. Packages, units and their configuration stay. Nothing may be written after it: the power is taken away when it has ended.
set -eu
user=$1
quietly() { "$@" >/dev/null 2>&1 || true; }

if [ -e /etc/ostler/passwords ]; then
  echo "there are passwords in /etc/ostler/passwords: an app that makes some can't be part of a template" >&2
  exit 1
fi

# Whoever would write meanwhile.
quietly systemctl stop apt-daily.timer apt-daily-upgrade.timer apt-daily.service apt-daily-upgrade.service unattended-upgrades.service
quietly systemctl stop cron.service fail2ban.service systemd-timesyncd.service chrony.service
quietly systemctl disable --now ostler-rollback.service
rm -rf /etc/systemd/system/ostler-rollback.service /var/lib/ostler/rollback /etc/.ostler-rollback
apt-get -q clean >/dev/null

# Accounts, and who logged in. It is the account of the very session; who is logged in stays so.
rm -f /etc/sudoers.d/90-cloud-init-users "/etc/sudoers.d/90-ostler-$user" "/etc/sudoers.d/zz-ostler-$(echo "$user" | tr . _)"
home=$(getent passwd "$user" | cut -d: -f6)
if [ -n "$home" ]; then
  quietly userdel -f "$user"
  rm -rf "$home" "/var/mail/$user" "/var/lib/systemd/linger/$user"
fi
if getent passwd "$user" >/dev/null; then
  echo "the account $user could not be removed" >&2
  exit 1
fi
rm -f /etc/passwd- /etc/shadow- /etc/group- /etc/gshadow- /etc/subuid- /etc/subgid-
rm -rf /root/.ssh /root/.ansible /root/.cache /root/.bash_history /var/lib/sudo/lectured /var/lib/fail2ban/fail2ban.sqlite3
rm -f /var/lib/wtmpdb/wtmp.db /var/lib/lastlog/lastlog2.db

# Keys and ids. The file of the machine's id stays, empty: without it systemd would take the next boot for the first of all, and
# switch units as it pleases (machine-id(5)).
rm -f /etc/ssh/ssh_host_* /etc/ssh/ostler_host_*
rm -f /var/lib/systemd/random-seed /var/lib/systemd/credential.secret
[ -L /var/lib/dbus/machine-id ] || rm -f /var/lib/dbus/machine-id
if command -v cloud-init >/dev/null; then
  cloud-init clean --logs --seed >/dev/null
fi

# Names and addresses.
echo localhost >/etc/hostname
sed -i '/^127\.0\.1\.1[[:space:]]/d' /etc/hosts
rm -f /etc/netplan/50-cloud-init.yaml /etc/network/interfaces.d/50-cloud-init /etc/systemd/network/*cloud-init*
rm -f /var/lib/dhcp/* /var/lib/systemd/timesync/clock
quietly find /tmp /var/tmp -xdev -mindepth 1 -delete

# Logs, which their services want to find there. The journal comes last, for all of this is in it.
quietly systemctl stop rsyslog.service syslog.socket
rm -f /var/log/ansible.log*
find /var/log -xdev -type f \( -name '*.gz' -o -name '*.xz' -o -name '*.[0-9]' -o -name '*.old' \) -delete
find /var/log -xdev -type f ! -path '/var/log/journal/*' -exec truncate -s 0 {} +
quietly systemctl stop systemd-journald.socket systemd-journald-dev-log.socket systemd-journald-audit.socket systemd-journald.service
[ ! -d /var/log/journal ] || find /var/log/journal -xdev -mindepth 1 -delete
: >/etc/machine-id

# What is deleted shall not be on the disk either.
sync
quietly fstrim /
sync
