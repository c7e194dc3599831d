//! `rbuild merge`: images for several platforms, made here or on other machines, under one name.
//!
//! Each source is an image or an index: one of the store, of a registry, or of an OCI layout. Their manifests stay as they
//! are, so that what was tested on its own machine is what is joined. Layers move only where they are not: a registry that
//! has them in another repository is asked to share them.

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use cache::Store;
use export::{Annotations, ArchiveDest, ArchiveForm, Bundle, FileDest, Image, Media, OutputSpec, Receipt};
use oci::{Descriptor, ImageName, Platform, Reference};
use sandbox::Cancel;
use solver::{Failure, Reporter, Step};

use super::{Setting, answer, find, store_failed};
use crate::absent::Absent;
use crate::cli::{MergeArgs, TransferArgs};
use crate::deliver::{self, Made, Told};
use crate::error::CommandError;
use crate::images::{Images, Pull};
use crate::interrupt::{Signals, TimeLimits};
use crate::request;
use crate::ui::{self, Mode};

/// What is joined, and where it is to be had.
struct Part {
    /// As it was typed.
    typed: String,
    image: Image,
    /// `None` is the store.
    from: Option<ImageName>,
}

/// Where the index goes.
struct Target<'a> {
    names: &'a [Reference],
    push: bool,
    transfers: TransferArgs,
    archive: Option<FileDest>,
}

/// Joins the images, showing progress, and writes the digest of the index.
///
/// # Errors
/// When a source cannot be had, two are for one platform, or the index cannot be put where it shall be.
pub(crate) async fn run(args: MergeArgs, setting: &Setting) -> Result<ExitCode, CommandError> {
    let target = Target {
        names: &args.tag,
        push: args.push,
        transfers: args.transfers,
        archive: args.output.as_deref().map(|text| archive(text, setting)).transpose()?,
    };
    if target.names.is_empty() && target.archive.is_none() {
        return Err(CommandError::usage("cannot merge: the result has no name")
            .hint("name it with -t HOST/REPOSITORY:TAG, or write it to a file with -o type=oci,dest=FILE"));
    }
    if target.push && target.names.is_empty() {
        return Err(CommandError::usage(
            "cannot merge: tag is needed when pushing to registry",
        ));
    }
    let annotations = Annotations(request::annotations(&args.annotation)?);
    let mode = if args.quiet { Mode::Quiet } else { Mode::Auto };
    let (reporter, progress) = ui::start(mode, &request::screen(&setting.environment), "merging images");
    let cancel = Cancel::new();
    let work = merge(&args.sources, &target, &annotations, setting, (&reporter, &cancel));
    let merged = Signals::watch(TimeLimits::default(), setting.helpers())?
        .cancelling(&cancel, work)
        .await;
    progress.finish();
    let receipt = Receipt::of(&merged?, target.names);
    if let Some(path) = &args.metadata_file {
        deliver::write_metadata(&setting.environment.absolute(path), &Made::image(receipt.clone()))?;
    }
    if matches!(target.archive, Some(FileDest::Stdout)) {
        return Ok(ExitCode::SUCCESS);
    }
    answer(format_args!("{}\n", receipt.id()))
}

