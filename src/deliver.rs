//! The result of a build, put where each output asks for it, and what is said of it at the end.

mod files;
mod tell;

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cache::{Compression, Store};
use export::records::CachePlace;
use export::{ArchiveDest, ArchiveForm, Assembly, Bundle, Draft, FileDest, Image, ImageOptions, OutputSpec, Receipt};
use oci::{Descriptor, Digest, Growing, ImageConfig, Platform, Reference};
use sandbox::Cancel;
use solver::{Failure, Meter, Reporter, ResultTree, Step};

use crate::caches::Harvest;
use crate::commands::load;
use crate::error::CommandError;
use crate::images::Images;
use crate::lead::Lead;
use crate::request::BuildRequest;

pub(crate) use tell::{tell, write_metadata};

/// What was built for one platform.
pub(crate) struct Built {
    pub(crate) platform: Platform,
    /// The tree; `None` is the empty one.
    pub(crate) tree: Option<ResultTree>,
    pub(crate) config: ImageConfig,
}

/// What came of a build.
#[derive(Clone, Debug, Default)]
pub(crate) struct Made {
    /// The image, if there is one.
    pub(crate) image: Option<Receipt>,
    /// The manifest of the cache that was exported, if there is one; of several the last.
    pub(crate) cache: Option<Descriptor>,
}

impl Made {
    /// An image and no cache.
    pub(crate) fn image(receipt: Receipt) -> Made {
        Made {
            image: Some(receipt),
            cache: None,
        }
    }

    /// What `--metadata-file` tells.
    pub(crate) fn metadata(&self) -> serde_json::Value {
        export::metadata_json(self.image.as_ref(), self.cache.as_ref())
    }
}

/// What was built, on its way to where it is wanted.
pub(crate) struct Delivery {
    pub(crate) request: Arc<BuildRequest>,
    pub(crate) harvest: Arc<Harvest>,
    pub(crate) store: Store,
    /// One for each platform, in the order asked for.
    pub(crate) results: Vec<Built>,
    /// Whether images are in an index, even a single one.
    pub(crate) multi_platform: bool,
    /// The time that no time in the image may be after.
    pub(crate) epoch: Option<i64>,
    pub(crate) images: Arc<Images>,
    pub(crate) cancel: Cancel,
    /// Where layers go as soon as they are there, if they go anywhere.
    pub(crate) lead: Option<Lead>,
}

impl Delivery {
    /// Serves every output, one after the other; the receipt is that of the first that is an image.
    ///
    /// # Errors
    /// The first output that could not be served.
    pub(crate) async fn all(self, reporter: &Reporter) -> Result<Option<Receipt>, CommandError> {
        let this = Arc::new(self);
        let mut receipt = None;
        for (number, output) in this.request.outputs.iter().enumerate() {
            let step = reporter.start(title(output));
            match this.serve(number, &step).await {
                Ok(made) => {
                    step.done();
                    receipt = receipt.or(made);
                }
                Err(error) => {
                    step.failed(Failure {
                        message: error.message().to_owned(),
                        ..Failure::default()
                    });
                    return Err(error);
                }
            }
        }
        Ok(receipt)
    }

    async fn serve(self: &Arc<Self>, number: usize, step: &Step) -> Result<Option<Receipt>, CommandError> {
        let output = &self.request.outputs[number];
        let Some(options) = output.options() else {
            let notes = self
                .apart(number, step, |this, output, _| this.write_files(output))
                .await?;
            notes.into_iter().for_each(|note| step.note(note));
            return Ok(None);
        };
        if let Some(what) = options.needs_oci_types() {
            step.note(format!(
                "{what} need OCI media types: oci-mediatypes=false has no effect"
            ));
        }
        let draft = self.draft(output);
        // What is in the making is the store's alone, and may be left to the end of the process.
        let caches = self.unless_cancelled(self.inline_caches(output, step)).await??;
        let bundle = self.apart(number, step, move |this, output, told| {
            this.bundle(output, caches, told)
        });
        let bundle = self.unless_cancelled(bundle).await??;
        let made = bundle.clone();
        self.apart(number, step, move |this, output, told| {
            this.write_image(&made, output, draft, told)
        })
        .await?;
        if let OutputSpec::Image { push: true, .. } = output {
            self.unless_cancelled(self.push(&bundle, &options.names, step))
                .await??;
        }
        Ok(Some(Receipt::of(&bundle, &options.names)))
    }

