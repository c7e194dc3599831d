//! Unpacking layers of base images, in one pass: the compressed bytes are kept as a blob and hashed, decompressed,
//! hashed again and written as files, and only then believed.
//!
//! Two threads share a layer: one keeps and decompresses, the other hashes and writes files, which is about half of the
//! work each. So a single large layer keeps two processors busy, and the largest of several is not what the rest waits
//! for.
//!
//! Layers can be unpacked in any order and several at once ([`Store::unpack_layer`]); putting them on their stack is a
//! rename ([`Store::attach`]).

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::panic::resume_unwind;
use std::thread;

use oci::{ChainId, Descriptor, DiffId, Digest, Hasher};

use crate::error::{failed, shown};
use crate::extract::{Extraction, Refused, as_path};
use crate::overlay::{self, Merged, Shown};
use crate::pieces::{self, Arriving, Departing};
use crate::snapshot::Base;
use crate::tar_reader::{TarError, TarReader};
use crate::{ActiveSnapshot, BlobWriter, Error, Snapshot, Store};

/// A layer unpacked and verified, but not yet part of a stack. Dropped, it leaves only its blob.
pub struct UnpackedLayer {
    active: ActiveSnapshot,
    files: Extraction,
    diff_id: DiffId,
    blob: Descriptor,
}

impl fmt::Debug for UnpackedLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnpackedLayer")
            .field("diff_id", &self.diff_id)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Unpacks `layer` on top of `parent`. `content` gives the blob's bytes, wherever they are, and is not read if the
    /// stack is there already. `moved` is told of bytes read, piece by piece.
    ///
    /// # Errors
    /// As [`Store::unpack_layer`] and [`Store::attach`].
    pub fn unpack(
        &self,
        parent: Option<&Snapshot>,
        layer: &Descriptor,
        diff_id: DiffId,
        content: impl Read,
        moved: &dyn Fn(u64),
    ) -> Result<Snapshot, Error> {
        let known = match chain_on(parent, diff_id) {
            Some(chain) => self.chain(&chain)?,
            None => None,
        };
        match known {
            Some(snapshot) => Ok(snapshot),
            None => self.attach(parent, self.unpack_layer(layer, diff_id, content, moved)?),
        }
    }

    /// Unpacks `layer` without asking what is below it.
    ///
    /// # Errors
    /// If the bytes are not the ones described (size, digest, diff-id), not a tar archive in a known compression, or
    /// an entry cannot be written.
    pub fn unpack_layer(
        &self,
        layer: &Descriptor,
        diff_id: DiffId,
        content: impl Read,
        moved: &dyn Fn(u64),
    ) -> Result<UnpackedLayer, Error> {
        let mut span = trace::span_of("unpack", &layer.digest);
        span.bytes(layer.size);
        let blob = match self.content(&layer.digest)? {
            Some(_) => None,
            None => Some(self.blob_writer()?),
        };
        let mut source = Source {
            content,
            blob,
            left: layer.size,
            broken: false,
            moved,
        };
        let active = self.prepare(None)?;
        let owners = active.owners().clone();
        let mut files = Extraction::into(active.upper(), owners).map_err(failed("open", active.upper()))?;
        let (departing, arriving) = pieces::channel();
        let outcome = thread::scope(|scope| {
            let extracting = scope.spawn(|| extract(arriving, layer, &mut files));
            send(&mut source, departing);
            extracting.join().unwrap_or_else(|panic| resume_unwind(panic))
        });
        // Bytes that are not what was announced explain every other failure, so they are all looked at first.
        let rest = if source.broken {
            Ok(0)
        } else {
            io::copy(&mut source, &mut io::sink())
        };
        if source.broken {
            outcome?;
            return Err(stream_of(layer)(
                rest.err().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into()),
            ));
        }
        verify(source, layer)?;
        let actual = outcome?;
        if actual != diff_id {
            return Err(Error::DiffIdMismatch {
                layer: layer.digest,
                expected: diff_id,
                actual,
            });
        }
        Ok(UnpackedLayer {
            active,
            files,
            diff_id,
            blob: Descriptor::new(&layer.media_type, layer.digest, layer.size),
        })
    }

    /// Makes an unpacked layer the snapshot on top of `parent`.
    ///
    /// # Errors
    /// If a hard link leads nowhere, or the snapshot cannot be recorded.
    pub fn attach(&self, parent: Option<&Snapshot>, layer: UnpackedLayer) -> Result<Snapshot, Error> {
        let _span = trace::span("attach");
        let layer = layer.laid_on(parent)?;
        let base = chain_on(parent, layer.diff_id).map(|chain| Base {
            chain,
            diff_id: layer.diff_id,
            blob: layer.blob,
            newest: layer.files.newest,
        });
        self.keep_snapshot(&layer.active, parent, base)
    }

    /// The digest of the archive that the changes would be of an unpacked layer on top of `parent`. It is not kept.
    pub(crate) fn archive_of_unpacked(&self, parent: Option<&Snapshot>, layer: UnpackedLayer) -> Result<Digest, Error> {
        let layer = layer.laid_on(parent)?;
        crate::fsck::archive(&Snapshot::unrecorded(&layer.active, parent), None)
    }
}

