//! Headers of web servers: a name in them is the name of one file, a date is one that files can have.

use remote::testing::{file_name, time};

/// Reads a date and a name.
pub fn run(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Some(name) = file_name(&text) {
        assert!(
            !name.contains(['/', '\0']) && !matches!(name.as_str(), "" | "." | ".."),
            "{name:?}"
        );
        assert!(name.len() <= text.len());
    }
    if let Some(seconds) = time(&text) {
        // The years -9999 to 9999.
        assert!(seconds.unsigned_abs() < 400_000_000_000, "{seconds}");
    }
}