    /// Does a part of an output on a thread of its own, so that a wish to stop is heard meanwhile.
    async fn apart<T: Send + 'static>(
        self: &Arc<Self>,
        number: usize,
        step: &Step,
        work: impl FnOnce(&Delivery, &OutputSpec, &Told) -> Result<T, CommandError> + Send + 'static,
    ) -> Result<T, CommandError> {
        let (this, told) = (self.clone(), Told::to(step.meter(), self.lead_of(number)));
        let work = tokio::task::spawn_blocking(move || work(&this, &this.request.outputs[number], &told));
        work.await
            .unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }

    /// Where the layers go that an output has made.
    fn lead_of(&self, number: usize) -> Option<Lead> {
        let how = assembly(&self.request, self.epoch, &self.request.outputs[number]);
        self.lead.clone().filter(|lead| lead.is_for(how.compression))
    }

    async fn unless_cancelled<T>(&self, work: impl Future<Output = T>) -> Result<T, CommandError> {
        let cancelled = async {
            while !self.cancel.is_cancelled() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::select! {
            done = work => Ok(done),
            () = cancelled => Err(CommandError::cancelled()),
        }
    }

    /// Puts an image where it is wanted on this machine.
    fn write_image(
        &self,
        bundle: &Bundle,
        output: &OutputSpec,
        draft: Option<Draft>,
        told: &Told,
    ) -> Result<(), CommandError> {
        let _span = trace::span("write image");
        match output {
            OutputSpec::Image {
                options, store: true, ..
            } => self.keep(bundle, &options.names, told),
            OutputSpec::Archive { options, form, dest } => {
                self.archive(bundle, (options, *form), (dest, draft), told)?;
                // `-t` keeps the image here too, wherever else it goes.
                self.keep(bundle, &options.names, told)
            }
            OutputSpec::Image { store: false, .. }
            | OutputSpec::Directory { .. }
            | OutputSpec::Tar { .. }
            | OutputSpec::CacheOnly => Ok(()),
        }
    }

    /// Begins to write an archive of one image whose layers are still compressed.
    fn draft(&self, output: &OutputSpec) -> Option<Draft> {
        let OutputSpec::Archive {
            dest: ArchiveDest::File(FileDest::File(path)),
            ..
        } = output
        else {
            return None;
        };
        let [
            Built {
                tree: Some(ResultTree::Here(tree)),
                ..
            },
        ] = &self.results[..]
        else {
            return None;
        };
        let how = assembly(&self.request, self.epoch, output);
        if how.compression == Compression::Uncompressed || (how.rewrite_timestamp && how.epoch.is_some()) {
            return None;
        }
        let cancel = self.cancel.clone();
        let go_on = Arc::new(move || {
            if cancel.is_cancelled() {
                Err(cancelled())
            } else {
                Ok(())
            }
        });
        Draft::begin(&self.store, tree, (how.compression, how.force_compression), path, go_on)
    }

    fn stopping<W: Write>(&self, out: W) -> Stopping<'_, W> {
        Stopping {
            out,
            cancel: &self.cancel,
        }
    }

    /// What each image tells of the steps that made it, if it shall.
    async fn inline_caches(&self, output: &OutputSpec, step: &Step) -> Result<Vec<Option<String>>, CommandError> {
        if !is_told_of_caches(&self.request) {
            return Ok(vec![None; self.results.len()]);
        }
        let how = assembly(&self.request, self.epoch, output);
        let mut caches = Vec::new();
        for place in 0..self.results.len() {
            caches.push(Some(self.harvest.inline(place, &how, step).await?));
        }
        Ok(caches)
    }

    /// Makes the images, and an index of them if there is to be one.
    fn bundle(&self, output: &OutputSpec, caches: Vec<Option<String>>, told: &Told) -> Result<Bundle, CommandError> {
        let how = assembly(&self.request, self.epoch, output);
        let make = || {
            let mut images = Vec::new();
            for (built, cache) in self.results.iter().zip(caches) {
                let config = ImageConfig {
                    cache,
                    ..built.config.clone()
                };
                images.push(self.image(built.tree.as_ref(), config, &how, told)?);
            }
            match (images.len(), images.pop()) {
                (1, Some(only)) if !self.multi_platform => Bundle::single(only, &how.annotations, how.epoch),
                (_, last) => {
                    images.extend(last);
                    Bundle::index(&self.store, images, &how.annotations, (how.media, how.epoch), told)
                }
            }
        };
        make().map_err(|error| failed(&error))
    }

    /// Makes the image of a tree.
    fn image(
        &self,
        tree: Option<&ResultTree>,
        config: ImageConfig,
        how: &Assembly,
        told: &Told,
    ) -> Result<Image, export::Error> {
        let snapshot = match tree {
            Some(ResultTree::There(imported)) => {
                return export::assemble_elsewhere(&self.store, &imported.layers, config, how, told);
            }
            Some(ResultTree::Here(snapshot)) => Some(snapshot),
            None => None,
        };
        export::assemble(&self.store, snapshot, config, how, told)
    }

    /// Names the image here, unless layers of it stayed where they were found.
    fn keep(&self, bundle: &Bundle, names: &[Reference], told: &Told) -> Result<(), CommandError> {
        let layers = bundle.images.iter().flat_map(|image| &image.layers);
        for layer in layers {
            let here = self.store.content(&layer.digest);
            if here
                .map_err(|error| CommandError::failed("failed to export").because(&error))?
                .is_none()
            {
                let what = "the image is not kept here: its layers stayed where they were found";
                told.meter.moved(what, 0, None, true);
                return Ok(());
            }
        }
        export::to_store(&self.store, bundle, names).map_err(|error| failed(&error))?;
        for name in names {
            told.meter.moved(&format!("naming to {name}"), 0, None, true);
        }
        Ok(())
    }

    async fn push(&self, bundle: &Bundle, names: &[Reference], step: &Step) -> Result<(), CommandError> {
        let client = self.images.client().await;
        let client = client.map_err(|error| CommandError::failed("failed to push").because(&error))?;
        let told = Told::to(step.meter(), None);
        if let Some(lead) = &self.lead {
            lead.settle(&told).await;
        }
        let pushed = export::to_registry(&self.store, bundle, names, client, &told).await;
        pushed.map_err(|error| CommandError::failed(&error).because(&error))
    }

    /// Sees to it that there is room for the blobs of an image at `place`, or fails before the first byte.
    fn make_room(&self, bundle: &Bundle, place: &Path, is_there: &dyn Fn(&Digest) -> bool) -> Result<(), CommandError> {
        if std::fs::metadata(place).is_ok_and(|found| !found.is_file() && !found.is_dir()) {
            return Ok(());
        }
        let blobs = bundle
            .images
            .iter()
            .flat_map(|image| image.layers.iter().chain([&image.config]));
        let sizes: HashMap<Digest, u64> = blobs
            .filter(|blob| !is_there(&blob.digest))
            .map(|blob| (blob.digest, blob.size))
            .collect();
        let bytes = sizes.into_values().fold(0, u64::saturating_add);
        let made = self.store.make_room_in(place, bytes);
        made.map_err(|error| CommandError::failed("failed to export").because(&error))
    }

    fn archive(
        &self,
        bundle: &Bundle,
        (options, form): (&ImageOptions, ArchiveForm),
        (dest, draft): (&ArchiveDest, Option<Draft>),
        told: &Told,
    ) -> Result<(), CommandError> {
        let write = Archive {
            store: &self.store,
            bundle,
            names: &options.names,
            form,
            told,
        };
        match dest {
            ArchiveDest::File(FileDest::Stdout) => write
                .to(self.stopping(io::stdout().lock()))
                .map_err(|error| failed(&error)),
            ArchiveDest::File(FileDest::File(path)) => {
                let begun = draft.and_then(Draft::finish);
                let is_there = |digest: &Digest| begun.as_ref().is_some_and(|begun| begun.has(digest));
                self.make_room(bundle, path, &is_there)?;
                let written = match begun {
                    Some(begun) => begun.complete(&self.store, (bundle, &options.names), form, told),
                    None => export::to_file(path, |file| write.to(self.stopping(file))),
                };
                written.map_err(|error| failed(&error))
            }
            ArchiveDest::Directory(dest) => {
                let is_there = |digest: &Digest| dest.join("blobs/sha256").join(digest.hex()).exists();
                self.make_room(bundle, dest, &is_there)?;
                let done = export::to_layout_directory(&self.store, bundle, &options.names, dest, told);
                done.map_err(|error| failed(&error))
            }
            ArchiveDest::Load => load::send(self.request.loader.as_ref(), |out| write.to(self.stopping(out))),
        }
    }
}

