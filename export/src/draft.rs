//! An archive begun before its image is finished: layers are written into it while they are compressed.
//!
//! A thread follows the layers of a tree in their order, each as soon as it is there and the one in the making as it grows.
//! What comes of it is only an offer. Whoever writes the archive takes as much of it as agrees with the finished image, and
//! writes the rest; so the bytes are the same with and without it, and nothing that goes wrong here is told. It begins with a
//! layer that is large and still growing: all else is written faster than it is worth a thread.

use std::fs::{File, Permissions};
use std::io::{self, Seek as _, SeekFrom, Write};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use cache::{Compression, LayerSoFar, Snapshot, Store};
use oci::{Descriptor, Digest, End, Growing, Reference};

use crate::archive::{self, BLOCK};
use crate::dest::{Place, Unfinished};
use crate::{ArchiveForm, Bundle, Error, Progress, to_docker, to_layout};

/// Smaller layers are not worth it.
const LEAST: u64 = 8 << 20;
/// So much is copied at a time.
const PIECE: usize = 1 << 20;
/// Before each of so many bytes there is looked whether they leave room on the disk.
const STRIDE: u64 = 64 << 20;
/// How often a layer is looked at that does not grow.
const GLANCE: Duration = Duration::from_millis(5);

/// Fails when an archive is to be given up.
pub type GoOn = Arc<dyn Fn() -> io::Result<()> + Send + Sync>;

/// An archive that is being begun. Dropped, it is given up.
#[expect(missing_debug_implementations, reason = "it holds a closure")]
pub struct Draft {
    wish: Arc<AtomicU8>,
    thread: Option<JoinHandle<Option<Begun>>>,
}

/// What the thread shall do: go on, end with the layer it is at, or end at once.
const ON: u8 = 0;
const TO_END: u8 = 1;
const NO_MORE: u8 = 2;

/// The beginning of an archive.
#[expect(missing_debug_implementations, reason = "it holds a closure")]
pub struct Begun {
    file: Unfinished,
    go_on: GoOn,
    dest: PathBuf,
    /// What it holds after its directories, in order.
    blobs: Vec<Written>,
}

#[derive(Clone, Copy, Debug)]
struct Written {
    digest: Digest,
    size: u64,
}

impl Draft {
    /// Begins the archive that is to be the file `dest`, of the layers of `tree` in a compression. `None`: it is no file.
    pub fn begin(
        store: &Store,
        tree: &Snapshot,
        (compression, force): (Compression, bool),
        dest: &Path,
        go_on: GoOn,
    ) -> Option<Draft> {
        let Ok(Place::File { path, permissions }) = Place::of(dest) else {
            return None;
        };
        let wish = Arc::new(AtomicU8::new(ON));
        let work = Work {
            store: store.clone(),
            layers: tree.stack(),
            compression,
            force,
            dest: path,
            permissions,
            wish: Arc::clone(&wish),
            go_on,
        };
        let thread = std::thread::Builder::new()
            .name("draft".to_owned())
            .spawn(move || work.run().ok().flatten());
        Some(Draft {
            wish,
            thread: Some(thread.ok()?),
        })
    }

    /// What has been written, after the layer that is being written. To be asked for when all layers are made.
    #[must_use]
    pub fn finish(mut self) -> Option<Begun> {
        self.end(TO_END)
    }

    fn end(&mut self, wish: u8) -> Option<Begun> {
        self.wish.store(wish, Ordering::Relaxed);
        self.thread.take()?.join().ok().flatten()
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        drop(self.end(NO_MORE));
    }
}

impl Begun {
    /// Whether the blob is in the archive.
    #[must_use]
    pub fn has(&self, digest: &Digest) -> bool {
        self.blobs.iter().any(|blob| blob.digest == *digest)
    }

    /// Writes what is missing of the archive of `bundle`, and gives it its name.
    ///
    /// # Errors
    /// As [`crate::to_layout_archive`] and [`crate::to_file`], and if it is to be given up.
    pub fn complete(
        mut self,
        store: &Store,
        (bundle, names): (&Bundle, &[Reference]),
        form: ArchiveForm,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        let manifest = match form {
            ArchiveForm::Oci => None,
            ArchiveForm::Docker => Some(to_docker::manifest(bundle, names)?),
        };
        let wanted = bundle.blobs();
        let agreeing = wanted.iter().zip(&self.blobs);
        let agreeing =
            agreeing.take_while(|(blob, written)| (blob.digest, blob.size) == (written.digest, written.size));
        let already = agreeing.count();
        let blobs = self.blobs[..already].iter();
        let end = to_layout::DIRECTORIES_END + blobs.map(|blob| entry_length(blob.size)).sum::<u64>();
        let file = self.file.file();
        file.set_len(end)
            .and_then(|()| file.seek(SeekFrom::Start(end)))
            .map_err(Error::Write)?;
        let go_on = self.go_on;
        let out = Guarded { out: file, go_on };
        to_layout::write_archive(
            store,
            bundle,
            names,
            manifest.as_deref(),
            (out, Some(already)),
            progress,
        )?;
        self.file.persist(&self.dest)
    }
}

/// How many bytes a blob takes in an archive.
fn entry_length(size: u64) -> u64 {
    BLOCK + size.next_multiple_of(BLOCK)
}

