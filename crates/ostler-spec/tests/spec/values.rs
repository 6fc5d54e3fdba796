//! Faults of single values, and of networks, images, ports and modules.

use crate::fixture::{check, check_server, good, server};
use ostler_spec::Value;

#[test]
fn impossible_sizes() {
    check_server(
        "size: { cpus: 0, memory: 128MiB, disk: 1GiB }",
        "
ostler.yaml:3:19: servers.web1.size.cpus: 0 is out of range: 1 to 256
ostler.yaml:3:30: servers.web1.size.memory: `128MiB` is too small: at least 256MiB
ostler.yaml:3:44: servers.web1.size.disk: `1GiB` is too small: at least 2GiB
",
    );
    check_server(
        "size: { cpus: 257, memory: 20TiB, disk: 99999999999999999999TiB }",
        "
ostler.yaml:3:19: servers.web1.size.cpus: 257 is out of range: 1 to 256
ostler.yaml:3:32: servers.web1.size.memory: `20TiB` is too large: at most 16TiB
ostler.yaml:3:45: servers.web1.size.disk: `99999999999999999999TiB` is too large: at most 64TiB
",
    );
    check_server(
        "size: { cpus: 1.5, memory: 2GB, disk: 20g }",
        "
ostler.yaml:3:19: servers.web1.size.cpus: expected a whole number, found a decimal number
ostler.yaml:3:32: servers.web1.size.memory: `2GB` is not a size
  hint: did you mean `2GiB`?
ostler.yaml:3:43: servers.web1.size.disk: `20g` is not a size
  hint: did you mean `20GiB`?
",
    );
    check_server(
        "size: { memory: 2048, disk: lots }",
        "
ostler.yaml:3:21: servers.web1.size.memory: a size needs its unit
  hint: did you mean `2048MiB` or `2048GiB`?
ostler.yaml:3:33: servers.web1.size.disk: `lots` is not a size
  hint: a whole number and B, KiB, MiB, GiB or TiB, such as `2GiB`
",
    );
    check_server(
        "size: { memory: 1073741825B, disk: 1.5GiB }",
        "
ostler.yaml:3:21: servers.web1.size.memory: `1073741825B` is not a whole number of MiB
  hint: did you mean `1025MiB`?
ostler.yaml:3:40: servers.web1.size.disk: `1.5GiB` is not a size
  hint: a whole number and B, KiB, MiB, GiB or TiB, such as `2GiB`
",
    );
}

#[test]
fn addresses() {
    check_server(
        "network: { address: 192.168.1.20 }",
        "
ostler.yaml:3:25: servers.web1.network.address: `192.168.1.20` lacks its prefix
  hint: did you mean `192.168.1.20/24`?
",
    );
    check_server(
        "network: { address: 'fd00::1' }",
        "
ostler.yaml:3:25: servers.web1.network.address: `fd00::1` lacks its prefix
  hint: did you mean `fd00::1/64`?
",
    );
    check_server(
        "network: { address: 192.168.1.0/24 }",
        "ostler.yaml:3:25: servers.web1.network.address: `192.168.1.0` is the address of the network 192.168.1.0/24 itself",
    );
    check_server(
        "network: { address: 192.168.1.255/24 }",
        "ostler.yaml:3:25: servers.web1.network.address: `192.168.1.255` is the broadcast address of 192.168.1.0/24",
    );
    check_server(
        "network: { address: 127.0.0.1/8 }",
        "ostler.yaml:3:25: servers.web1.network.address: `127.0.0.1/8` is not an address that a network card can have",
    );
    check_server(
        "network: { address: 192.168.1.300/24 }",
        "
ostler.yaml:3:25: servers.web1.network.address: `192.168.1.300/24` is neither `dhcp` nor an address with its prefix
  hint: for example `192.168.1.20/24`
",
    );
    check_server(
        "network: { dns: [ dns.example.org, 0.0.0.0 ], search: [ -bad-, example.org ] }",
        "
ostler.yaml:3:23: servers.web1.network.dns[0]: `dns.example.org` is not an IP address
ostler.yaml:3:40: servers.web1.network.dns[1]: `0.0.0.0` is not an address of one machine
ostler.yaml:3:61: servers.web1.network.search[0]: `-bad-` is not a domain
  hint: for example `example.org`
",
    );
    check_server(
        "network: []",
        "
ostler.yaml:3:14: servers.web1.network: a server without a network card can't be reached
  hint: leave `network` out for one with DHCP
",
    );
}

