//! The result of a build, put where each output asks for it, and what is said of it at the end.

use std::fs;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use cache::{Snapshot, Store};
use export::records::CachePlace;
use export::{ArchiveDest, ArchiveForm, FileDest, Image, ImageOptions, OutputSpec, Receipt};
use oci::{ImageConfig, Reference};
use sandbox::Cancel;
use solver::{Failure, Meter, Reporter, Step};

use crate::caches::Harvest;
use crate::commands::load;
use crate::error::CommandError;
use crate::images::Images;
use crate::request::BuildRequest;

/// What was built, on its way to where it is wanted.
pub(crate) struct Delivery {
    pub(crate) request: Arc<BuildRequest>,
    pub(crate) harvest: Arc<Harvest>,
    pub(crate) store: Store,
    /// The tree; `None` is the empty one.
    pub(crate) snapshot: Option<Snapshot>,
    pub(crate) config: ImageConfig,
    /// The time that no time in the image may be after.
    pub(crate) epoch: Option<i64>,
    pub(crate) images: Arc<Images>,
    pub(crate) cancel: Cancel,
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
        // What is in the making is the store's alone, and may be left to the end of the process.
        let cache = self.unless_cancelled(self.inline_cache(options, step)).await??;
        let image = self.apart(number, step, move |this, output, told| this.image(output, cache, told));
        let image = self.unless_cancelled(image).await??;
        let made = image.clone();
        self.apart(number, step, move |this, output, told| {
            this.write_image(&made, output, told)
        })
        .await?;
        if let OutputSpec::Image { push: true, .. } = output {
            self.unless_cancelled(self.push(&image, &options.names, step)).await??;
        }
        Ok(Some(Receipt::of(&image, &options.names)))
    }

    /// Does a part of an output on a thread of its own, so that a wish to stop is heard meanwhile.
    async fn apart<T: Send + 'static>(
        self: &Arc<Self>,
        number: usize,
        step: &Step,
        work: impl FnOnce(&Delivery, &OutputSpec, &Told) -> Result<T, CommandError> + Send + 'static,
    ) -> Result<T, CommandError> {
        let (this, told) = (self.clone(), Told(step.meter()));
        let work = tokio::task::spawn_blocking(move || work(&this, &this.request.outputs[number], &told));
        work.await
            .unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
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
    fn write_image(&self, image: &Image, output: &OutputSpec, told: &Told) -> Result<(), CommandError> {
        match output {
            OutputSpec::Image {
                options, store: true, ..
            } => self.keep(image, &options.names, told),
            OutputSpec::Archive { options, form, dest } => {
                self.archive(image, (options, *form), dest, told)?;
                // `-t` keeps the image here too, wherever else it goes.
                self.keep(image, &options.names, told)
            }
            OutputSpec::Image { store: false, .. }
            | OutputSpec::Directory { .. }
            | OutputSpec::Tar { .. }
            | OutputSpec::CacheOnly => Ok(()),
        }
    }

    /// Puts the files of the result where they are wanted; tells what could not be.
    fn write_files(&self, output: &OutputSpec) -> Result<Vec<String>, CommandError> {
        match output {
            OutputSpec::Directory { dest, epoch } => {
                let tree = self.tree()?;
                let skipped = export::to_directory(tree.path(), dest, epoch.or(self.epoch));
                let note =
                    |skipped: export::Skipped| format!("left out: {} is a {}", skipped.path.display(), skipped.kind);
                Ok(skipped.map_err(|error| failed(&error))?.into_iter().map(note).collect())
            }
            OutputSpec::Tar { dest, epoch } => {
                let tree = self.tree()?;
                let epoch = epoch.or(self.epoch);
                let written = match dest {
                    FileDest::Stdout => export::to_tar(tree.path(), epoch, self.stopping(io::stdout().lock())),
                    FileDest::File(path) => {
                        export::to_file(path, |file| export::to_tar(tree.path(), epoch, self.stopping(file)))
                    }
                };
                written.map_err(|error| failed(&error))?;
                Ok(Vec::new())
            }
            OutputSpec::Image { .. } | OutputSpec::Archive { .. } | OutputSpec::CacheOnly => Ok(Vec::new()),
        }
    }

    fn stopping<W: Write>(&self, out: W) -> Stopping<'_, W> {
        Stopping {
            out,
            cancel: &self.cancel,
        }
    }

    /// What the image tells of the steps that made it, if it shall.
    async fn inline_cache(&self, options: &ImageOptions, step: &Step) -> Result<Option<String>, CommandError> {
        let mut places = self.request.cache_to.iter().map(|to| &to.place);
        if !places.any(|place| *place == CachePlace::Inline) {
            return Ok(None);
        }
        let how = options.assembly(self.epoch);
        self.harvest.inline(0, &how, step).await.map(Some)
    }

    fn image(&self, output: &OutputSpec, cache: Option<String>, told: &Told) -> Result<Image, CommandError> {
        let options = output.options().cloned().unwrap_or_default();
        let how = options.assembly(self.epoch);
        let config = ImageConfig {
            cache,
            ..self.config.clone()
        };
        let image = export::assemble(&self.store, self.snapshot.as_ref(), config, &how, told);
        image.map_err(|error| failed(&error))
    }

    fn keep(&self, image: &Image, names: &[Reference], told: &Told) -> Result<(), CommandError> {
        export::to_store(&self.store, image, names).map_err(|error| failed(&error))?;
        for name in names {
            told.0.moved(&format!("naming to {name}"), 0, None, true);
        }
        Ok(())
    }

    async fn push(&self, image: &Image, names: &[Reference], step: &Step) -> Result<(), CommandError> {
        let client = self.images.client().await;
        let client = client.map_err(|error| CommandError::failed("failed to push").because(&error))?;
        let pushed = export::to_registry(&self.store, image, names, client, &Told(step.meter())).await;
        pushed.map_err(|error| CommandError::failed(&error).because(&error))
    }

    fn archive(
        &self,
        image: &Image,
        (options, form): (&ImageOptions, ArchiveForm),
        dest: &ArchiveDest,
        told: &Told,
    ) -> Result<(), CommandError> {
        let write = Archive {
            store: &self.store,
            image,
            names: &options.names,
            form,
            told,
        };
        match dest {
            ArchiveDest::File(FileDest::Stdout) => write
                .to(self.stopping(io::stdout().lock()))
                .map_err(|error| failed(&error)),
            ArchiveDest::File(FileDest::File(path)) => {
                export::to_file(path, |file| write.to(self.stopping(file))).map_err(|error| failed(&error))
            }
            ArchiveDest::Directory(dest) => {
                let done = export::to_layout_directory(&self.store, image, &options.names, dest, told);
                done.map_err(|error| failed(&error))
            }
            ArchiveDest::Load => load::send(self.request.loader.as_ref(), |out| write.to(self.stopping(out))),
        }
    }

    /// The result's files, mounted.
    fn tree(&self) -> Result<MountedResult, CommandError> {
        let mount = || match &self.snapshot {
            Some(snapshot) => Ok(MountedResult {
                tree: snapshot.mount(&self.store)?,
                _empty: None,
            }),
            None => {
                let empty = self.store.prepare(None)?;
                Ok(MountedResult {
                    tree: empty.mount()?,
                    _empty: Some(empty),
                })
            }
        };
        mount().map_err(|error: cache::Error| CommandError::failed("failed to export").because(&error))
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

/// The files of the result; an empty result has an empty tree, deleted with this.
struct MountedResult {
    tree: cache::Tree,
    _empty: Option<cache::ActiveSnapshot>,
}

impl MountedResult {
    fn path(&self) -> &std::path::Path {
        self.tree.path()
    }
}

/// An image to be written as one archive.
struct Archive<'a> {
    store: &'a Store,
    image: &'a Image,
    names: &'a [Reference],
    form: ArchiveForm,
    told: &'a Told,
}

