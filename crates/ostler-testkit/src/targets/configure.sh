# Runs in the root of a target before its first boot. Arguments: host name, port of sshd, account, `password` if that may
# log in by password, `passwordless` if its sudo asks for none, the resolver's address. Standard input: the account's password,
# then its public keys, a line each. Says its public host key.
set -e
name=$1 port=$2 account=$3 login=$4 sudo=$5 resolver=$6
echo "$name" >/etc/hostname
printf '127.0.0.1 localhost\n127.0.1.1 %s\n::1 localhost ip6-localhost ip6-loopback\n' "$name" >/etc/hosts
echo "nameserver $resolver" >/etc/resolv.conf
# As if they had run just now: a job of apt that begins by itself would hold its lock.
mkdir -p /var/lib/systemd/timers
touch /var/lib/systemd/timers/stamp-apt-daily.timer /var/lib/systemd/timers/stamp-apt-daily-upgrade.timer
home=/root
if [ "$account" != root ]; then
    home=/home/$account
    useradd --create-home --shell /bin/bash --groups sudo "$account"
    if [ "$sudo" = passwordless ]; then
        printf '%s ALL=(ALL) NOPASSWD: ALL\n' "$account" >"/etc/sudoers.d/$account"
        chmod 0440 "/etc/sudoers.d/$account"
    fi
fi
read -r password
[ -z "$password" ] || printf '%s:%s\n' "$account" "$password" | chpasswd
install -d -m 0700 -o "$account" -g "$account" "$home/.ssh"
cat >"$home/.ssh/authorized_keys"
if [ -s "$home/.ssh/authorized_keys" ]; then
    chown "$account:$account" "$home/.ssh/authorized_keys"
    chmod 0600 "$home/.ssh/authorized_keys"
else
    rm -r "$home/.ssh"
fi
# In the main file, as hosters and people do it.
[ "$port" = 22 ] || sed -i "s/^#Port 22$/Port $port/" /etc/ssh/sshd_config
if [ "$login" = password ]; then
    sed -i 's/^#PasswordAuthentication yes$/PasswordAuthentication yes/' /etc/ssh/sshd_config
    [ "$account" != root ] || sed -i 's/^#PermitRootLogin prohibit-password$/PermitRootLogin yes/' /etc/ssh/sshd_config
fi
ssh-keygen -A >/dev/null
cut -d' ' -f1,2 /etc/ssh/ssh_host_ed25519_key.pub
