//! `--cache-to`: what a build found out, kept in other places.
//!
//! Layers first, several at once, those that are listed there already not even asked for; then the list. So no list speaks of
//! what is not there, however early all ends. Results that the build knows from the same place stay there as they are;
//! those from another place are copied without being unpacked.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cache::Store;
use export::Assembly;
use export::records::{self, CacheMode, CachePlace, CacheTo, Document, Kept, KeptTree, Listed, Origin};
use futures_util::StreamExt as _;
use graph::VertexId;
use oci::{Descriptor, Digest, Fetch as _, ImageName, PortError};
use sandbox::Cancel;
use solver::{Failure, Reporter, ResultTree, Step, StepResult};
use tokio::time::Instant;

use super::publish::{Start, blobs, lacking, publish};
use super::shelf::{ListToWrite, read_list};
use super::{Shelf, Shelves};
use crate::error::{CommandError, Kind};
use crate::images::Images;

const BLOBS_AT_ONCE: usize = 6;
/// Of a budget, what is left for the list when the rest is over.
const FOR_THE_LIST: f64 = 0.25;

/// What a build found out, to be kept elsewhere.
pub(crate) struct Harvest {
    pub(crate) results: Vec<StepResult>,
    /// For each image the steps that it is made of.
    pub(crate) spines: Vec<Vec<VertexId>>,
    pub(crate) store: Store,
    pub(crate) images: Arc<Images>,
    pub(crate) shelves: Arc<Shelves>,
    /// How long is waited for the places of `--cache-to` together.
    pub(crate) budget: Option<Duration>,
    pub(crate) cancel: Cancel,
}

/// How far an export came.
struct Came {
    /// So many results are kept, of so many.
    kept: usize,
    of: usize,
    /// The manifest of the list, where there is one.
    manifest: Option<Descriptor>,
}

impl Harvest {
    /// The same for a build that was stopped, of which the finished steps shall be kept nevertheless.
    pub(crate) fn in_spite_of_stop(&self) -> Harvest {
        Harvest {
            results: self.results.clone(),
            spines: self.spines.clone(),
            store: self.store.clone(),
            images: self.images.clone(),
            shelves: self.shelves.clone(),
            budget: self.budget,
            cancel: Cancel::new(),
        }
    }

