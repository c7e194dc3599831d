//! A blob in the making: who sends it need not wait until its last byte, and its digest, are known.
//!
//! One side writes a file and says how far it is, and at last what it became. The other reads what is there, as often as it
//! likes, and looks again after a while.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::Digest;

/// A file that grows, and is never changed where it has been written.
#[derive(Debug)]
pub struct Growing {
    file: File,
    length: AtomicU64,
    end: OnceLock<End>,
}

/// What became of a blob in the making.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It is whole.
    Blob(Digest),
    /// Its maker failed.
    GivenUp,
}

impl Growing {
    /// A blob that is written into `file`, which is open for reading, and is empty so far.
    #[must_use]
    pub fn of(file: File) -> Growing {
        Growing {
            file,
            length: AtomicU64::new(0),
            end: OnceLock::new(),
        }
    }

    /// So many bytes are written.
    pub fn reached(&self, length: u64) {
        self.length.store(length, Ordering::Release);
    }

    /// No more will be written. Only what is said first counts.
    pub fn ended(&self, end: End) {
        let _ = self.end.set(end);
    }

    /// How many bytes can be read. After [`Growing::end`] has told of a blob, these are all.
    pub fn length(&self) -> u64 {
        self.length.load(Ordering::Acquire)
    }

    /// What became of it, once that is known.
    pub fn end(&self) -> Option<End> {
        self.end.get().copied()
    }

    /// Reads bytes that are written already, from `at` on.
    ///
    /// # Errors
    /// If the file cannot be read, or ends before its bytes do.
    pub fn read(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        self.file.read_exact_at(bytes, at)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn what_is_written_can_be_read_and_the_first_end_counts() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let growing = Growing::of(file.reopen().unwrap());
        assert_eq!((growing.length(), growing.end()), (0, None));
        file.write_all(b"some bytes").unwrap();
        growing.reached(10);
        let mut bytes = [0; 5];
        growing.read(&mut bytes, 5).unwrap();
        assert_eq!(&bytes, b"bytes");
        assert!(growing.read(&mut bytes, 6).is_err());
        growing.ended(End::Blob(Digest::of(b"some bytes")));
        growing.ended(End::GivenUp);
        assert_eq!(growing.end(), Some(End::Blob(Digest::of(b"some bytes"))));
    }
}
