#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ktm_fuzz::power_cut::run(data));
