//! The acceptor with its journal: the only way to step an acceptor, so that no host can answer
//! around the disk. The daemon and the simulator run this same turn.

use super::acceptor::{Acceptor, AcceptorConfig, Reply, Request};
use super::journal::{Journal, JournalError, Recovery, Storage};

/// An acceptor and its journal.
#[derive(Debug)]
pub struct Durable<S> {
    acceptor: Acceptor,
    journal: Journal<S>,
}

impl<S: Storage> Durable<S> {
    /// Replays the journal in `storage` into an acceptor.
    ///
    /// # Errors
    /// When the journal is damaged or cannot be read; then this acceptor must not vote.
    pub fn open(config: AcceptorConfig, storage: S) -> Result<(Self, Recovery), JournalError> {
        let mut acceptor = Acceptor::new(config);
        let (journal, recovery) =
            Journal::open(storage, None, |_, record| acceptor.replay(record))?;
        Ok((Self { acceptor, journal }, recovery))
    }

    /// One turn: step each request, append all records, sync once, release all replies in order.
    /// Each `companion` comes back beside its reply.
    ///
    /// # Errors
    /// When the disk fails. The journal is consumed with the error: the process ends and replays.
    pub fn turn<C>(
        mut self,
        requests: impl IntoIterator<Item = (C, Request)>,
    ) -> Result<(Self, Vec<(C, Reply)>), JournalError> {
        self.acceptor.on_journal(self.journal.segments().len());
        let pending = requests
            .into_iter()
            .map(|(companion, request)| self.acceptor.step(&request).with(companion))
            .collect();
        // Also while nothing new is trimmed: promises alone can fill segments, and later ones sum
        // them up.
        self.journal.release_votes(self.acceptor.trimmed_slot());
        let acceptor = &self.acceptor;
        let (journal, replies) = self.journal.commit(pending, || acceptor.summary())?;
        Ok((Self { acceptor: self.acceptor, journal }, replies))
    }

    /// Takes pages and windows of another size from the next turn on.
    pub fn set_limits(&mut self, page_bytes: usize, accept_window_slots: u64) {
        self.acceptor.set_limits(page_bytes, accept_window_slots);
    }

    /// The acceptor, to look at.
    #[must_use]
    pub fn acceptor(&self) -> &Acceptor {
        &self.acceptor
    }

    /// Bytes that the journal's segments take.
    #[must_use]
    pub fn journal_bytes(&self) -> u64 {
        self.journal.bytes_in_use()
    }
}
