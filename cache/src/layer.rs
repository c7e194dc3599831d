//! Layers: the changes of one snapshot as a blob in a chosen compression.
//!
//! A layer is made in one pass: the archive is hashed for its diff-id, compressed, and hashed again on its way to the
//! disk. What was made once is kept. A plain layer is only hashed: its bytes can be had again from the snapshot, see
//! `content.rs`. A snapshot that was itself a layer of a base image keeps the blob it came in.

use std::fmt;
use std::io;
use std::str::FromStr;
use std::sync::{Arc, Weak};

use oci::{Descriptor, DiffId, Digest, Growing, media_type};
use rusqlite::{OptionalExtension, params};

use crate::blocks::{Hashed, Nowhere};
use crate::encoder::Encoder;
use crate::error::{failed, index_failed};
use crate::{Error, Snapshot, Store, diff, unpack};

/// Where BuildKit notes up to which time a layer's files were left alone.
const REWRITTEN: &str = "buildkit/rewritten-timestamp";

/// The text of the plain form in the index, and what comes between a form and its latest time.
pub(crate) const PLAIN: &str = "uncompressed";
const UNTIL: &str = " until ";

pub(crate) const DEFAULT_GZIP: u32 = 1;
pub(crate) const DEFAULT_ZSTD: i32 = 2;

/// Is told of a blob that is being compressed now, before it is whole.
pub type Watch<'a> = &'a (dyn Fn(&Arc<Growing>) + Sync);

/// How far a layer is.
#[derive(Clone, Debug)]
pub enum LayerSoFar {
    /// It is there.
    Made(Box<Layer>),
    /// A thread of this process compresses it now.
    Growing(Arc<Growing>),
    /// Nobody here has begun it.
    Absent,
}

/// How a layer's archive is compressed. Levels are those of libdeflate and zstd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compression {
    /// A plain tar.
    Uncompressed,
    /// What everything reads.
    Gzip {
        /// 0 to 9; 1 where not given.
        level: Option<u32>,
    },
    /// Smaller and faster, for registries and runtimes of this decade.
    Zstd {
        /// 1 to 22; 2 where not given.
        level: Option<i32>,
    },
}

impl Compression {
    /// The media type of such a layer in an OCI manifest.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Compression::Uncompressed => media_type::LAYER,
            Compression::Gzip { .. } => media_type::LAYER_GZIP,
            Compression::Zstd { .. } => media_type::LAYER_ZSTD,
        }
    }

    /// The media type of such a layer in a manifest of Docker's.
    #[must_use]
    pub fn docker_media_type(self) -> &'static str {
        match self {
            Compression::Uncompressed => media_type::DOCKER_LAYER,
            Compression::Gzip { .. } => media_type::DOCKER_LAYER_GZIP,
            Compression::Zstd { .. } => media_type::DOCKER_LAYER_ZSTD,
        }
    }
}

impl Default for Compression {
    fn default() -> Compression {
        Compression::Gzip { level: None }
    }
}

impl FromStr for Compression {
    type Err = Error;

    fn from_str(text: &str) -> Result<Compression, Error> {
        match text {
            "uncompressed" => Ok(Compression::Uncompressed),
            "gzip" => Ok(Compression::Gzip { level: None }),
            "zstd" => Ok(Compression::Zstd { level: None }),
            _ => Err(Error::UnknownCompression(text.to_owned())),
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Compression::Uncompressed => write!(f, "{PLAIN}"),
            Compression::Gzip { level } => write!(f, "gzip-{}", level.unwrap_or(DEFAULT_GZIP).min(9)),
            Compression::Zstd { level } => write!(f, "zstd-{}", level.unwrap_or(DEFAULT_ZSTD).clamp(1, 22)),
        }
    }
}

