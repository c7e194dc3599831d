//! The digest of what is in a file: blake3 of its bytes and, if it has one, its file capability.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::OFlags;

use super::entry::{Entry, changed};
use super::error::{At, FilesError};
use super::root::Root;

/// The one extended attribute that belongs to an image's files.
const CAPABILITY: &str = "security.capability";

/// What was read.
pub(super) struct Content {
    pub(super) digest: [u8; 32],
    /// Whether the file was the one that was walked, before and after.
    pub(super) settled: bool,
}

/// Room for reading, to be used again.
pub(super) fn buffer() -> Vec<u8> {
    vec![0; 128 * 1024]
}

/// Opens a file that was walked. Nothing else than a plain file is ever opened: should it have become a pipe, the open
/// does not wait.
pub(super) fn open(root: &Root, entry: &Entry<'_>) -> Result<OwnedFd, FilesError> {
    root.open_resolved(entry.path, OFlags::RDONLY | OFlags::NONBLOCK)
        .at("open", entry.path)
}

/// Reads a file.
pub(super) fn digest(root: &Root, entry: &Entry<'_>, buffer: &mut [u8]) -> Result<Content, FilesError> {
    let file = open(root, entry)?;
    let before = rustix::fs::fstat(&file).at("stat", entry.path)?;
    if rustix::fs::FileType::from_raw_mode(before.st_mode) != entry.kind {
        let path = super::error::shown(entry.path);
        return Err(FilesError::Changed { path });
    }
    let mut hasher = blake3::Hasher::new();
    loop {
        match rustix::io::read(&file, &mut *buffer) {
            Ok(0) => break,
            Ok(count) => hasher.update(&buffer[..count]),
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error).at("read", entry.path),
        };
    }
    let mut digest = *hasher.finalize().as_bytes();
    if let Some(capability) = capability(&file).at("read the capability of", entry.path)? {
        let mut hasher = blake3::Hasher::new_derive_key("rbuild file with capability v1");
        hasher.update(&digest).update(&capability);
        digest = *hasher.finalize().as_bytes();
    }
    let after = rustix::fs::fstat(&file).at("stat", entry.path)?;
    let settled = entry.is_still(&after) && changed(&after) == entry.changed;
    Ok(Content { digest, settled })
}

/// The file capability, as the kernel writes it. A file system without such has none.
pub(super) fn capability(file: &OwnedFd) -> io::Result<Option<Vec<u8>>> {
    use rustix::io::Errno;
    let mut value = [0_u8; 64];
    match rustix::fs::fgetxattr(file, CAPABILITY, &mut value[..]) {
        Ok(length) => Ok(Some(value[..length].to_vec())),
        // Network file systems of contexts have several words for no.
        Err(
            Errno::NODATA | Errno::OPNOTSUPP | Errno::RANGE | Errno::INVAL | Errno::NOSYS | Errno::PERM | Errno::ACCESS,
        ) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Gives a file a capability, where the file system and the user's rights allow it.
pub(super) fn set_capability(file: &OwnedFd, capability: &[u8]) -> io::Result<()> {
    use rustix::io::Errno;
    match rustix::fs::fsetxattr(file, CAPABILITY, capability, rustix::fs::XattrFlags::empty()) {
        Ok(()) | Err(Errno::PERM | Errno::NOTSUP | Errno::INVAL) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
