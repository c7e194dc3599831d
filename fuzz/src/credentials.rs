//! Files with credentials: the same answer each time, and nothing that is not in the file, as it is or decoded.

use std::cell::RefCell;

use registry::testing::credentials;
use tempfile::TempDir;

thread_local! {
    static FOLDER: RefCell<Option<TempDir>> = const { RefCell::new(None) };
}

/// Looks some repositories up.
pub fn run(bytes: &[u8]) {
    FOLDER.with_borrow_mut(|folder| {
        let folder = folder.get_or_insert_with(|| {
            let memory = std::path::Path::new("/dev/shm");
            let folder = if memory.is_dir() {
                tempfile::tempdir_in(memory)
            } else {
                tempfile::tempdir()
            };
            folder.expect("a folder of our own")
        });
        let file = folder.path().join("config.json");
        std::fs::write(&file, bytes).expect("there is room");
        for (host, repository) in [("docker.io", "library/a"), ("h:5000", "a/b"), ("h.example", "a")] {
            let found = credentials(&file, host, repository);
            assert_eq!(credentials(&file, host, repository), found, "{host}/{repository}");
            if let Ok(Some((user, secret))) = found {
                assert!(user.len() + secret.len() <= bytes.len());
            }
        }
    });
}
