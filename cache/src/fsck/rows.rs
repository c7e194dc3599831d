//! Blobs, layers, keys and names: what the index says of them.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::path::Path;

use oci::layout::DOCUMENT_LIMIT;
use oci::{Descriptor, Digest, Hasher, ManifestKind};
use rusqlite::params;

use super::{Checking, Fault, Subject, each_row, is_known};
use crate::error::{failed, index_failed};
use crate::layer::Form;
use crate::{Error, Store, gc, unpack};

const SNAPSHOT: &str = "SELECT 1 FROM snapshots WHERE id = ?1";
/// How deep indexes may lie in one another.
const DEEPEST: usize = 4;

impl Checking<'_, '_> {
    pub(super) fn blobs(&mut self) -> Result<(), Error> {
        let query = "SELECT digest, size FROM blobs WHERE digest > ?1 ORDER BY digest LIMIT ?2";
        each_row(
            self.store,
            query,
            |row| row.get::<_, i64>(1),
            |digest, size| {
                self.checked.blobs += 1;
                if size > 0 && digest.parse().is_ok_and(|digest| self.store.is_emptied(&digest)) {
                    return Ok(());
                }
                match self.fault_of_blob(&digest, size.cast_unsigned()) {
                    None => Ok(()),
                    Some(fault) => self.find_and_mend(Subject::Blob(digest.clone()), fault, |store| {
                        forget_blob(store, &digest)
                    }),
                }
            },
        )
    }