/// How the image of an output is written. One that nobody but this machine will read is left plain: the store has its
/// layers as files anyway, and a daemon would only unpack them. What a build makes for several places is one image,
/// and what is told inside an image of its layers must stay true of it in a registry.
pub(crate) fn assembly(request: &BuildRequest, epoch: Option<i64>, output: &OutputSpec) -> Assembly {
    let options = output.options().cloned().unwrap_or_default();
    let how = options.assembly(epoch);
    let mut outputs = request.outputs.iter();
    let is_default = options.compression.is_none() && !options.force_compression;
    if !is_default || is_told_of_caches(request) || !outputs.all(stays_here) {
        return how;
    }
    Assembly {
        compression: Compression::Uncompressed,
        ..how
    }
}

fn is_told_of_caches(request: &BuildRequest) -> bool {
    request.cache_to.iter().any(|to| to.place == CachePlace::Inline)
}

/// Whether an image, if it is one, goes no further than this machine.
fn stays_here(output: &OutputSpec) -> bool {
    match output {
        OutputSpec::Image { push, .. } => !push,
        OutputSpec::Archive { dest, .. } => *dest == ArchiveDest::Load,
        OutputSpec::Directory { .. } | OutputSpec::Tar { .. } | OutputSpec::CacheOnly => true,
    }
}

