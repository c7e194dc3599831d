//! `rbuild push`: an image of the store to the registry of its name.

use std::process::ExitCode;

use sandbox::Cancel;
use solver::{Failure, Reporter, Step};

use super::find::{self, Found};
use super::{Setting, answer};
use crate::cli::PushArgs;
use crate::error::CommandError;
use crate::ui::{self, Mode};
use crate::{images, interrupt, request};

/// Sends the image, showing progress, and writes its digest.
///
/// # Errors
/// When the image is not here, the registry fails, or the user stops it.
pub(crate) async fn run(args: PushArgs, setting: &Setting) -> Result<ExitCode, CommandError> {
    let store = setting.store()?;
    let found = find::find(&store, &args.name.to_string())?;
    let mode = if args.quiet { Mode::Quiet } else { Mode::Auto };
    let heading = format!("pushing {}", args.name.familiar());
    let (reporter, progress) = ui::start(mode, &request::screen(&setting.environment), &heading);
    let cancel = Cancel::new();
    let pushed = interrupt::cancelling(&cancel, push(&args, &store, &found, setting, &reporter)).await;
    progress.finish();
    pushed?;
    answer(format_args!("{}@{}\n", args.name.name(), found.bundle.root.digest))
}

async fn push(
    args: &PushArgs,
    store: &cache::Store,
    found: &Found,
    setting: &Setting,
    reporter: &Reporter,
) -> Result<(), CommandError> {
    let client = registry::Client::new(images::client_options(&setting.environment));
    let client = client.map_err(|error| CommandError::failed("failed to push").because(&error))?;
    let step = reporter.start(format!("pushing {}", args.name));
    let names = std::slice::from_ref(&args.name);
    match export::to_registry(store, &found.bundle, names, &client, &Told(&step)).await {
        Ok(()) => {
            step.done();
            Ok(())
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

/// Passes an exporter's progress on to a step.
struct Told<'a>(&'a Step);

impl export::Progress for Told<'_> {
    fn moved(&self, item: &str, current: u64, total: Option<u64>, done: bool) {
        self.0.moved(item, current, total, done);
    }
}
