//! The program of cargo-fuzz for `fuzz::config`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::config::run(bytes));