fn title(output: &OutputSpec) -> &'static str {
    match output {
        OutputSpec::Image { .. } => "exporting to image",
        OutputSpec::Archive {
            form: ArchiveForm::Oci, ..
        } => "exporting to oci image format",
        OutputSpec::Archive {
            form: ArchiveForm::Docker,
            ..
        } => "exporting to docker image format",
        OutputSpec::Directory { .. } => "exporting to client directory",
        OutputSpec::Tar { .. } => "exporting to client tarball",
        OutputSpec::CacheOnly => "keeping the result in the cache only",
    }
}

/// An image to be written as one archive.
struct Archive<'a> {
    store: &'a Store,
    bundle: &'a Bundle,
    names: &'a [Reference],
    form: ArchiveForm,
    told: &'a Told,
}

impl Archive<'_> {
    fn to(&self, out: impl Write) -> Result<(), export::Error> {
        match self.form {
            ArchiveForm::Oci => export::to_layout_archive(self.store, self.bundle, self.names, out, self.told),
            ArchiveForm::Docker => export::to_docker_archive(self.store, self.bundle, self.names, out, self.told),
        }
    }
}

fn failed(error: &export::Error) -> CommandError {
    CommandError::failed("failed to export").because(error)
}

/// Ends in an error as soon as the build is cancelled, so that whoever writes a file takes it away again.
struct Stopping<'a, W> {
    out: W,
    cancel: &'a Cancel,
}

impl<W: Write> Write for Stopping<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.cancel.is_cancelled() {
            return Err(cancelled());
        }
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn cancelled() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the build was cancelled")
}

/// Passes an exporter's progress on to a step, and layers in the making to registries.
pub(crate) struct Told {
    meter: Meter,
    lead: Option<Lead>,
}

impl Told {
    pub(crate) fn to(meter: Meter, lead: Option<Lead>) -> Told {
        Told { meter, lead }
    }
}

impl export::Progress for Told {
    fn moved(&self, item: &str, current: u64, total: Option<u64>, done: bool) {
        self.meter.moved(item, current, total, done);
    }

    fn begun(&self, layer: &Arc<Growing>) {
        if let Some(lead) = &self.lead {
            lead.begin(layer);
        }
    }
}