#[test]
fn gateways() {
    check_server(
        "network: { address: 192.168.1.20/24, gateway: 192.168.2.1 }",
        "ostler.yaml:3:51: servers.web1.network.gateway: `192.168.2.1` is outside of the subnet 192.168.1.0/24",
    );
    check_server(
        "network: { address: 192.168.1.20/24, gateway: 'fd00::1' }",
        "ostler.yaml:3:51: servers.web1.network.gateway: `fd00::1` can't be the gateway of an IPv4 address",
    );
    check_server(
        "network: { address: 192.168.1.20/24, gateway: 192.168.1.20 }",
        "ostler.yaml:3:51: servers.web1.network.gateway: `192.168.1.20` is the server's own address",
    );
    check_server(
        "network: { address: 192.168.1.20/24, gateway: 192.168.1.255 }",
        "ostler.yaml:3:51: servers.web1.network.gateway: `192.168.1.255` is the broadcast address of 192.168.1.0/24",
    );
    check_server(
        "network: { gateway: 192.168.1.1 }",
        "
ostler.yaml:3:25: servers.web1.network.gateway: a gateway needs a fixed address
  hint: DHCP brings its own gateway
",
    );
    check_server(
        "network:\n  - {}\n  - { address: 10.0.0.2/24, gateway: 10.0.1.1 }",
        "ostler.yaml:5:42: servers.web1.network[1].gateway: `10.0.1.1` is outside of the subnet 10.0.0.0/24",
    );
}

#[test]
fn server_names() {
    for name in ["Web1", "web_1", "-web", "web-", "a.b"] {
        let text = format!("servers: {{ {name}: {{ authorized_keys: [ keys/ann.pub ] }} }}");
        let expected = format!(
            "ostler.yaml:1:12: servers.{name}: not a server name\n  hint: 1 to 63 of a-z, 0-9 and `-`; it can't begin or end with `-`"
        );
        check(&text, &expected);
    }
}

#[test]
fn images() {
    check_server(
        "image: debian-12",
        "
ostler.yaml:3:12: servers.web1.image: unknown image `debian-12`
  hint: known by name: `debian-13`; a path contains a `/` or ends in .qcow2, .img or .raw
",
    );
    check_server(
        "image: https://example.org/a.qcow2",
        "
ostler.yaml:3:12: servers.web1.image: an image from elsewhere needs its checksum
  hint: write `{ url: https://…, checksum: sha256:… }`
",
    );
    check_server(
        "image: { url: ftp://example.org/a }",
        "
ostler.yaml:3:12: servers.web1.image.checksum: missing
  hint: `sha256:` or `sha512:` and the sum in hexadecimal
ostler.yaml:3:19: servers.web1.image.url: `ftp://example.org/a` is not a URL
  hint: it starts with `https://` or `http://`
",
    );
    check_server(
        "image: { url: 'https://me:pw@example.org/a', checksum: 'md5:12' }",
        "
ostler.yaml:3:19: servers.web1.image.url: the URL holds a user or password
  hint: this file is no place for secrets
ostler.yaml:3:60: servers.web1.image.checksum: `md5:12` is not a checksum
  hint: `sha256:` and 64 hexadecimal digits, or `sha512:` and 128
",
    );
}

