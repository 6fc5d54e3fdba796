# What a careful person's script does to a bare Debian 13, as root over one SSH session: a user, SSH by key only, a firewall, updates, fail2ban,
# Docker, a Swarm of one node, and Traefik on ports 80 and 443. It checks nothing that it has done, and can be run once.
set -eu
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
apt-get -qq -y --no-install-recommends install sudo iptables iptables-persistent fail2ban nftables unattended-upgrades systemd-timesyncd \
  docker.io docker-cli haproxy python3-docker python3-jsondiff curl >/dev/null

useradd -m -s /bin/bash ops
echo 'ops ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/ops
install -d -m 700 -o ops -g ops /home/ops/.ssh
printf '%s\n' "$KEY" >/home/ops/.ssh/authorized_keys
chown ops:ops /home/ops/.ssh/authorized_keys
printf 'PermitRootLogin no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n' >/etc/ssh/sshd_config.d/00-own.conf
systemctl reload ssh

printf '[sshd]\nenabled = true\nbackend = systemd\nbanaction = nftables\n' >/etc/fail2ban/jail.d/own.local
systemctl restart fail2ban
printf 'APT::Periodic::Update-Package-Lists "1";\nAPT::Periodic::Unattended-Upgrade "1";\n' >/etc/apt/apt.conf.d/60own

for tables in iptables ip6tables; do
  icmp=icmp; [ "$tables" = iptables ] || icmp=ipv6-icmp
  $tables -A INPUT -i lo -j ACCEPT
  $tables -A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
  $tables -A INPUT -p $icmp -j ACCEPT
  for port in 22 80 443; do $tables -A INPUT -p tcp --dport $port -j ACCEPT; done
  $tables -P INPUT DROP
done
netfilter-persistent save >/dev/null 2>&1

mkdir -p /etc/docker /etc/ostler
echo '{"log-opts": {"max-size": "10m", "max-file": "3"}}' >/etc/docker/daemon.json
systemctl restart docker
docker swarm init --advertise-addr "$(ip route get 192.0.2.1 | sed -n 's/.* src \([^ ]*\).*/\1/p')" >/dev/null

mkdir -p /run/own-proxy /etc/own/dynamic
cat >/etc/haproxy/haproxy.cfg <<END
defaults
  mode http
  timeout connect 5s
  timeout client 10m
  timeout server 10m
frontend questions
  bind unix@/run/own-proxy/docker.sock mode 666
  http-request deny unless METH_GET
  http-request deny unless { path_reg ^(/v[0-9.]+)?/(version|_ping|services|networks|tasks|nodes/[A-Za-z0-9]+)\$ }
  default_backend docker
backend docker
  server docker unix@/run/docker.sock
END
systemctl restart haproxy
docker network create --driver overlay --attachable web >/dev/null
# Without a health check Swarm calls a Traefik that answers nobody running, and rolls no bad update back.
printf 'FROM %s\nHEALTHCHECK --interval=5s --timeout=10s --start-period=1m CMD ["traefik", "healthcheck", "--ping=true"]\n' "$IMAGE" |
  docker build --quiet --tag own-traefik - >/dev/null 2>&1
docker service create --quiet --detach=false --no-resolve-image --name traefik --network web --update-failure-action rollback \
  --publish mode=host,published=80,target=80 --publish mode=host,published=443,target=443 \
  --mount type=bind,source=/run/own-proxy,target=/run/own-proxy,readonly --mount type=bind,source=/etc/own/dynamic,target=/dynamic,readonly \
  own-traefik --providers.swarm.endpoint=unix:///run/own-proxy/docker.sock --providers.swarm.exposedbydefault=false \
  --providers.swarm.network=web --providers.file.directory=/dynamic --entrypoints.web.address=:80 \
  --entrypoints.web.http.redirections.entrypoint.to=websecure --entrypoints.websecure.address=:443 \
  --entrypoints.websecure.http.tls=true --ping=true >/dev/null
until [ "$(curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1/)" = 301 ]; do sleep 0.2; done
