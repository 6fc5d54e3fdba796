//! QEMU's command line: a pure function of the machine and the accelerator.
//!
//! File names are relative, for QEMU is started in the machine's folder: no path needs QEMU's comma quoting, and sockets
//! keep clear of the 108 bytes that a socket address may have. QEMU changes to `/` only after it has opened everything.
//!
//! The disk is virtio-blk. The seed is a CD on virtio-scsi, because Debian's cloud kernel has no AHCI driver, and because
//! only a removable medium can be swapped while the guest runs.

use super::{
    console::CONSOLE,
    disk::MIB,
    error::LocalError,
    machine::{Accel, Forwarded, Machine},
    net::{NetworkError, Subnet, subnets},
    seed::SEED,
};
use ostler_core::model::mac_address;

/// File of the first disk.
pub const DISK: &str = "disk.qcow2";
/// Control socket.
pub const QMP: &str = "qmp.sock";
/// Socket of the guest agent's channel.
pub const GUEST_AGENT: &str = "qga.sock";
/// QEMU writes its process id there, and locks it.
pub const PIDFILE: &str = "qemu.pid";
/// What QEMU itself has to say.
pub const LOG: &str = "qemu.log";
/// Device id of the optical drive.
pub const SEED_DRIVE: &str = "seed-drive";

/// Arguments of `qemu-system-x86_64`.
pub fn argv(machine: &Machine, accel: Accel) -> Result<Vec<String>, NetworkError> {
    let mut argv = Vec::new();
    let mut add = |name: &str, value: &str| argv.extend([name.to_owned(), value.to_owned()]);

    add("-name", &format!("guest={}", machine.server));
    add("-uuid", &machine.uuid.to_string());
    add("-machine", "q35");
    match accel {
        Accel::Kvm => {
            add("-accel", "kvm");
            add("-cpu", "host");
        }
        Accel::Tcg => {
            // The cache of translated code is bounded, in MiB; QEMU's default is a quarter of the guest's memory.
            add("-accel", "tcg,thread=multi,tb-size=512");
            add("-cpu", "max");
        }
    }
    add("-smp", &machine.size.cpus.to_string());
    add("-m", &format!("{}M", machine.size.memory / MIB));
    add("-display", "none");
    add("-vga", "none");

    add("-drive", &format!("if=none,id=disk,file={DISK},format=qcow2,discard=unmap,detect-zeroes=unmap"));
    add("-device", "virtio-blk-pci,drive=disk,bootindex=1");
    add("-device", "virtio-scsi-pci,id=scsi");
    add("-drive", &format!("if=none,id=seed,file={SEED},format=raw,media=cdrom,readonly=on"));
    add("-device", &format!("scsi-cd,id={SEED_DRIVE},bus=scsi.0,drive=seed"));

    for (index, subnet) in subnets(&machine.networks)?.iter().enumerate() {
        let forwards = if index == 0 { forwards(machine, subnet) } else { String::new() };
        add("-netdev", &format!("user,id=net{index},{}{forwards}", subnet.options));
        let mac = mac_address(machine.owner, machine.server.as_str(), index);
        // No romfile: nothing boots from the network.
        add("-device", &format!("virtio-net-pci,netdev=net{index},mac={mac},romfile="));
    }

    add("-object", "rng-random,id=rng,filename=/dev/urandom");
    add("-device", "virtio-rng-pci,rng=rng");
    add("-chardev", &format!("file,id=console,path={CONSOLE}"));
    add("-serial", "chardev:console");
    add("-device", "virtio-serial-pci");
    add("-chardev", &format!("socket,id=agent,path={GUEST_AGENT},server=on,wait=off"));
    add("-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0");
    add("-chardev", &format!("socket,id=qmp,path={QMP},server=on,wait=off"));
    add("-mon", "chardev=qmp,mode=control");

    add("-pidfile", PIDFILE);
    add("-D", LOG);
    argv.extend(["-nodefaults", "-no-user-config", "-daemonize"].map(str::to_owned));
    Ok(argv)
}

/// One forwarded port, as `-netdev` and the monitor's `hostfwd_add` take it.
fn forward(guest: &str, here: u16, there: u16) -> String {
    format!("tcp:127.0.0.1:{here}-{guest}:{there}")
}

/// The same for a machine that runs, with the network card that it is forwarded over.
pub fn added_forward(machine: &Machine, forwarded: &Forwarded) -> Result<String, LocalError> {
    let subnets = subnets(&machine.networks)?;
    let guest = subnets.first().and_then(|subnet| subnet.guest).map(|address| address.to_string()).unwrap_or_default();
    Ok(format!("net0 {}", forward(&guest, forwarded.host, forwarded.order.guest)))
}

