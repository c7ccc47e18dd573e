//! The program of cargo-fuzz for `fuzz::wire`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::wire::run(bytes));
