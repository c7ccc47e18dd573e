//! `paxosd status`: all nodes, and who leads.

use super::args::{StatusArgs, StatusFormat};
use super::ask::http_client;
use super::endpoint::cluster;
use super::exit::{Exit, Failure};
use super::output;
use super::survey::survey;
use crate::config::Env;

/// Asks every node, and prints what they say. Whether the cluster can choose a value is the exit
/// code.
pub(super) async fn status(args: StatusArgs, env: &Env) -> Result<(), Failure> {
    let config = cluster(args.config.as_deref(), env)?;
    let survey = survey(&http_client(), &config, env).await;
    match args.output {
        StatusFormat::Table => {
            let colour = output::takes_colour(env);
            output::line(&format!("{}\n\n{}", survey.headline(colour), survey.table(colour)))?;
        }
        StatusFormat::Json => {
            let json = serde_json::to_string(&survey.document()).map_err(|error| {
                Failure::new(Exit::Error, format!("cannot write the document: {error}"))
            })?;
            output::line(&json)?;
        }
    }
    if survey.can_choose() {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Unavailable,
        format!("no value can be chosen: {}", survey.headline(false)),
    ))
}
