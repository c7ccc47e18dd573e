//! The program of cargo-fuzz for `fuzz::acceptor`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::acceptor::run(bytes));
