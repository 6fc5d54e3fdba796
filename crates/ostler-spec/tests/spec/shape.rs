//! Faults of form: YAML itself, keys, types.

use crate::fixture::{check, check_server};

#[test]
fn syntax_is_refused_with_its_place() {
    check(
        "servers:\n  web1: [\n",
        "ostler.yaml:3:1: not valid YAML: while parsing a node, did not find expected node content",
    );
    check("servers: &a\n  web1: *b\n", "ostler.yaml:2:9: not valid YAML: while parsing node, found unknown anchor");
    check(
        "servers: { web1: {} }\n---\nservers: {}\n",
        "
ostler.yaml:2:1: a second YAML document
  hint: one file is one spec
",
    );
    check("servers: !vault { web1: {} }\n", "ostler.yaml:1:10: servers: the tag `!vault` means nothing here");
    check("servers:\n  [a, b]: {}\n", "ostler.yaml:2:3: servers: a key must be a plain word");
    check("servers: &a { web1: *a }\n", "ostler.yaml:1:21: servers.web1: an alias inside the value that it stands for");
}

#[test]
fn an_empty_file_names_no_server() {
    check(
        "",
        "
ostler.yaml:1:1: the file is empty
  hint: for example `servers: { web1: { authorized_keys: [ ~/.ssh/id_ed25519.pub ] } }`
",
    );
    check(
        "# nothing\n",
        "
ostler.yaml:1:1: the file is empty
  hint: for example `servers: { web1: { authorized_keys: [ ~/.ssh/id_ed25519.pub ] } }`
",
    );
    check(
        "servers: {}\n",
        "
ostler.yaml:1:10: servers: no server is named
  hint: for example `servers: { web1: { authorized_keys: [ ~/.ssh/id_ed25519.pub ] } }`
",
    );
    check(
        "servers:\n",
        "
ostler.yaml:1:1: servers: expected a mapping, found nothing
  hint: give it a value, or leave it out
",
    );
    check(
        "catalog: null\n",
        "
ostler.yaml:1:1: servers: no server is named
  hint: for example `servers: { web1: { authorized_keys: [ ~/.ssh/id_ed25519.pub ] } }`
",
    );
    check(
        "- web1\n",
        "ostler.yaml:1:1: expected a mapping, found a list\n  hint: a mapping has names and values: `web1: …`",
    );
}

#[test]
fn duplicate_keys_are_refused() {
    check_server(
        "user: ann\nsize: { cpus: 1, cpus: 2 }\nuser: bob",
        "
ostler.yaml:4:22: servers.web1.size.cpus: duplicate key
  hint: it is already in line 4
ostler.yaml:5:5: servers.web1.user: duplicate key
  hint: it is already in line 3
",
    );
    check(
        "servers:\n  web1: &s { authorized_keys: [ keys/ann.pub ] }\n  web1: *s\n",
        "
ostler.yaml:3:3: servers.web1: duplicate key
  hint: it is already in line 2
",
    );
}