fn forwards(machine: &Machine, subnet: &Subnet) -> String {
    let guest = subnet.guest.map(|address| address.to_string()).unwrap_or_default();
    let ports = machine.ssh_moved.iter().chain(&machine.forwards).map(|forward| (forward.host, forward.order.guest));
    std::iter::once((machine.ssh_port, 22))
        .chain(ports)
        .map(|(here, there)| format!(",hostfwd={}", forward(&guest, here, there)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::machine::{Forwarded, Run};
    use ostler_core::{
        ids::ServerName,
        spec::{Address, Forward, Network, Size},
    };

    fn machine() -> Machine {
        let card = |address| Network { address, ..Network::default() };
        Machine {
            server: ServerName::parse("web1").unwrap(),
            operation: "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap(),
            owner: "01890a5d-ac96-774b-bcce-b302099a8058".parse().unwrap(),
            uuid: "1b4e28ba-2fa1-4d2a-883f-0016d3cca427".parse().unwrap(),
            image: "/images/debian.qcow2".into(),
            size: Size { cpus: 2, memory: 1024 * MIB, disk: 10240 * MIB },
            networks: vec![card(Address::Static("10.9.0.5/24".parse().unwrap())), card(Address::Dhcp)],
            ssh_port: 20022,
            ssh_moved: Vec::new(),
            forwards: vec![Forwarded { order: Forward { host: None, guest: 80 }, host: 20080 }],
            meta_data: String::new(),
            network_config: String::new(),
            booted: false,
            scrubbed: false,
            run: Run::Off,
        }
    }

    #[test]
    fn the_command_line_of_an_emulated_machine() {
        let machine = machine();
        let mac = |index| mac_address(machine.owner, "web1", index);
        let expected = format!(
            "-name guest=web1 -uuid 1b4e28ba-2fa1-4d2a-883f-0016d3cca427 -machine q35 \
             -accel tcg,thread=multi,tb-size=512 -cpu max -smp 2 -m 1024M -display none -vga none \
             -drive if=none,id=disk,file=disk.qcow2,format=qcow2,discard=unmap,detect-zeroes=unmap \
             -device virtio-blk-pci,drive=disk,bootindex=1 \
             -device virtio-scsi-pci,id=scsi \
             -drive if=none,id=seed,file=seed.iso,format=raw,media=cdrom,readonly=on \
             -device scsi-cd,id=seed-drive,bus=scsi.0,drive=seed \
             -netdev user,id=net0,ipv4=on,ipv6=off,net=10.9.0.0/24,host=10.9.0.1,dns=10.9.0.2,dhcpstart=10.9.0.5,\
             hostfwd=tcp:127.0.0.1:20022-10.9.0.5:22,hostfwd=tcp:127.0.0.1:20080-10.9.0.5:80 \
             -device virtio-net-pci,netdev=net0,mac={},romfile= \
             -netdev user,id=net1,ipv4=on,ipv6=off,net=10.0.2.0/24 \
             -device virtio-net-pci,netdev=net1,mac={},romfile= \
             -object rng-random,id=rng,filename=/dev/urandom -device virtio-rng-pci,rng=rng \
             -chardev file,id=console,path=console.log -serial chardev:console -device virtio-serial-pci \
             -chardev socket,id=agent,path=qga.sock,server=on,wait=off \
             -device virtserialport,chardev=agent,name=org.qemu.guest_agent.0 \
             -chardev socket,id=qmp,path=qmp.sock,server=on,wait=off -mon chardev=qmp,mode=control \
             -pidfile qemu.pid -D qemu.log -nodefaults -no-user-config -daemonize",
            mac(0),
            mac(1)
        );
        assert_eq!(argv(&machine, Accel::Tcg).unwrap().join(" "), expected);
    }

    #[test]
    fn an_accelerated_machine_has_the_processor_of_its_host() {
        let argv = argv(&machine(), Accel::Kvm).unwrap().join(" ");
        assert!(argv.contains("-accel kvm -cpu host"), "{argv}");
    }

    #[test]
    fn a_dhcp_guest_is_reached_at_the_first_address_that_is_given_out() {
        let mut machine = machine();
        machine.networks.remove(0);
        let argv = argv(&machine, Accel::Tcg).unwrap().join(" ");
        assert!(argv.contains("net=10.0.2.0/24,hostfwd=tcp:127.0.0.1:20022-:22,"), "{argv}");
    }
}
