#![no_main]

use bulkhead_cli::runc::state::Record;

// A record that can be read is the same when it is written and read again.
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(record) = Record::parse(bytes, "c1") {
        let written = serde_json::to_vec(&record).unwrap();
        assert_eq!(Record::parse(&written, "c1").unwrap(), record);
    }
});
