#!/bin/sh
# Puts the settings of SSH and firewall back that a server had before Ostler changed them, unless Ostler confirms the new ones.
# /var/lib/ostler/rollback/rollback, called by ostler-rollback.service and by Ostler:
#   arm SECONDS CLIENT   saves the settings, if that is not done already, and sets the time
#   extend SECONDS       sets the time anew
#   disarm               the new settings stay
#   now                  puts the old ones back
#   boot                 puts the old ones back if the machine was restarted in between
#   watch                waits for the time
# Exit status 3: nothing is armed (any more).
set -u
umask 077
dir=/var/lib/ostler/rollback
cd "$dir" || exit 1
exec 9>lock

# Only what the shell does by itself: this is asked again and again, on slow servers too.
look_at_clock() {
  read -r up _ </proc/uptime
  up=${up%%.*}
  read -r this_boot </proc/sys/kernel/random/boot_id
}

set_time() {
  look_at_clock
  line="$this_boot $((up + $1))"
  { echo "$line" >armed.new && sync armed.new; } 2>/dev/null && mv armed.new armed && return
  # A full disk is no reason to let the clock run out: the space that the file has is enough.
  rm -f armed.new
  [ -s armed ] && echo "$line" 1<>armed && sync armed
}

save() {
  rm -rf saved.new
  mkdir saved.new
  for path in etc/ssh etc/ufw etc/default/ufw var/lib/ostler/ufw.json; do
    [ -e "/$path" ] || continue
    # Half a copy must never be put back.
    mkdir -p "saved.new/$(dirname "$path")" && cp -a "/$path" "saved.new/$path" || return
  done
  # Host keys are no setting, and copies of them are one too many.
  rm -f saved.new/etc/ssh/ssh_host_*
  for unit in ssh.service ssh.socket; do
    for state in $(systemctl show --property=UnitFileState,ActiveState --value "$unit"); do
      case $state in
      enabled*) touch "saved.new/enabled-$unit" ;;
      active | reloading) touch "saved.new/active-$unit" ;;
      esac
    done
  done
  for tool in iptables ip6tables; do
    rules=$(command -v $tool >/dev/null && $tool -S 2>/dev/null) || continue
    echo "$rules" | grep '^-P ' >"saved.new/policies-$tool"
    # What `ufw status` goes by; itself it takes a hundred times as long.
    case $rules in *"-N ufw-user-input"*) touch saved.new/ufw-active ;; esac
  done
  echo "$1" >saved.new/client
  sync -f /etc /var/lib/ostler
  rm -rf saved
  mv saved.new saved
}

# The old files; what has come since goes.
restore_files() {
  rm -rf /etc/ssh/sshd_config.d /etc/ssh/sshd_config
  cp -a saved/etc/ssh/. /etc/ssh/
  # What the module keeps in mind of the firewall.
  rm -f /var/lib/ostler/ufw.json
  [ -e saved/var/lib/ostler/ufw.json ] && cp -a saved/var/lib/ostler/ufw.json /var/lib/ostler/
  # Other packages leave files in /etc/ufw too.
  if [ -e saved/etc/ufw/ufw.conf ]; then
    rm -rf /etc/ufw
    cp -a saved/etc/ufw /etc/ufw
    cp -a saved/etc/default/ufw /etc/default/ufw
  elif [ -e /etc/ufw/ufw.conf ]; then
    sed -i 's/^ENABLED=.*/ENABLED=no/' /etc/ufw/ufw.conf
  fi
  sync -f /etc /var/lib/ostler
}

restore_firewall() {
  command -v ufw >/dev/null || return 0
  if [ -e saved/ufw-active ]; then
    ufw --force enable && ufw reload
    return
  fi
  # `disable` does nothing if the restored file says so already.
  [ -e /etc/ufw/ufw.conf ] && sed -i 's/^ENABLED=.*/ENABLED=yes/' /etc/ufw/ufw.conf
  ufw --force disable
  for tool in iptables ip6tables; do
    [ -s "saved/policies-$tool" ] || continue
    while read -r _ chain target; do $tool -P "$chain" "$target"; done <"saved/policies-$tool"
  done
}

restore_units() {
  for unit in ssh.service ssh.socket; do
    verb=disable
    [ -e "saved/enabled-$unit" ] && verb=enable
    systemctl -q --no-reload $verb "$unit"
  done
}

restart_sshd() {
  systemctl daemon-reload
  systemctl reset-failed ssh.service ssh.socket 2>/dev/null
  if [ -e saved/active-ssh.socket ]; then
    systemctl stop ssh.service
    systemctl restart ssh.socket
  else
    systemctl restart ssh.service
  fi
}

# What our own probes may have earned.
lift_bans() {
  client=$(cat saved/client)
  command -v fail2ban-client >/dev/null && [ -n "$client" ] && fail2ban-client unban "$client"
}

# $1: why. $2: `files` where nothing runs yet.
restore() {
  mv armed restoring || exit 3
  # Takes the rules for containers' ports out of the kernel; whatever was saved brings its own.
  [ "${2-}" != files ] && [ -x /etc/ufw/ostler-containers ] && /etc/ufw/ostler-containers stop
  restore_files
  restore_units
  if [ "${2-}" != files ]; then
    restore_firewall
    restart_sshd
    lift_bans
  fi
  echo "$(date -u +%Y-%m-%dT%H:%M:%SZ) $1" >rolled-back
  rm -f restoring
} >>log 2>&1

locked() { flock 9 || exit 1; }

is_of_this_boot() { look_at_clock && read -r boot deadline <armed && [ "$boot" = "$this_boot" ]; }

is_due() { is_of_this_boot 2>/dev/null && [ "$up" -ge "$deadline" ]; }

case $1 in
arm)
  locked
  # What an interrupted run left armed is older than what is there now, and the last that was confirmed.
  [ -e armed ] || save "$3" || exit 1
  set_time "$2"
  ;;
extend)
  locked
  [ -e armed ] || exit 3
  set_time "$2"
  ;;
disarm)
  locked
  mv armed disarmed 2>/dev/null || exit 3
  rm -rf saved disarmed
  ;;
now)
  locked
  [ -e armed ] || exit 3
  restore "on request"
  ;;
boot)
  locked
  # A restore that was cut off is begun again.
  [ -e restoring ] && mv restoring armed
  [ -e armed ] || exit 0
  is_of_this_boot || restore "the server was restarted before the new settings were confirmed" files
  ;;
watch)
  while [ -e armed ]; do
    if is_due; then
      locked
      # Somebody may have set the clock anew, or stopped it, just now.
      is_due && restore "nobody confirmed the new settings in time"
      flock -u 9
    fi
    sleep 2
  done
  ;;
esac
