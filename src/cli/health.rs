//! `paxosd health`: one node, as a container's health check asks it.

use std::time::Duration;

use super::args::HealthArgs;
use super::ask::http_client;
use super::endpoint::{config_file, own_host};
use super::exit::{Exit, Failure};
use super::output;
use super::survey::ailment;
use crate::config::{Config, Env};
use crate::http::Address;

/// How long the node may take; below the patience of any health check.
const PATIENCE: Duration = Duration::from_secs(2);

/// Prints `healthy`, or fails. Every failure is an [`Exit::Error`], for Docker gives no other code
/// a meaning.
pub(super) async fn health(args: HealthArgs, env: &Env) -> Result<(), Failure> {
    let endpoint = if let Some(url) = args.url {
        url
    } else {
        let config = Config::load(&config_file(args.config.as_deref(), env), env)?;
        let node = config.identify(args.name.as_deref(), env)?;
        Address::new(own_host(&node), node.monitor_port).into()
    };
    let reply = http_client()
        .get(&endpoint.address, &endpoint.path("/health"), PATIENCE)
        .await
        .map_err(|error| Failure::new(Exit::Error, error.to_string()))?;
    match ailment(&reply) {
        None => output::line("healthy"),
        Some(ailment) => Err(Failure::new(Exit::Error, format!("unhealthy: {ailment}"))),
    }
}
