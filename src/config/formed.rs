//! What the file says otherwise than the cluster was formed with. A node that starts goes by what
//! was formed; whoever wrote the file should hear that.

#[cfg(test)]
mod tests;

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
