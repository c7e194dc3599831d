//! `--cache-to` and `--cache-from`: their texts understood, their folders made absolute.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use export::records::{CachePlace, CacheSpecError, CacheTo};

use crate::cli::values;
use crate::environment::Environment;
use crate::error::CommandError;

/// The places of `--cache-from`.
pub(super) fn from(typed: &[String], environment: &Environment) -> Result<Vec<CachePlace>, CommandError> {
    let variables = |name: &str| environment.text(name).map(str::to_owned);
    let parse = |text: &String| {
        let place = CachePlace::parse_from(text, &variables).map_err(|error| refuse("--cache-from", &error))?;
        Ok(absolute(place, environment))
    };
    typed.iter().map(parse).collect()
}

/// The places of `--cache-to`, and the image itself if the build argument `BUILDKIT_INLINE_CACHE` asks for that.
pub(super) fn to(
    typed: &[String],
    build_args: &BTreeMap<String, String>,
    environment: &Environment,
) -> Result<Vec<CacheTo>, CommandError> {
    let inline = build_args
        .get("BUILDKIT_INLINE_CACHE")
        .and_then(|value| crate::cli::boolean(value))
        .filter(|wanted| *wanted)
        .map(|_| "type=inline");
    let variables = |name: &str| environment.text(name).map(str::to_owned);
    let parse = |text: &str| {
        let to = CacheTo::parse(text, &variables).map_err(|error| refuse("--cache-to", &error))?;
        Ok(CacheTo {
            place: absolute(to.place, environment),
            ..to
        })
    };
    typed.iter().map(String::as_str).chain(inline).map(parse).collect()
}

/// How long is waited for those places: as typed, or as the environment says.
pub(super) fn budget(typed: Option<Duration>, environment: &Environment) -> Result<Option<Duration>, CommandError> {
    let Some(text) = environment.text("RBUILD_CACHE_BUDGET").filter(|_| typed.is_none()) else {
        return Ok(typed);
    };
    let invalid = |reason: String| CommandError::usage(format!("invalid RBUILD_CACHE_BUDGET `{text}`: {reason}"));
    values::duration(text).map(Some).map_err(invalid)
}

fn refuse(flag: &str, error: &CacheSpecError) -> CommandError {
    CommandError::usage(format!("invalid {flag}")).because(error)
}

fn absolute(place: CachePlace, environment: &Environment) -> CachePlace {
    match place {
        CachePlace::Local { path, tag, digest } => CachePlace::Local {
            path: environment.absolute(Path::new(&path)),
            tag,
            digest,
        },
        place => place,
    }
}
