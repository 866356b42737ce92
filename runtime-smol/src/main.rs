//! The server on smol.

use std::process::ExitCode;

use blastbeat_runtime::Program;

fn main() -> ExitCode {
    blastbeat_runtime::main(Program {
        name: env!("CARGO_BIN_NAME"),
        version: env!("CARGO_PKG_VERSION"),
        run: blastbeat_smol::run,
    })
}
