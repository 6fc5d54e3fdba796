//! What sites run on. Today that is Docker Swarm behind Traefik; another runtime is a folder beside it.

mod folder;
mod swarm;

pub use swarm::SwarmRuntime;
