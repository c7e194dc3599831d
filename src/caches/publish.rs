//! A list put where others put theirs at the same time, and nobody's results lost.
//!
//! The list that is there is joined with ours and written in its place. A place that compares before it writes refuses what
//! would lose another's; then all begins again. Of a place that does not compare the list is looked at again, after a time
//! in which others who were about to write have written, and all begins again if it is not the one that was written.

use std::collections::HashSet;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, Instant};

use export::records::{Joined, Listed, join};
use futures_util::StreamExt as _;
use oci::{Descriptor, Digest, PortError};

use super::shelf::{ListToWrite, Shelf, Written, read_list};

/// So often it is tried: eight who write without a pause take less than a second each.
const TRIES: u32 = 40;
const SHORTEST_PAUSE: Duration = Duration::from_millis(40);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);
const QUESTIONS_AT_ONCE: usize = 8;

/// What is written over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// What is there is kept.
    Joining,
    /// What is there is forgotten.
    Anew,
}

/// Puts `ours` into the list of `shelf`; the blobs are there. `gone` are blobs known not to be. Gives the manifest that the
/// list is in then, where there are manifests.
///
/// # Errors
/// If the place fails, or never comes to rest.
pub(super) async fn publish(
    shelf: &dyn Shelf,
    ours: &ListToWrite,
    mut gone: HashSet<Digest>,
    mut start: Start,
    now: i64,
) -> Result<Option<Descriptor>, PortError> {
    let mut has_looked_for_gone = false;
    for _ in 0..TRIES {
        let found = read_list(shelf).await?;
        let version = found.as_ref().map(|found| found.version.clone());
        let manifest = found.as_ref().and_then(|found| found.manifest.clone());
        // What cannot be read is written over.
        let there = found.and_then(|found| found.results.ok());
        let is_usable = there.is_some() && start == Start::Joining;
        let there = match start {
            Start::Joining => there.map(|there| there.to_vec()).unwrap_or_default(),
            Start::Anew => Vec::new(),
        };
        let Joined { results, is_new } = join(there, &ours.results, &gone, now);
        if (is_usable && !is_new) || (results.is_empty() && version.is_none()) {
            return Ok(manifest);
        }
        let form = ours.form;
        let list = ListToWrite { results, form };
        let began = Instant::now();
        match shelf.write(&list, version.as_deref()).await {
            Ok(Written::Surely) => return Ok(shelf.manifest_of(&list)),
            Ok(Written::Perhaps(written)) => {
                start = Start::Joining;
                pause(began.elapsed() * 3).await;
                if shelf.is_still(&written).await {
                    return Ok(shelf.manifest_of(&list));
                }
            }
            Ok(Written::No) => pause(began.elapsed()).await,
            Err(error) if has_looked_for_gone => return Err(error),
            // A registry takes no manifest whose blobs are gone.
            Err(error) => {
                has_looked_for_gone = true;
                let lacking = lacking(shelf, &list.results).await?;
                if lacking.is_empty() {
                    return Err(error);
                }
                gone.extend(lacking);
            }
        }
    }
    Err(PortError::Protocol {
        name: shelf.name().to_string(),
        detail: "others write the list again and again".to_owned(),
    })
}

/// The blobs of `results` that are not there.
pub(super) async fn lacking(shelf: &dyn Shelf, results: &[Listed]) -> Result<Vec<Digest>, PortError> {
    let blobs = blobs(results);
    let mut asked = futures_util::stream::iter(&blobs)
        .map(|blob| async move { shelf.lacks(blob).await.map(|lacks| lacks.then_some(blob.digest)) })
        .buffer_unordered(QUESTIONS_AT_ONCE);
    let mut lacking = Vec::new();
    while let Some(answer) = asked.next().await {
        lacking.extend(answer?);
    }
    Ok(lacking)
}

/// The blobs of all results, each once.
pub(super) fn blobs(results: &[Listed]) -> Vec<Descriptor> {
    let mut seen = HashSet::new();
    let all = results
        .iter()
        .flat_map(|result| result.stack.iter().map(|(blob, _)| blob));
    all.filter(|blob| seen.insert(blob.digest)).cloned().collect()
}

/// At least so long, and for everybody another time.
async fn pause(least: Duration) {
    let least = least.clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
    let chance = RandomState::new().build_hasher().finish() % 1000;
    tokio::time::sleep(least + least.mul_f64(chance as f64 / 1000.0)).await;
}

#[cfg(test)]
mod tests;
