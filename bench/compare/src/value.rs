//! The values and names that are written: each value unlike every other, and base64 of them.

use std::fmt::Write as _;

use crate::cell::VALUE_BYTES;

const FILLER: &str =
    "the same filler for every system, so that none has less to carry and to keep ";

/// The value numbered `number`: printable, with no letter that JSON escapes.
pub(crate) fn value(number: u64) -> String {
    let mut value = String::with_capacity(VALUE_BYTES);
    write!(value, "{number:016x} ").expect("a string takes all that is written");
    while value.len() < VALUE_BYTES {
        let left = VALUE_BYTES - value.len();
        value.push_str(FILLER.get(..left.min(FILLER.len())).unwrap_or_default());
    }
    value
}

/// The name of the value numbered `number`, where a system wants one.
pub(crate) fn key(number: u64) -> String {
    format!("/compare-{number:016x}")
}

/// `bytes` in base64 with padding, as etcd's JSON wants them.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let digit = usize::try_from(bits >> (18 - 6 * place) & 63).unwrap_or(0);
            let letter = ALPHABET.get(digit).copied().map_or('=', char::from);
            text.push(if place <= group.len() { letter } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_as_long_as_they_should_be_and_all_different() {
        let (one, other) = (value(1), value(u64::MAX));
        assert_eq!((one.len(), other.len()), (VALUE_BYTES, VALUE_BYTES));
        assert_ne!(one, other);
        assert_eq!(serde_json::to_string(&one).unwrap().len(), VALUE_BYTES + 2);
    }

    #[test]
    fn base64_is_that_of_rfc_4648() {
        let cases = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ];
        for (plain, coded) in cases {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
        assert_eq!(base64(&[0xfb, 0xff, 0xfe]), "+//+");
    }
}
