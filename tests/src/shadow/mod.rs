//! A whole server among realistic peers, from a seed, in virtual time, against a shadow model.
//!
//! ```text
//!   clients ──┐                                            ┌── nodes
//!   (http1)   ├── net: delays, pieces, full buffers, ── engine ── (dealer)
//!             ┘        partitions, resets, leaps        │
//!                                                     model: what may become of each request
//! ```
//!
//! A seed draws a configuration, clients, nodes and their habits, then troubles: nodes die with an end, a reset or
//! silently, come back and take over; the network stands still; the clock leaps. In the end the server is drained or
//! stopped. After each step the engine's books are checked, nothing may wait to be written with nobody attending, and
//! the driver must know what each link wants. Every request must get exactly its own answer, byte by byte, or a failure
//! that the facts excuse; everything must be over in bounded time, and leave nothing behind.
//!
//! Where [`simulation`](crate::simulation) lets everything settle between two decisions, here nothing ever does: bytes
//! of all peers are under way at the same time, and the server's own word for the end of each request is judged.

mod client;
mod dice;
mod model;
mod net;
mod node;
mod rules;
mod script;
mod server;
mod world;

pub use world::{Figures, run};