impl UnpackedLayer {
    /// The same files, as they are on top of `parent`.
    fn laid_on(mut self, parent: Option<&Snapshot>) -> Result<UnpackedLayer, Error> {
        let below = Merged::root(parent);
        link_below(&mut self.files, &below, &self.blob)?;
        unmark_what_hides_nothing(&mut self.files, &below, &self.blob)?;
        self.files
            .set_directory_times()
            .map_err(|refused| describe(refused, &self.blob, b""))?;
        if let Some(parent) = parent {
            adopt_implied(&self.files, parent, &below)?;
        }
        Ok(self)
    }
}

/// The chain of a layer on `parent`; a parent that is no base image has none.
fn chain_on(parent: Option<&Snapshot>, diff_id: DiffId) -> Option<ChainId> {
    match parent {
        None => Some(ChainId::extend(None, diff_id)),
        Some(parent) => parent.chain_id().map(|below| ChainId::extend(Some(below), diff_id)),
    }
}

/// Makes the hard links whose targets are in layers below.
fn link_below(files: &mut Extraction, below: &Merged, blob: &Descriptor) -> Result<(), Error> {
    for (name, target) in std::mem::take(&mut files.links_below) {
        let outcome = match below.descend(&as_path(&target))? {
            Shown::File(found) => files.link_copy(&name, &target, &found.path, &found.stat),
            _ => Err(Refused::Entry(format!(
                "it is a hard link to `{}`, which does not exist",
                shown(&target)
            ))),
        };
        outcome.map_err(|refused| describe(refused, blob, &name))?;
    }
    Ok(())
}

/// The kernel shows marks in directories that only one layer has.
fn unmark_what_hides_nothing(files: &mut Extraction, below: &Merged, blob: &Descriptor) -> Result<(), Error> {
    for name in std::mem::take(&mut files.removed) {
        if matches!(below.descend(&as_path(&name))?, Shown::Nothing) {
            files.unmark(&name).map_err(|refused| describe(refused, blob, &name))?;
        }
    }
    Ok(())
}

/// Directories that the archive does not describe look as they do below.
fn adopt_implied(files: &Extraction, parent: &Snapshot, below: &Merged) -> Result<(), Error> {
    for name in &files.implied {
        let Some(directory) = files.directory(name) else {
            continue;
        };
        let path = as_path(name);
        if name.is_empty() {
            let below = parent.directory();
            let mut stat = rustix::fs::lstat(&below).map_err(failed("read", &below))?;
            parent.tell_owner(&below, &mut stat)?;
            overlay::adopt_directory(&stat, &directory, &path, &files.owners)?;
        } else if let Shown::Directory(found, _) = below.descend(&path)? {
            overlay::adopt_directory(&found.stat, &directory, &path, &files.owners)?;
        }
    }
    Ok(())
}

/// Extracts the archive that arrives; gives the diff-id.
fn extract(content: Arriving, layer: &Descriptor, files: &mut Extraction) -> Result<DiffId, Error> {
    let mut plain = Hashed {
        inner: content,
        hasher: Hasher::new(),
        ahead: 0,
    };
    let mut archive = TarReader::new(&mut plain);
    let mut last = Vec::new();
    loop {
        let entry = match archive.next() {
            Ok(Some(entry)) => entry,
            Ok(None) => break,
            Err(error) => {
                let name = archive.name_ahead().unwrap_or_else(|| unnamed(&last));
                return Err(describe(error.into(), layer, &name));
            }
        };
        last.clone_from(&entry.path);
        let written = files.write(&entry, &mut archive);
        written.map_err(|refused| describe(refused, layer, &last))?;
    }
    archive.drain().map_err(stream_of(layer))?;
    Ok(DiffId(plain.hasher.finish()))
}

