//! Volumes of the provider as the server's own system sees them.

use crate::{error::Result, model::Mount, spec::Promise, world::Context};

/// What the server mounts; `None` where it has no volumes and never had any.
pub(crate) async fn mounts(ctx: &Context<'_>) -> Result<Option<Vec<Mount>>> {
    match ctx.provider().volumes() {
        Some(volumes) => volumes.mounts(&ctx.machine().await?, &ctx.spec.provider),
        None => Ok(None),
    }
}

/// That each is mounted where the spec says so, now and after the next boot.
pub(crate) async fn promises(ctx: &Context<'_>) -> Result<Vec<Promise>> {
    Ok(mounts(ctx).await?.unwrap_or_default().iter().map(promise).collect())
}

/// Names and paths are of plain characters: the spec takes no others.
fn promise(mount: &Mount) -> Promise {
    let Mount { name, device, mount: path, .. } = mount;
    let device = device.as_deref().unwrap_or("/dev/disk/by-id/none");
    let check = format!(
        "is=$(readlink -e {device}) || {{ echo 'its device {device} is not there'; exit 1; }}
at=$(findmnt -rno SOURCE --mountpoint {path}) || {{ echo 'nothing is mounted there'; exit 1; }}
[ \"$(readlink -e \"$at\")\" = \"$is\" ] || {{ echo \"$at is mounted there\"; exit 1; }}
case ,$(findmnt -rno OPTIONS --mountpoint {path}), in *,ro,*) echo 'it is mounted read-only'; exit 1 ;; esac
findmnt --fstab -rno TARGET {path} >/dev/null || {{ echo 'the next boot does not mount it'; exit 1; }}"
    );
    Promise { says: format!("{name} is mounted at {path}"), check }
}
