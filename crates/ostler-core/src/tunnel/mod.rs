//! A tunnel to a server's SSH, and the port that it takes the place of.
//!
//! The order is what keeps the way in: the tunnel is made while the port is open, a login through it is proved, and only then logins take
//! the tunnel and the port is closed. The other way round the port is opened and a login by it proved before anything of the tunnel
//! goes. So at each moment there is a way in that was proved.

pub(crate) mod account;
pub(crate) mod leave;
pub(crate) mod proof;
