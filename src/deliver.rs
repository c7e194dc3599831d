//! The result of a build, put where each output asks for it, and what is said of it at the end.

use std::fs;
use std::io::{self, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use cache::{Snapshot, Store};
use export::{ArchiveDest, ArchiveForm, FileDest, Image, ImageOptions, OutputSpec, Receipt};
use oci::{ImageConfig, Reference};
use solver::{Failure, Reporter, Step};

use crate::commands::load;
use crate::error::CommandError;
use crate::images::Images;
use crate::request::BuildRequest;

/// What was built, on its way to where it is wanted.
pub(crate) struct Delivery<'a> {
    pub(crate) request: &'a BuildRequest,
    pub(crate) store: &'a Store,
    /// The tree; `None` is the empty one.
    pub(crate) snapshot: Option<&'a Snapshot>,
    pub(crate) config: &'a ImageConfig,
    /// The time that no time in the image may be after.
    pub(crate) epoch: Option<i64>,
    pub(crate) images: &'a Images,
}

impl Delivery<'_> {
    /// Serves every output, one after the other; the receipt is that of the first that is an image.
    ///
    /// # Errors
    /// The first output that could not be served.
    pub(crate) async fn all(&self, reporter: &Reporter) -> Result<Option<Receipt>, CommandError> {
        let mut receipt = None;
        for output in &self.request.outputs {
            let step = reporter.start(title(output));
            match self.serve(output, &step).await {
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

    async fn serve(&self, output: &OutputSpec, step: &Step) -> Result<Option<Receipt>, CommandError> {
        match output {
            OutputSpec::Image { options, push, store } => {
                let image = self.image(options, step)?;
                let names: &[Reference] = if *store { &options.names } else { &[] };
                export::to_store(self.store, &image, names).map_err(|error| failed(&error))?;
                for name in names {
                    step.moved(&format!("naming to {name}"), 0, None, true);
                }
                if *push {
                    self.push(&image, &options.names, step).await?;
                }
                Ok(Some(Receipt::of(&image, &options.names)))
            }
            OutputSpec::Archive { options, form, dest } => {
                let image = self.image(options, step)?;
                self.archive(&image, (options, *form), dest, step)?;
                Ok(Some(Receipt::of(&image, &options.names)))
            }
            OutputSpec::Directory { dest, epoch } => {
                let tree = self.tree()?;
                let epoch = epoch.or(self.epoch);
                for skipped in export::to_directory(tree.path(), dest, epoch).map_err(|error| failed(&error))? {
                    step.note(format!("left out: {} is a {}", skipped.path.display(), skipped.kind));
                }
                Ok(None)
            }
            OutputSpec::Tar { dest, epoch } => {
                let tree = self.tree()?;
                let epoch = epoch.or(self.epoch);
                write(dest, |out| export::to_tar(tree.path(), epoch, out)).map_err(|error| failed(&error))?;
                Ok(None)
            }
            OutputSpec::CacheOnly => Ok(None),
        }
    }

    fn image(&self, options: &ImageOptions, step: &Step) -> Result<Image, CommandError> {
        let how = options.assembly(self.epoch);
        let image = export::assemble(self.store, self.snapshot, self.config.clone(), &how, &Told::new(step))
            .map_err(|error| failed(&error))?;
        Ok(image)
    }

    async fn push(&self, image: &Image, names: &[Reference], step: &Step) -> Result<(), CommandError> {
        let client = self
            .images
            .client()
            .await
            .map_err(|error| CommandError::failed("failed to push").because(&error))?;
        let pushed = export::to_registry(self.store, image, names, client, &Told::new(step)).await;
        pushed.map_err(|error| CommandError::failed("failed to push").because(&error))
    }

    fn archive(
        &self,
        image: &Image,
        (options, form): (&ImageOptions, ArchiveForm),
        dest: &ArchiveDest,
        step: &Step,
    ) -> Result<(), CommandError> {
        let told = Told::new(step);
        let to = |out: &mut dyn Write| match form {
            ArchiveForm::Oci => export::to_layout_archive(self.store, image, &options.names, out, &told),
            ArchiveForm::Docker => export::to_docker_archive(self.store, image, &options.names, out, &told),
        };
        match dest {
            ArchiveDest::File(dest) => write(dest, to).map_err(|error| failed(&error)),
            ArchiveDest::Directory(dest) => export::to_layout_directory(self.store, image, &options.names, dest, &told)
                .map_err(|error| failed(&error)),
            ArchiveDest::Load => load::send(self.request.loader.as_ref(), to),
        }
    }

    /// The result's files, mounted.
    fn tree(&self) -> Result<MountedResult, CommandError> {
        let mount = || match self.snapshot {
            Some(snapshot) => Ok(MountedResult {
                tree: snapshot.mount(self.store)?,
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

fn write(dest: &FileDest, to: impl FnOnce(&mut dyn Write) -> Result<(), export::Error>) -> Result<(), export::Error> {
    match dest {
        FileDest::Stdout => to(&mut io::stdout().lock()),
        FileDest::File(path) => export::to_file(path, |file| to(file)),
    }
}

fn failed(error: &export::Error) -> CommandError {
    CommandError::failed("failed to export").because(error)
}

/// Passes an exporter's progress on to a step, at most ten times a second besides what is done.
struct Told<'a> {
    step: &'a Step,
    last: Mutex<Instant>,
}

impl Told<'_> {
    fn new(step: &Step) -> Told<'_> {
        Told {
            step,
            last: Mutex::new(Instant::now()),
        }
    }
}

impl export::Progress for Told<'_> {
    fn moved(&self, item: &str, current: u64, total: Option<u64>, done: bool) {
        let mut last = self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if done || last.elapsed() >= Duration::from_millis(100) {
            *last = Instant::now();
            self.step.moved(item, current, total, done);
        }
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