#[test]
fn unknown_keys_name_the_nearest_one() {
    check_server("size: { memroy: 1GiB }\nauthorised_keys: []\nzzz: 1\nnetwork: { ip: 1.2.3.4 }", "
ostler.yaml:3:13: servers.web1.size.memroy: unknown key
  hint: did you mean `memory`?
ostler.yaml:4:5: servers.web1.authorised_keys: unknown key
  hint: did you mean `authorized_keys`?
ostler.yaml:5:5: servers.web1.zzz: unknown key
  hint: known here: `provider`, `image`, `size`, `network`, `user`, `password`, `authorized_keys`, `ssh`, `modules`, `apps`, `app_params`, `tunnel`, `ansible`, `local`, `existing`, `proxmox`, `hetzner`
ostler.yaml:6:16: servers.web1.network.ip: unknown key
  hint: known here: `address`, `gateway`, `address6`, `gateway6`, `dns`, `search`, `bridge`, `vlan`
");
    check(
        "server: {}\n",
        "
ostler.yaml:1:1: server: unknown key
  hint: did you mean `servers`?
ostler.yaml:1:1: servers: no server is named
  hint: for example `servers: { web1: { authorized_keys: [ ~/.ssh/id_ed25519.pub ] } }`
",
    );
    check_server(
        "modules: { uwf: true, fail2ban: { maxretry: 3 } }",
        "
ostler.yaml:3:16: servers.web1.modules.uwf: unknown key
  hint: did you mean `ufw`?
ostler.yaml:3:39: servers.web1.modules.fail2ban.maxretry: unknown key
  hint: did you mean `max_retry`?
",
    );
}

#[test]
fn wrong_types_say_what_is_expected() {
    check_server(
        "provider: 7\nimage: [ a ]\nsize: big\nuser: 12\nauthorized_keys: keys/ann.pub\nssh: { enabled: 'yes', port: ssh }\n\
         modules:\napps: nginx\nlocal: { forward: [ 80 ] }\nnetwork: dhcp",
        "
ostler.yaml:3:15: servers.web1.provider: expected the name of a provider, found a whole number
  hint: put text that looks like a number or a truth value in quotes
ostler.yaml:4:12: servers.web1.image: expected an image or a mapping, found a list
  hint: a mapping has names and values: `a: …`
ostler.yaml:5:11: servers.web1.size: expected a mapping, found a text
ostler.yaml:6:11: servers.web1.user: expected a user name, found a whole number
  hint: put text that looks like a number or a truth value in quotes
ostler.yaml:7:22: servers.web1.authorized_keys: expected a list or a mapping, found a text
  hint: a list goes in brackets: `[ … ]`
ostler.yaml:8:21: servers.web1.ssh.enabled: expected `true` or `false`, found a text
  hint: did you mean `true`?
ostler.yaml:8:34: servers.web1.ssh.port: expected a whole number, found a text
ostler.yaml:9:5: servers.web1.modules: expected a mapping, found nothing
  hint: give it a value, or leave it out
ostler.yaml:10:11: servers.web1.apps: expected a list, found a text
  hint: a list goes in brackets: `[ … ]`
ostler.yaml:11:23: servers.web1.local.forward: expected a mapping, found a list
  hint: a mapping has names and values, and no dashes: `NAME: …`
ostler.yaml:12:14: servers.web1.network: expected a mapping or a list, found a text
",
    );
}

#[test]
fn every_fault_is_shown_at_once() {
    check(
        "
catalog: { url: git://git.example.org/catalog.git, branch: stable, commit: null }
servers:
  Web_1:
    provider: hetzner
    size: { cpus: 0, memory: 2GB, disk: 1GiB }
    network: { address: 192.168.1.20, gateway: 10.0.0.1 }
    user: root
    password: hunter2
    authorized_keys: [ ~/.ssh/missing.pub ]
    ssh: { enabled: false, auth: key-and-pasword, root_login: nope, port: 2222 }
    modules: { ufw: { preset: webb } }
    apps: [ ngnix ]
  web2: {}
",
        "
ostler.yaml:1:17: catalog.url: not the URL of a Git repository that Ostler can fetch
  hint: Ostler fetches `https://`, `http://`, `ssh://` and `file://`
ostler.yaml:3:3: servers.Web_1: not a server name
  hint: 1 to 63 of a-z, 0-9 and `-`; it can't begin or end with `-`
ostler.yaml:4:15: servers.Web_1.provider: which project of Hetzner Cloud is meant?
  hint: describe it under `providers`, such as `providers: { hc: { kind: hetzner, token: { secret: hetzner } } }`, and name it here: `provider: hc`
ostler.yaml:5:19: servers.Web_1.size.cpus: 0 is out of range: 1 to 256
ostler.yaml:5:30: servers.Web_1.size.memory: `2GB` is not a size
  hint: did you mean `2GiB`?
ostler.yaml:5:41: servers.Web_1.size.disk: `1GiB` is too small: at least 2GiB
ostler.yaml:6:25: servers.Web_1.network.address: `192.168.1.20` lacks its prefix
  hint: did you mean `192.168.1.20/24`?
ostler.yaml:7:11: servers.Web_1.user: `root` can't be the user that Ostler logs in as
  hint: name another account, such as `ops`: it becomes root with sudo, which leaves a trace
ostler.yaml:8:15: servers.Web_1.password: a secret must not be in this file
  hint: write `{ env: NAME }`, `{ file: PATH }` or `{ secret: NAME }`; the one that was here is exposed: choose another
ostler.yaml:9:24: servers.Web_1.authorized_keys[0]: there is no file `/home/ann/.ssh/missing.pub`
  hint: `new key pair in another file` makes a key pair
ostler.yaml:10:21: servers.Web_1.ssh.enabled: without SSH there is no way into this server
  hint: this provider has no other way in: take it out
ostler.yaml:10:34: servers.Web_1.ssh.auth: expected one of `key-only`, `key-and-password`, found `key-and-pasword`
  hint: did you mean `key-and-password`?
ostler.yaml:10:63: servers.Web_1.ssh.root_login: expected one of `no`, `prohibit-password`, `yes`, found `nope`
  hint: did you mean `no`?
ostler.yaml:11:31: servers.Web_1.modules.ufw.preset: expected one of `server-minimal`, `web`, found `webb`
  hint: did you mean `web`?
ostler.yaml:12:13: servers.Web_1.apps[0]: the catalog has no app `ngnix`
  hint: did you mean `nginx`?
ostler.yaml:13:9: servers.web2.authorized_keys: nobody could log in: `auth` is `key-only`, and there is no key
  hint: for example `authorized_keys: [ ~/.ssh/id_ed25519.pub ]`
",
    );
}
