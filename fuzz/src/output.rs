//! What follows `-o`, `--cache-to` and `--cache-from`: refused in words or understood; a list of fields that is written
//! with quotes around each is the same list.

use export::OutputSpec;
use export::records::{CachePlace, CacheTo};

/// Reads the text in all three ways.
pub fn run(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    if let Ok(fields) = export::split_fields(text) {
        let letters: usize = fields.iter().map(String::len).sum();
        assert!(letters <= text.len());
        let quoted: Vec<String> = fields
            .iter()
            .map(|field| format!("\"{}\"", field.replace('"', "\"\"")))
            .collect();
        assert_eq!(export::split_fields(&quoted.join(",")), Ok(fields));
    }
    let _ = OutputSpec::parse(text).map(|spec| (spec.writes_stdout(), format!("{spec:?}")));
    let _ = CacheTo::parse(text, &|_| None).map(|to| to.place.to_string());
    let _ = CachePlace::parse_from(text, &|_| None).map(|place| place.to_string());
}