/// What the thread knows.
struct Work {
    store: Store,
    layers: Vec<Snapshot>,
    compression: Compression,
    force: bool,
    dest: PathBuf,
    permissions: Permissions,
    wish: Arc<AtomicU8>,
    go_on: GoOn,
}

impl Work {
    fn run(self) -> Result<Option<Begun>, Error> {
        // What is there already is copied once it is certain that there is something to wait for.
        let mut made = Vec::new();
        let mut draft: Option<Pen<'_>> = None;
        for layer in &self.layers {
            match self.wait_for(layer) {
                Some(LayerSoFar::Made(layer)) => match &mut draft {
                    Some(pen) => pen.copy(&layer.descriptor)?,
                    None => made.push(layer.descriptor),
                },
                Some(LayerSoFar::Growing(growing)) => {
                    let pen = match &mut draft {
                        Some(pen) => pen,
                        None => draft.insert(self.begin(&made)?),
                    };
                    pen.follow(&growing)?;
                }
                Some(LayerSoFar::Absent) | None => break,
            }
        }
        Ok(draft.map(|pen| Begun {
            file: pen.file,
            go_on: Arc::clone(&self.go_on),
            dest: self.dest.clone(),
            blobs: pen.blobs,
        }))
    }

    /// The layer of a tree, when there is something of it to be written.
    fn wait_for(&self, tree: &Snapshot) -> Option<LayerSoFar> {
        loop {
            let is_wanted = self.wish.load(Ordering::Relaxed) == ON;
            match self.store.layer_so_far(tree, self.compression, self.force).ok()? {
                LayerSoFar::Absent => {}
                LayerSoFar::Growing(growing) if growing.end().is_none() && growing.length() < LEAST => {}
                made => return Some(made),
            }
            if !is_wanted {
                return None;
            }
            std::thread::sleep(GLANCE);
        }
    }

    fn begin(&self, made: &[Descriptor]) -> Result<Pen<'_>, Error> {
        let mut file = Unfinished::beside(&self.dest, self.permissions.clone())?;
        to_layout::write_directories(file.file())?;
        let mut pen = Pen {
            work: self,
            file,
            blobs: Vec::new(),
            at: to_layout::DIRECTORIES_END,
            looked_at: 0,
        };
        for layer in made {
            pen.copy(layer)?;
        }
        Ok(pen)
    }
}

/// Writes an archive.
struct Pen<'a> {
    work: &'a Work,
    file: Unfinished,
    blobs: Vec<Written>,
    /// Where the next entry begins.
    at: u64,
    /// How many bytes were written when there was looked for room.
    looked_at: u64,
}

impl Pen<'_> {
    /// Writes a blob of the store, unless it has been.
    fn copy(&mut self, blob: &Descriptor) -> Result<(), Error> {
        if self.blobs.iter().any(|known| known.digest == blob.digest) {
            return Ok(());
        }
        let found = self
            .work
            .store
            .blob(&blob.digest)?
            .ok_or(Error::MissingBlob(blob.digest))?;
        let from = File::open(&found.path).map_err(Error::io("read", &found.path))?;
        let growing = Growing::of(from);
        growing.reached(found.size);
        growing.ended(End::Blob(blob.digest));
        self.follow(&growing)
    }

    /// Writes a blob as it grows.
    fn follow(&mut self, growing: &Growing) -> Result<(), Error> {
        let content = self.at + BLOCK;
        let mut piece = vec![0; PIECE];
        let mut written = 0;
        let digest = loop {
            // In this order: what is told of the end is told after the last byte.
            let end = growing.end();
            let ready = growing.length() - written;
            self.look(content + written)?;
            if ready >= PIECE as u64 || (end.is_some() && ready > 0) {
                let part = &mut piece[..usize::try_from(ready).map_or(PIECE, |ready| ready.min(PIECE))];
                growing.read(part, written).map_err(Error::Write)?;
                let file = self.file.file();
                file.write_all_at(part, content + written).map_err(Error::Write)?;
                written += part.len() as u64;
                continue;
            }
            match end {
                Some(End::Blob(digest)) => break digest,
                Some(End::GivenUp) => return Err(given_up()),
                None => std::thread::sleep(GLANCE),
            }
        };
        let name = to_layout::blob_name(&Descriptor::new("", digest, written));
        let header = archive::header_of(&to_layout::entry_of(&name, written));
        let file = self.file.file();
        file.write_all_at(header.as_bytes(), self.at).map_err(Error::Write)?;
        self.at += entry_length(written);
        // The rest of the last block.
        file.set_len(self.at).map_err(Error::Write)?;
        self.blobs.push(Written { digest, size: written });
        Ok(())
    }

    /// Fails if this is not wanted any more, or would take the last of the disk.
    fn look(&mut self, at: u64) -> Result<(), Error> {
        (self.work.go_on)().map_err(Error::Write)?;
        if self.work.wish.load(Ordering::Relaxed) == NO_MORE {
            return Err(given_up());
        }
        if at >= self.looked_at {
            if !self.work.store.has_room_in(&self.work.dest, 2 * STRIDE) {
                return Err(given_up());
            }
            self.looked_at = at + STRIDE;
        }
        Ok(())
    }
}

fn given_up() -> Error {
    Error::Write(io::Error::other("given up"))
}

/// Asks before each write whether it is to be.
struct Guarded<W> {
    out: W,
    go_on: GoOn,
}

impl<W: Write> Write for Guarded<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (self.go_on)()?;
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests;
