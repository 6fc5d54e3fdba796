//! A lab: the network that targets share, and the process that removes it all.

use super::{
    base, feed, hindrance,
    network::{FIRST, Network, RESOLVER},
    succeed,
    target::{Target, TargetOptions},
};
use crate::environment::marked_processes;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, BufRead, BufReader, Read},
    net::Ipv4Addr,
    os::fd::AsFd as _,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
};

/// A network of targets. Clones are the same lab; it is removed with the last of them and of its targets.
#[derive(Clone, Debug)]
pub struct Lab(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// `keeper.sh`, for as long as its standard input is open.
    keeper: Child,
    /// slirp4netns.
    way_out: Option<Child>,
    /// A process whose namespaces are the lab's.
    namespaces: u32,
    network: Network,
    /// Roots that targets stand on, and the lab's own folder in there.
    folder: PathBuf,
    /// Numbers of targets that are there.
    numbers: Mutex<BTreeSet<u8>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
        let _ = self.way_out.as_mut().map(Child::wait);
    }
}

impl Lab {
    /// A lab without targets yet. `None`, and a line on stderr that says why, where there can be none.
    ///
    /// # Panics
    /// If that is so and `OSTLER_REQUIRE_TARGETS` is `1`; or if it fails in another way.
    pub fn start() -> Option<Self> {
        if let Some(why) = hindrance() {
            let required = std::env::var_os("OSTLER_REQUIRE_TARGETS").is_some_and(|value| value == "1");
            assert!(!required, "{why}, and OSTLER_REQUIRE_TARGETS is 1");
            eprintln!("skipped: {why}");
            return None;
        }
        let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
        let folder =
            target.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target")).join("targets");
        fs::create_dir_all(&folder).expect("a folder for targets");
        let folder = folder.canonicalize().expect("the folder's path");
        let mut command = Command::new("sh");
        command.args(["-c", include_str!("keeper.sh"), "keeper"]).arg(&folder);
        // A group of its own: Ctrl-C in the terminal must not end it before its work.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut keeper = command.spawn().expect("sh runs");
        let mut said = BufReader::new(keeper.stdout.take().expect("it is piped")).lines().map_while(Result::ok);
        let first = said.next().expect("the keeper says the lab's number");
        let (number, namespaces) = first.split_once(' ').expect("a number and a process");
        let mut inner = Inner {
            keeper,
            way_out: None,
            namespaces: namespaces.parse().expect("a process"),
            network: Network(number.parse().expect("a number")),
            folder,
            numbers: Mutex::default(),
        };
        if said.next().as_deref() != Some("ready") {
            let log = fs::read_to_string(inner.lab_folder().join("namespaces.log")).unwrap_or_default();
            panic!("the lab has no namespaces: {log}");
        }
        inner.make_network();
        Some(Self(Arc::new(inner)))
    }

    /// Boots targets at the same time and waits until SSH answers on each.
    ///
    /// # Panics
    /// If one does not boot; with what its console says.
    pub fn boot(&self, options: impl IntoIterator<Item = TargetOptions>) -> Vec<Target> {
        let boot = |options: TargetOptions| {
            let number = self.take_number();
            move || Target::boot(self.clone(), number, options)
        };
        thread::scope(|scope| {
            let booting: Vec<_> = options.into_iter().map(|options| scope.spawn(boot(options))).collect();
            let join = |thread: thread::ScopedJoinHandle<'_, Target>| {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            booting.into_iter().map(join).collect()
        })
    }

    /// Boots one; else like [`Lab::boot`].
    ///
    /// # Panics
    /// Likewise.
    pub fn boot_one(&self, options: TargetOptions) -> Target {
        self.boot([options]).remove(0)
    }

    /// The address by which targets see the test process, and Ostler where a test runs it.
    pub fn host(&self) -> Ipv4Addr {
        self.0.network.host()
    }

    /// What there is of it on this machine.
    pub fn footprint(&self) -> Footprint {
        let Inner { keeper, namespaces, network, .. } = &*self.0;
        Footprint { number: network.0, keeper: keeper.id(), namespaces: *namespaces, folder: self.0.lab_folder() }
    }

    /// The lowest number that no target has.
    ///
    /// # Panics
    /// If all are taken.
    pub(crate) fn take_number(&self) -> u8 {
        let mut numbers = self.0.numbers.lock().expect("no panic");
        let free = (FIRST..255).find(|number| !numbers.contains(number)).expect("a lab has no more addresses");
        numbers.insert(free);
        free
    }

    /// Another target may have this number from now on.
    pub(super) fn give_back(&self, number: u8) {
        self.0.numbers.lock().expect("no panic").remove(&number);
    }

