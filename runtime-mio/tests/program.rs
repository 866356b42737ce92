//! The program as an operator meets it.

const BINARY: &str = env!("CARGO_BIN_EXE_blastbeat-mio");

#[path = "../../runtime/tests/program/mod.rs"]
mod program;
