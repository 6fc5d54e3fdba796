//! A real QEMU for the node's VM, as far as this machine can have one: emulated, its card on QEMU's user-mode network, its address one of
//! this machine's own, so that it is reached as if it stood in a network of its own. It gets the same address by DHCP.

use super::{
    Node,
    api::{Refusal, Reply, Request},
    schema::Parameters,
    templates,
};
use serde_json::{Value, json};
use std::{
    io::{self, Write},
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
    time::timeout,
};

/// Ports that are reached.
const PORTS: [u16; 3] = [22, 80, 443];

/// A running QEMU. Dropping it ends it, and takes its address from this machine.
pub(super) struct Guest {
    child: Child,
    address: Ipv4Addr,
    /// Socket of its guest agent.
    agent: PathBuf,
}

/// How long a guest agent may take.
const AGENT: Duration = Duration::from_secs(2);

impl Guest {
    /// Starts the VM of a configuration.
    pub fn start(node: &Node, vmid: u32, config: &Parameters, address: Ipv4Addr) -> Result<Self, String> {
        let file = |key: &str| {
            let volume = config.get(key)?.split(',').next()?.to_owned();
            let state = node.lock();
            state.volumes.get(&volume).map(|volume| volume.path.display().to_string())
        };
        let format = file("scsi0").map_or("raw", |disk| templates::format_of(Path::new(&disk)));
        let (disk, seed) = (file("scsi0").ok_or("no disk")?, file("scsi1").ok_or("no seed")?);
        let number = |key: &str| config.get(key).and_then(|value| value.parse::<u64>().ok()).unwrap_or(1);
        let mac = |index: u32| config.get(&format!("net{index}"))?.strip_prefix("virtio=")?.split(',').next();
        let first = mac(0).ok_or("no card")?;
        // Beside the first, cards are on networks of their own where nobody else is.
        let others = (1..).map_while(mac).zip(1..).flat_map(|(mac, index)| {
            let device = format!("virtio-net-pci,netdev=net{index},mac={mac},romfile=");
            ["-netdev".to_owned(), format!("user,id=net{index},restrict=on,ipv6=off"), "-device".to_owned(), device]
        });
        let [a, b, c, _] = address.octets();
        let forwards: String = PORTS.map(|port| format!(",hostfwd=tcp:{address}:{port}-{address}:{port}")).concat();
        // As PVE has it for `serial0: socket`, but that what is said there is kept for whoever looks for a fault.
        let serial = node.path(&format!("qemu/{vmid}.serial0"));
        let serial = serial.display();
        let agent = node.path(&format!("qemu/{vmid}.qga"));
        loopback("add", address)?;
        let child = Command::new("qemu-system-x86_64")
            .args([
                "-nodefaults",
                "-no-user-config",
                "-machine",
                "q35",
                "-accel",
                "tcg,thread=multi,tb-size=512",
                "-cpu",
                "max",
            ])
            .args(["-display", "none", "-vga", "none", "-device", "virtio-scsi-pci,id=scsi"])
            .args(["-smp", &number("cores").to_string(), "-m", &format!("{}M", number("memory"))])
            .args(["-drive", &format!("if=none,id=disk,file={disk},format={format},discard=unmap,cache=unsafe")])
            .args(["-device", "scsi-hd,bus=scsi.0,drive=disk,bootindex=1"])
            .args(["-drive", &format!("if=none,id=seed,file={seed},format=raw,media=cdrom,readonly=on")])
            .args(["-device", "scsi-cd,bus=scsi.0,drive=seed"])
            .args([
                "-netdev",
                &format!(
                    "user,id=net0,ipv6=off,net={a}.{b}.{c}.0/24,host={a}.{b}.{c}.1,dns={a}.{b}.{c}.3,dhcpstart={address}{forwards}"
                ),
            ])
            .args(["-device", &format!("virtio-net-pci,netdev=net0,mac={first},romfile=")])
            .args(others)
            .args(["-device", "virtio-rng-pci", "-device", "virtio-serial-pci"])
            .args(["-chardev", &format!("socket,id=agent,path={},server=on,wait=off", agent.display())])
            .args(["-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"])
            .args(["-chardev", &format!("socket,id=serial0,path={serial},server=on,wait=off,logfile={serial}.log")])
            .args(["-serial", "chardev:serial0"])
            .args(["-monitor", "stdio"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn();
        match child {
            Ok(child) => Ok(Self { child, address, agent }),
            Err(error) => {
                loopback("del", address)?;
                Err(error.to_string())
            }
        }
    }

    /// Whether it has not ended.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Presses the power button until it ends or the time is up; `false` then.
    pub async fn shut_down(&mut self, grace: Duration) -> bool {
        let begun = std::time::Instant::now();
        while self.runs() {
            if begun.elapsed() >= grace {
                return false;
            }
            if let Some(monitor) = &mut self.child.stdin {
                let _ = monitor.write_all(b"system_powerdown\n");
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        true
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Err(words) = loopback("del", self.address) {
            eprintln!("left behind on lo: {}: {words}", self.address);
        }
    }
}

/// Makes an address one of this machine's own, or no more. Whoever connects to it comes from 127.0.0.1, which QEMU translates: from an
/// address of the device he would come from the very address that he goes to, and the guest would not answer itself.
fn loopback(verb: &str, address: Ipv4Addr) -> Result<(), String> {
    let output = Command::new("ip")
        .args(["route", verb, "local", &format!("{address}/32"), "dev", "lo", "src", "127.0.0.1", "table", "local"])
        .output()
        .map_err(|error| format!("ip: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
}

/// What the guest agent says: that of the real guest, or what it was told to.
pub(super) async fn interfaces(request: &Request<'_>) -> Reply {
    let (told, socket) = {
        let state = request.node.lock();
        let path = format!("/vms/{}", request.vmid());
        if state.version.starts_with('8') {
            state.grants.all(&path, &["VM.Monitor"])?;
        } else {
            state.grants.any(&path, &["VM.GuestAgent.Audit", "VM.GuestAgent.Unrestricted"])?;
        }
        let vm = state.vms.get(&request.vmid());
        if vm.is_none_or(|vm| vm.config.get("agent").is_none_or(|agent| !agent.contains('1'))) {
            return Err(Refusal::died("No QEMU guest agent configured"));
        }
        (state.agent.clone(), vm.and_then(|vm| Some(vm.guest.as_ref()?.agent.clone())))
    };
    let silent = || Refusal::died("QEMU guest agent is not running");
    if let Some(socket) = socket {
        let found = ask(&socket).await.ok_or_else(silent)?;
        return Ok(json!({ "result": found }));
    }
    let (mac, address) = told.ok_or_else(silent)?;
    Ok(json!({ "result": [
        { "name": "lo", "hardware-address": "00:00:00:00:00:00", "ip-addresses": [{ "ip-address": "127.0.0.1", "prefix": 8 }] },
        { "name": "eth0", "hardware-address": mac, "ip-addresses": [{ "ip-address": address, "prefix": 24 }] },
    ] }))
}

/// Asks a guest agent; `None` where there is none.
async fn ask(socket: &Path) -> Option<Value> {
    let answer = async {
        let mut stream = BufReader::new(UnixStream::connect(socket).await?);
        stream.write_all(b"{\"execute\":\"guest-network-get-interfaces\"}\n").await?;
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        Ok::<_, io::Error>(line)
    };
    let line = timeout(AGENT, answer).await.ok()?.ok()?;
    serde_json::from_str::<Value>(&line).ok()?.get("return").cloned()
}
