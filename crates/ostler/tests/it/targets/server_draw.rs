//! A server, a change and a moment of death, drawn from a seed.

use std::fmt;

/// When, and of what, the guard or its machine dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// Nobody says anything any more, and the clock runs out.
    Silence,
    /// `arm` is killed after so many commands.
    WhileArming(u32),
    /// A roll-back on request is killed after so many commands.
    OfNow(u32),
    /// The unit's own roll-back is killed after so many commands.
    OfTheWatch(u32),
    /// The disk is full to the last byte when the clock runs out.
    FullDisk,
    /// The plug is pulled.
    PowerCut,
    /// The plug is pulled after so many commands of a roll-back.
    PowerCutWhileRestoring(u32),
}

impl Death {
    /// After how many commands.
    pub fn after(self) -> Option<u32> {
        match self {
            Self::WhileArming(after)
            | Self::OfNow(after)
            | Self::OfTheWatch(after)
            | Self::PowerCutWhileRestoring(after) => Some(after),
            Self::Silence | Self::FullDisk | Self::PowerCut => None,
        }
    }
}

/// SplitMix64, which is enough for a draw and the same everywhere.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        let limit = u64::try_from(of.len()).expect("it is short");
        of[usize::try_from(self.below(limit)).expect("it is short")]
    }

    fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

/// A setting's name, and the shell script that makes it.
type Part = (&'static str, &'static str);

const DROP_INS: &[Part] = &[
    ("no drop-in", ""),
    ("Match User", "printf 'X11Forwarding no\\nMatch User nobody\\n  PasswordAuthentication yes\\n' >$d/30-user.conf"),
    (
        "Match Address",
        "printf 'Match Address 192.168.0.0/16,!192.168.1.0/24\\n  PermitRootLogin yes\\n' >$d/30-address.conf",
    ),
    (
        "Match for us",
        "printf 'PermitRootLogin no\\nMatch Address 10.0.0.0/8\\n  PermitRootLogin prohibit-password\\n' >$d/30-us.conf",
    ),
    (
        "Include outside",
        "mkdir -p /opt/sshd; echo MaxAuthTries 5 >/opt/sshd/a.conf; echo 'Include /opt/sshd/*.conf' >$d/30-outside.conf",
    ),
    ("linked drop-ins", "mkdir -p /opt/sshd.d; rmdir $d; ln -s /opt/sshd.d $d; echo MaxAuthTries 5 >$d/30-linked.conf"),
    ("linked main file", "mv /etc/ssh/sshd_config /opt/sshd_config; ln -s /opt/sshd_config /etc/ssh/sshd_config"),
    ("name with a space", "echo MaxAuthTries 5 >\"$d/30 a.conf\""),
];

const ADDRESSES: &[Part] = &[
    ("every address", ""),
    ("own address", "printf 'ListenAddress %s\\n' $address >$d/20-address.conf"),
    ("IPv4", "printf 'AddressFamily inet\\n' >$d/20-address.conf"),
    ("two addresses", "printf 'ListenAddress %s\\nListenAddress 127.0.0.1\\n' $address >$d/20-address.conf"),
];

const LISTS: &[Part] = &[
    ("everybody", ""),
    ("AllowUsers", "echo AllowUsers root nobody >$d/25-list.conf"),
    ("AllowUsers with address", "echo AllowUsers root@10.0.0.0/8 >$d/25-list.conf"),
    ("AllowGroups", "echo AllowGroups root >$d/25-list.conf"),
    ("DenyUsers", "echo DenyUsers nobody >$d/25-list.conf"),
];

const KEYS: &[Part] = &[
    ("keys at home", ""),
    (
        "keys in /etc",
        "mkdir -p /etc/ssh/keys; mv /root/.ssh/authorized_keys /etc/ssh/keys/root; echo AuthorizedKeysFile /etc/ssh/keys/%u >$d/26-keys.conf",
    ),
];

const PAM: &[Part] = &[
    ("no access.conf", ""),
    (
        "access.conf",
        "printf '+:root:ALL\\n-:ALL:ALL\\n' >>/etc/security/access.conf; \
         sed -i 's/^# account  required     pam_access.so/account required pam_access.so/' /etc/pam.d/sshd",
    ),
];

const FIREWALLS: &[Part] = &[
    ("no firewall", ""),
    ("ufw", "ufw allow $port/tcp; ufw --force enable"),
    ("ufw on disk only", "sed -i 's/^ENABLED=.*/ENABLED=yes/' /etc/ufw/ufw.conf"),
    ("ufw without IPv6", "sed -i 's/^IPV6=.*/IPV6=no/' /etc/default/ufw; ufw allow $port/tcp; ufw --force enable"),
    (
        "nftables",
        "nft \"add table inet own; add chain inet own in { type filter hook input priority 0; policy drop; }; \
         add rule inet own in ct state established,related accept; add rule inet own in iif lo accept; \
         add rule inet own in meta l4proto ipv6-icmp accept; add rule inet own in tcp dport $port accept\"",
    ),
];

