//! One throw-away server.

use super::{
    feed,
    lab::Lab,
    network::{Links, RESOLVER},
    probe::{Source, Verdict},
    succeed,
};
use crate::{environment::Finished, sshd::descendants};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs,
    io::Read,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

/// How long a boot may take, on a machine that does other things too.
const BOOT: Duration = Duration::from_secs(90);

/// What a target is to be. As it comes: root, sshd on port 22, and nobody can log in.
#[derive(Clone, Debug)]
pub struct TargetOptions {
    name: String,
    account: String,
    passwordless: bool,
    password: String,
    keys: Vec<String>,
    port: u16,
    packages: Vec<String>,
    disk: Option<u64>,
    docker: bool,
    cloud: Option<(Links, &'static str)>,
}

impl TargetOptions {
    /// One with this host name.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            account: "root".to_owned(),
            passwordless: false,
            password: String::new(),
            keys: Vec::new(),
            port: 22,
            packages: Vec::new(),
            disk: None,
            docker: false,
            cloud: None,
        }
    }

    /// The account has this password, and sshd takes it: `PasswordAuthentication yes`, for root also `PermitRootLogin yes`.
    pub fn password(mut self, password: &str) -> Self {
        self.password = password.to_owned();
        self
    }

    /// The account accepts this public key, `ssh-ed25519 AAAA...`.
    pub fn key(mut self, key: &str) -> Self {
        self.keys.push(key.trim().to_owned());
        self
    }

    /// sshd listens on this port instead of 22.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// The account is this one, who may use sudo with the password, instead of root, who then can't log in.
    pub fn sudo_user(mut self, name: &str) -> Self {
        self.account = name.to_owned();
        self.package("sudo")
    }

    /// sudo asks that account for no password.
    pub fn passwordless_sudo(mut self) -> Self {
        self.passwordless = true;
        self
    }

    /// A further package is installed. Each new set of packages costs half a minute once, for a root of its own.
    pub fn package(mut self, name: &str) -> Self {
        self.packages.push(name.to_owned());
        self
    }

    /// The disk holds this many bytes, in memory, and can be filled.
    pub fn disk(mut self, bytes: u64) -> Self {
        self.disk = Some(bytes);
        self
    }

    /// Docker can run there: its folders are on this machine's disk, for it can't stack its layers on ours.
    pub fn docker(mut self) -> Self {
        self.docker = true;
        self
    }

    /// It is connected like this, and its disk is an image that configures itself at its first boot. The script, which runs in its root
    /// with the resolver's address, makes it one. Account, password, keys and port are not for such a target.
    pub(crate) fn cloud(mut self, links: Links, image: &'static str) -> Self {
        self.cloud = Some((links, image));
        self
    }
}

/// A booted server. It is killed when it is dropped.
#[derive(Debug)]
pub struct Target {
    lab: Lab,
    number: u8,
    options: TargetOptions,
    folder: PathBuf,
    host_key: String,
    /// `supervise.sh`, which ends with the target.
    supervisor: Mutex<Option<Child>>,
}

impl Target {
    pub(super) fn boot(lab: Lab, number: u8, options: TargetOptions) -> Self {
        let target = Self::make(lab, number, options);
        target.start();
        target
    }

    /// One that is off.
    pub(crate) fn make(lab: Lab, number: u8, options: TargetOptions) -> Self {
        let folder = lab.target_folder(number);
        let base = lab.base(&options.packages);
        for name in ["disk", "root", "docker", "containerd"] {
            fs::create_dir_all(folder.join(name)).expect("a folder for the target");
        }
        let links = options.cloud.as_ref().map(|(links, _)| links.clone());
        write_links(&folder, &links.unwrap_or_else(|| lab.network().links(number)));
        let path = |name: &str| folder.join(name).display().to_string();
        if let Some(bytes) = options.disk {
            let size = format!("-osize={bytes},mode=755");
            succeed(lab.command("mount").args(["-t", "tmpfs", &size, "tmpfs", &path("disk")]));
        }
        // `volatile`: nothing outlives the lab, so nobody waits for the disk. A target that is killed keeps what it wrote.
        let mount = r#"mkdir "$1/upper" "$1/work" &&
            mount -t overlay -o "lowerdir=$2,upperdir=$1/upper,workdir=$1/work,index=off,metacopy=off,volatile" overlay "$3""#;
        succeed(lab.command("sh").args(["-c", mount, "sh", &path("disk"), &base.display().to_string(), &path("root")]));
        let mut configure = lab.command("chroot");
        configure.args([&path("root"), "sh", "-c"]).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        let host_key = match options.cloud {
            Some((_, image)) => succeed(configure.args([image, "image", &RESOLVER.to_string()])),
            None => {
                configure.args([include_str!("configure.sh"), "configure", &options.name]);
                configure.args([&options.port.to_string(), &options.account]);
                configure.arg(if options.password.is_empty() { "key" } else { "password" });
                configure.arg(if options.passwordless { "passwordless" } else { "asks" }).arg(RESOLVER.to_string());
                feed(
                    &mut configure,
                    &([std::slice::from_ref(&options.password), &options.keys].concat().join("\n") + "\n"),
                )
            }
        };
        let host_key = host_key.trim().to_owned();
        Self { lab, number, options, folder, host_key, supervisor: Mutex::new(None) }
    }

