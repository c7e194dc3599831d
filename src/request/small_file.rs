//! Reading the small text files of a build: the Dockerfile and the ignore files.
//!
//! A folder that is built may be a stranger's, and what is wrong in such a file is shown. So what the folder brings along
//! has to be a plain file of the folder: no link to a file elsewhere on this machine, nothing that never ends. What the
//! user names in so many words may be a pipe as well, as the shell makes one of `-f <(…)`.

use std::ffi::OsStr;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

/// Larger than this no such file is.
pub(crate) const LARGEST: u64 = 16 << 20;

/// Why a file was not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    /// It is not there, or the kernel refuses.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It has no content of its own.
    #[error("it is {0}, not a file")]
    NoFile(&'static str),
    /// A link that leads out of the folder it is in.
    #[error("it is a link to `{0}`, outside of its folder")]
    Outside(PathBuf),
    /// It is too large for what it is to be.
    #[error("it has more than {LARGEST} bytes")]
    TooLarge,
}

/// Reads a file that the folder brings along.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Unreadable> {
    let found = path.symlink_metadata()?;
    let real = match found.is_symlink() {
        true => inside(path)?,
        false => path.to_owned(),
    };
    // Should it have become a pipe or a link in the meantime, the kernel neither waits nor follows.
    let flags = OFlags::NONBLOCK | OFlags::NOFOLLOW;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(real)?;
    match other_than_file(&file.metadata()?) {
        Some("a folder") => Err(io::Error::from(io::ErrorKind::IsADirectory).into()),
        Some(kind) => Err(Unreadable::NoFile(kind)),
        None => read_to_end(file),
    }
}

/// Reads a file that the user has named, be it a pipe.
pub(crate) fn read_named(path: &Path) -> Result<Vec<u8>, Unreadable> {
    let kind = path.metadata()?.file_type();
    match kind.is_fifo() || kind.is_char_device() {
        true => read_to_end(File::open(path)?),
        false => read(path),
    }
}

/// All of a stream that is not longer than such files are.
pub(crate) fn read_to_end(stream: impl Read) -> Result<Vec<u8>, Unreadable> {
    let mut bytes = Vec::new();
    stream.take(LARGEST + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > LARGEST {
        true => Err(Unreadable::TooLarge),
        false => Ok(bytes),
    }
}

/// Where a link leads, if that is in its folder.
fn inside(link: &Path) -> Result<PathBuf, Unreadable> {
    let folder = link.parent().unwrap_or(Path::new("")).join(OsStr::new("."));
    let real = link.canonicalize()?;
    match real.starts_with(folder.canonicalize()?) {
        true => Ok(real),
        false => Err(Unreadable::Outside(link.read_link()?)),
    }
}

fn other_than_file(metadata: &Metadata) -> Option<&'static str> {
    let kind = metadata.file_type();
    match () {
        () if kind.is_file() => None,
        () if kind.is_dir() => Some("a folder"),
        () if kind.is_fifo() => Some("a pipe"),
        () if kind.is_char_device() || kind.is_block_device() => Some("a device"),
        () => Some("a socket"),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use rustix::fs::{CWD, FileType, Mode};

    use super::*;

    #[test]
    fn only_files_of_the_folder_are_read_and_nothing_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join("context").join(name);
        std::fs::create_dir(at("")).unwrap();
        std::fs::write(folder.path().join("secret"), "hush").unwrap();
        std::fs::write(at("file"), "text").unwrap();
        File::create(at("large")).unwrap().set_len(LARGEST + 1).unwrap();
        rustix::fs::mknodat(CWD, at("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        let _listener = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        for (name, target) in [
            ("near", "file"),
            ("far", "../secret"),
            ("root", "/etc/passwd"),
            ("zero", "/dev/zero"),
            ("to-pipe", "pipe"),
            ("loop", "loop"),
            ("out-and-in", "../context/file"),
        ] {
            symlink(target, at(name)).unwrap();
        }
        for (name, expected) in [
            ("file", "text"),
            ("near", "text"),
            ("out-and-in", "text"),
            ("far", "it is a link to `../secret`, outside of its folder"),
            ("root", "it is a link to `/etc/passwd`, outside of its folder"),
            ("zero", "it is a link to `/dev/zero`, outside of its folder"),
            ("pipe", "it is a pipe, not a file"),
            ("to-pipe", "it is a pipe, not a file"),
            ("large", "it has more than 16777216 bytes"),
        ] {
            let said = match read(&at(name)) {
                Ok(bytes) => String::from_utf8(bytes).unwrap(),
                Err(error) => error.to_string(),
            };
            assert_eq!(said, expected, "{name}");
        }
        for name in ["loop", "socket", "missing", ""] {
            assert!(matches!(read(&at(name)), Err(Unreadable::Io(_))), "{name}");
        }
        let endless = read_named(Path::new("/dev/zero"));
        assert!(matches!(endless, Err(Unreadable::TooLarge)), "{endless:?}");
    }
}
