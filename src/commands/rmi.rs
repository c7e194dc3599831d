//! `rbuild rmi`: names of images are removed. What only they needed goes at the next prune.

use std::process::ExitCode;

use cache::Store;
use oci::Reference;

use super::{Setting, answer, find, store_failed};
use crate::cli::RmiArgs;
use crate::error::CommandError;

/// Removes all names, or none if one of them is not there.
///
/// # Errors
/// When an image is not here, or an ID has several names.
pub(crate) fn run(args: &RmiArgs, setting: &Setting) -> Result<ExitCode, CommandError> {
    let store = setting.store()?;
    let mut names = Vec::new();
    for text in &args.names {
        names.push(name_of(&store, text)?);
    }
    for name in names {
        if store.untag(&name).map_err(store_failed)? {
            answer(format_args!("Untagged: {}\n", name.familiar()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn name_of(store: &Store, text: &str) -> Result<Reference, CommandError> {
    // A name is enough: what it leads to may be damaged, and that is a reason to remove it.
    if let Ok(name) = text.parse::<Reference>()
        && store.image(&name).map_err(store_failed)?.is_some()
    {
        return Ok(name);
    }
    let mut names = find::find(store, text)?.names;
    match (names.pop(), names.is_empty()) {
        (Some(name), true) => Ok(name),
        _ => Err(CommandError::failed(format!("image {text} has several names"))
            .hint("remove them by name; see `rbuild images`")),
    }
}
