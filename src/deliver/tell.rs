//! What is said at the end of a build: its id, and the files that tell of it.

use std::error::Error;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::Made;
use crate::error::CommandError;
use crate::request::BuildRequest;

/// Says what came out: the id to standard output when asked to be quiet, and the files of `--iidfile`,
/// `--digest-file` and `--metadata-file`.
pub(crate) fn tell(request: &BuildRequest, made: &Made) -> Result<(), CommandError> {
    if let Some(path) = &request.metadata_file {
        write_metadata(path, made)?;
    }
    let Some(receipt) = &made.image else { return Ok(()) };
    if let Some(path) = &request.iidfile {
        replace(path, receipt.id().to_string().as_bytes()).map_err(|error| failed(path, &*error))?;
    }
    if let Some(path) = &request.digest_file {
        let digest = receipt.descriptor.digest.to_string();
        replace(path, digest.as_bytes()).map_err(|error| failed(path, &*error))?;
    }
    if request.quiet {
        let mut out = io::stdout().lock();
        writeln!(out, "{}", receipt.id())
            .map_err(|error| CommandError::failed("failed to write the ID").because(&error))?;
    }
    Ok(())
}

/// Writes what is known of the result to a file.
///
/// # Errors
/// If it cannot be written.
pub(crate) fn write_metadata(path: &Path, made: &Made) -> Result<(), CommandError> {
    let text = serde_json::to_vec_pretty(&made.metadata()).expect("metadata has only string keys");
    replace(path, &text).map_err(|error| failed(path, &*error))
}

fn failed(path: &Path, error: &(dyn Error + 'static)) -> CommandError {
    CommandError::failed(format!("failed to write {}", path.display())).because(error)
}

/// How long whoever reads a pipe may take before there is room in it.
const READER_TIME: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

/// Writes a small file whole or not at all, into a folder that is there. Nobody is waited for who may never come to read a
/// pipe: nothing would end that.
fn replace(path: &Path, content: &[u8]) -> Result<(), Box<dyn Error>> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::metadata(folder)?;
    }
    if std::fs::metadata(path).is_ok_and(|found| found.file_type().is_fifo()) {
        return Ok(write_to_pipe(path, content)?);
    }
    Ok(export::to_file(path, |file| {
        file.write_all(content).map_err(export::Error::Write)
    })?)
}

fn write_to_pipe(path: &Path, mut content: &[u8]) -> io::Result<()> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let mut pipe = match OpenOptions::new().write(true).custom_flags(flags).open(path) {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::NXIO) => {
            let text = "it is a pipe that nobody has open for reading; start the reader before the build";
            return Err(io::Error::other(text));
        }
        opened => opened?,
    };
    while !content.is_empty() {
        match pipe.write(content) {
            Ok(written) => content = &content[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let mut room = [PollFd::new(&pipe, PollFlags::OUT)];
                if poll(&mut room, Some(&READER_TIME)) == Ok(0) {
                    let text = "it is a pipe whose reader has taken nothing for 10 s";
                    return Err(io::Error::new(io::ErrorKind::TimedOut, text));
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::time::{Duration, Instant};

    use rustix::fs::{FileType, Mode};

    use super::*;

    #[test]
    fn a_pipe_is_written_to_if_somebody_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let began = Instant::now();
        let error = replace(&path, b"told").unwrap_err().to_string();
        assert!(error.contains("nobody has open for reading"), "{error}");
        assert!(began.elapsed() < Duration::from_secs(5));
        let reading = path.clone();
        let reader = std::thread::spawn(move || {
            let mut text = String::new();
            std::fs::File::open(reading).unwrap().read_to_string(&mut text).unwrap();
            text
        });
        // More than a pipe has room for.
        let long = "x".repeat(200_000);
        while replace(&path, long.as_bytes()).is_err() {
            assert!(began.elapsed() < Duration::from_secs(30));
        }
        assert_eq!(reader.join().unwrap(), long);
    }
}
