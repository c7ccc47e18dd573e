//! What is measured: kinds of work, at numbers of clients.

use serde::{Deserialize, Serialize};

/// Bytes of a value, before any encoding.
pub(crate) const VALUE_BYTES: usize = 128;

/// Values in one request of bulk work.
pub(crate) const BULK_VALUES: u64 = 100;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Work {
    /// One value, durable on a quorum when the answer comes.
    Write,
    /// One value as of now.
    Read,
    /// One value as some node knows it.
    Stale,
    /// Likewise, of paxosd's learners without a gateway between.
    Learner,
    /// Many values in a request, all or none.
    Bulk,
}

impl Work {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Read => "read",
            Self::Stale => "stale",
            Self::Learner => "learner",
            Self::Bulk => "bulk",
        }
    }

    /// The work of a peer that does the same for a caller.
    pub(crate) const fn of_peer(self) -> Self {
        match self {
            Self::Learner => Self::Stale,
            Self::Write | Self::Read | Self::Stale | Self::Bulk => self,
        }
    }

    /// Values in one request.
    pub(crate) const fn values(self) -> u64 {
        match self {
            Self::Bulk => BULK_VALUES,
            Self::Write | Self::Read | Self::Stale | Self::Learner => 1,
        }
    }
}

/// Some work by a number of clients, each of which waits for its answer before it asks again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Cell {
    pub(crate) work: Work,
    pub(crate) clients: u32,
}

/// All cells, in the order in which they are measured.
pub(crate) const CELLS: [Cell; 8] = [
    Cell { work: Work::Write, clients: 1 },
    Cell { work: Work::Write, clients: 16 },
    Cell { work: Work::Write, clients: 64 },
    Cell { work: Work::Write, clients: 256 },
    Cell { work: Work::Read, clients: 64 },
    Cell { work: Work::Stale, clients: 64 },
    Cell { work: Work::Learner, clients: 64 },
    Cell { work: Work::Bulk, clients: 8 },
];

impl Cell {
    /// How the command line names it.
    pub(crate) fn id(self) -> String {
        format!("{}-{}", self.work.name(), self.clients)
    }

    /// How the tables name it.
    pub(crate) fn title(self) -> String {
        let clients = self.clients;
        let work = match self.work {
            Work::Write => "writes",
            Work::Read => "linearizable reads",
            Work::Stale => "stale reads",
            Work::Learner => "stale reads at the learner",
            Work::Bulk => return format!("values, {BULK_VALUES} a request, {clients} clients"),
        };
        let plural = if clients == 1 { "" } else { "s" };
        format!("{work}, {clients} client{plural}")
    }

    /// The cell of a peer to set beside it.
    pub(crate) const fn of_peer(self) -> Self {
        Self { work: self.work.of_peer(), clients: self.clients }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_cells_share_a_name() {
        let ids: std::collections::BTreeSet<String> = CELLS.iter().map(|cell| cell.id()).collect();
        assert_eq!(ids.len(), CELLS.len());
        assert!(ids.contains("write-64") && ids.contains("bulk-8"), "{ids:?}");
    }

    #[test]
    fn every_cell_has_one_of_the_peers_beside_it() {
        for cell in CELLS {
            assert!(CELLS.contains(&cell.of_peer()), "{}", cell.id());
        }
    }
}
