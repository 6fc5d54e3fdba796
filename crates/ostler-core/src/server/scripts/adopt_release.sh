# Run as root on a server that Ostler leaves: takes out Ostler's own key ($1: user, $2: the key without its type) and the
# unit that guards changes of SSH and firewall. Everything else stays as it is.
set -u
home=$(getent passwd "$1" | cut -d: -f6)
keys=$home/.ssh/authorized_keys
if [ -f "$keys" ] && grep -qF "$2" "$keys"; then
  new=$(mktemp "$keys.XXXXXX")
  grep -vF "$2" "$keys" >"$new"
  chown --reference="$keys" "$new" && chmod --reference="$keys" "$new" && mv "$new" "$keys"
fi
systemctl -q disable --now ostler-rollback.service 2>/dev/null
rm -f /etc/systemd/system/ostler-rollback.service
rm -rf /var/lib/ostler/rollback /etc/.ostler-rollback
systemctl daemon-reload
exit 0
