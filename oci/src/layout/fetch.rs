//! Layouts as a place to fetch images from.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::Layout;
use crate::{Blob, BoxFuture, Descriptor, Error, Fetch, ImageName, Platform, PortError, ResolvedImage};

/// Gives images out of layouts, opening each on first use and keeping it open: one build sees one state of it.
#[derive(Debug, Default)]
pub struct Layouts {
    opened: Mutex<HashMap<PathBuf, Arc<Layout>>>,
}

impl Layouts {
    /// With no layout open yet.
    #[must_use]
    pub fn new() -> Layouts {
        Layouts::default()
    }

    fn open(&self, path: &Path) -> Result<Arc<Layout>, Error> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(layout) = opened.get(path) {
            return Ok(Arc::clone(layout));
        }
        let layout = Arc::new(Layout::open(path)?);
        opened.insert(path.to_owned(), Arc::clone(&layout));
        Ok(layout)
    }

    fn resolve_now(&self, name: &ImageName, platform: &Platform) -> Result<ResolvedImage, PortError> {
        let ImageName::Layout { path, tag, digest } = name else {
            return Err(not_a_layout(name));
        };
        self.open(path)
            .and_then(|layout| layout.resolve(tag.as_deref(), *digest, platform))
            .map_err(|error| port_error(name, error))
    }

    fn blob_now(&self, name: &ImageName, blob: &Descriptor) -> Result<Blob, PortError> {
        let ImageName::Layout { path, .. } = name else {
            return Err(not_a_layout(name));
        };
        self.open(path)
            .and_then(|layout| layout.blob(blob))
            .map_err(|error| port_error(name, error))
    }
}

impl Fetch for Layouts {
    fn resolve<'a>(
        &'a self,
        name: &'a ImageName,
        platform: &'a Platform,
    ) -> BoxFuture<'a, Result<ResolvedImage, PortError>> {
        Box::pin(async move { self.resolve_now(name, platform) })
    }

    fn blob<'a>(&'a self, name: &'a ImageName, blob: &'a Descriptor) -> BoxFuture<'a, Result<Blob, PortError>> {
        Box::pin(async move { self.blob_now(name, blob) })
    }
}

fn not_a_layout(name: &ImageName) -> PortError {
    PortError::Protocol {
        name: name.to_string(),
        detail: "it is not an OCI layout".to_owned(),
    }
}

fn port_error(name: &ImageName, error: Error) -> PortError {
    let name = name.to_string();
    match error {
        Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => PortError::NotFound { name },
        Error::Io { ref source, .. } if source.kind() == io::ErrorKind::PermissionDenied => PortError::Denied {
            name,
            detail: format!("{error}: {source}"),
        },
        source => PortError::Content { name, source },
    }
}
