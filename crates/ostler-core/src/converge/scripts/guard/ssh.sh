#!/bin/sh
# Guard of sshd: what was reachable when it was armed is reachable after a roll-back. A daemon that is as it was is left alone; one whose
# configuration is refused stays; and where nothing that the server has brings it back, an sshd of our own listens.
set -u
verb=$1 saved=$2 mode=${3-live}
. ./files
sshd=/usr/sbin/sshd
main=/etc/ssh/sshd_config
own=ostler-sshd.service
paths_before_0_2=/etc/ssh
pruned=/etc/ssh/sshd_config.d
# There from the first change that the daemon must be told of, also if we are killed in between.
mark=/run/ostler-rollback-ssh

changing() { [ "$mode" = files ] || echo >$mark; }

ctl() { timeout 40 systemctl -q "$@"; }

# The options that its unit starts it with.
options() { sed -n "s/^[[:space:]]*SSHD_OPTS=//p" /etc/default/ssh 2>/dev/null | tail -n 1 | tr -d "\"'"; }

checked() {
  mkdir -p /run/sshd
  timeout 20 "$sshd" -t $(options) "$@"
}

# The configuration's files outside /etc/ssh: what it includes, and where links lead to. $1: a file; $2: how deep it is.
outside() {
  [ -f "$1" ] && [ "$2" -lt 16 ] || return
  real=$(readlink -f "$1")
  case $real in /etc/ssh/*) ;; *) echo "$real" ;; esac
  for pattern in $(sed -nE 's/^[[:space:]]*[Ii][Nn][Cc][Ll][Uu][Dd][Ee]([[:space:]]*=[[:space:]]*|[[:space:]]+)//p' "$1" | tr -d '"'); do
    case $pattern in /*) ;; *) pattern=/etc/ssh/$pattern ;; esac
    for file in $pattern; do (outside "$file" $(($2 + 1))); done
  done
}

# A folder of drop-ins that lies elsewhere: what is new in there goes as well.
drop_ins_elsewhere() {
  [ ! -L /etc/ssh/sshd_config.d ] || readlink -f /etc/ssh/sshd_config.d
}

# `ADDRESS PORT` of each place where sshd listens, or systemd for it.
listeners() {
  sockets=" $(systemctl show -P Listen ssh.socket 2>/dev/null | sed -nE 's/^(.*[^0-9])?([0-9]+) \(Stream\).*/\2/p' | tr '\n' ' ')"
  ss -Hltnp 2>/dev/null | awk -v sockets="$sockets" '{
    port = address = $4; sub(/.*:/, "", port); sub(/:[0-9]+$/, "", address); gsub(/[][]/, "", address)
    if (address ~ /\./) sub(/%.*/, "", address)
    if (!/"sshd"/ && !(/"systemd",pid=1,/ && index(sockets, " " port " "))) next
    if (address == "*") { print "0.0.0.0", port; address = "::" }
    print address, port
  }' | sort -u
}

# Whether sshd says who it is at this address and port of ours.
answers() {
  case $1 in 0.0.0.0) to=127.0.0.1 ;; ::) to=::1 ;; *) to=$1 ;; esac
  timeout 6 bash -c 'exec 3<>"/dev/tcp/$1/$2" && read -r -t 5 line <&3 && [ "${line#SSH-}" != "$line" ]' bash "$to" "$2" 2>/dev/null
}

is_listening() {
  command -v ss >/dev/null || return 0
  listeners | awk -v a="$1" -v p="$2" '$2 == p && ($1 == a || $1 == (a ~ /:/ ? "::" : "0.0.0.0")) { found = 1 } END { exit !found }'
}

# Where it was reached. Ostler 0.1 did not note it: then wherever it listens now.
reached() {
  if [ -e "$saved/reached" ]; then cat "$saved/reached"; else listeners | sed 's/$/ yes/' | head -n 1 | grep . || echo none 0 no; fi
}

reached_ports() { cut -d' ' -f2 "$saved/reached" 2>/dev/null | sort -u; }

# Whether all that was reached is, within $1 seconds.
is_reached() {
  tries=$(($1 * 2))
  until all_reached; do
    [ $tries -gt 0 ] || return 1
    tries=$((tries - 1))
    sleep 0.5
  done
}

# An address that the machine has no longer is nobody's fault.
all_reached() {
  reached | {
    none=yes
    while read -r address port greets; do
      is_ours "$address" || continue
      none=
      is_listening "$address" "$port" || exit 1
      [ "$greets" = no ] || answers "$address" "$port" || exit 1
    done
    [ -z "$none" ] || is_answering
  }
}