/// How an entry is called whose name could not be read.
fn unnamed(last: &[u8]) -> Vec<u8> {
    match last {
        b"" => b"the first".to_vec(),
        last => [b"the one after ", last].concat(),
    }
}

/// Hands over what is in `source`, up to its end or the error that it ends with.
fn send(source: impl Read, mut content: Departing) {
    match decompress(source) {
        Ok(plain) => content.send_all(plain),
        Err(error) => content.fail(error),
    }
}

/// The bytes behind the compression that the first bytes show; media types are wrong at times, these are not. As with
/// containerd, that includes the frames without content that `pzstd` begins with.
pub(crate) fn decompress<'a>(source: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut source = BufReader::with_capacity(128 * 1024, source);
    let first = source.fill_buf()?;
    if first.starts_with(&[0x1f, 0x8b]) {
        Ok(Box::new(flate2::bufread::MultiGzDecoder::new(source)))
    } else if is_zstd(first) {
        Ok(Box::new(zstd::stream::read::Decoder::with_buffer(source)?))
    } else {
        Ok(Box::new(source))
    }
}

/// Whether a zstd frame begins there, be it one without content.
fn is_zstd(first: &[u8]) -> bool {
    match first {
        [0x28, 0xb5, 0x2f, 0xfd, ..] => true,
        [number, 0x2a, 0x4d, 0x18, ..] => number & 0xf0 == 0x50,
        _ => false,
    }
}

/// Keeps the blob if it is the one announced. One that was in the store already is verified by its diff-id.
fn verify<R>(source: Source<'_, R>, layer: &Descriptor) -> Result<(), Error> {
    match source.blob {
        Some(blob) => blob.finish_as(layer).map(drop),
        None => Ok(()),
    }
}

fn stream_of(layer: &Descriptor) -> impl FnOnce(io::Error) -> Error {
    let layer = layer.digest;
    move |source| Error::LayerStream { layer, source }
}

fn describe(refused: Refused, layer: &Descriptor, name: &[u8]) -> Error {
    let reason = match refused {
        Refused::Archive(TarError::Stream(source)) => return stream_of(layer)(source),
        Refused::Step { action, source } => {
            return Error::Entry {
                layer: layer.digest,
                entry: shown(name),
                action,
                source,
            };
        }
        Refused::Archive(TarError::Malformed(reason)) | Refused::Entry(reason) => reason,
    };
    Error::Archive {
        layer: layer.digest,
        entry: shown(name),
        reason,
    }
}

/// The compressed bytes on their way: counted, kept, reported.
struct Source<'a, R> {
    content: R,
    blob: Option<BlobWriter>,
    left: u64,
    /// No more can be had.
    broken: bool,
    moved: &'a dyn Fn(u64),
}

impl<R: Read> Read for Source<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.content.read(buffer).inspect_err(|error| {
            self.broken = error.kind() != io::ErrorKind::Interrupted;
        })?;
        let count = read as u64;
        let Some(left) = self.left.checked_sub(count) else {
            self.broken = true;
            let text = "more bytes came than its manifest announces";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        };
        self.left = left;
        if let Some(blob) = &mut self.blob {
            blob.write_all(&buffer[..read])?;
        }
        (self.moved)(count);
        Ok(read)
    }
}

/// Bytes that are hashed as they come.
struct Hashed<R> {
    inner: R,
    hasher: Hasher,
    /// How many bytes are hashed and not yet consumed.
    ahead: usize,
}

impl<R: BufRead> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}

impl<R: BufRead> BufRead for Hashed<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let there = self.inner.fill_buf()?;
        self.hasher.update(&there[self.ahead..]);
        self.ahead = there.len();
        Ok(there)
    }

    fn consume(&mut self, count: usize) {
        self.inner.consume(count);
        self.ahead -= count;
    }
}
