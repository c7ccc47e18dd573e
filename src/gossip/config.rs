//! The settings of gossip, and the bounds that no setting can move.

use std::time::Duration;

/// The largest incarnation, version and proposal number taken from a peer: the integers that every
/// JSON reader holds exactly.
pub const NUMBER_MAX: u64 = (1 << 53) - 1;
/// The most metadata keys of one node.
pub const METADATA_KEYS_MAX: usize = 16;
/// The longest metadata key, in bytes.
pub const METADATA_KEY_BYTES_MAX: usize = 32;
/// The longest metadata value, in bytes.
pub const METADATA_VALUE_BYTES_MAX: usize = 128;

/// How often a node gossips, and how soon it gives up on another.
#[derive(Debug, Clone, PartialEq)]
pub struct GossipConfig {
    /// The name of the cluster; messages that name another are refused.
    pub cluster: String,
    /// The mean time between two rounds; each is jittered by a tenth.
    pub interval: Duration,
    /// How many live peers are asked in a round.
    pub fanout: usize,
    /// No node is suspected sooner than this after it was last heard of.
    pub suspect_after: Duration,
    /// No node is declared dead sooner than this after it was last heard of.
    pub dead_after: Duration,
    /// An unconfigured node is forgotten this long after it was last heard of.
    pub forget_after: Duration,
    /// A node is suspected at this phi: a silence that a live node keeps once in 10^phi times.
    pub suspect_phi: f64,
    /// A node is dead at this phi.
    pub dead_phi: f64,
    /// The most nodes in the table, this one included; at most 99 ids exist.
    pub members_max: usize,
    /// The most bytes of node records in one message; the rest waits for the next round.
    pub records_bytes_max: usize,
    /// An exchange without an end after this time no longer blocks the next one to that address.
    pub exchange_timeout: Duration,
}

impl GossipConfig {
    /// The defaults for the cluster named `cluster`: a silent node is suspect after about 1 s and
    /// dead after about 3 s.
    #[must_use]
    pub fn new(cluster: impl Into<String>) -> Self {
        Self {
            cluster: cluster.into(),
            interval: Duration::from_millis(200),
            fanout: 3,
            suspect_after: Duration::from_secs(1),
            dead_after: Duration::from_secs(3),
            forget_after: Duration::from_secs(3600),
            suspect_phi: 2.0,
            dead_phi: 6.0,
            members_max: 99,
            records_bytes_max: 48 * 1024,
            exchange_timeout: Duration::from_secs(2),
        }
    }
}