/// The changes of one snapshot as a blob, whose bytes [`Store::content`] gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Of the blob. The media type is OCI's, except of a base image's layer, which keeps its own.
    pub descriptor: Descriptor,
    /// Of the archive before compression.
    pub diff_id: DiffId,
    /// The newest modification time in it, in Unix seconds.
    pub newest: i64,
    /// Whether it came from a base image and is as it came.
    pub foreign: bool,
}

/// What tells the blobs of one snapshot apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Form {
    compression: Compression,
    /// Later times are told as this one.
    pub(crate) latest: Option<i64>,
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.compression.fmt(f)?;
        match self.latest {
            Some(latest) => write!(f, "{UNTIL}{latest}"),
            None => Ok(()),
        }
    }
}

impl Form {
    /// Reads the form of a plain layer; `None` for all others.
    pub(crate) fn of_plain(text: &str) -> Option<Form> {
        let rest = text.strip_prefix(PLAIN)?;
        let latest = match rest.strip_prefix(UNTIL) {
            Some(latest) => Some(latest.parse().ok()?),
            None if rest.is_empty() => None,
            None => return None,
        };
        Some(Form {
            compression: Compression::Uncompressed,
            latest,
        })
    }

    fn plain(self) -> Form {
        Form {
            compression: Compression::Uncompressed,
            ..self
        }
    }

    fn is_plain(self) -> bool {
        self.compression == Compression::Uncompressed
    }
}

/// Up to which time a layer of this form tells the times of files as they are.
pub(crate) fn latest_of_form(form: &str) -> Option<i64> {
    form.split_once(UNTIL).and_then(|(_, latest)| latest.parse().ok())
}

impl Store {
    /// The changes of `snapshot` as a blob. A layer of a base image is given as it came; with `force` it too is made
    /// anew, unless it came in this kind of compression. Changes laid over another tree have the layer of their origin,
    /// whatever the tree is. Whoever asks while another makes the same layer waits.
    ///
    /// # Errors
    /// If the snapshot cannot be read or the blob not be written.
    pub fn layer(&self, snapshot: &Snapshot, compression: Compression, force: bool) -> Result<Layer, Error> {
        self.layer_watched(snapshot, compression, force, &|_| {})
    }

    /// The same, and `watch` is told if it has to be compressed.
    ///
    /// # Errors
    /// As [`Store::layer`].
    pub fn layer_watched(
        &self,
        snapshot: &Snapshot,
        compression: Compression,
        force: bool,
        watch: Watch<'_>,
    ) -> Result<Layer, Error> {
        if let Some(layer) = self.original(snapshot, compression, force)? {
            return Ok(layer);
        }
        if let Some(origin) = snapshot.origin() {
            return self.layer_watched(origin, compression, force, watch);
        }
        let latest = None;
        self.own_layer(snapshot, Form { compression, latest }, watch)
    }

    /// How far the layer is that [`Store::layer`] would give. Nothing is begun by it.
    ///
    /// # Errors
    /// If the index cannot be read.
    pub fn layer_so_far(
        &self,
        snapshot: &Snapshot,
        compression: Compression,
        force: bool,
    ) -> Result<LayerSoFar, Error> {
        if let Some(layer) = self.original(snapshot, compression, force)? {
            return Ok(LayerSoFar::Made(Box::new(layer)));
        }
        if let Some(origin) = snapshot.origin() {
            return self.layer_so_far(origin, compression, force);
        }
        let latest = None;
        let form = Form { compression, latest };
        if let Some(layer) = self.kept_layer(snapshot, form)? {
            return Ok(LayerSoFar::Made(Box::new(layer)));
        }
        let growing = self.growing().get(&(snapshot.id(), form)).and_then(Weak::upgrade);
        Ok(growing.map_or(LayerSoFar::Absent, LayerSoFar::Growing))
    }

