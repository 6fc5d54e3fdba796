//! A Proxmox VE node to try things on by hand: `cargo run -p ostler-testkit --example fake-proxmox -- PORT` answers on this port of
//! 127.0.0.1 (0: any free one), says how a client gets in, and goes at Ctrl-C with all that it held. Its VMs are records: they are made,
//! started and removed, and nothing boots.

use ostler_testkit::pve::{FakeNode, NODE};
use std::{error::Error, net::Ipv4Addr};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(Ok(port)), None) = (arguments.next().map(|port| port.parse::<u16>()), arguments.next()) else {
        return Err("usage: fake-proxmox PORT".into());
    };
    // Both are listened to before anything is there that they would have to take away.
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let node = FakeNode::start_at((Ipv4Addr::LOCALHOST, port).into()).await?;
    println!("{}", instructions(&node));
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

fn instructions(node: &FakeNode) -> String {
    let (url, token, fingerprint) = (node.url(), FakeNode::token(), node.fingerprint());
    format!(
        r#"A fake Proxmox VE node answers until Ctrl-C.

url:         {url}
node:        {NODE}
token:       {token}
fingerprint: {fingerprint}

With curl:

  curl --insecure --header 'Authorization: PVEAPIToken={token}' {url}/api2/json/nodes

With ostler, ostler.yaml holds:

  providers:
    fake: {{ kind: proxmox, url: "{url}", token: {{ env: FAKE_PROXMOX_TOKEN }},
      fingerprint: "{fingerprint}" }}
  servers:
    web1:
      provider: fake
      proxmox: {{ node: {NODE} }}
      image: disk.raw
      network: {{ address: "fe80::7/64", dns: [ "fe80::1" ] }}
      authorized_keys: [ ~/.ssh/id_ed25519.pub ]

and then:

  truncate --size 4M disk.raw
  export FAKE_PROXMOX_TOKEN='{token}'
  ostler plan ostler.yaml
  ostler up ostler.yaml --timeout 1   # makes and starts VM 100, then misses SSH: nothing boots in it
  ostler destroy web1 --yes
"#
    )
}
