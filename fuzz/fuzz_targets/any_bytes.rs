#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ktm_fuzz::any_bytes::run(data));
