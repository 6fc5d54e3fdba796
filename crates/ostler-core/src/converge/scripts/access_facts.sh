# What sshd makes of somebody who comes the way that we do, for each account, and the server's own address in each family.
# $1: SSH_CONNECTION; the rest: accounts.
read -r client _ server port <<END
$1
END
shift
mkdir -p -m 0755 /run/sshd
for account; do
  echo "account $account"
  /usr/sbin/sshd -T -C "user=$account,host=$client,addr=$client,laddr=$server,lport=$port" |
    grep -E '^(passwordauthentication|kbdinteractiveauthentication|permitemptypasswords|permitrootlogin|authenticationmethods) '
done
# Documentation addresses: nobody is asked, the kernel only says which address of ours it would take.
for far in 192.0.2.1 2001:db8::1; do
  ip route get "$far" 2>/dev/null | sed -n 's/.* src \([^ ]*\).*/address \1/p'
done