    /// Puts a script on its disk while it is off.
    pub(crate) fn add_program(&self, path: &str, text: &str) {
        let mut command = self.lab.command("sh");
        command.args(["-c", r#"mkdir -p "${1%/*}" && cat >"$1" && chmod 755 "$1""#, "sh"]);
        feed(command.arg(format!("{}{path}", self.folder.join("root").display())), text);
    }

    /// Copies a file to its disk while it is off.
    pub(crate) fn add_file(&self, path: &str, from: &Path) {
        let to = format!("{}{path}", self.folder.join("root").display());
        succeed(self.lab.command("install").args(["-D", "-m", "0644"]).arg(from).arg(to));
    }

    /// Boots it after [`Target::kill`] and waits until SSH answers.
    ///
    /// # Panics
    /// If it runs already, or does not boot.
    pub fn start(&self) {
        self.power_on();
        self.wait_for_ssh();
    }

    /// Lets it boot.
    ///
    /// # Panics
    /// If it runs already.
    pub(crate) fn power_on(&self) {
        let mut supervisor = self.supervisor.lock().expect("no panic");
        assert!(supervisor.is_none(), "{} runs already", self.options.name);
        let console = fs::File::options().create(true).append(true).open(self.folder.join("console.log"));
        let console = console.expect("a file for the console");
        let mut command = self.lab.command("sh");
        command.args(["-c", include_str!("supervise.sh"), "supervise", &self.lab.network().0.to_string()]);
        command.arg(self.number.to_string()).arg(&self.folder);
        if self.options.docker {
            for name in ["docker", "containerd"] {
                command.arg(format!("--bind={}:/var/lib/{name}", self.folder.join(name).display()));
            }
        }
        command.stdout(console.try_clone().expect("a second handle")).stderr(console);
        *supervisor = Some(command.spawn().expect("nsenter runs"));
    }

    /// Whether it is switched on.
    pub(crate) fn is_on(&self) -> bool {
        matches!(self.supervisor.lock().expect("no panic").as_mut().map(Child::try_wait), Some(Ok(None)))
    }

    /// Sends its systemd a signal, if it is there: `RTMIN+4` to power off, `INT` to reboot (systemd(1)).
    pub(crate) fn signal(&self, signal: &str) {
        if let Some(init) = self.init() {
            succeed(Command::new("kill").args(["-s", signal, &init.to_string()]));
        }
    }

    /// It is connected like this from its next boot on.
    pub(crate) fn reconnect(&self, links: &Links) {
        write_links(&self.folder, links);
    }

    /// Waits until sshd sends its banner.
    ///
    /// # Panics
    /// If it takes too long.
    #[track_caller]
    pub fn wait_for_ssh(&self) {
        let begun = Instant::now();
        while !self.answers() {
            let supervisor = self.supervisor.lock().expect("no panic").as_mut().map(Child::try_wait);
            let runs = matches!(supervisor, Some(Ok(None)));
            let name = &self.options.name;
            assert!(runs && begun.elapsed() < BOOT, "{name} does not answer; its console says:\n{}", self.console());
            thread::sleep(Duration::from_millis(20)); // awaits the condition above
        }
    }

    fn answers(&self) -> bool {
        let short = Duration::from_millis(500);
        let greet = || {
            let mut connection = TcpStream::connect_timeout(&self.ssh(), short)?;
            connection.set_read_timeout(Some(Duration::from_secs(5)))?;
            let mut banner = [0; 8];
            connection.read_exact(&mut banner)?;
            Ok::<_, std::io::Error>(&banner == b"SSH-2.0-")
        };
        greet().unwrap_or(false)
    }

    /// Its host name.
    pub fn name(&self) -> &str {
        &self.options.name
    }

    /// Whom to log in as.
    pub fn account(&self) -> &str {
        &self.options.account
    }

    /// Its address on the private network, by which the test process reaches it.
    pub fn address(&self) -> Ipv4Addr {
        self.lab.network().lan(self.number)
    }

    /// Its public IPv6 address. The test process reaches it where this machine has IPv6.
    pub fn public_v6(&self) -> Ipv6Addr {
        self.lab.network().public_v6(self.number)
    }

    /// Its unique local IPv6 address. Not reached from the test process.
    pub fn ula(&self) -> Ipv6Addr {
        self.lab.network().ula(self.number)
    }

    /// Where its sshd listened at its first boot.
    pub fn ssh(&self) -> SocketAddr {
        SocketAddr::new(self.address().into(), self.options.port)
    }

    /// Its public host key, as `ssh-ed25519 AAAA...`, for a known_hosts file.
    pub fn host_key(&self) -> &str {
        &self.host_key
    }

    /// What its console says, and what nspawn says of it.
    pub fn console(&self) -> String {
        fs::read_to_string(self.folder.join("console.log")).unwrap_or_default()
    }

    /// What becomes of a connection from `source` to this port: by IPv4 to its private address, from the internet by IPv6 to
    /// its public one, from a unique local address to such a one.
    #[track_caller]
    pub fn probe(&self, source: Source, port: u16) -> Verdict {
        let to: IpAddr = match source {
            Source::Ula => self.ula().into(),
            source if source.address(&self.lab).is_ipv6() => self.public_v6().into(),
            _ => self.address().into(),
        };
        self.lab.probe(source, SocketAddr::new(to, port))
    }

    /// Runs a shell command line as root in there, without SSH, to its end.
    ///
    /// # Panics
    /// If it is not booted.
    #[track_caller]
    pub fn exec(&self, script: &str) -> Finished {
        Finished::new(self.inside(script).output().expect("nsenter runs"))
    }

    /// Its root directory with all that is mounted there, as this machine sees it until the next boot.
    ///
    /// # Panics
    /// If it is not booted.
    #[track_caller]
    pub fn root(&self) -> PathBuf {
        let init = self.init().unwrap_or_else(|| panic!("{} is not booted", self.options.name));
        format!("/proc/{init}/root").into()
    }

    /// What the file at this absolute path holds.
    ///
    /// # Panics
    /// If it can't be read.
    #[track_caller]
    pub fn read(&self, path: &str) -> String {
        succeed(self.inside(r#"exec cat -- "$1""#).arg(path))
    }

    /// Writes the file at this absolute path, readable by all.
    ///
    /// # Panics
    /// If it can't be written.
    #[track_caller]
    pub fn write(&self, path: &str, text: &str) {
        feed(self.inside(r#"exec cat >"$1""#).arg(path), text);
    }

    /// Runs a shell command line in there, and then a second one if it is booted; where it is off, its files are all that there is.
    #[track_caller]
    pub(super) fn inside_or_root(&self, script: &str, booted: &str) {
        if self.init().is_some() {
            succeed(&mut self.inside(&format!("{script}\n{booted}")));
        } else {
            let root = self.folder.join("root");
            succeed(self.lab.command("chroot").arg(root).args(["/bin/sh", "-c", script]));
        }
    }

    #[track_caller]
    fn inside(&self, script: &str) -> Command {
        let init = self.init().unwrap_or_else(|| panic!("{} is not booted", self.options.name));
        let mut command = Command::new("nsenter");
        command.args(["--target", &init.to_string(), "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup"]);
        // nspawn's root is not always the root of its mounts.
        command.args(["--root", "--wd", "sh", "-c", script, "sh"]);
        command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("HOME", "/root").env("LANG", "C.UTF-8").stdin(Stdio::null());
        command
    }

    /// The process that is its systemd, as this machine sees it.
    fn init(&self) -> Option<u32> {
        let supervisor = self.supervisor.lock().expect("no panic").as_ref()?.id();
        descendants(supervisor).into_iter().find(|pid| {
            // proc_pid_status(5): its id in each PID namespace, and in its own it is the first. Until it is systemd, its root
            // is not made yet.
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
            status.starts_with("Name:\tsystemd\n") && ids.split_whitespace().next_back() == Some("1")
        })
    }

    /// Cuts it off: no packet comes in or goes out, and nobody is told. Outlasts reboots.
    pub fn cut(&self) {
        fs::write(self.folder.join("cut"), "").expect("a mark");
        self.link(&["set", &self.device(), "nomaster"]);
    }

    /// Undoes [`Target::cut`].
    pub fn heal(&self) {
        fs::remove_file(self.folder.join("cut")).expect("it was cut off");
        self.link(&["set", &self.device(), "master", "lan"]);
    }

    /// The lab's end of the pair of devices that leads there.
    fn device(&self) -> String {
        format!("t{}", self.number)
    }

    /// ip-link(8) in the lab. A target that is killed has no device, and `supervise.sh` makes it as it must be.
    fn link(&self, arguments: &[&str]) {
        if self.init().is_some() {
            succeed(self.lab.command("ip").arg("link").args(arguments));
        }
    }

    /// Its queries to DNS servers are rejected from now on, so that lookups fail, and quickly.
    pub fn break_dns(&self) {
        self.dns_rules("-A");
    }

    /// Undoes [`Target::break_dns`].
    pub fn mend_dns(&self) {
        self.dns_rules("-D");
    }

    fn dns_rules(&self, action: &str) {
        for protocol in ["udp", "tcp"] {
            let mut command = self.lab.command("iptables");
            command.args(["-w", action, "FORWARD", "-s", &self.address().to_string(), "-p", protocol]);
            succeed(command.args(["--dport", "53", "-j", "REJECT"]));
        }
    }

    /// Fills its disk to the last byte.
    ///
    /// # Panics
    /// If it has none of its own: [`TargetOptions::disk`].
    pub fn fill_disk(&self) {
        assert!(self.options.disk.is_some(), "{} shares this machine's disk", self.options.name);
        let finished = self.exec("cat /dev/zero >/var/filled");
        assert!(finished.stderr.contains("No space left"), "{finished:?}");
    }

    /// Undoes [`Target::fill_disk`].
    pub fn free_disk(&self) {
        self.exec("rm /var/filled").ok();
    }

    /// Reboots it the clean way and waits until SSH answers again.
    ///
    /// # Panics
    /// If it does not come back.
    pub fn reboot(&self) {
        let before = self.init();
        assert!(before.is_some(), "{} is not booted", self.options.name);
        // The command itself may be ended by what it asks for.
        let _ = self.exec("systemctl reboot");
        let begun = Instant::now();
        while self.init().is_none_or(|now| Some(now) == before) {
            let name = &self.options.name;
            assert!(begun.elapsed() < BOOT, "{name} does not reboot; its console says:\n{}", self.console());
            thread::sleep(Duration::from_millis(20)); // awaits the condition above
        }
        self.wait_for_ssh();
    }

    /// Pulls the plug. What is on its disk stays, for [`Target::start`].
    pub fn kill(&self) {
        // Without its devices nothing answers for it. They may be gone already, by `systemctl poweroff`.
        let unplug = self.folder.join("unplug");
        let _ = self.lab.command("ip").args(["-force", "-batch"]).arg(unplug).stderr(Stdio::null()).status();
        if let Some(supervisor) = self.supervisor.lock().expect("no panic").take() {
            end(supervisor);
        }
    }

    /// Pulls the plug and removes its disk, its files and all else that was there for it; another target may have its number.
    pub(crate) fn erase(&self) {
        self.kill();
        let lab = self.lab.network().0.to_string();
        let arguments = ["-c", include_str!("erase.sh"), "erase", &lab, &self.number.to_string()];
        succeed(self.lab.command("sh").args(arguments).arg(&self.folder));
        self.lab.give_back(self.number);
    }
}

fn write_links(folder: &Path, links: &Links) {
    let Links { unplug, outside, plug, inside } = links;
    for (name, batch) in [("unplug", unplug), ("outside", outside), ("plug", plug), ("inside", inside)] {
        fs::write(folder.join(name), batch).expect("a file for ip");
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Kills what `supervisor` has started and waits until it is gone. The kernel ends a target with its first process.
fn end(mut supervisor: Child) {
    let family = descendants(supervisor.id());
    for pid in family.iter().filter_map(|pid| Pid::from_raw((*pid).try_into().ok()?)) {
        let _ = kill_process(pid, Signal::KILL);
    }
    let _ = supervisor.wait();
    while family.iter().any(|pid| matches!(ostler_process::start_ticks(*pid), Ok(Some(_)))) {
        thread::sleep(Duration::from_millis(5)); // awaits the condition above
    }
}
