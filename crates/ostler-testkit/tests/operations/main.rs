//! Every operation, failed and killed at every step and at every call that changes anything, then gone on with.
//!
//! Whatever happened, in the end the world and the state are those of a run that nothing disturbed, no machine was made
//! twice, no two runs met, and what is destroyed leaves nothing. The steps come from the operations' own definitions.

mod adopting;
mod balancing;
mod bench;
mod cases;
mod certificates;
mod creating;
mod destroying;
mod earlier_states;
mod events;
mod every;
mod failing;
mod following;
mod journals;
mod leases;
mod leaving;
mod looking;
mod orphans;
mod outputs;
mod rebuilding;
mod rescuing;
mod service;
mod sites;
mod steps;
mod templates;
mod together;
mod unfinished;
mod zones;
