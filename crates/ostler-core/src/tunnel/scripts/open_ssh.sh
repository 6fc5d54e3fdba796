# Run as root: lets everybody in on a port of SSH, now and after a reboot, by whichever firewall Ostler has set up. $1: port.
set -u
port=$1
if command -v ufw >/dev/null && ufw status | grep -q '^Status: active'; then ufw allow "$port/tcp" comment ostler >/dev/null || exit; fi
# What closes the port whatever the rules say (its name with iptables, and with ufw), and the rules of the module iptables.
for tool in iptables ip6tables; do
  command -v $tool >/dev/null || continue
  for chain in ostler-ssh ostler-containers-ssh; do
    ! $tool -w 10 -n -L $chain >/dev/null 2>&1 || $tool -w 10 -F $chain
  done
  if $tool -w 10 -n -L ostler-input >/dev/null 2>&1; then
    rule="-p tcp -m tcp --dport $port -j ACCEPT"
    $tool -w 10 -C ostler-input $rule 2>/dev/null || $tool -w 10 -I ostler-input $rule
  fi
done
for file in /etc/ostler-iptables/* /etc/ufw/ostler-*; do
  [ ! -f "$file" ] || sed -i -E '/^-A ostler-(containers-)?ssh /d' "$file"
done
for file in /etc/ostler-iptables/rules /etc/ostler-iptables/rules6; do
  [ ! -f "$file" ] || grep -q -- "--dport $port -j ACCEPT" "$file" ||
    sed -i "0,/^-A ostler-input /s//-A ostler-input -p tcp -m tcp --dport $port -j ACCEPT\n&/" "$file"
done
exit 0