impl Archive<'_> {
    fn to(&self, out: impl Write) -> Result<(), export::Error> {
        match self.form {
            ArchiveForm::Oci => export::to_layout_archive(self.store, self.image, self.names, out, self.told),
            ArchiveForm::Docker => export::to_docker_archive(self.store, self.image, self.names, out, self.told),
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
            return Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "the build was cancelled",
            ));
        }
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Passes an exporter's progress on to a step.
pub(crate) struct Told(pub(crate) Meter);

impl export::Progress for Told {
    fn moved(&self, item: &str, current: u64, total: Option<u64>, done: bool) {
        self.0.moved(item, current, total, done);
    }
}

/// Says what came out: the id to standard output when asked to be quiet, and the files of `--iidfile` and
/// `--metadata-file`.
pub(crate) fn tell(request: &BuildRequest, receipt: Option<&Receipt>) -> Result<(), CommandError> {
    let Some(receipt) = receipt else { return Ok(()) };
    let failed = |path: &std::path::Path, error: io::Error| {
        CommandError::failed(format!("failed to write {}", path.display())).because(&error)
    };
    if let Some(path) = &request.iidfile {
        replace(path, receipt.config.to_string().as_bytes()).map_err(|error| failed(path, error))?;
    }
    if let Some(path) = &request.metadata_file {
        let text = serde_json::to_vec_pretty(&export::metadata_json(receipt)).expect("metadata has only string keys");
        replace(path, &text).map_err(|error| failed(path, error))?;
    }
    if request.quiet {
        let mut out = io::stdout().lock();
        writeln!(out, "{}", receipt.config)
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
