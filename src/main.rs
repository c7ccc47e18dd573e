//! The `paxosd` program: arguments and environment in, exit code out.

#[cfg(planted)]
compile_error!("planted bugs never ship: no paxosd is built with cfg(planted)");

use std::process::ExitCode;

use paxosd::{cli, config};

fn main() -> ExitCode {
    cli::run(std::env::args_os(), &config::environment()).into()
}
