//! The fake Cloudflare, as its clients meet it: rule by rule over HTTP, by the vendor's own client unchanged, and through its edge.

mod clients;
mod edge;
mod rules;
mod support;
