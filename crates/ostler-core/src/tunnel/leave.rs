//! The way back: SSH by the server's own address, and then without the tunnel.

use crate::{
    error::{Blame, Failure, Result},
    event::Level,
    model::TunnelRecord,
    ports::{Output, Session},
    reach::{fence, wait},
    tunnel::{account, proof},
    world::Context,
};

const OPEN_SSH: &str = include_str!("scripts/open_ssh.sh");
const LEAVE: &str = include_str!("scripts/leave.sh");

/// Logins go by the server's address from now on; returns the login that proves it. The server's firewall lets us in already.
pub(crate) async fn go_direct(ctx: &Context<'_>, tunnel: &mut TunnelRecord) -> Result<Box<dyn Session>> {
    fence::admit_ssh(ctx, true).await?;
    let was = tunnel.through;
    tunnel.through = false;
    ctx.put_tunnel(Some(tunnel)).await?;
    let user = ctx.record().await?.login_user;
    let limit = ctx.world.wait.limit(ctx.observe().await?.slowness);
    match wait::for_new_login(ctx, &user, limit).await {
        Ok(direct) => Ok(direct),
        Err(failure) => {
            tunnel.through = was;
            ctx.put_tunnel(Some(tunnel)).await?;
            let what = format!("SSH of {} does not answer at its own address, so its tunnel stays", ctx.server());
            Err(failure.because_of(what))
        }
    }
}

/// Ends the server's end of the tunnel, and takes away the other one. `direct` is a login that does not go through it.
pub(crate) async fn take_down(ctx: &Context<'_>, tunnel: &TunnelRecord, direct: &dyn Session) -> Result<()> {
    done(ctx, &as_root(direct, LEAVE, &[]).await?, "end its end of the tunnel")?;
    account::close(ctx, tunnel).await
}

/// Opens SSH in the server's own firewall, without a run of Ansible.
pub(crate) async fn open_ssh(ctx: &Context<'_>, tunnel: &mut TunnelRecord, session: &dyn Session) -> Result<()> {
    done(ctx, &as_root(session, OPEN_SSH, &[&tunnel.port.to_string()]).await?, "open its SSH port")?;
    tunnel.ssh_closed = false;
    ctx.put_tunnel(Some(tunnel)).await
}

/// Gives back a server that stays: its port is open, a login by it is proved, and nothing of the tunnel is left.
pub(crate) async fn release(ctx: &Context<'_>) -> Result<()> {
    let Some(mut tunnel) = ctx.tunnel().await? else { return Ok(()) };
    let session = wait::for_login(ctx).await?;
    if tunnel.ssh_closed {
        open_ssh(ctx, &mut tunnel, session.as_ref()).await?;
    }
    session.close().await;
    let direct = go_direct(ctx, &mut tunnel).await?;
    let taken = take_down(ctx, &tunnel, direct.as_ref()).await;
    direct.close().await;
    taken
}

/// Opens SSH again where the tunnel may be dead. `Ok(false)`: nothing that can be done from here opens it.
pub(crate) async fn rescue(ctx: &Context<'_>, tunnel: &mut TunnelRecord) -> Result<bool> {
    fence::admit_ssh(ctx, true).await?;
    if !proof::answers(ctx).await {
        // The tunnel may live, and only somebody's wish to have the port back has brought us here.
        match proof::login(ctx, tunnel).await {
            Ok(session) => {
                let opened = open_ssh(ctx, tunnel, session.as_ref()).await;
                session.close().await;
                opened?;
            }
            Err(failure) if failure.blame == Blame::Interrupted => return Err(failure),
            Err(failure) => {
                let message =
                    failure.causes.first().map_or(failure.message.clone(), |why| format!("{}: {why}", failure.message));
                ctx.notice(Level::Warning, message).await;
                return Ok(false);
            }
        }
    }
    go_direct(ctx, tunnel).await?.close().await;
    tunnel.ssh_closed = false;
    ctx.put_tunnel(Some(tunnel)).await?;
    Ok(true)
}

/// `script` as root, with parameters that a shell takes as they stand.
async fn as_root(session: &dyn Session, script: &str, parameters: &[&str]) -> Result<Output> {
    session.run(&format!("exec sudo -n sh -s -- {}", parameters.join(" ")), script.as_bytes()).await
}

fn done(ctx: &Context<'_>, output: &Output, what: &str) -> Result<()> {
    match output.status {
        0 => Ok(()),
        _ => {
            Err(Failure::new(Blame::Target, output.stderr.trim())
                .because_of(format!("{} could not {what}", ctx.server())))
        }
    }
}