/// What stands on the disk and is not in force.
const PENDING: &[Part] = &[
    ("nothing pending", ""),
    ("typo", "echo NoSuchKeyword yes >/etc/ssh/sshd_config.d/40-typo.conf"),
    ("ListenAddress", "echo ListenAddress 127.0.0.1 >/etc/ssh/sshd_config.d/10-listen.conf"),
    ("Port", "echo Port 2299 >/etc/ssh/sshd_config.d/10-port.conf"),
    (
        "ufw rule",
        "sed -i 's/^# End required lines/&\\n-A ufw-before-input -p tcp --syn -j DROP/' /etc/ufw/before.rules",
    ),
    ("sysctl", "echo net.ipv4.conf.all.rp_filter=1 >/etc/sysctl.d/50-own.conf"),
];

/// What a run does until it dies.
const CHANGES: &[Part] = &[
    ("nothing", ""),
    ("moved by reload", "echo Port 2200 >/etc/ssh/sshd_config.d/00-ostler.conf; systemctl reload ssh"),
    ("moved by restart", "echo Port 2200 >/etc/ssh/sshd_config.d/00-ostler.conf; systemctl restart ssh"),
    (
        "from socket to service",
        "echo Port 2200 >/etc/ssh/sshd_config.d/00-ostler.conf; systemctl stop ssh.socket ssh.service; \
         systemctl disable --quiet ssh.socket; systemctl enable --quiet ssh.service; systemctl start ssh.service",
    ),
    (
        "AllowUsers of others",
        "echo AllowUsers alice >/etc/ssh/sshd_config.d/00-ostler.conf; systemctl reload ssh || systemctl restart ssh",
    ),
    ("typo of a role", "echo Nonsense >>/etc/ssh/sshd_config.d/00-ostler.conf; systemctl restart ssh"),
    ("socket masked", "systemctl mask ssh.socket; systemctl stop ssh.socket ssh.service"),
    (
        "socket masked, service moved",
        "systemctl mask --now ssh.socket; echo Port 2200 >/etc/ssh/sshd_config.d/00-ostler.conf; systemctl restart ssh",
    ),
    ("both masked and stopped", "systemctl mask ssh.socket ssh.service; systemctl stop ssh.socket ssh.service"),
    ("masked until the boot", "systemctl mask --runtime ssh.service ssh.socket; systemctl stop ssh.socket ssh.service"),
    ("stopped and disabled", "systemctl disable --now ssh.service ssh.socket"),
    ("sshd_config emptied", ": >/etc/ssh/sshd_config; echo Port 2200 >>/etc/ssh/sshd_config; systemctl restart ssh"),
    ("sshd_config deleted", "rm -rf /etc/ssh/sshd_config /etc/ssh/sshd_config.d; systemctl restart ssh"),
    ("other options", "echo 'SSHD_OPTS=\"-p 2200\"' >/etc/default/ssh; systemctl restart ssh"),
    (
        "drop-in of the unit",
        "mkdir -p /etc/systemd/system/ssh.service.d; printf '[Service]\\nExecStart=\\nExecStart=/bin/false\\n' \
         >/etc/systemd/system/ssh.service.d/x.conf; systemctl daemon-reload; systemctl restart ssh",
    ),
    ("ufw without SSH", "ufw --force reset; ufw default deny; ufw --force enable"),
    (
        "ufw reloaded",
        "ufw reload; sed -i 's/^DEFAULT_INPUT_POLICY=.*/DEFAULT_INPUT_POLICY=\"REJECT\"/' /etc/default/ufw; ufw reload",
    ),
    ("policies", "iptables -P INPUT DROP; iptables -P OUTPUT DROP; ip6tables -P INPUT DROP"),
    (
        "ufw and a move",
        "echo Port 2200 >/etc/ssh/sshd_config.d/00-ostler.conf; ufw allow 2200/tcp; ufw --force enable; systemctl reload ssh",
    ),
    (
        "PAM",
        "printf -- '-:root:ALL\\n' >/etc/security/access.conf; sed -i '1iaccount required pam_access.so' /etc/pam.d/sshd",
    ),
    (
        "outside",
        "for f in /opt/sshd/*.conf /opt/sshd_config /opt/sshd.d/*.conf; do [ ! -e $f ] || sed -i '1iAllowUsers alice' $f; done; systemctl reload ssh",
    ),
];

