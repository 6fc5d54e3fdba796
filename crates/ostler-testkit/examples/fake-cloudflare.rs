//! A Cloudflare to try things on by hand: `cargo run -p ostler-testkit --example fake-cloudflare -- PORT` answers on this port of
//! 127.0.0.1 (0: any free one), writes the stand-in for `cloudflared` into a temporary folder, says how clients get in, and goes at
//! Ctrl-C with all that it held.

use ostler_testkit::cloudflare::{ACCOUNT, FakeCloudflare, TOKEN, ZONE};
use std::{error::Error, net::Ipv4Addr};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(Ok(port)), None) = (arguments.next().map(|port| port.parse::<u16>()), arguments.next()) else {
        return Err("usage: fake-cloudflare PORT".into());
    };
    // Both are listened to before anything is there that they would have to take away.
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let fake = FakeCloudflare::start_at((Ipv4Addr::LOCALHOST, port).into(), Ipv4Addr::LOCALHOST.into()).await?;
    let programs = tempfile::tempdir()?;
    fake.install_stand_in(programs.path())?;
    let (url, edge, folder) = (fake.url(), fake.edge(), programs.path().display());
    println!(
        r#"A fake Cloudflare answers until Ctrl-C.

endpoint: {url}
token:    {TOKEN}
account:  {ACCOUNT}
zone:     {ZONE}
edge:     {edge}

With curl:

  curl --header 'Authorization: Bearer {TOKEN}' {url}/zones

With Python's cloudflare:

  client = cloudflare.Cloudflare(api_token="{TOKEN}", base_url="{url}")

The stand-in for cloudflared:

  export PATH={folder}:$PATH
"#
    );
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}
