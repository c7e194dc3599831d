//! Layouts in archives: any archive is refused in words or opened, and of what is in it no more is read than is there.

use std::cell::RefCell;
use std::fs;
use std::io::Read;

use oci::{Layout, Platform};

use super::blocks::with_checksums;
use super::outside::Outside;

thread_local! {
    static OUTSIDE: RefCell<Option<Outside>> = const { RefCell::new(None) };
}

/// Opens the archive, and looks for an image in it.
pub fn run(bytes: &[u8]) {
    OUTSIDE.with_borrow_mut(|outside| {
        let outside = outside.get_or_insert_with(Outside::new);
        let archive = outside.path().join("layout.tar");
        fs::write(&archive, with_checksums(bytes)).expect("there is room");
        let Ok(layout) = Layout::open(&archive) else { return };
        let platform: Platform = "linux/amd64".parse().expect("a platform");
        for tag in [None, Some("latest"), Some("a")] {
            let _ = layout.resolve(tag, None, &platform);
        }
        for entry in layout.index().manifests.iter().take(20) {
            let _ = layout.resolve(None, Some(entry.digest), &platform);
            if let Ok(mut blob) = layout.blob(entry) {
                let mut content = Vec::new();
                let _ = blob.read_to_end(&mut content);
                assert!(content.len() <= bytes.len());
            }
        }
        outside.check();
    });
}
