//! The proxies of docker's configuration: they count as build arguments, unless such are given.

use std::collections::BTreeMap;
use std::io;

use serde::Deserialize;

use crate::environment::Environment;
use crate::error::CommandError;
use crate::json::Object;

#[derive(Default, Deserialize)]
struct DockerConfig {
    #[serde(default)]
    proxies: BTreeMap<String, Object<Proxies>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Proxies {
    http_proxy: Option<String>,
    https_proxy: Option<String>,
    no_proxy: Option<String>,
    ftp_proxy: Option<String>,
    all_proxy: Option<String>,
}

/// Adds them to `build_args`, in both spellings of their names.
pub(crate) fn fill_in(
    build_args: &mut BTreeMap<String, String>,
    environment: &Environment,
) -> Result<(), CommandError> {
    let Some(path) = environment.docker_config() else {
        return Ok(());
    };
    let failed = |error: &(dyn std::error::Error + 'static)| {
        CommandError::usage(format!("cannot read docker's configuration {}", path.display())).because(error)
    };
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        // Another user's configuration, as with `sudo -E`: docker goes on without it as well.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(()),
        Err(error) => return Err(failed(&error)),
    };
    let Object(mut config): Object<DockerConfig> = serde_json::from_slice(&bytes).map_err(|error| failed(&error))?;
    let Object(proxies) = config.proxies.remove("default").unwrap_or_default();
    for (name, value) in [
        ("HTTP_PROXY", proxies.http_proxy),
        ("HTTPS_PROXY", proxies.https_proxy),
        ("NO_PROXY", proxies.no_proxy),
        ("FTP_PROXY", proxies.ftp_proxy),
        ("ALL_PROXY", proxies.all_proxy),
    ] {
        let Some(value) = value.filter(|value| !value.is_empty()) else {
            continue;
        };
        for name in [name.to_owned(), name.to_ascii_lowercase()] {
            build_args.entry(name).or_insert_with(|| value.clone());
        }
    }
    Ok(())
}
