//! Folders of certificates, as docker, podman and containerd have them: below `certs.d/<host[:port]>/`, every `*.crt` is
//! an authority, and a `*.cert` with a `*.key` of the same name says who we are.

use std::path::{Path, PathBuf};

use crate::trust::{Identity, Trust};

/// Adds what the folders have for `host`.
pub(super) fn add(folders: &[PathBuf], host: &str, trust: &mut Trust) {
    for folder in folders {
        for file in files(&folder.join(host)) {
            match file.extension().and_then(|end| end.to_str()) {
                Some("crt") => trust.authorities.push(file),
                Some("cert") if trust.identity.is_none() && file.with_extension("key").exists() => {
                    let key = file.with_extension("key");
                    trust.identity = Some(Identity { certificate: file, key });
                }
                _ => {}
            }
        }
    }
}

/// What is in the folder, sorted; nothing if we may not look.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.sort();
    files
}
