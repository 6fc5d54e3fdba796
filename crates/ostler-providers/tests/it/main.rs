//! Each provider against what it works with: the real QEMU, fakes of Proxmox VE and Hetzner Cloud, sites of images.

mod contract;
mod hetzner;
mod image_pull;
mod local;
mod local_guest;
mod proxmox;
mod support;
