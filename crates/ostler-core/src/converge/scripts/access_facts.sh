# What sshd makes of somebody who comes the way that we do, for each account.
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
