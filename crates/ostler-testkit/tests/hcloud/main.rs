//! The fake Hetzner Cloud, as its clients meet it: rule by rule over HTTP, and by the vendor's own clients, unchanged.

mod client;
mod clients;
mod failing;
mod lists;
mod resources;
mod servers;
mod targets;
mod zones;