    /// Runs something in the lab's network: sockets that it opens stay there.
    pub(crate) fn in_network<T: Send + 'static>(
        &self,
        open: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let network = File::open(self.network_namespace())?;
        // A thread's network namespace is its own, and a socket keeps that of the thread which made it.
        let entered = move || {
            move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?;
            open()
        };
        thread::spawn(entered).join().expect("the thread does not panic")
    }

    pub(super) fn network(&self) -> Network {
        self.0.network
    }

    /// Its files.
    pub(super) fn folder(&self) -> PathBuf {
        self.0.lab_folder()
    }

    /// Files of a target.
    pub(super) fn target_folder(&self, number: u8) -> PathBuf {
        self.0.lab_folder().join(format!("t{number}"))
    }

    /// A root with these packages.
    pub(crate) fn base(&self, packages: &[String]) -> PathBuf {
        base::root(&self.0.folder, packages)
    }

    fn network_namespace(&self) -> PathBuf {
        format!("/proc/{}/ns/net", self.0.namespaces).into()
    }

    /// A program in the lab's namespaces. It ends with the lab.
    pub(crate) fn command(&self, program: &str) -> Command {
        self.0.command(program)
    }
}

/// What a lab adds to this machine; to see that nothing stays.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Footprint {
    number: u8,
    /// The process that removes the rest.
    pub keeper: u32,
    namespaces: u32,
    folder: PathBuf,
}

impl Footprint {
    /// What is left of it now, for people.
    pub fn left(&self) -> Vec<String> {
        let name = format!("ot{}", self.number);
        let mut left = Vec::new();
        left.extend(
            [self.keeper, self.namespaces].iter().filter(|pid| is_alive(**pid)).map(|pid| format!("process {pid}")),
        );
        for place in ["/sys/class/net", "/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"] {
            let entries = fs::read_dir(place).into_iter().flatten().flatten().map(|entry| entry.path());
            let is_ours = |path: &PathBuf| {
                let file = path.file_name().unwrap_or_default().to_string_lossy();
                file == name || file.starts_with(&format!("{name}-"))
            };
            left.extend(entries.filter(is_ours).map(|path| path.display().to_string()));
        }
        let folder = self.folder.display().to_string();
        left.extend(self.folder.exists().then(|| folder.clone()));
        left.extend(marked_processes(&[folder + "/"]).into_iter().map(|(pid, line)| format!("process {pid}: {line}")));
        left
    }
}

fn is_alive(pid: u32) -> bool {
    matches!(ostler_process::start_ticks(pid), Ok(Some(_)))
}

impl Inner {
    fn lab_folder(&self) -> PathBuf {
        self.folder.join(format!("lab-{}", self.network.0))
    }

    fn make_network(&mut self) {
        feed(Command::new("ip").args(["-batch", "-"]), &self.network.on_host(self.namespaces));
        let mut on_host_v6 = Command::new("ip");
        on_host_v6.args(self.network.on_host_v6()).stderr(Stdio::null());
        // Not where this machine has no IPv6.
        let _ = on_host_v6.status();
        feed(self.command("ip").args(["-batch", "-"]), &self.network.in_lab());
        // The gateway sends on what comes in, says of each packet that it rejects it, tells nobody of a shorter way, and connects from
        // whatever address it is told.
        let settings = "echo 1 >ipv4/ip_forward && echo 0 >ipv4/icmp_ratelimit &&
            echo 0 >ipv4/conf/all/send_redirects && echo 0 >ipv4/conf/lan/send_redirects &&
            echo 1 >ipv6/conf/all/forwarding && echo 1 >ipv6/ip_nonlocal_bind";
        succeed(self.command("sh").args(["-c", &format!("cd /proc/sys/net && {settings}")]));
        succeed(self.command("iptables").args([
            "-w",
            "-t",
            "nat",
            "-A",
            "POSTROUTING",
            "-o",
            "wan",
            "-j",
            "MASQUERADE",
        ]));
        // Its sockets are those of this machine's network, but it ends with the lab.
        let mut way_out = Command::new("nsenter");
        way_out.arg(format!("--pid=/proc/{}/ns/pid_for_children", self.namespaces));
        way_out.args(["slirp4netns", "--configure", "--disable-host-loopback", "--mtu=65520", "--ready-fd=1"]);
        way_out.args(["--netns-type=path", &format!("/proc/{}/ns/net", self.namespaces), "wan"]);
        way_out.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut way_out = way_out.spawn().expect("nsenter runs");
        let ready = way_out.stdout.take().expect("it is piped").read_exact(&mut [0]);
        self.way_out = Some(way_out);
        ready.unwrap_or_else(|error| panic!("slirp4netns does not get ready (resolver {RESOLVER}): {error}"));
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        for (namespace, file) in [("net", "net"), ("mount", "mnt"), ("pid", "pid_for_children")] {
            command.arg(format!("--{namespace}=/proc/{}/ns/{file}", self.namespaces));
        }
        command.arg(program).stdin(Stdio::null());
        command
    }
}
