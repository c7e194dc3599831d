//! `rbuild registry`: questions to registries that need no store.

use std::process::ExitCode;

use oci::{Digest, PortError, Reference};
use registry::{ClientOptions, Referrer};
use serde_json::{Value, json};

use super::table::Table;
use super::{answer, answer_document, explain};
use crate::cli::{ReferrersArgs, RegistryCommand, TableFormat};
use crate::error::CommandError;
use crate::interrupt::{Signals, TimeLimits};

/// Asks what is asked.
///
/// # Errors
/// When the registry has no answer, or the user stops it.
pub(crate) async fn run(command: RegistryCommand, options: &ClientOptions) -> Result<ExitCode, CommandError> {
    let mut signals = Signals::watch(TimeLimits::default(), &options.helpers)?;
    match command {
        RegistryCommand::Referrers(args) => signals.leaving(referrers(&args, options)).await,
        RegistryCommand::Explain(args) => signals.leaving(explain::run(&args, options)).await,
    }
}

/// What points at an image: signatures, bills of materials, attestations.
async fn referrers(args: &ReferrersArgs, options: &ClientOptions) -> Result<ExitCode, CommandError> {
    let failed = |error: PortError| CommandError::failed("cannot list referrers").because(&error);
    let client = registry::Client::new(options.clone());
    let client = client.map_err(|error| CommandError::failed("cannot list referrers").because(&error))?;
    let digest = digest_of(&client, &args.name).await.map_err(failed)?;
    let found = client.referrers(&args.name, digest, args.kind.as_deref()).await;
    let found = found.map_err(failed)?;
    match args.format {
        TableFormat::Table => answer(as_table(&found)),
        TableFormat::Json => answer_document(&Value::from(found.iter().map(as_json).collect::<Vec<_>>())),
    }
}

async fn digest_of(client: &registry::Client, name: &Reference) -> Result<Digest, PortError> {
    if let Some(digest) = name.digest() {
        return Ok(digest);
    }
    let name_of = || name.to_string();
    client
        .current(name)
        .await?
        .ok_or_else(|| PortError::NotFound { name: name_of() })
}

fn as_table(found: &[Referrer]) -> String {
    let mut table = Table::new(&["DIGEST", "TYPE", "SIZE"]);
    for referrer in found {
        table.row(vec![
            referrer.digest.to_string(),
            referrer.artifact_type.clone(),
            referrer.size.to_string(),
        ]);
    }
    table.text()
}

fn as_json(referrer: &Referrer) -> Value {
    json!({
        "mediaType": referrer.media_type,
        "digest": referrer.digest.to_string(),
        "size": referrer.size,
        "artifactType": referrer.artifact_type,
        "annotations": referrer.annotations,
    })
}
