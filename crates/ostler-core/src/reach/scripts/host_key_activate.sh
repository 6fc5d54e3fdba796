# Run as root on the server: puts the new host key into place, lets sshd read it, and returns when sshd shows it. Running
# connections stay.
set -eu
new=/etc/ssh/ostler_host_ed25519_key
key=/etc/ssh/ssh_host_ed25519_key
if test -s $new; then
  ssh-keygen -y -f $new >$key.pub.tmp
  chmod 644 $key.pub.tmp
  mv $new $key
  mv $key.pub.tmp $key.pub
  for other in /etc/ssh/ssh_host_*_key; do
    test $other = $key || rm -f $other $other.pub
  done
  sync
fi
systemctl reload ssh.service 2>/dev/null || systemctl reload sshd.service
want=$(ssh-keygen -y -f $key | cut -d' ' -f2)
for i in $(seq 1 100); do
  case "$(ssh-keyscan -t ed25519 127.0.0.1 2>/dev/null)" in *"$want"*) exit 0 ;; esac
  sleep 0.2
done
echo "sshd still shows the old key after 20 s" >&2
exit 1
