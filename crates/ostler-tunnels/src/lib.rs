//! Accounts that tunnels end in. Today Cloudflare's.

mod cloudflare;

pub use cloudflare::{CloudflareTunnels, Patience, Tokens};
