# Run as root on a server that takes no new connection of ours: says what counts or bans connections from address $1, as `SECONDS
# WORDS` with how long that may last. It asks, and lifts only a ban of fail2ban, for we are who we say.
if command -v fail2ban-client >/dev/null && fail2ban-client banned "$1" 2>/dev/null | grep -q "'"; then
  jails=$(fail2ban-client banned "$1" | tr -d "[]'\n")
  fail2ban-client unban "$1" >/dev/null 2>&1 && echo "75 fail2ban had banned us ($jails) and has lifted the ban" && exit 0
fi
said=$(journalctl -q --no-pager -o cat -n 500 -S -1min _COMM=sshd 2>/dev/null | grep 'drop connection' | grep -F "[$1]" | tail -n 1)
[ -n "$said" ] && echo "660 sshd says: $said" && exit 0
for list in /proc/net/xt_recent/* /proc/net/ipt_hashlimit/*; do
  grep -qsF "$1" "$list" && echo "75 a firewall rule counts new connections (${list##*/} of ${list%/*}), as \`ufw limit\` does" && exit 0
done
rule=$(nft list ruleset 2>/dev/null | grep -E 'dport|ct state' | grep -E 'limit rate|ct count|meter|(add|update) @' | grep -v ' log ' | head -n 1)
[ -n "$rule" ] && echo "75 a firewall rule counts new connections: $rule" | tr -s ' \t' ' ' && exit 0
rule=$(iptables-save 2>/dev/null | grep -E -- '-m (connlimit|hashlimit)' | head -n 1)
[ -n "$rule" ] && echo "75 a firewall rule counts new connections: $rule"
exit 0
