//! The command line: `run` is the daemon, `dev` a cluster on one machine, the other verbs ask one.
//!
//! - `args`: the verbs and options. `exit`: how a verb ends. `output`: what it prints.
//! - `endpoint`: whom to ask. `ask`: one after the other. `survey`: all nodes at once.
//! - `daemon`, `dev`, `send`, `read`, `logs`, `get`, `status`, `health`, `bench`: a verb each.

pub mod args;
mod ask;
mod bench;
mod daemon;
mod dev;
pub mod endpoint;
mod exit;
mod get;
mod health;
mod logs;
mod output;
mod read;
mod send;
mod status;
mod survey;

use std::ffi::OsString;

use clap::Parser;

use crate::config::{self, Env};

use args::{Cli, Verb};
pub use exit::Exit;
use exit::Failure;

/// Does what the command line `args` asks, with the environment `env`, and tells how it ended. The
/// first of `args` is the name of the program.
pub fn run(args: impl IntoIterator<Item = OsString>, env: &Env) -> Exit {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Where even that cannot be printed, the exit code has to do.
            drop(error.print());
            return if error.use_stderr() { Exit::Usage } else { Exit::Done };
        }
    };
    match dispatch(cli.verb, env) {
        Ok(()) => Exit::Done,
        Err(failure) => {
            output::complain(&failure.to_string());
            failure.exit
        }
    }
}

fn dispatch(verb: Verb, env: &Env) -> Result<(), Failure> {
    match verb {
        Verb::Run(args) => daemon::run(&args, env),
        Verb::Dev(args) => dev::dev(&args, env),
        Verb::Send(args) => wait_for(send::send(args, env)),
        Verb::Read(args) => wait_for(read::read(args, env)),
        Verb::Logs(args) => wait_for(logs::logs(args, env)),
        Verb::Get(args) => wait_for(get::get(args, env)),
        Verb::Status(args) => wait_for(status::status(args, env)),
        Verb::Health(args) => wait_for(health::health(args, env)),
        Verb::Bench(args) => wait_for(bench::bench(args, env)),
        Verb::Check(args) => {
            let file = endpoint::config_file(args.file.as_deref(), env);
            output::line(&config::check(&file, env)?)
        }
    }
}

/// Runs `verb` on this thread alone, as a process that lives a moment should.
fn wait_for(verb: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::io("start the runtime", &error))?;
    runtime.block_on(verb)
}
