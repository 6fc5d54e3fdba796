//! Catalogs as Git has them, and the roles on real servers.

mod catalog;
mod roles;
