//! A peer's statement about one node, checked: what passes here is well-formed, not yet believed.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::time::Duration;

use crate::types::NodeId;

use super::config::{
    METADATA_KEY_BYTES_MAX, METADATA_KEYS_MAX, METADATA_VALUE_BYTES_MAX, NUMBER_MAX,
};
use super::member::{Address, Member};
use super::message::NodeRecord;

/// A published fact, and the version at which its owner wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Datum {
    pub(super) value: String,
    pub(super) version: u64,
}

/// One node as told by a peer.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) member: Member,
    pub(super) incarnation: u64,
    pub(super) version: u64,
    pub(super) metadata: BTreeMap<String, Datum>,
    pub(super) age: Duration,
}

/// Whether `key` and `value` may be published.
pub(super) fn is_metadata(key: &str, value: &str) -> bool {
    let key_byte = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    (1..=METADATA_KEY_BYTES_MAX).contains(&key.len())
        && key.bytes().all(key_byte)
        && value.len() <= METADATA_VALUE_BYTES_MAX
        && !value.chars().any(char::is_control)
}

impl Record {
    /// Reads the record that stands under `key`; on a fault, the id it spoke of, if it was one.
    pub(super) fn check(key: &str, wire: &NodeRecord) -> Result<Self, Option<NodeId>> {
        let id = key.parse().ok().and_then(|number| NodeId::new(number).ok());
        let Some(id) = id else { return Err(None) };
        Self::read(id, wire).ok_or(Some(id))
    }

    fn read(id: NodeId, wire: &NodeRecord) -> Option<Self> {
        let role = wire.role.parse().ok()?;
        let host = wire.address.parse().ok()?;
        let port = NonZeroU16::new(wire.port)?;
        let is_sound = wire.id.is_none_or(|claimed| claimed == u64::from(id.get()))
            && wire.incarnation <= NUMBER_MAX
            && wire.version <= NUMBER_MAX
            && wire.metadata.len() <= METADATA_KEYS_MAX;
        if !is_sound {
            return None;
        }
        let mut metadata = BTreeMap::new();
        for (key, value) in &wire.metadata {
            let value = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
            let version = wire.metadata_versions.get(key).copied().unwrap_or(wire.version);
            if version > wire.version || !is_metadata(key, &value) {
                return None;
            }
            metadata.insert(key.clone(), Datum { value, version });
        }
        Some(Self {
            member: Member {
                id,
                role,
                address: Address { host, port },
                monitor_port: wire.monitor_port.and_then(NonZeroU16::new),
            },
            incarnation: wire.incarnation,
            version: wire.version,
            metadata,
            age: Duration::from_millis(wire.age_ms),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound() -> NodeRecord {
        NodeRecord {
            id: Some(7),
            role: "learner".into(),
            address: "learner7".into(),
            port: 7000,
            metadata: BTreeMap::from([("state".into(), "ready".into())]),
            version: 3,
            ..NodeRecord::default()
        }
    }

    #[test]
    fn a_sound_record_passes() {
        let record = Record::check("7", &sound()).unwrap();
        assert_eq!(record.metadata["state"], Datum { value: "ready".into(), version: 3 });
    }

    #[test]
    fn each_unsound_field_refuses_the_record() {
        let faults: [fn(&mut NodeRecord); 9] = [
            |wire| wire.id = Some(8),
            |wire| wire.role = "leader".into(),
            |wire| wire.address = "a b".into(),
            |wire| wire.port = 0,
            |wire| wire.incarnation = NUMBER_MAX + 1,
            |wire| wire.version = NUMBER_MAX + 1,
            |wire| wire.metadata = BTreeMap::from([("state".into(), "x".repeat(129).into())]),
            |wire| wire.metadata_versions = BTreeMap::from([("state".into(), 4)]),
            |wire| {
                for key in 0..METADATA_KEYS_MAX {
                    wire.metadata.insert(format!("k{key}"), "v".into());
                }
            },
        ];
        for (index, fault) in faults.iter().enumerate() {
            let mut wire = sound();
            fault(&mut wire);
            assert_eq!(Record::check("7", &wire).unwrap_err().unwrap().get(), 7, "fault {index}");
        }
        assert!(Record::check("100", &sound()).unwrap_err().is_none());
    }
}