    /// The changes of `snapshot` as a blob with no modification time later than `latest`, wherever they came from. `watch` is
    /// told if it has to be compressed.
    ///
    /// # Errors
    /// As [`Store::layer`].
    pub fn layer_until(
        &self,
        snapshot: &Snapshot,
        compression: Compression,
        latest: i64,
        watch: Watch<'_>,
    ) -> Result<Layer, Error> {
        let latest = Some(latest);
        let form = Form { compression, latest };
        self.own_layer(snapshot.origin().unwrap_or(snapshot), form, watch)
    }

    /// The layer `blob` of an image as it shall travel: a plain one of ours in `compression`, any other as it is. With
    /// `force` every layer that is in another kind of compression is compressed anew; its diff-id stays. `None` is a layer
    /// that stays. `watch` is told of what has to be compressed.
    ///
    /// # Errors
    /// If the layer is not here, cannot be read, or the blob not be written.
    pub fn compressed(
        &self,
        blob: &Descriptor,
        compression: Compression,
        force: bool,
        watch: Watch<'_>,
    ) -> Result<Option<Descriptor>, Error> {
        let kinds = [compression.media_type(), compression.docker_media_type()];
        if kinds.contains(&blob.media_type.as_str()) {
            return Ok(None);
        }
        if let Some(archive) = self.archive(&blob.digest)? {
            let latest = archive.latest();
            let layer = self.own_layer(archive.snapshot(), Form { compression, latest }, watch)?;
            return Ok(Some(layer.descriptor));
        }
        if !force {
            return Ok(None);
        }
        let content = self.content(&blob.digest)?.ok_or(Error::NoSuchBlob(blob.digest))?;
        let failed = |source| Error::LayerStream {
            layer: blob.digest,
            source,
        };
        let mut plain = unpack::decompress(content.open()?).map_err(failed)?;
        let mut writer = self.blob_writer()?;
        watch(&writer.growing()?);
        let encoder = Encoder::new(writer, compression, threads()).map_err(failed)?;
        let mut hashed = Hashed::new(encoder);
        io::copy(&mut plain, &mut hashed).map_err(failed)?;
        let (encoder, _) = hashed.finish().map_err(failed)?;
        let made = encoder.finish().map_err(failed)?.finish()?;
        Ok(Some(Descriptor::new(compression.media_type(), made.digest, made.size)))
    }

    fn own_layer(&self, snapshot: &Snapshot, form: Form, watch: Watch<'_>) -> Result<Layer, Error> {
        if let Some(layer) = self.kept_layer(snapshot, form)? {
            return Ok(layer);
        }
        let name = format!("layer {} {form}", snapshot.id());
        let _lock = self.lock_name(&Digest::of(name.as_bytes()))?;
        match self.kept_layer(snapshot, form)? {
            Some(layer) => Ok(layer),
            None if form.is_plain() => self.name_layer(snapshot, form),
            None => self.make_layer(snapshot, form, watch),
        }
    }

    /// The blob a layer of a base image came in, if it is still here and wanted. A plain one that was made here is no
    /// more to be kept than any other layer of ours.
    fn original(&self, snapshot: &Snapshot, compression: Compression, force: bool) -> Result<Option<Layer>, Error> {
        let Some(base) = snapshot.base() else {
            return Ok(None);
        };
        let same = [compression.media_type(), compression.docker_media_type()].contains(&base.blob.media_type.as_str());
        let is_ours = snapshot.origin().is_some() && base.blob.digest == base.diff_id.0;
        if is_ours || (force && !same) {
            return Ok(None);
        }
        let blob = self.blob(&base.blob.digest)?;
        Ok(blob.map(|_| Layer {
            descriptor: base.blob.clone(),
            diff_id: base.diff_id,
            newest: base.newest,
            foreign: true,
        }))
    }

