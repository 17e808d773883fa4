#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ktm_fuzz::http_query::run(data));