/// The archive that `-o` asks for.
fn archive(text: &str, setting: &Setting) -> Result<FileDest, CommandError> {
    let refuse = |error: &(dyn std::error::Error + 'static)| CommandError::usage("cannot merge").because(error);
    match OutputSpec::parse(text).map_err(|error| refuse(&error))? {
        OutputSpec::Archive {
            form: ArchiveForm::Oci,
            dest: ArchiveDest::File(dest),
            ..
        } => Ok(match dest {
            FileDest::File(path) => FileDest::File(setting.environment.absolute(&path)),
            FileDest::Stdout => FileDest::Stdout,
        }),
        _ => Err(CommandError::usage(format!(
            "cannot merge into `{text}`: an index is pushed, kept under a name, or written with type=oci,dest=FILE"
        ))),
    }
}

async fn merge(
    sources: &[String],
    target: &Target<'_>,
    annotations: &Annotations,
    setting: &Setting,
    (reporter, cancel): (&Reporter, &Cancel),
) -> Result<Bundle, CommandError> {
    let store = setting.store()?;
    store.describe("merge");
    let _settling = store.settle();
    let options = target.transfers.applied_to(setting.registries.clone());
    let images = Arc::new(Images::new(store.clone(), options, Pull::Always, reporter.clone()));
    let mut parts: Vec<Part> = Vec::new();
    for typed in sources {
        for part in parts_of(typed, &store, &images, setting).await? {
            add(&mut parts, part)?;
        }
    }
    let step = reporter.start("joining images");
    let joined = async {
        let repositories = if target.push { target.names.to_vec() } else { Vec::new() };
        let is_needed_here = target.archive.is_some() || !target.push;
        let absent = Absent::new(repositories, is_needed_here, (&store, &images), (reporter, cancel));
        for part in &parts {
            if let Some(from) = &part.from {
                let provided = absent.provide(&part.image.layers, from).await;
                provided.map_err(|error| failed().because(&error))?;
            }
        }
        let images_of = parts.into_iter().map(|part| part.image).collect();
        let told = Told::to(step.meter(), None);
        let bundle = Bundle::index(&store, images_of, annotations, (Media::Oci, None), &told)
            .map_err(|error| failed().because(&error))?;
        put(&bundle, target, &store, &images, &told).await?;
        Ok(bundle)
    };
    let joined = joined.await;
    end(step, &joined);
    joined
}

fn end(step: Step, joined: &Result<Bundle, CommandError>) {
    match joined {
        Ok(_) => step.done(),
        Err(error) => step.failed(Failure {
            message: error.message().to_owned(),
            ..Failure::default()
        }),
    }
}

async fn put(
    bundle: &Bundle,
    target: &Target<'_>,
    store: &Store,
    images: &Images,
    told: &Told,
) -> Result<(), CommandError> {
    if let Some(dest) = &target.archive {
        let write = |out: &mut dyn io::Write| export::to_layout_archive(store, bundle, target.names, out, told);
        let written = match dest {
            FileDest::File(path) => export::to_file(path, |file| write(file)),
            FileDest::Stdout => {
                let mut out = io::stdout().lock();
                write(&mut out).and_then(|()| out.flush().map_err(export::Error::Write))
            }
        };
        written.map_err(|error| failed().because(&error))?;
    }
    if target.push {
        let client = images.client().await.map_err(|error| failed().because(&error))?;
        let pushed = export::to_registry(store, bundle, target.names, client, told).await;
        return pushed.map_err(|error| CommandError::failed(&error).because(&error));
    }
    export::to_store(store, bundle, target.names).map_err(|error| failed().because(&error))?;
    Ok(())
}

/// The images of a source: all platforms it has.
async fn parts_of(
    typed: &str,
    store: &Store,
    images: &Arc<Images>,
    setting: &Setting,
) -> Result<Vec<Part>, CommandError> {
    let failed = |error: &(dyn std::error::Error + 'static)| {
        CommandError::failed(format!("cannot merge `{typed}`")).because(error)
    };
    if typed.starts_with("oci-layout://") || Path::new(typed).extension().is_some_and(|extension| extension == "tar") {
        let location = typed.strip_prefix("oci-layout://").unwrap_or(typed);
        let (path, tag, digest) =
            oci::layout::parse_location(&format!("oci-layout://{location}")).map_err(|error| failed(&error))?;
        let path = setting.environment.absolute(&path);
        let layout = oci::Layout::open(&path).map_err(|error| failed(&error))?;
        let manifests = layout
            .manifests(tag.as_deref(), digest)
            .map_err(|error| failed(&error))?;
        let named = |manifest: &Descriptor| ImageName::Layout {
            path: path.clone(),
            tag: None,
            digest: Some(manifest.digest),
        };
        return fetched(typed, &manifests, named, store, images).await;
    }
    let name: Option<Reference> = typed.parse().ok();
    let is_here = match &name {
        Some(name) => store.image(name).map_err(store_failed)?.is_some(),
        None => true,
    };
    if is_here {
        let found = find::find(store, typed)?;
        let part = |image| Part {
            typed: typed.to_owned(),
            image,
            from: None,
        };
        return Ok(found.bundle.images.into_iter().map(part).collect());
    }
    let Some(name) = name else { return Ok(Vec::new()) };
    let client = images.client().await.map_err(|error| failed(&error))?;
    let manifests = client.manifests(&name).await.map_err(|error| failed(&error))?;
    let named = |manifest: &Descriptor| ImageName::Registry(name.pinned(manifest.digest));
    fetched(typed, &manifests, named, store, images).await
}

/// The images of manifests elsewhere, whose documents are in the store then.
async fn fetched(
    typed: &str,
    manifests: &[Descriptor],
    named: impl Fn(&Descriptor) -> ImageName,
    store: &Store,
    images: &Images,
) -> Result<Vec<Part>, CommandError> {
    let mut parts = Vec::new();
    for manifest in manifests {
        let from = named(manifest);
        let platform = manifest.platform.clone().unwrap_or_else(Platform::host);
        let resolved = images.elsewhere(&from, &platform).await;
        let resolved =
            resolved.map_err(|error| CommandError::failed(format!("cannot merge `{typed}`")).because(&error))?;
        for bytes in [&resolved.manifest_bytes, &resolved.config_bytes] {
            store.put_blob(bytes).map_err(store_failed)?;
        }
        let platform = manifest.platform.clone().unwrap_or_else(|| resolved.config.platform());
        parts.push(Part {
            typed: typed.to_owned(),
            image: Image {
                manifest: Descriptor {
                    media_type: resolved.manifest.media_type.clone(),
                    platform: Some(platform.clone()),
                    annotations: manifest.annotations.clone(),
                    ..resolved.manifest_descriptor
                },
                config: resolved.manifest.config,
                layers: resolved.manifest.layers,
                configuration: resolved.config,
                platform,
            },
            from: Some(from),
        });
    }
    Ok(parts)
}

/// Adds an image, unless it is there already.
fn add(parts: &mut Vec<Part>, part: Part) -> Result<(), CommandError> {
    if parts
        .iter()
        .any(|known| known.image.manifest.digest == part.image.manifest.digest)
    {
        return Ok(());
    }
    if let Some(other) = parts.iter().find(|known| known.image.platform == part.image.platform) {
        return Err(CommandError::failed(format!(
            "cannot merge: `{}` and `{}` are both for {}",
            other.typed, part.typed, part.image.platform
        ))
        .hint("an index has one image for a platform: leave one of them out"));
    }
    parts.push(part);
    Ok(())
}

fn failed() -> CommandError {
    CommandError::failed("failed to merge")
}
