//! What the file says otherwise than the cluster was formed with. A node that starts goes by what
//! was formed; whoever wrote the file should hear that.

use super::change::told;
use super::error::{ConfigError, ConfigErrors};
use super::locate::KeyPath;
use super::schema::Config;
use crate::types::{AcceptorId, Epoch, LogLimits, Role};

impl Config {
    /// How long learners remember, in a cluster that is formed with this file.
    #[must_use]
    pub fn log_limits(&self) -> LogLimits {
        LogLimits {
            idempotency_window: self.limits.idempotency_window,
            session_window: self.limits.session_window,
            sessions_max: u64::try_from(self.limits.sessions_max).unwrap_or(u64::MAX),
        }
    }

    /// Compares what was fixed when the cluster was formed: the acceptors, and how long learners
    /// remember.
    ///
    /// # Errors
    /// Every difference, each with what to write. None of them has an effect.
    pub fn agrees_with(&self, epoch: &Epoch) -> Result<(), ConfigErrors> {
        ConfigErrors::none_of(
            self.unlike_acceptors(epoch).chain(self.unlike_limits(epoch)).collect(),
        )
    }

    fn unlike_acceptors(&self, epoch: &Epoch) -> impl Iterator<Item = ConfigError> {
        let list = KeyPath::top("nodes");
        let mut unlike = Vec::new();
        for (place, node) in (0..).zip(&self.nodes) {
            let votes = epoch.acceptors.contains_key(&AcceptorId(node.id));
            let message = match (votes, node.role) {
                (false, Role::Acceptor) => "does not vote, for the cluster was formed without it; \
                     take it out"
                    .to_owned(),
                (true, Role::Proposer | Role::Learner | Role::Client) => {
                    "the cluster was formed with this id as an acceptor; write `role: acceptor`, \
                     or another id"
                        .to_owned()
                }
                (true, Role::Acceptor) | (false, Role::Proposer | Role::Learner | Role::Client) => {
                    continue;
                }
            };
            let message = format!("{}: {message}", told(node));
            unlike.push(self.source.error(&list.item(place), message));
        }
        for acceptor in epoch.acceptors.keys().filter(|it| self.node(it.node()).is_none()) {
            let message = format!(
                "the cluster was formed with acceptor {acceptor}, which votes and is missing; list \
                 it again"
            );
            unlike.push(self.source.error(&list, message));
        }
        unlike.into_iter()
    }

    fn unlike_limits(&self, epoch: &Epoch) -> impl Iterator<Item = ConfigError> {
        let (here, formed) = (self.log_limits(), epoch.limits);
        let limits = [
            ("idempotency_window", here.idempotency_window, formed.idempotency_window),
            ("session_window", here.session_window, formed.session_window),
            ("sessions_max", here.sessions_max, formed.sessions_max),
        ];
        let unlike = limits.into_iter().filter(|(_, here, formed)| here != formed);
        unlike.map(|(key, here, formed)| {
            let message = format!(
                "{here} has no effect: the cluster was formed with {formed}; write {formed} again"
            );
            self.source.error(&KeyPath::top("limits").key(key), message)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::Env;
    use crate::types::{LearnerId, NodeId, StorageId};

    const FILE: &str = "\
cluster: {name: paxos}
nodes:
  - {name: p1, id: 1, role: proposer, host: p1, api_port: 3001, monitor_port: 8000}
  - {name: a4, id: 4, role: acceptor, host: a4, api_port: 4001, monitor_port: 8000}
  - {name: a5, id: 5, role: acceptor, host: a5, api_port: 4001, monitor_port: 8000}
  - {name: l7, id: 7, role: learner, host: l7, api_port: 5001, monitor_port: 8000}
limits:
  session_window: 5
";

    #[test]
    fn the_file_that_formed_the_cluster_agrees() {
        assert_eq!(config().agrees_with(&epoch(&[4, 5], config().log_limits())), Ok(()));
    }

    #[test]
    fn every_difference_is_told_with_its_place_and_what_to_write() {
        let limits = LogLimits { session_window: 9, ..config().log_limits() };
        let unlike = config().agrees_with(&epoch(&[4, 6, 7], limits)).unwrap_err();
        assert_eq!(
            unlike.to_string(),
            "c.yaml:2:1: nodes: the cluster was formed with acceptor 6, which votes and is \
             missing; list it again\n\
             c.yaml:5:5: nodes[2]: a5 (acceptor, id 5): does not vote, for the cluster was formed \
             without it; take it out\n\
             c.yaml:6:5: nodes[3]: l7 (learner, id 7): the cluster was formed with this id as an \
             acceptor; write `role: acceptor`, or another id\n\
             c.yaml:8:3: limits.session_window: 5 has no effect: the cluster was formed with 9; \
             write 9 again"
        );
    }

    fn config() -> Config {
        Config::parse("c.yaml".to_owned(), FILE.to_owned(), &Env::default()).unwrap()
    }

    fn epoch(acceptors: &[u64], limits: LogLimits) -> Epoch {
        let node = |id: u64| NodeId::new(id).unwrap();
        let storage = |id: u64| StorageId(uuid::Uuid::from_u128(id.into()));
        let acceptors: BTreeMap<_, _> =
            acceptors.iter().map(|&id| (AcceptorId(node(id)), storage(id))).collect();
        let learners = [LearnerId(node(7))].into();
        Epoch { cluster: "paxos".to_owned(), acceptors, learners, limits }
    }
}