#[test]
fn forwarded_ports() {
    check_server(
        "local: { forward: { 70000: 80, http: 80, 0: 80, 8080: 0, '8081': 70000 } }",
        "
ostler.yaml:3:25: servers.web1.local.forward.70000: not a port of this machine
  hint: 1 to 65535, or `auto` for any that is free
ostler.yaml:3:36: servers.web1.local.forward.http: not a port of this machine
  hint: 1 to 65535, or `auto` for any that is free
ostler.yaml:3:46: servers.web1.local.forward.0: not a port of this machine
  hint: 1 to 65535, or `auto` for any that is free
ostler.yaml:3:59: servers.web1.local.forward.8080: 0 is out of range: 1 to 65535
ostler.yaml:3:70: servers.web1.local.forward.8081: 70000 is out of range: 1 to 65535
",
    );
    check(
        "servers:\n  a: { authorized_keys: [ keys/ann.pub ], local: { forward: { 8080: 80 } } }\n  \
         b: { authorized_keys: [ keys/ann.pub ], local: { forward: { 8080: 80 } } }\n",
        "
ostler.yaml:3:69: servers.b.local.forward.8080: port 8080 of this machine is taken by `servers.a.local.forward.8080`
  hint: choose another, or `auto` for any that is free
",
    );
}

#[test]
fn settings_of_modules() {
    check_server(
        "modules:\n  ufw: { preset: wbe, allow: [ 80/tcp, http, 8 ], auto_allow_app_ports: 1 }\n  \
         fail2ban: { max_retry: 0, ban_time: forever }\n  qemu_guest_agent: maybe",
        "
ostler.yaml:4:22: servers.web1.modules.ufw.preset: expected one of `server-minimal`, `web`, found `wbe`
  hint: did you mean `web`?
ostler.yaml:4:44: servers.web1.modules.ufw.allow[1]: `http` does not have the right form
  hint: it must match `^[0-9]+/(tcp|udp)$`
ostler.yaml:4:50: servers.web1.modules.ufw.allow[2]: expected a text, found a whole number
  hint: put text that looks like a number or a truth value in quotes
ostler.yaml:4:77: servers.web1.modules.ufw.auto_allow_app_ports: expected `true` or `false`, found a whole number
ostler.yaml:5:30: servers.web1.modules.fail2ban.max_retry: 0 is out of range: 1 to 100
ostler.yaml:5:43: servers.web1.modules.fail2ban.ban_time: `forever` does not have the right form
  hint: it must match `^[0-9]+[smhdw]?$`
ostler.yaml:6:25: servers.web1.modules.qemu_guest_agent: expected `true` or `false` or a mapping, found a text
",
    );
}

#[test]
fn a_server_has_one_firewall() {
    check_server(
        "modules:\n  iptables: { preset: web }\n  ufw: true",
        "
ostler.yaml:4:17: servers.web1.modules.iptables: a server has one firewall, and `ufw` is on already
  hint: take one of the two out: they have the same settings, and `iptables` takes over from `ufw` by itself
",
    );
    let spec = good(&server("modules: { ufw: false, iptables: { preset: web } }"));
    let settings = spec.servers[0].modules["iptables"].as_ref().unwrap();
    assert_eq!(settings["auto_allow_app_ports"], Value::Bool(true), "as ufw declares it");
}

#[test]
fn a_provider_is_named_and_not_its_kind() {
    check_server(
        "provider: proxmox",
        "ostler.yaml:3:15: servers.web1.provider: which Proxmox VE is meant?\n  \
         hint: describe it under `providers`, such as `providers: { pve1: { kind: proxmox, … } }`, and name it here: \
         `provider: pve1`",
    );
    check_server(
        "provider: hetzner",
        "ostler.yaml:3:15: servers.web1.provider: which project of Hetzner Cloud is meant?\n  hint: describe it under `providers`, such as `providers: { hc: { kind: hetzner, token: { secret: hetzner } } }`, and name it here: `provider: hc`",
    );
    check_server(
        "ansible: { strategy: free }",
        "ostler.yaml:3:26: servers.web1.ansible.strategy: expected one of `mitogen`, `linear`, found `free`",
    );
}

