//! `rbuild tag`: a further name for an image.

use std::process::ExitCode;

use super::{Setting, find, store_failed};
use crate::cli::TagArgs;
use crate::error::CommandError;

/// Names it; a name that led elsewhere leads here now.
///
/// # Errors
/// When the image is not here, or the name has a digest.
pub(crate) fn run(args: &TagArgs, setting: &Setting) -> Result<ExitCode, CommandError> {
    if args.target.digest().is_some() {
        let message = format!(
            "refusing to create a tag with a digest reference: {}",
            args.target.familiar()
        );
        return Err(CommandError::usage(message));
    }
    let store = setting.store()?;
    let found = find::find(&store, &args.source)?;
    store.tag(&args.target, &found.bundle.root).map_err(store_failed)?;
    Ok(ExitCode::SUCCESS)
}
