//! What is said at the end of a build: its id, and the files that tell of it.

use std::fs;
use std::io::{self, Write};

use export::Receipt;

use crate::error::CommandError;
use crate::request::BuildRequest;

/// Says what came out: the id to standard output when asked to be quiet, and the files of `--iidfile` and
/// `--metadata-file`.
pub(crate) fn tell(request: &BuildRequest, receipt: Option<&Receipt>) -> Result<(), CommandError> {
    let failed = |path: &std::path::Path, error: io::Error| {
        CommandError::failed(format!("failed to write {}", path.display())).because(&error)
    };
    if let Some(path) = &request.metadata_file {
        let metadata = receipt.map_or_else(|| serde_json::json!({}), export::metadata_json);
        let text = serde_json::to_vec_pretty(&metadata).expect("metadata has only string keys");
        replace(path, &text).map_err(|error| failed(path, error))?;
    }
    let Some(receipt) = receipt else { return Ok(()) };
    if let Some(path) = &request.iidfile {
        replace(path, receipt.id().to_string().as_bytes()).map_err(|error| failed(path, error))?;
    }
    if request.quiet {
        let mut out = io::stdout().lock();
        writeln!(out, "{}", receipt.id())
            .map_err(|error| CommandError::failed("failed to write the ID").because(&error))?;
    }
    Ok(())
}

/// Writes a small file whole or not at all.
fn replace(path: &std::path::Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut beside = tempfile::Builder::new()
        .prefix(".rbuild-")
        .tempfile_in(folder.unwrap_or(std::path::Path::new(".")))?;
    beside.write_all(content)?;
    fs::set_permissions(beside.path(), std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
    beside.persist(path).map_err(|error| error.error)?;
    Ok(())
}
