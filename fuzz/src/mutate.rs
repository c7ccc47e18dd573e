//! Changes to an input, drawn from a seed: enough for every push to fuzz a little on a stable
//! compiler. What a coverage-guided fuzzer finds is kept in the corpora.

use rand::RngExt;
use sim::chance::Chance;

/// Changes made to one input at most.
const CHANGES_MAX: u32 = 4;
/// Bytes inserted at once at most.
const INSERTED_MAX: usize = 8;

/// `input` with a few changes, perhaps with a part of `other`.
#[must_use]
pub fn mutate(input: &[u8], other: &[u8], chance: &mut Chance) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..chance.random_range(1..=CHANGES_MAX) {
        change(&mut bytes, other, chance);
    }
    bytes
}

fn change(bytes: &mut Vec<u8>, other: &[u8], chance: &mut Chance) {
    let at = chance.random_range(0..=bytes.len());
    let until = chance.random_range(at..=bytes.len());
    match chance.random_range(0..7_u32) {
        0 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << chance.random_range(0..8_u32);
            }
        }
        1 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = chance.random();
            }
        }
        2 => {
            let count = chance.random_range(1..=INSERTED_MAX);
            let inserted: Vec<u8> = (0..count).map(|_| chance.random()).collect();
            bytes.splice(at..at, inserted);
        }
        3 => drop(bytes.drain(at..until)),
        4 => bytes.truncate(at),
        5 => {
            let again = bytes.get(at..until).unwrap_or_default().to_vec();
            bytes.splice(at..at, again);
        }
        _ => {
            let from = chance.random_range(0..=other.len());
            let to = chance.random_range(from..=other.len());
            bytes.splice(at..until, other.get(from..to).unwrap_or_default().iter().copied());
        }
    }
}
