//! What is said at the end of a build: its id, and the files that tell of it.

use std::error::Error;
use std::io::{self, Write};
use std::path::Path;

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

/// Writes a small file whole or not at all, into a folder that is there.
fn replace(path: &Path, content: &[u8]) -> Result<(), Box<dyn Error>> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::metadata(folder)?;
    }
    Ok(export::to_file(path, |file| {
        file.write_all(content).map_err(export::Error::Write)
    })?)
}
