#!/bin/sh
# Guard of ufw: its files, and what of it the kernel holds. The kernel's rules come back as they were and not as the files would have
# them: files may say something that was never in force.
set -u
verb=$1 saved=$2 mode=${3-live}
. ./files
paths_before_0_2="/etc/default/ufw$newline/var/lib/ostler/ufw.json"
[ ! -e "$saved/etc/ufw/ufw.conf" ] || paths_before_0_2="$paths_before_0_2$newline/etc/ufw"
pruned=/etc/ufw

# The rules of ufw in a dump of the table `filter`: those of its own chains, and the policies. The built-in chains are not emptied.
own_rules() { grep -E '^(\*|COMMIT|:(INPUT|FORWARD|OUTPUT|ufw6?-)|-A ufw6?-)' "$1"; }
jumps() { grep -E '^-A (INPUT|FORWARD|OUTPUT) -j ufw6?-' "$1" | cut -d' ' -f2-; }

loaded() { "$1" -w 10 -S 2>/dev/null | grep -qE -- '-N ufw6?-user-input'; }

each_tool() {
  for tool in iptables ip6tables; do
    ! command -v $tool >/dev/null || "$1" $tool || return
  done
}

save_rules() {
  rules=$($1-save -t filter 2>/dev/null) || return 0
  echo "$rules" >"$saved/rules-$1"
  case $rules in *ufw-user-input* | *ufw6-user-input*) echo >"$saved/loaded-$1" ;; esac
}

# As one transaction, so that no packet meets half of it.
load() {
  own_rules "$saved/rules-$1" | "$1-restore" -w 10 --noflush || return
  jumps "$saved/rules-$1" | while read -r rule; do "$1" -w 10 -C $rule 2>/dev/null || "$1" -w 10 -A $rule; done
}

# Takes ufw's chains out of the way, where ufw itself did not; and puts the policies back.
unload() {
  "$1" -w 10 -S 2>/dev/null | grep -E '^-A (INPUT|FORWARD|OUTPUT) -j ufw6?-' | cut -d' ' -f2- | while read -r rule; do
    "$1" -w 10 -D $rule
  done
  # Where there was no iptables, there were no policies either.
  {
    printf '%s\n' "-P INPUT ACCEPT" "-P FORWARD ACCEPT" "-P OUTPUT ACCEPT"
    cat "$saved/policies-$1"
    sed -nE 's/^:(INPUT|FORWARD|OUTPUT) ([A-Z]+) .*/-P \1 \2/p' "$saved/rules-$1"
  } 2>/dev/null | tac | sort -u -k2,2 | while read -r _ chain target; do "$1" -w 10 -P "$chain" "$target"; done
}

restore_rules() {
  if [ -e "$saved/loaded-$1" ]; then load "$1" || open "$1"; else unload "$1"; fi
}

# If all else fails, SSH is let in.
open() {
  for port in $(cut -d' ' -f2 "$saved/../ssh/reached" 2>/dev/null | sort -u); do
    "$1" -w 10 -C INPUT -p tcp --dport "$port" -j ACCEPT 2>/dev/null || "$1" -w 10 -I INPUT -p tcp --dport "$port" -j ACCEPT
  done
}

was_loaded() { [ -e "$saved/loaded-iptables" ] || [ -e "$saved/loaded-ip6tables" ] || [ -e "$saved/ufw-active" ]; }

restore() {
  # Takes the rules for containers' ports out of the kernel; whatever was saved brings its own.
  [ "$mode" = files ] || [ ! -x /etc/ufw/ostler-containers ] || timeout 20 /etc/ufw/ostler-containers stop
  restore_paths || return
  if [ ! -e "$saved/etc/ufw/ufw.conf" ] && [ -e /etc/ufw/ufw.conf ]; then sed -i 's/^ENABLED=.*/ENABLED=no/' /etc/ufw/ufw.conf; fi
  [ "$mode" = live ] || return 0
  command -v ufw >/dev/null || return 0
  if ! was_loaded; then
    # `disable` does nothing if the file says so already.
    if loaded iptables || loaded ip6tables; then
      conf=$(cat /etc/ufw/ufw.conf)
      sed -i 's/^ENABLED=.*/ENABLED=yes/' /etc/ufw/ufw.conf && timeout 60 ufw --force disable
      echo "$conf" 1<>/etc/ufw/ufw.conf
    fi
  elif [ -e "$saved/ufw-active" ]; then
    # Ostler 0.1 kept no rules.
    timeout 60 ufw --force enable && timeout 60 ufw reload
    return
  fi
  each_tool restore_rules
  # Those of containers come with the saved files.
  ! was_loaded || [ ! -x /etc/ufw/ostler-containers ] || timeout 20 /etc/ufw/ostler-containers start
}

case $verb in
save)
  # Where ufw comes with the run, its package stays. Other packages leave files in /etc/ufw too.
  [ ! -e /etc/ufw/ufw.conf ] || save_paths /etc/ufw /etc/default/ufw || exit
  save_paths /var/lib/ostler/ufw.json || exit
  each_tool save_rules
  ;;
restore) restore ;;
esac