/// The rules of the module `iptables`, and what a run does to them.
const IPTABLES: Part = (
    "iptables",
    "for tool in iptables ip6tables; do $tool -N ostler-input; $tool -A ostler-input -i lo -j ACCEPT; \
         $tool -A ostler-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT; \
         $tool -A ostler-input -p tcp --dport $port -j ACCEPT; $tool -A ostler-input -j DROP; $tool -A INPUT -j ostler-input; done; \
         mkdir /etc/ostler-iptables; echo rules >/etc/ostler-iptables/rules",
);
const CHANGES_OF_IPTABLES: &[Part] = &[
    (
        "iptables without SSH",
        "iptables -N ostler-input 2>/dev/null || iptables -F ostler-input; iptables -A ostler-input -j DROP; \
         iptables -C INPUT -j ostler-input 2>/dev/null || iptables -A INPUT -j ostler-input; \
         mkdir -p /etc/ostler-iptables; echo wrong >/etc/ostler-iptables/rules; echo new >/etc/ostler-iptables/rules6",
    ),
    (
        "iptables switched off",
        "iptables -D INPUT -j ostler-input; iptables -F ostler-input; iptables -X ostler-input; rm -rf /etc/ostler-iptables; \
         iptables -P INPUT DROP",
    ),
    (
        "ufw in place of iptables",
        "ufw default deny; ufw --force enable; for tool in iptables ip6tables; do $tool -D INPUT -j ostler-input; \
         $tool -F ostler-input; $tool -X ostler-input; done; rm -r /etc/ostler-iptables",
    ),
];

/// What one draw is made of.
pub struct Draw {
    /// Repeats it.
    pub seed: u64,
    /// Where sshd listens.
    pub port: u16,
    /// When, and of what, it dies.
    pub death: Death,
    socket: bool,
    masked: bool,
    parts: Vec<Part>,
    pending: Part,
    change: Part,
}

impl Draw {
    /// The one of this seed.
    pub fn new(seed: u64) -> Self {
        let mut chance = Chance(seed);
        let socket = chance.once_in(3);
        let port = if socket || chance.once_in(2) { 22 } else { 2022 };
        let masked = !socket && chance.once_in(4);
        let addresses = if socket { ADDRESSES[0] } else { chance.one(ADDRESSES) };
        let firewall = chance.one(FIREWALLS);
        let parts =
            vec![chance.one(DROP_INS), addresses, chance.one(LISTS), chance.one(KEYS), chance.one(PAM), firewall];
        let after = u32::try_from(1 + chance.below(90)).expect("it is small");
        let death = chance.one(&[
            Death::Silence,
            Death::Silence,
            Death::WhileArming(after),
            Death::OfNow(after),
            Death::OfNow(after),
            Death::OfTheWatch(after),
            Death::OfTheWatch(after),
            Death::FullDisk,
            Death::PowerCut,
            Death::PowerCutWhileRestoring(after),
        ]);
        let mut pending = if chance.once_in(2) { chance.one(PENDING) } else { PENDING[0] };
        // What a boot puts into force by itself is not ours to take back: rules of ufw, which nothing has loaded.
        let boots = matches!(death, Death::PowerCut | Death::PowerCutWhileRestoring(_));
        if boots && (pending.0 == "ufw rule" || firewall.0 == "ufw on disk only") {
            pending = PENDING[0];
        }
        let mut parts = if boots && firewall.0 == "ufw on disk only" { parts[..5].to_vec() } else { parts };
        let mut change = chance.one(CHANGES);
        // Drawn last, so that seeds which found a fault draw the same as then.
        if chance.once_in(3) {
            parts.truncate(5);
            parts.push(IPTABLES);
            change = chance.one(CHANGES_OF_IPTABLES);
        }
        Self { seed, port, death, socket, masked, parts, pending, change }
    }

    /// Whether its disk is filled.
    pub fn needs_small_disk(&self) -> bool {
        self.death == Death::FullDisk
    }

    /// The script that makes a fresh server this one, which sshd has read.
    pub fn server(&self, address: &str) -> String {
        let mut script = format!("set -e\nd=/etc/ssh/sshd_config.d address={address} port={}\n", self.port);
        for (name, part) in &self.parts {
            script.push_str(&format!("# {name}\n{part}\n"));
        }
        script.push_str(match (self.socket, self.masked) {
            (true, _) => "systemctl -q disable ssh.service; systemctl -q enable ssh.socket; systemctl stop ssh.service; systemctl start ssh.socket",
            (_, true) => "systemctl -q mask ssh.socket; systemctl restart ssh.service",
            (..) => "systemctl restart ssh.service",
        });
        script
    }

    /// The script that writes what nothing reads yet.
    pub fn pending(&self) -> &'static str {
        self.pending.1
    }

    /// The script of the run that dies.
    pub fn change(&self) -> &'static str {
        self.change.1
    }
}

impl fmt::Debug for Draw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.parts.iter().map(|(name, _)| *name).collect();
        let how = if self.socket {
            "socket"
        } else if self.masked {
            "service, socket masked"
        } else {
            "service"
        };
        write!(
            f,
            "seed {}: port {} by {how}; {}; pending: {}; change: {}; death: {:?}",
            self.seed,
            self.port,
            names.join(", "),
            self.pending.0,
            self.change.0,
            self.death
        )
    }
}
