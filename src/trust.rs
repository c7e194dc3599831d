//! `--ca-file`: certificate authorities besides the system's, for a registry of one's own or a proxy that looks into TLS.
//!
//! Our own clients read the file beside the system's. Programs know one file only, so for git and for the processes of RUN
//! there is a bundle of both. An image's own bundle is not looked for: which of its programs reads which is not known, and
//! the variables that name ours are read by most.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use cache::{Scratch, Store};

use crate::environment::Environment;
use crate::error::CommandError;

/// Where systems keep the bundle of all they trust.
const BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// What every certificate begins with.
const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
/// No list of authorities is as long.
const LARGEST: u64 = 16 << 20;

/// The file that is to be trusted, which has certificates in it: as typed, or as `RBUILD_CA_FILE` says.
///
/// # Errors
/// When it cannot be read, or is no list of certificates.
pub(crate) fn file(typed: Option<&Path>, environment: &Environment) -> Result<Option<PathBuf>, CommandError> {
    let named = environment.path("RBUILD_CA_FILE").map(Path::new);
    let Some(path) = typed.filter(|path| !path.as_os_str().is_empty()).or(named) else {
        return Ok(None);
    };
    let path = environment.absolute(path);
    let refused = |reason: String| CommandError::usage(format!("--ca-file {}: {reason}", path.display()));
    let size = fs::metadata(&path).map_err(|error| refused(error.to_string()))?.len();
    if size > LARGEST {
        return Err(refused("is too large to be a list of certificates".to_owned()));
    }
    let text = fs::read(&path).map_err(|error| refused(error.to_string()))?;
    if !String::from_utf8_lossy(&text).contains(BEGIN) {
        return Err(refused(format!(
            "has no certificate in it: expected lines with `{BEGIN}`"
        )));
    }
    Ok(Some(path))
}

/// The system's certificates and those of a file, in one file for programs.
#[derive(Debug)]
pub(crate) struct Bundle {
    path: PathBuf,
    _folder: Scratch,
}

impl Bundle {
    /// Puts them together, in a folder of the store that is gone with this.
    ///
    /// # Errors
    /// When the file cannot be read, or the store not be written.
    pub(crate) fn make(store: &Store, file: &Path, environment: &Environment) -> Result<Bundle, CommandError> {
        let failed = |error: &(dyn std::error::Error + 'static)| {
            CommandError::failed(format!("cannot put {} to use", file.display())).because(error)
        };
        let folder = store.scratch().map_err(|error| failed(&error))?;
        let path = folder.path().join("ca-certificates.crt");
        let own = fs::read(file).map_err(|error| failed(&error))?;
        let write = || {
            let mut bundle = fs::File::create(&path)?;
            for part in [&system(environment)[..], &own] {
                bundle.write_all(part)?;
                bundle.write_all(b"\n")?;
            }
            bundle.set_permissions(fs::Permissions::from_mode(0o644))
        };
        write().map_err(|error: std::io::Error| failed(&error))?;
        Ok(Bundle { path, _folder: folder })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// What the system trusts; nothing if it trusts nobody.
fn system(environment: &Environment) -> Vec<u8> {
    let named = environment
        .path("SSL_CERT_FILE")
        .map(|path| environment.absolute(Path::new(path)));
    let places = named.into_iter().chain(BUNDLES.iter().map(PathBuf::from));
    places.filter_map(|path| fs::read(path).ok()).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_certificates_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let environment = Environment::of(folder.path(), &[("RBUILD_CA_FILE", "named.pem")]);
        let missing = file(None, &environment).unwrap_err();
        assert!(
            missing.message().contains("named.pem: No such file"),
            "{}",
            missing.message()
        );
        fs::write(folder.path().join("named.pem"), "key\n").unwrap();
        let empty = file(None, &environment).unwrap_err();
        assert!(
            empty.message().contains("has no certificate in it"),
            "{}",
            empty.message()
        );
        fs::write(folder.path().join("typed.pem"), format!("{BEGIN}\n")).unwrap();
        let found = file(Some(Path::new("typed.pem")), &environment).unwrap();
        assert_eq!(found, Some(folder.path().join("typed.pem")));
        assert_eq!(file(None, &Environment::of(folder.path(), &[])).unwrap(), None);
    }
}
