//! A Hetzner Cloud to try things on by hand: `cargo run -p ostler-testkit --example fake-hetzner -- PORT` answers on this port of
//! 127.0.0.1 (0: any free one), says how a client gets in, and goes at Ctrl-C with all that it held. Its servers are records: they are
//! made, started and removed, and nothing boots. With `--machines`, as root, they are Debian 13 in systemd-nspawn: they get their
//! user data through cloud-init, answer SSH at the addresses that the API shows, and have the firewalls that it was told.

use ostler_testkit::hcloud::{FakeCloud, Machines, READ_ONLY_TOKEN, Records, TOKEN, TargetMachines};
use std::{error::Error, net::Ipv4Addr, sync::Arc, time::Duration};
use tokio::signal::unix::{SignalKind, signal};

/// How long actions take, so that a person sees them run.
const PACE: Duration = Duration::from_secs(2);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let arguments: [Option<String>; 3] = std::array::from_fn(|_| arguments.next());
    let (port, real) = match arguments.each_ref().map(Option::as_deref) {
        [Some(port), None, None] => (port.parse::<u16>()?, false),
        [Some(port), Some("--machines"), None] => (port.parse()?, true),
        _ => return Err("usage: fake-hetzner PORT [--machines]".into()),
    };
    // Both are listened to before anything is there that they would have to take away.
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let machines: Arc<dyn Machines> = match real {
        true => TargetMachines::start().ok_or("there can be no machines")?,
        false => Arc::new(Records::default()),
    };
    let cloud = FakeCloud::start_at((Ipv4Addr::LOCALHOST, port).into(), machines).await?;
    cloud.pace(PACE);
    println!("{}", instructions(&cloud));
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

fn instructions(cloud: &FakeCloud) -> String {
    let url = cloud.url();
    let metadata = cloud.metadata_url(0).replacen("/0/", "/ID/", 1);
    format!(
        r#"A fake Hetzner Cloud answers until Ctrl-C.

endpoint:        {url}
token:           {TOKEN}
read-only token: {READ_ONLY_TOKEN}
metadata:        {metadata}/metadata, .../userdata

With curl:

  curl --header 'Authorization: Bearer {TOKEN}' {url}/server_types

With Debian's hcloud-cli:

  export HCLOUD_ENDPOINT={url} HCLOUD_TOKEN={TOKEN}
  hcloud server create --name web1 --type cx23 --image debian-13 --location fsn1
  hcloud server list
  hcloud server delete web1

With Python's hcloud:

  client = hcloud.Client(token="{TOKEN}", api_endpoint="{url}")
"#
    )
}
