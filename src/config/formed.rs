//! What the file says otherwise than the cluster was formed with. A node that starts goes by what
//! was formed; whoever wrote the file should hear that.

#[cfg(test)]
mod tests;

use super::change::told;
use super::error::{ConfigError, ConfigErrors};
use super::locate::KeyPath;
use super::schema::Config;
use crate::types::{AcceptorId, Epoch, LearnerId, LogLimits, Role};

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

    /// Compares what was fixed when the cluster was formed: the acceptors, the roles of the
    /// learners that they wait for before they forget, and how long learners remember.
    ///
    /// # Errors
    /// Every difference, each with what to write. None of them has an effect.
    pub fn agrees_with(&self, epoch: &Epoch) -> Result<(), ConfigErrors> {
        ConfigErrors::none_of(self.unlike_nodes(epoch).chain(self.unlike_limits(epoch)).collect())
    }

    fn unlike_nodes(&self, epoch: &Epoch) -> impl Iterator<Item = ConfigError> {
        let list = KeyPath::top("nodes");
        let mut unlike = Vec::new();
        for (place, node) in (0..).zip(&self.nodes) {
            let formed = if epoch.acceptors.contains_key(&AcceptorId(node.id)) {
                Some(Role::Acceptor)
            } else if epoch.learners.contains(&LearnerId(node.id)) {
                Some(Role::Learner)
            } else {
                None
            };
            let message = match formed {
                Some(formed) if formed != node.role => format!(
                    "the cluster was formed with this id as {formed}; write `role: {formed}`, or \
                     another id"
                ),
                None if node.role == Role::Acceptor => {
                    "does not vote, for the cluster was formed without it; take it out".to_owned()
                }
                Some(_) | None => continue,
            };
            let message = format!("{}: {message}", told(node));
            unlike.push(self.source.error(&list.item(place), message));
        }
        // A learner that is missing may be known by gossip.
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
