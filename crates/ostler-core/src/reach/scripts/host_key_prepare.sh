# Run as root on the server: makes the new host key beside the old one, once, where it survives a crash of ours; prints its
# public half.
set -eu
new=/etc/ssh/ostler_host_ed25519_key
if ! test -s $new; then
  rm -f $new.tmp $new.tmp.pub
  ssh-keygen -q -t ed25519 -N '' -C "root@$(hostname)" -f $new.tmp
  sync
  mv $new.tmp $new
  rm -f $new.tmp.pub
fi
ssh-keygen -y -f $new
