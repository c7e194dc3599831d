//! `rbuild push`: an image of the store to the registry of its name.

use std::future::ready;
use std::process::ExitCode;

use cache::{Compression, Store};
use export::Bundle;
use oci::Digest;
use sandbox::Cancel;
use solver::{Failure, Reporter};

use super::{Setting, answer, find};
use crate::cli::PushArgs;
use crate::deliver::Told;
use crate::error::CommandError;
use crate::interrupt::{Signals, TimeLimits};
use crate::lead::Lead;
use crate::ui::{self, Mode};
use crate::{images, request};

/// Sends the image, showing progress, and writes its digest, which is not the one it has here: layers that were built here
/// are compressed first.
///
/// # Errors
/// When the image is not here, the registry fails, or the user stops it.
pub(crate) async fn run(args: PushArgs, setting: &Setting) -> Result<ExitCode, CommandError> {
    let compression = export::compression(args.compression.as_deref(), args.compression_level.clone());
    let compression = compression
        .map_err(|error| CommandError::usage("cannot push").because(&error))?
        .unwrap_or_default();
    let store = setting.store()?;
    store.describe(&format!("push of {}", args.name));
    let found = find::find(&store, &args.name.to_string())?;
    let mode = if args.quiet { Mode::Quiet } else { Mode::Auto };
    let heading = format!("pushing {}", args.name.familiar());
    let (reporter, progress) = ui::start(mode, &request::screen(&setting.environment), &heading);
    let cancel = Cancel::new();
    let work = push(&args, compression, &store, (found.bundle, setting), &reporter);
    let pushed = Signals::watch(TimeLimits::default(), setting.helpers())?
        .cancelling(&cancel, work)
        .await;
    progress.finish();
    answer(format_args!("{}@{}\n", args.name.name(), pushed?))
}

async fn push(
    args: &PushArgs,
    compression: Compression,
    store: &Store,
    (bundle, setting): (Bundle, &Setting),
    reporter: &Reporter,
) -> Result<Digest, CommandError> {
    let options = args.transfers.applied_to(setting.registries.clone());
    let client = registry::Client::new(images::told(options, reporter));
    let client = client.map_err(|error| CommandError::failed("failed to push").because(&error))?;
    let step = reporter.start(format!("pushing {}", args.name));
    let names = std::slice::from_ref(&args.name);
    let sent = async {
        let lead = Lead::start(store, (names.to_vec(), compression), ready(Some(client.clone())));
        let told = Told::to(step.meter(), Some(lead.clone()));
        let bundle = compressed(store, bundle, (compression, args.force_compression), told).await?;
        let told = Told::to(step.meter(), None);
        lead.settle(&told).await;
        export::to_registry(store, &bundle, names, &client, &told).await?;
        Ok::<_, export::Error>(bundle.root.digest)
    };
    match sent.await {
        Ok(digest) => {
            step.done();
            Ok(digest)
        }
        Err(error) => {
            let failure = CommandError::failed(&error).because(&error);
            let message = failure.message().to_owned();
            step.failed(Failure {
                message,
                ..Failure::default()
            });
            Err(failure)
        }
    }
}

/// The image as it is sent, made on a thread of its own.
async fn compressed(
    store: &Store,
    bundle: Bundle,
    (compression, force): (Compression, bool),
    told: Told,
) -> Result<Bundle, export::Error> {
    let store = store.clone();
    let work = tokio::task::spawn_blocking(move || bundle.compressed(&store, compression, force, &told));
    work.await
        .unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}
