#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| blastbeat_fuzz::spdy::body(data));