    fn kept_layer(&self, snapshot: &Snapshot, form: Form) -> Result<Option<Layer>, Error> {
        let found: Option<(String, String, i64, i64)> = self
            .index()
            .read()
            .prepare_cached("SELECT digest, diff_id, newest, size FROM layers WHERE snapshot = ?1 AND compression = ?2")
            .and_then(|mut statement| {
                statement
                    .query_row(params![snapshot.id().to_string(), form.to_string()], |row| {
                        Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
                    })
                    .optional()
            })
            .map_err(index_failed("look for a layer"))?;
        let Some((digest, diff_id, newest, size)) = found else {
            return Ok(None);
        };
        let (Ok(digest), Ok(diff_id)) = (digest.parse::<Digest>(), diff_id.parse::<Digest>()) else {
            return Ok(None);
        };
        if !form.is_plain() && self.blob(&digest)?.is_none() {
            return Ok(None);
        }
        let made = Made {
            digest,
            size: size.cast_unsigned(),
            diff_id: DiffId(diff_id),
            newest,
        };
        Ok(Some(made.layer(form)))
    }

    /// Finds out what the plain layer is called, without writing it.
    fn name_layer(&self, snapshot: &Snapshot, form: Form) -> Result<Layer, Error> {
        let id = snapshot.id();
        let _span = trace::span_of("diff", &id);
        let (hashed, newest) = diff::write(snapshot, Hashed::new(Nowhere), form.latest)?;
        let size = hashed.size();
        let (Nowhere, digest) = hashed.finish().map_err(failed("hash", &snapshot.directory()))?;
        let made = Made {
            digest,
            size,
            diff_id: DiffId(digest),
            newest,
        };
        self.record_layers(snapshot, &[(form, &made)])?;
        Ok(made.layer(form))
    }

    fn make_layer(&self, snapshot: &Snapshot, form: Form, watch: Watch<'_>) -> Result<Layer, Error> {
        let id = snapshot.id();
        let _span = trace::span_of("compress", &id);
        let mut writer = self.blob_writer()?;
        let growing = writer.growing()?;
        self.growing().insert((id, form), Arc::downgrade(&growing));
        watch(&growing);
        drop(growing);
        let directory = snapshot.directory();
        let failure = failed("compress", &directory);
        let encoder = Encoder::new(writer, form.compression, threads()).map_err(failure)?;
        let (hashed, newest) = diff::write(snapshot, Hashed::new(encoder), form.latest)?;
        let plain_size = hashed.size();
        let (encoder, archive) = hashed.finish().map_err(failed("compress", &directory))?;
        let writer = encoder.finish().map_err(failed("compress", &directory))?;
        let blob = writer.finish()?;
        let plain = Made {
            digest: archive,
            size: plain_size,
            diff_id: DiffId(archive),
            newest,
        };
        let made = Made {
            digest: blob.digest,
            size: blob.size,
            ..plain
        };
        // The plain form comes for nothing.
        self.record_layers(snapshot, &[(form, &made), (form.plain(), &plain)])?;
        Ok(made.layer(form))
    }

    fn record_layers(&self, snapshot: &Snapshot, layers: &[(Form, &Made)]) -> Result<(), Error> {
        self.index().write("record a layer", |transaction| {
            let mut statement = transaction.prepare_cached(
                "INSERT OR REPLACE INTO layers (snapshot, compression, digest, size, diff_id, newest)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?;
            for (form, made) in layers {
                statement.execute(params![
                    snapshot.id().to_string(),
                    form.to_string(),
                    made.digest.to_string(),
                    made.size.cast_signed(),
                    made.diff_id.0.to_string(),
                    made.newest
                ])?;
            }
            Ok(())
        })
    }
}

/// What making a layer found out.
#[derive(Clone, Copy)]
struct Made {
    digest: Digest,
    size: u64,
    diff_id: DiffId,
    newest: i64,
}

impl Made {
    fn layer(&self, form: Form) -> Layer {
        let mut descriptor = Descriptor::new(form.compression.media_type(), self.digest, self.size);
        if let Some(latest) = form.latest {
            descriptor.annotations.insert(REWRITTEN.to_owned(), latest.to_string());
        }
        Layer {
            descriptor,
            diff_id: self.diff_id,
            newest: self.newest,
            foreign: false,
        }
    }
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
