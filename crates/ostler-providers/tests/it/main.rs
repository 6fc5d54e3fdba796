//! Each provider against what it works with: the real QEMU, a fake node of Proxmox VE, sites of images.

mod image_pull;
mod local;
mod local_guest;
mod proxmox;
mod support;