is_ours() {
  case $1 in 0.0.0.0 | :: | none) return ;; esac
  ! command -v ip >/dev/null || ip -o address show | grep -qF " ${1%%\%*}/"
}

# Whether the server's sshd answers anywhere, be it elsewhere than before.
is_answering() {
  listeners | { while read -r at number; do ! answers "$at" "$number" || exit 0; done; exit 1; }
}

save() {
  rm -f $mark
  hand_back
  set -f
  save_paths /etc/ssh /etc/ssh/sshd_not_to_be_run /etc/default/ssh /etc/pam.d/sshd /etc/security/access.conf /etc/hosts.allow /etc/hosts.deny \
    /etc/systemd/system/ssh.service /etc/systemd/system/ssh.service.d /etc/systemd/system/ssh.socket /etc/systemd/system/ssh.socket.d \
    /etc/systemd/system/sshd.service /etc/systemd/system/sshd.service.d || return
  set +f
  # Host keys are no setting, and copies of them are one too many.
  rm -f "$saved"/etc/ssh/ssh_host_*
  elsewhere=$(outside $main 0 | sort -u; drop_ins_elsewhere)
  IFS=$newline
  save_paths $elsewhere || return
  unset IFS
  drop_ins_elsewhere >"$saved/pruned"
  for unit in ssh.service ssh.socket; do
    for state in $(systemctl show --property=UnitFileState,ActiveState --value "$unit"); do
      case $state in
      enabled* | masked*) echo >"$saved/${state%-runtime}-$unit" ;;
      active | reloading) echo >"$saved/active-$unit" ;;
      esac
    done
  done
  # From where to where we came is reached, whatever else is.
  { listeners; [ -z "$port" ] || is_listening "$address" "$port" || echo "$address $port"; } | while read -r at number; do
    if answers "$at" "$number"; then greets=yes; else greets=no; fi
    echo "$at $number $greets"
  done >"$saved/reached"
  save_effective
  save_minimal
}

# Lines of sshd_config that make it listen at these `ADDRESS PORT`s.
listen() {
  echo "$1" | sed -nE 's/^([^ ]*:[^ ]*) ([0-9]+).*/ListenAddress [\1]:\2/p; s/^([^: ]+) ([0-9]+).*/ListenAddress \1:\2/p'
}

# What `sshd -T` makes of the configuration, and what holds beyond that for the user and the address that Ostler comes by.
save_effective() {
  mkdir -p /run/sshd
  effective=$(timeout 20 "$sshd" -T $(options) 2>/dev/null | grep -vE '^(port|listenaddress|pidfile) ') && [ -n "$effective" ] || return 0
  {
    echo "PidFile none"
    echo "$effective"
    if [ -n "$user$client" ]; then
      echo "Match User $user Address $client"
      timeout 20 "$sshd" -T $(options) -C "user=$user,host=$client,addr=$client,laddr=$address,lport=$port" 2>/dev/null |
        grep -vE '^(port|listenaddress|pidfile) ' | while IFS= read -r line; do
        case "$newline$effective$newline" in *"$newline$line$newline"*) ;; *) echo "$line" ;; esac
      done
    fi
  } >"$saved/effective"
  checked -f "$saved/effective" 2>/dev/null || rm -f "$saved/effective"
}