#[test]
fn time_zones_are_those_that_debian_has() {
    for zone in ["Europe/Berlin", "UTC", "Etc/GMT+5", "America/Argentina/Buenos_Aires", "''"] {
        good(&server(&format!("modules: {{ time_sync: {{ timezone: {zone} }} }}")));
    }
    for (zone, expected) in [
        ("Europe/Berln", "there is no time zone `Europe/Berln`\n  hint: did you mean `Europe/Berlin`?"),
        ("europe/berlin", "there is no time zone `europe/berlin`\n  hint: did you mean `Europe/Berlin`?"),
        ("New York", "there is no time zone `New York`\n  hint: did you mean `America/New_York`?"),
        ("US/Eastern", "`US/Eastern` is an old name, which Debian 13 does not have\n  hint: write `America/New_York`"),
        ("CET", "`CET` is an old name, which Debian 13 does not have\n  hint: write `Europe/Brussels`"),
        (
            "Central European Time",
            "there is no time zone `Central European Time`\n  hint: a continent and a city, such as `Europe/Berlin`, or \
             `UTC`; `timedatectl list-timezones` on a server lists them",
        ),
    ] {
        check_server(
            &format!("modules: {{ time_sync: {{ timezone: {zone} }} }}"),
            &format!("ostler.yaml:3:39: servers.web1.modules.time_sync.timezone: {expected}"),
        );
    }
}

#[test]
fn settings_of_a_known_format() {
    good(&server(
        "modules: { fail2ban: { ignore: [ 10.0.0.7, 10.0.0.0/8, 'fd00::/8' ] }, time_sync: { servers: [ ntp.lan, '::1' ] } }",
    ));
    good(&server(
        "modules: { tools: { extra: [ vim, g++ ], rules: [ 53/udp, '8080', 6000:6010/tcp from lan, any from 10.0.0.7 ] } }",
    ));
    check_server(
        "modules:\n  fail2ban: { ignore: [ 10.0.0.0/33, lan ] }\n  time_sync: { servers: [ -a, 10.0.0 ] }\n  tools:\n    extra: [ Vim ]\n    \
         rules: [ 70000/tcp, http, 90:80/tcp, 80:90, any, 80 from 10.0.0.0/40 ]",
        "
ostler.yaml:4:29: servers.web1.modules.fail2ban.ignore[0]: `10.0.0.0/33` is neither an IP address nor a network
  hint: for example `10.0.0.7`, `10.0.0.0/8` or `fd00::/8`
ostler.yaml:4:42: servers.web1.modules.fail2ban.ignore[1]: `lan` is neither an IP address nor a network
  hint: for example `10.0.0.7`, `10.0.0.0/8` or `fd00::/8`
ostler.yaml:5:31: servers.web1.modules.time_sync.servers[0]: `-a` is neither an IP address nor a host name
  hint: for example `10.0.0.7` or `box.example.org`
ostler.yaml:5:35: servers.web1.modules.time_sync.servers[1]: `10.0.0` is neither an IP address nor a host name
  hint: for example `10.0.0.7` or `box.example.org`
ostler.yaml:7:18: servers.web1.modules.tools.extra[0]: `Vim` is not the name of a Debian package
ostler.yaml:8:18: servers.web1.modules.tools.rules[0]: `70000` is not a port: 1 to 65535
  hint: for example `8080/tcp`, `6000:6010/udp`, `53`, `5432/tcp from 10.0.0.0/8`, `9100/tcp from lan` or `any from 10.0.0.7`
ostler.yaml:8:29: servers.web1.modules.tools.rules[1]: `http` is not a port
  hint: for example `8080/tcp`, `6000:6010/udp`, `53`, `5432/tcp from 10.0.0.0/8`, `9100/tcp from lan` or `any from 10.0.0.7`
ostler.yaml:8:35: servers.web1.modules.tools.rules[2]: `90:80` is not a range of ports
  hint: for example `8080/tcp`, `6000:6010/udp`, `53`, `5432/tcp from 10.0.0.0/8`, `9100/tcp from lan` or `any from 10.0.0.7`
ostler.yaml:8:46: servers.web1.modules.tools.rules[3]: a range of ports needs a protocol
  hint: for example `80:90/tcp`
ostler.yaml:8:53: servers.web1.modules.tools.rules[4]: this opens every port to everybody
  hint: for example `8080/tcp`, `6000:6010/udp`, `53`, `5432/tcp from 10.0.0.0/8`, `9100/tcp from lan` or `any from 10.0.0.7`
ostler.yaml:8:58: servers.web1.modules.tools.rules[5]: `10.0.0.0/40` is neither an IP address nor a network
  hint: for example `10.0.0.7`, `10.0.0.0/8` or `fd00::/8`
",
    );
}
