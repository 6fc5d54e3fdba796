# Run as root on a server before anything is changed: what sshd's files on the disk would mean if they came into force now, which a reload
# would do. $1: `CLIENT ADDRESS PORT` of this connection, $2: the account of this connection, $3: the target user, $4: Ostler's public key
# without its type, or nothing. Writes lines that begin with what they are; changes nothing.
set -u
account=$2 target=$3 key=${4-}
set -- $1
client=${1-} address=${2-} port=${3-}
sshd=/usr/sbin/sshd
main=/etc/ssh/sshd_config
[ -x $sshd ] && [ -n "$port" ] || exit 0
[ -d /run/sshd ] || mkdir -p /run/sshd
options=$(sed -n "s/^[[:space:]]*SSHD_OPTS=//p" /etc/default/ssh 2>/dev/null | tail -n 1 | tr -d "\"'")
# What is being put back is judged once it is there.
tries=40
while [ -e /var/lib/ostler/rollback/restoring ] && [ $tries -gt 0 ]; do
  tries=$((tries - 1))
  sleep 0.5
done
echo "connection $client $address $port"
# A run that was cut off left it; its own port may be pending.
[ ! -e /var/lib/ostler/rollback/armed ] || echo armed

# $1: a file of the configuration, $2: how deep it is included.
files() {
  [ -f "$1" ] && [ "$2" -lt 16 ] || return
  echo "$1"
  for pattern in $(sed -nE 's/^[[:space:]]*[Ii][Nn][Cc][Ll][Uu][Dd][Ee]([[:space:]]*=[[:space:]]*|[[:space:]]+)//p' "$1" | tr -d '"'); do
    case $pattern in /*) ;; *) pattern=/etc/ssh/$pattern ;; esac
    for file in $pattern; do (files "$file" $(($2 + 1))); done
  done
}
files=$(files $main 0)

if ! words=$(timeout 20 $sshd -t $options 2>&1); then
  echo "$words" | head -n 12 | sed 's/^/refused /'
  exit 0
fi

# Files that were written after sshd last read them.
read_at=$(systemctl show --timestamp=unix -p ActiveEnterTimestamp -p ExecReload ssh.service 2>/dev/null |
  grep -oE '(ActiveEnterTimestamp=|start_time=\[)@[0-9]+' | grep -oE '[0-9]+$' | sort -n | tail -n 1)
for file in $files; do
  [ "$(stat -L -c %Z "$file")" -le "${read_at:-0}" ] || echo "newer $file"
done
words='(allow|deny)(users|groups)|permitrootlogin|pubkey[a-z]*|authenticationmethods|authorizedkeys[a-z]*|forcecommand|chrootdirectory|refuseconnection|usepam|listenaddress|port|addressfamily|hostkey|match'
grep -HniE "^[[:space:]]*($words)[[:space:]=]" $files | sed 's/^/line /'
if systemctl -q is-active ssh.socket 2>/dev/null; then echo socket; fi

home_of() { getent passwd "$1" | cut -d: -f6; }
groups_of() { id -Gn "$1" 2>/dev/null || echo "$1 sudo"; }

# Whether a file that $2 names for user $1 holds our key.
holds_key() {
  home=$(home_of "$1")
  for file in $2; do
    file=$(echo "$file" | sed "s|%%|%|g; s|%h|$home|g; s|%u|$1|g; s|%U|$(id -u "$1" 2>/dev/null)|g")
    case $file in /*) ;; *) file=$home/$file ;; esac
    ! grep -qF -- "$key" "$file" 2>/dev/null || return 0
  done
  return 1
}

for user in $(printf '%s\n' "$account" "$target" | sort -u); do
  echo "user $user"
  echo "groups $(groups_of "$user")"
  settings=$(timeout 20 $sshd -T $options -C "user=$user,host=$client,addr=$client,laddr=$address,lport=$port" 2>/dev/null)
  echo "$settings" | grep -E "^($words) " | sed 's/^/set /'
  if [ -n "$key" ] && id "$user" >/dev/null 2>&1; then
    if holds_key "$user" "$(echo "$settings" | sed -n 's/^authorizedkeysfile //p')"; then echo "key found"; else echo "key missing"; fi
  fi
  case "$(passwd -S "$user" 2>/dev/null)" in "$user L"*) echo locked ;; esac
done
# sshd goes by the private half; only where it can't be read, as one in an agent, by the public one.
$sshd -T $options 2>/dev/null | sed -n 's/^hostkey //p' | while read -r file; do
  { ssh-keygen -y -P '' -f "$file" </dev/null 2>/dev/null || cat "$file.pub" 2>/dev/null; } | cut -d' ' -f1,2 | sed 's/^/hostkey /'
done
exit 0
