//! Lists of recorded results, from registries and in images: what is read is written and read again as the same, and what
//! is listed stays within reason, however the layers lie on one another.

use export::records::Document;

/// A list of four megabytes may not need gigabytes.
const MOST_LISTED: usize = 1 << 18;

/// Reads the list as it is, and in the form that images have.
pub fn run(bytes: &[u8]) {
    if let Ok(text) = str::from_utf8(bytes) {
        let _ = Document::parse_inline(text);
    }
    let Ok(document) = Document::parse(bytes) else { return };
    let Ok(results) = document.results() else { return };
    let listed: usize = results.iter().map(|result| result.stack.len()).sum();
    assert!(listed <= MOST_LISTED, "{listed} layers in {} bytes", bytes.len());
    let again = Document::parse_inline(&document.to_inline()).expect("what we write can be read");
    assert_eq!(again.results().expect("as before"), results);
}
