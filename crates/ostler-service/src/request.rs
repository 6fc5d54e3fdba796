//! What can be asked for.

use ostler_core::{
    Result,
    ids::ServerName,
    server::{
        destroy, rebuild, template,
        up::{self, OnFailure, Resumed},
    },
    spec::ServerSpec,
    world::World,
};

/// What is to become of a server.
#[derive(Clone, Debug)]
pub enum Request {
    /// It is made, or brought to its spec.
    Up {
        /// What it shall be.
        spec: Box<ServerSpec>,
        /// What becomes of it if this very work began to make it and can't finish.
        on_failure: OnFailure,
    },
    /// Its last operation is gone on with.
    Resume(ServerName),
    /// All that was made for it is undone.
    Destroy(ServerName),
    /// The same, and its volumes that Ostler made are removed with all that is on them.
    DestroyWithVolumes(ServerName),
    /// It is made anew in its place.
    Rebuild(ServerName),
    /// It is made a template, by a spec of [`template::server_for`].
    Template(Box<ServerSpec>),
}

impl Request {
    /// The server that it is about.
    pub fn server(&self) -> &ServerName {
        match self {
            Self::Up { spec, .. } | Self::Template(spec) => &spec.name,
            Self::Resume(server) | Self::Destroy(server) | Self::DestroyWithVolumes(server) | Self::Rebuild(server) => {
                server
            }
        }
    }

    /// What others are told who find the server's lease.
    pub(crate) fn doing(&self) -> &'static str {
        match self {
            Self::Up { .. } => "up",
            Self::Resume(_) => "resume",
            Self::Destroy(_) | Self::DestroyWithVolumes(_) => "destroy",
            Self::Rebuild(_) => "rebuild",
            Self::Template(_) => "template build",
        }
    }

    /// Does it. The caller holds the lease.
    pub(crate) async fn perform(&self, world: &World) -> Result<Resumed> {
        match self {
            Self::Up { spec, on_failure } => up::up(world, spec, *on_failure).await.map(Resumed::Up),
            Self::Resume(server) => up::resume(world, server).await,
            Self::Destroy(server) => destroy::destroy(world, server).await.map(|()| Resumed::Destroyed),
            Self::DestroyWithVolumes(server) => {
                destroy::destroy_with_volumes(world, server).await.map(|()| Resumed::Destroyed)
            }
            Self::Rebuild(server) => rebuild::rebuild(world, server).await.map(Resumed::Up),
            Self::Template(spec) => template::build(world, spec).await,
        }
    }
}
