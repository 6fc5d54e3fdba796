# Tries what modules and apps promise, and says which TCP ports somebody else may try. Run as root; `$1`: SSH_CONNECTION.
#   client ADDRESS         where we come from, as this server sees it
#   port PORT              something listens there on more than loopback, or Docker hands it on to a container
#   promise N STATUS WORD  what came of promise N (below, one call of `promise` each)
export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
read -r client _ <<END
$1
END
echo "client $client"
{
  ss -Htln | while read -r _ _ _ here _; do
    case $here in
      127.* | '[::1]:'* | '[::ffff:127.'*) ;;
      *) echo "port ${here##*:}" ;;
    esac
  done
  # Docker publishes ports by rules; a proxy that listens as well is only a setting.
  for tables in iptables ip6tables; do
    "$tables" -w -t nat -S 2>/dev/null | grep -v -e '-d 127\.' -e '-d ::1' |
      sed -n 's/^-A DOCKER.* -p tcp .*--dport \([0-9]*\) .*-j DNAT.*/port \1/p'
  done
} | sort -u
promise() {
  said=$(timeout 20 sh -c "$2" 2>&1 </dev/null)
  status=$?
  [ "$status" != 124 ] || said="it did not end within 20 seconds"
  echo "promise $1 $status $(printf '%s\n' "$said" | sed -n '/[^[:space:]]/h; $ { x; p; }' | cut -c 1-400)"
}
