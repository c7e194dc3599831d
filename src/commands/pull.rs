//! `rbuild pull`: an image from its registry into the store, under its name.

use std::error::Error;
use std::process::ExitCode;

use cache::Store;
use futures_util::{StreamExt, TryStreamExt, stream};
use oci::{Descriptor, Fetch, ImageName, Platform, Reference, ResolvedImage};
use sandbox::Cancel;
use solver::{Failure, Reporter, Step};

use super::{Setting, answer, store_failed};
use crate::cli::PullArgs;
use crate::error::CommandError;
use crate::images::{Images, Pull};
use crate::interrupt::{Signals, TimeLimits};
use crate::request;
use crate::ui::{self, Mode};

/// How many blobs arrive at the same time.
const BLOBS_AT_ONCE: usize = 4;

/// Gets the image, showing progress, and writes what its name led to.
///
/// # Errors
/// When the registry or the store fails, or the user stops it.
pub(crate) async fn run(args: PullArgs, setting: &Setting) -> Result<ExitCode, CommandError> {
    let mode = if args.quiet { Mode::Quiet } else { Mode::Auto };
    let heading = format!("pulling {}", args.name.familiar());
    let (reporter, progress) = ui::start(mode, &request::screen(&setting.environment), &heading);
    let cancel = Cancel::new();
    let pulled = Signals::watch(TimeLimits::default(), setting.helpers())?
        .cancelling(&cancel, pull(&args, setting, &reporter, &cancel))
        .await;
    progress.finish();
    answer(format_args!("{}@{}\n", args.name.name(), pulled?.root.digest))
}

async fn pull(
    args: &PullArgs,
    setting: &Setting,
    reporter: &Reporter,
    cancel: &Cancel,
) -> Result<ResolvedImage, CommandError> {
    let store = setting.store()?;
    store.describe(&format!("pull of {}", args.name));
    let _settling = store.settle();
    let options = args.connections.applied_to(setting.registries.clone());
    let images = Images::new(store.clone(), options, Pull::Always, reporter.clone());
    let platform = args.platform.clone().unwrap_or_else(Platform::host);
    let image = images.resolve(&ImageName::Registry(args.name.clone()), &platform).await;
    let image = image.map_err(|error| failed(&args.name, &error))?;
    let step = reporter.start(format!("pulling layers of {}", args.name));
    match pull_parts(&store, &images, &image, &step, cancel).await {
        Ok(()) => step.done(),
        Err(error) => {
            let message = error.message().to_owned();
            step.failed(Failure {
                message,
                ..Failure::default()
            });
            return Err(error);
        }
    }
    store
        .tag(&args.name, &image.manifest_descriptor)
        .map_err(store_failed)?;
    Ok(image)
}

/// Makes the image's tree and all its blobs exist in the store.
async fn pull_parts(
    store: &Store,
    images: &dyn Fetch,
    image: &ResolvedImage,
    step: &Step,
    cancel: &Cancel,
) -> Result<(), CommandError> {
    let unpacked = solver::pull(store, images, image, step, cancel).await;
    unpacked.map_err(|error| CommandError::failed(format!("failed to pull {}", image.name)).because(&error))?;
    // Trees unpacked by an earlier build may have lost the blobs they came from, which a push needs.
    let mut missing = Vec::new();
    for layer in &image.manifest.layers {
        if store.content(&layer.digest).map_err(store_failed)?.is_none() {
            missing.push(layer);
        }
    }
    let downloads = stream::iter(missing.into_iter().map(|layer| download(store, images, image, layer)));
    downloads.buffer_unordered(BLOBS_AT_ONCE).try_collect().await
}

/// Puts the layer into the store, from whoever gives the right bytes.
async fn download(
    store: &Store,
    images: &dyn Fetch,
    image: &ResolvedImage,
    layer: &Descriptor,
) -> Result<(), CommandError> {
    let lost = |error: &(dyn Error + 'static)| {
        CommandError::failed(format!("failed to pull {}: layer {}", image.name, layer.digest)).because(error)
    };
    store.make_room(layer.size, layer.size).map_err(|error| lost(&error))?;
    loop {
        let mut content = images.blob(&image.name, layer).await.map_err(|error| lost(&error))?;
        let mut writer = store.blob_writer().map_err(store_failed)?;
        let work = tokio::task::spawn_blocking(move || std::io::copy(&mut content, &mut writer).map(|_| writer));
        let copied = work.await.map_err(|error| lost(&error))?;
        match copied.map_err(|error| lost(&error))?.finish_as(layer) {
            Err(cache::Error::DigestMismatch { .. }) if images.distrust(&image.name, layer) => {}
            finished => return finished.map(drop).map_err(|error| lost(&error)),
        }
    }
}

fn failed(name: &Reference, error: &(dyn Error + 'static)) -> CommandError {
    CommandError::failed(format!("failed to pull {}", name.familiar())).because(error)
}