    /// Serves every `--cache-to` but the inline ones, one after the other. Gives the manifest of the last that has one.
    ///
    /// # Errors
    /// The first place that does not take the results, unless its errors are to be ignored.
    pub(crate) async fn keep_all(
        &self,
        places: &[CacheTo],
        reporter: &Reporter,
    ) -> Result<Option<Descriptor>, CommandError> {
        let began = Instant::now();
        let (mut is_told, mut last) = (false, None);
        for to in places {
            let Some(shelf) = self.shelves.at(&to.place) else {
                continue;
            };
            let step = reporter.start(format!("exporting cache to {}", to.place));
            let left = self.budget.map(|budget| budget.saturating_sub(began.elapsed()));
            match self.keep(to, &*shelf, left, &step).await {
                Ok(Came { kept, of, manifest }) => {
                    last = manifest.or(last);
                    if kept < of && self.budget.is_some() && !std::mem::replace(&mut is_told, true) {
                        step.note(format!(
                            "warning: {:?} were spent on the export, as much as --cache-budget allows: {kept} of {of} results \
                             are kept",
                            self.budget.unwrap_or_default()
                        ));
                    }
                    step.done();
                }
                Err(error) if to.ignore_error => {
                    step.note(format!("warning: the cache is not exported: {}", error.message()));
                    step.done();
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
        Ok(last)
    }

    async fn keep(
        &self,
        to: &CacheTo,
        shelf: &dyn Shelf,
        left: Option<Duration>,
        step: &Step,
    ) -> Result<Came, CommandError> {
        let failed = |error: PortError| {
            let failure = CommandError::failed(format!("failed to export the cache to {}", to.place)).because(&error);
            let failure = match to.place {
                // Nothing is gained by trying that again.
                CachePlace::Local { .. } => failure.of_kind(Kind::Failed),
                _ => failure,
            };
            match error {
                // To log in is the better advice.
                PortError::Denied { .. } => failure,
                _ => failure.hint("with ignore-error=true in --cache-to the build does without"),
            }
        };
        let wanted = |result: &&StepResult| match to.mode {
            CacheMode::Max => true,
            CacheMode::Min => self.spines.iter().any(|spine| spine.contains(&result.vertex)),
        };
        let wanted: Vec<&StepResult> = self.results.iter().filter(wanted).collect();
        let count = wanted.len();
        let how = assembly(to);
        let work = async {
            let kept = self.kept(&wanted, &how, step).await?;
            let origins = self.sources(&wanted);
            let mut ours = self.listed(kept, &how).await?;
            let (known, gone) = match to.reset {
                true => (HashSet::new(), HashSet::new()),
                false => self.known(shelf, &ours).await.map_err(failed)?,
            };
            let list_by = left.map(|left| Instant::now() + left.mul_f64(1.0 - FOR_THE_LIST));
            let there = self.send(shelf, &ours, (&known, &origins), list_by, step).await;
            let there = there.map_err(failed)?;
            let is_there = |blob: &Digest| known.contains(blob) || there.contains(blob);
            ours.retain(|result| result.stack.iter().all(|(blob, _)| is_there(&blob.digest)));
            let gone = gone.difference(&there).copied().collect();
            let start = if to.reset { Start::Anew } else { Start::Joining };
            let (kept, form) = (ours.len(), to.form);
            let published = publish(shelf, &ListToWrite { results: ours, form }, gone, start, now()).await;
            let manifest = published.map_err(failed)?;
            Ok(Came {
                kept,
                of: count,
                manifest,
            })
        };
        let Some(left) = left else {
            return work.await;
        };
        tokio::time::timeout(left, work).await.unwrap_or(Ok(Came {
            kept: 0,
            of: count,
            manifest: None,
        }))
    }

    /// The blobs that need not be sent, because what is listed there needs them; and those that are listed and gone.
    async fn known(&self, shelf: &dyn Shelf, ours: &[Listed]) -> Result<(HashSet<Digest>, HashSet<Digest>), PortError> {
        let mut gone = self.images.gone();
        let found = read_list(shelf).await?;
        let Some(Ok(listed)) = found.map(|found| found.results) else {
            return Ok((HashSet::new(), gone));
        };
        // Where one is gone, others are as well: nothing is believed any more.
        if blobs(&listed).iter().any(|blob| gone.contains(&blob.digest)) {
            gone.extend(lacking(shelf, &listed).await?);
        }
        if let Some(refresh) = shelf.refresh() {
            gone.extend(touch(shelf, &listed, ours, refresh).await?);
        }
        let known = blobs(&listed).into_iter().map(|blob| blob.digest);
        let known = known.filter(|digest| !gone.contains(digest)).collect();
        Ok((known, gone))
    }

    /// Sends the blobs of `results` that are not `known` to be there; gives those that are there then. What cannot be had
    /// any more is left out, and so is what does not leave in time.
    async fn send(
        &self,
        shelf: &dyn Shelf,
        results: &[Listed],
        (known, sources): (&HashSet<Digest>, &HashMap<Digest, ImageName>),
        until: Option<Instant>,
        step: &Step,
    ) -> Result<HashSet<Digest>, PortError> {
        let missing: Vec<Descriptor> = blobs(results)
            .into_iter()
            .filter(|blob| !known.contains(&blob.digest))
            .collect();
        let mut there = HashSet::new();
        let mut sending = futures_util::stream::iter(&missing)
            .map(|blob| self.send_one(shelf, blob, sources.get(&blob.digest), step))
            .buffer_unordered(BLOBS_AT_ONCE);
        let over = async {
            match until {
                Some(until) => tokio::time::sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(over);
        loop {
            tokio::select! {
                sent = sending.next() => match sent {
                    Some(sent) => there.extend(sent?),
                    None => return Ok(there),
                },
                () = &mut over => return Ok(there),
            }
        }
    }

    async fn send_one(
        &self,
        shelf: &dyn Shelf,
        blob: &Descriptor,
        source: Option<&ImageName>,
        step: &Step,
    ) -> Result<Option<Digest>, PortError> {
        let failed = |error: &dyn std::fmt::Display| PortError::Protocol {
            name: blob.digest.to_string(),
            detail: format!("the store failed: {error}"),
        };
        let content = self.store.content(&blob.digest).map_err(|error| failed(&error))?;
        let file = match content {
            Some(content) => {
                let store = self.store.clone();
                let written = blocking(move || store.file_of(&content)).await;
                written.map_err(|error| failed(&error))?
            }
            None => {
                let Some(source) = source else {
                    return Ok(None);
                };
                if shelf.takes(blob, source).await? {
                    return Ok(Some(blob.digest));
                }
                match self.copy(blob, source).await {
                    Ok(file) => file,
                    Err(_) => return Ok(None),
                }
            }
        };
        let meter = step.meter();
        let item = format!("sending {}", blob.digest);
        let so_far = std::sync::atomic::AtomicU64::new(0);
        let sent = |bytes: u64| {
            let sum = so_far.fetch_add(bytes, std::sync::atomic::Ordering::Relaxed) + bytes;
            meter.moved(&item, sum.min(blob.size), Some(blob.size), false);
        };
        let is_there = shelf.put(blob, file.path, &sent).await?;
        meter.moved(&item, blob.size, Some(blob.size), true);
        Ok(is_there.then_some(blob.digest))
    }

    /// A blob of another place, as a file of the store.
    async fn copy(&self, blob: &Descriptor, source: &ImageName) -> Result<cache::BlobFile, io::Error> {
        let mut reader = self.images.blob(source, blob).await.map_err(io::Error::other)?;
        let (store, blob) = (self.store.clone(), blob.clone());
        blocking(move || {
            let mut writer = store.blob_writer().map_err(io::Error::other)?;
            // One byte more shows that it is too long.
            let mut limited = io::Read::take(&mut reader, blob.size + 1);
            io::copy(&mut limited, &mut writer)?;
            writer.finish_as(&blob).map_err(io::Error::other)
        })
        .await
    }

    /// Where blobs are to be had that the store does not have.
    fn sources(&self, results: &[&StepResult]) -> HashMap<Digest, ImageName> {
        let mut sources = HashMap::new();
        for result in results {
            if let ResultTree::There(imported) = &result.tree {
                for (blob, _) in &imported.layers {
                    sources.insert(blob.digest, imported.from.clone());
                }
            }
        }
        sources
    }

    /// The results that the image at `place` is made of, as its configuration keeps them.
    pub(crate) async fn inline(&self, place: usize, how: &Assembly, step: &Step) -> Result<String, CommandError> {
        let spine = &self.spines[place];
        let of_image = self.results.iter().filter(|result| spine.contains(&result.vertex));
        let of_image: Vec<&StepResult> = of_image.collect();
        // The image is to have the layers that its list speaks of, so their trees are fetched.
        let mut kept = Vec::new();
        for result in of_image {
            kept.extend(self.fetched(result, step).await?);
        }
        let mut listed = self.listed(kept, how).await?;
        // An image of the same contents is to be the same image, whatever led to it.
        listed.iter_mut().for_each(|result| result.origin = None);
        Ok(Document::of(&listed).to_inline())
    }

    async fn listed(&self, kept: Vec<Kept>, how: &Assembly) -> Result<Vec<Listed>, CommandError> {
        let (store, how) = (self.store.clone(), how.clone());
        let listed = blocking(move || records::list(&store, &kept, &how)).await;
        listed.map_err(|error| CommandError::failed("failed to export the cache").because(&error))
    }

    /// The results with what tells of them. Of those that nobody needed the layers are left where they are, unless they
    /// are to be compressed anew.
    async fn kept(&self, results: &[&StepResult], how: &Assembly, step: &Step) -> Result<Vec<Kept>, CommandError> {
        let mut kept = Vec::new();
        for result in results {
            match &result.tree {
                ResultTree::There(imported) if !how.force_compression => kept.push(Kept {
                    keys: keys(result),
                    tree: KeptTree::Layers(imported.layers.clone()),
                    origin: None,
                }),
                _ => kept.extend(self.fetched(result, step).await?),
            }
        }
        Ok(kept)
    }

    /// A result with its tree in the store: one that nobody needed is fetched now.
    async fn fetched(&self, result: &StepResult, step: &Step) -> Result<Option<Kept>, CommandError> {
        let snapshot = match &result.tree {
            ResultTree::Here(snapshot) => snapshot.clone(),
            ResultTree::There(imported) => {
                let stack = (&imported.from, &imported.layers[..]);
                let fetched = solver::fetch_layers(&self.store, &*self.images, stack, step, &self.cancel).await;
                let failed =
                    |error: solver::StepError| CommandError::failed("failed to fetch a result").because(&error);
                match fetched.map_err(failed)? {
                    Some(snapshot) => snapshot,
                    None => return Ok(None),
                }
            }
        };
        let inputs = result.inputs(&self.store);
        let inputs = inputs.map_err(|error| CommandError::failed("failed to export the cache").because(&error))?;
        Ok(Some(Kept {
            keys: keys(result),
            tree: KeptTree::Snapshot(snapshot),
            origin: Some(inputs)
                .filter(|inputs| !inputs.is_empty())
                .and_then(|inputs| Origin::of(&result.key, &result.step, &inputs)),
        }))
    }
}

/// Dates the blobs anew that `ours` need and that were last said to be of use too long ago; gives those that are gone.
async fn touch(
    shelf: &dyn Shelf,
    listed: &[Listed],
    ours: &[Listed],
    refresh: Duration,
) -> Result<Vec<Digest>, PortError> {
    let in_use: HashSet<_> = ours.iter().filter_map(|result| result.keys.first()).collect();
    let limit = now() - i64::try_from(refresh.as_secs()).unwrap_or(i64::MAX);
    let is_old = |result: &&Listed| {
        let is_in_use = result.keys.first().is_some_and(|key| in_use.contains(key));
        is_in_use && result.used.is_none_or(|used| used <= limit)
    };
    let old: Vec<Listed> = listed.iter().filter(is_old).cloned().collect();
    let old = blobs(&old);
    let mut touching = futures_util::stream::iter(&old)
        .map(|blob| async move { Ok((shelf.touch(blob).await?, blob.digest)) })
        .buffer_unordered(BLOBS_AT_ONCE);
    let mut gone = Vec::new();
    while let Some(touched) = touching.next().await {
        let (is_there, digest) = touched?;
        gone.extend((!is_there).then_some(digest));
    }
    Ok(gone)
}

/// The keys of a result, the one it was made under first.
fn keys(result: &StepResult) -> Vec<cache::CacheKey> {
    std::iter::once(result.key).chain(result.alias).collect()
}

fn assembly(to: &CacheTo) -> Assembly {
    Assembly {
        compression: to.compression,
        force_compression: to.force_compression,
        ..Assembly::default()
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