    fn fault_of_blob(&mut self, digest: &str, size: u64) -> Option<Fault> {
        let Ok(expected) = digest.parse::<Digest>() else {
            return Some(Fault::Malformed);
        };
        let path = self.store.blob_path(&expected);
        let changed = |expected: String, actual: String| Some(Fault::Changed { expected, actual });
        match File::open(&path).and_then(hash) {
            Ok((actual, _)) if actual != expected => changed(expected.to_string(), actual.to_string()),
            Ok((_, actual)) if actual != size => changed(format!("{size} bytes"), format!("{actual} bytes")),
            Ok((_, actual)) => {
                self.checked.bytes += actual;
                None
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Some(Fault::Missing(path)),
            Err(error) => Some(Fault::Unreadable(failed("read", &path)(error))),
        }
    }

    /// The rows of layers. That trees are what their layers say is looked at with the trees.
    pub(super) fn layers(&mut self) -> Result<(), Error> {
        let query = "SELECT DISTINCT snapshot FROM layers WHERE snapshot > ?1 ORDER BY snapshot LIMIT ?2";
        each_row(
            self.store,
            query,
            |_| Ok(()),
            |snapshot, ()| {
                for layer in layers_of(self.store, &snapshot)? {
                    self.checked.layers += 1;
                    if let Some(fault) = self.fault_of_layer(&snapshot, &layer)? {
                        let subject = Subject::Layer {
                            snapshot: snapshot.clone(),
                            form: layer.form.clone(),
                        };
                        self.find_and_mend(subject, fault, |store| {
                            forget(
                                store,
                                "DELETE FROM layers WHERE snapshot = ?1 AND compression = ?2",
                                &[&snapshot, &layer.form],
                            )
                        })?;
                    }
                }
                Ok(())
            },
        )
    }

    fn fault_of_layer(&self, snapshot: &str, layer: &LayerRow) -> Result<Option<Fault>, Error> {
        if !is_known(self.store, SNAPSHOT, snapshot)? {
            return Ok(Some(Fault::Lacks(format!("snapshot `{snapshot}`"))));
        }
        let (Ok(digest), Ok(diff_id)) = (layer.digest.parse::<Digest>(), layer.diff_id.parse::<Digest>()) else {
            return Ok(Some(Fault::Malformed));
        };
        if Form::of_plain(&layer.form).is_some() {
            // Its bytes are those of the tree.
            return Ok((digest != diff_id).then_some(Fault::Malformed));
        }
        if self.store.is_emptied(&digest) {
            return Ok(None);
        }
        let Some(blob) = self.store.read_blob(&digest)?.filter(|blob| blob.size == layer.size) else {
            return Ok(Some(Fault::Lacks(format!("blob `{digest}` of {} bytes", layer.size))));
        };
        let plain = File::open(&blob.path).and_then(unpack::decompress).and_then(hash);
        Ok(match plain {
            Ok((actual, _)) if actual == diff_id => None,
            Ok((actual, _)) => Some(Fault::Changed {
                expected: diff_id.to_string(),
                actual: actual.to_string(),
            }),
            Err(error) => Some(Fault::Unreadable(failed("decompress", &blob.path)(error))),
        })
    }

    pub(super) fn records(&mut self) -> Result<(), Error> {
        let query = "SELECT key, snapshot, components FROM records WHERE key > ?1 ORDER BY key LIMIT ?2";
        each_row(
            self.store,
            query,
            |row| Ok((row.get::<_, String>(1)?, row.get::<_, String>(2)?)),
            |key, (snapshot, components)| {
                self.checked.keys += 1;
                let fault = if !is_known(self.store, SNAPSHOT, &snapshot)? {
                    Fault::Lacks(format!("snapshot `{snapshot}`"))
                } else if key.parse::<Digest>().is_err()
                    || serde_json::from_str::<Vec<(String, String)>>(&components).is_err()
                {
                    Fault::Malformed
                } else {
                    return Ok(());
                };
                self.find_and_mend(Subject::Record(key.clone()), fault, |store| {
                    forget(store, "DELETE FROM records WHERE key = ?1", &[&key])
                })
            },
        )
    }

    pub(super) fn aliases(&mut self) -> Result<(), Error> {
        let query = "SELECT key, target FROM aliases WHERE key > ?1 ORDER BY key LIMIT ?2";
        each_row(
            self.store,
            query,
            |row| row.get::<_, String>(1),
            |key, target| {
                self.checked.keys += 1;
                if is_known(self.store, "SELECT 1 FROM records WHERE key = ?1", &target)? {
                    return Ok(());
                }
                let fault = Fault::Lacks(format!("what key `{target}` led to"));
                self.find_and_mend(Subject::Alias(key.clone()), fault, |store| {
                    forget(store, "DELETE FROM aliases WHERE key = ?1", &[&key])
                })
            },
        )
    }

    pub(super) fn images(&mut self) -> Result<(), Error> {
        let query = "SELECT name, media_type, digest, size FROM images WHERE name > ?1 ORDER BY name LIMIT ?2";
        each_row(
            self.store,
            query,
            |row| {
                Ok((
                    row.get::<_, String>(1)?,
                    row.get::<_, String>(2)?,
                    row.get::<_, i64>(3)?,
                ))
            },
            |name, (media_type, digest, size)| {
                self.checked.images += 1;
                let fault = match (name.parse::<oci::Reference>(), digest.parse::<Digest>()) {
                    (Ok(_), Ok(digest)) => {
                        let root = Descriptor::new(&media_type, digest, size.cast_unsigned());
                        self.fault_of_document(&root, 0)?
                    }
                    _ => Some(Fault::Malformed),
                };
                match fault {
                    None => Ok(()),
                    Some(fault) => self.find_and_mend(Subject::Image(name.clone()), fault, |store| {
                        forget(store, "DELETE FROM images WHERE name = ?1", &[&name])
                    }),
                }
            },
        )
    }

    /// What keeps the image or index `document` from being given out.
    fn fault_of_document(&self, document: &Descriptor, depth: usize) -> Result<Option<Fault>, Error> {
        let lacks = |what: &str, digest: &Digest| Ok(Some(Fault::Lacks(format!("{what} `{digest}`"))));
        let Some(blob) = self.store.read_blob(&document.digest)? else {
            return lacks("manifest", &document.digest);
        };
        if blob.size > DOCUMENT_LIMIT || depth > DEEPEST {
            return Ok(Some(Fault::Malformed));
        }
        let bytes = match std::fs::read(&blob.path) {
            Ok(bytes) => bytes,
            Err(error) => return Ok(Some(Fault::Unreadable(failed("read", &blob.path)(error)))),
        };
        let Ok(kind) = ManifestKind::parse(&document.media_type, &bytes) else {
            return Ok(Some(Fault::Malformed));
        };
        match kind {
            ManifestKind::Manifest(manifest) => {
                for (what, part) in manifest
                    .layers
                    .iter()
                    .map(|layer| ("layer", layer))
                    .chain([("configuration", &manifest.config)])
                {
                    if self.store.content(&part.digest)?.is_none() {
                        return lacks(what, &part.digest);
                    }
                }
            }
            ManifestKind::Index(index) => {
                for image in &index.manifests {
                    // What nobody pulled is not here.
                    if self.store.read_blob(&image.digest)?.is_some()
                        && let Some(fault) = self.fault_of_document(image, depth + 1)?
                    {
                        return Ok(Some(fault));
                    }
                }
            }
        }
        Ok(None)
    }
}

/// A row of the table of layers.
pub(super) struct LayerRow {
    pub(super) form: String,
    digest: String,
    size: u64,
    pub(super) diff_id: String,
}

/// The layers made of a snapshot.
pub(super) fn layers_of(store: &Store, snapshot: &str) -> Result<Vec<LayerRow>, Error> {
    let list = || {
        let connection = store.index().read();
        let mut statement =
            connection.prepare_cached("SELECT compression, digest, size, diff_id FROM layers WHERE snapshot = ?1")?;
        let rows = statement.query_map(params![snapshot], |row| {
            Ok(LayerRow {
                form: row.get(0)?,
                digest: row.get(1)?,
                size: row.get::<_, i64>(2)?.cast_unsigned(),
                diff_id: row.get(3)?,
            })
        })?;
        rows.collect::<rusqlite::Result<Vec<_>>>()
    };
    list().map_err(index_failed("look for layers"))
}

fn forget(store: &Store, statement: &str, key: &[&String]) -> Result<(), Error> {
    store.index().write("forget a row", |transaction| {
        transaction
            .execute(statement, rusqlite::params_from_iter(key))
            .map(drop)
    })
}

fn forget_blob(store: &Store, digest: &str) -> Result<(), Error> {
    store.index().write("forget a blob", |transaction| {
        gc::forget_written_layer(transaction, digest)?;
        transaction.execute("DELETE FROM blobs WHERE digest = ?1", params![digest])
    })?;
    match digest.parse::<Digest>() {
        Ok(digest) => store.remove(&store.blob_path(&digest)),
        Err(_) => Ok(()),
    }
}

/// The digest and the size of what can be read.
fn hash(mut content: impl Read) -> io::Result<(Digest, u64)> {
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match content.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => hasher.update(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let size = hasher.size();
    Ok((hasher.finish(), size))
}

/// What there is at `path`; a link to something is a link.
pub(super) fn there(path: &Path) -> Result<Option<Metadata>, Error> {
    match std::fs::symlink_metadata(path) {
        Ok(there) => Ok(Some(there)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(failed("look at", path)(error)),
    }
}

/// Whether there is a directory at `path`; a link to one is none.
pub(super) fn is_directory(path: &Path) -> Result<bool, Error> {
    Ok(there(path)?.is_some_and(|there| there.is_dir()))
}