# The last way in: the key that Ostler came with, where it came to.
save_minimal() {
  {
    echo "PidFile none"
    [ -z "$user" ] || echo "AllowUsers $user"
    printf '%s\n' "PasswordAuthentication no" "KbdInteractiveAuthentication no" "PermitRootLogin prohibit-password" "UsePAM yes" \
      "Subsystem sftp internal-sftp"
    if [ -e "$saved/effective" ]; then
      grep -E '^(hostkey|authorizedkeysfile|authorizedkeyscommand|authorizedkeyscommanduser) ' "$saved/effective"
    else
      cat $main /etc/ssh/sshd_config.d/*.conf 2>/dev/null | awk '
        tolower($1) == "match" { exit }
        tolower($1) ~ /^(hostkey|authorizedkeysfile|authorizedkeyscommand|authorizedkeyscommanduser)$/'
    fi
  } >"$saved/minimal"
}

restore_units() {
  # A mask's file has gone already, but for those in /run.
  [ "$mode" = files ] || [ ! -e $mark ] || ctl daemon-reload
  for unit in ssh.service ssh.socket; do
    state=$(systemctl show -P UnitFileState "$unit")
    case $state in
    masked*)
      [ ! -e "$saved/masked-$unit" ] || continue
      changing
      ctl --no-reload unmask "$unit"
      ctl --no-reload --runtime unmask "$unit"
      ;;
    esac
    if [ -e "$saved/enabled-$unit" ]; then verb=enable; else verb=disable; fi
    case $verb-$state in
    enable-enabled* | disable-disabled* | disable-masked* | disable-static | disable-) ;;
    *) changing; ctl --no-reload $verb "$unit" ;;
    esac
  done
}

# Whether the units run that ran.
runs_as_before() {
  for unit in ssh.service ssh.socket; do
    [ -e "$saved/active-$unit" ] || continue
    ctl is-active "$unit" || return
  done
}

# A reload first: it never leaves the server without a daemon. With a socket either unit may only run without the other.
bring_back() {
  # While one of ours holds the port, the server's own can't start, and its unit takes /run/sshd away from both as it fails.
  if ctl is-active $own; then ctl stop $own; fi
  ctl reset-failed ssh.service ssh.socket 2>/dev/null
  if [ -e "$saved/active-ssh.socket" ]; then
    ctl stop ssh.service
    ctl restart ssh.socket && is_reached 5 && return
    ctl stop ssh.socket
    ctl restart ssh.service
  else
    if ctl is-active ssh.socket; then ctl stop ssh.socket ssh.service; fi
    if ctl is-active ssh.service; then
      ctl reload ssh.service && sleep 1 && is_reached 5 && return
    fi
    ctl restart ssh.service
  fi
  is_reached 5
}

# An sshd beside the server's own, with the configuration in $1, until the server's own is back or the machine is restarted.
start_own() {
  [ -s "$1" ] || return
  mkdir -p /run/sshd /run/ostler-sshd
  config=$(cat "$1")
  before=$(cat "$saved/reached" 2>/dev/null)
  for number in $(reached_ports); do elsewhere=$(echo "$elsewhere" | grep -v " $number\$"); done
  printf '%s\n' "$(listen "$before")" "$(listen "$elsewhere")" "$config" >/run/ostler-sshd/config
  checked -f /run/ostler-sshd/config || return
  echo "starting an sshd with ${1##*/} settings"
  ctl stop $own 2>/dev/null
  ctl reset-failed $own 2>/dev/null
  timeout 40 systemd-run -q --collect --unit=$own -p KillMode=process -p Restart=on-failure -p RestartSec=2 -p OOMScoreAdjust=-900 \
    "$sshd" -D -f /run/ostler-sshd/config 9>&- || "$sshd" -f /run/ostler-sshd/config 9>&-
  is_reached 8
}

# Gives the place back to the server's own sshd, if that then listens where we have come to.
hand_back() {
  ctl is-active $own && checked 2>/dev/null || return 0
  ctl stop $own
  if ctl is-enabled ssh.socket; then ctl restart ssh.socket; else ctl restart ssh.service; fi
  sleep 1
  ! is_listening "$address" "$port" || return 0
  ctl stop ssh.socket ssh.service
  elsewhere=
  start_own /run/ostler-sshd/config
}

restore() {
  [ ! -s "$saved/pruned" ] || pruned="$pruned$newline$(cat "$saved/pruned")"
  restore_paths
  status=$?
  restore_units
  return $status
}

# What was reachable is: by the daemon as it is, or by the next that can be had.
verify() {
  # Where nothing can be had back, it goes on where it is.
  elsewhere=$(listeners)
  if [ ! -e $mark ] && runs_as_before && is_reached 1; then return; fi
  ctl daemon-reload
  if checked; then
    if bring_back; then rm -f $mark; return; fi
  else
    echo "sshd refuses its configuration, so the daemon that runs stays"
    is_reached 1 && return
  fi
  # What holds the port, and does not answer or only to others, must let it go; what listens elsewhere stays.
  ctl stop ssh.socket
  for number in $(reached_ports); do
    if listeners | grep -q " $number\$"; then ctl stop ssh.service; fi
  done
  start_own "$saved/effective" || start_own "$saved/minimal"
}

case $verb in
save)
  client=${3-} address=${4-} port=${5-} user=${6-}
  save
  ;;
restore) restore ;;
verify) verify ;;
esac
