//! Results of steps in other places: found there for `--cache-from`, put there for `--cache-to`.
//!
//! A place is asked once, when the store first lacks a result: only its list of results is read then. A place that cannot
//! be read is told in one line and counts as empty. Layers are fetched by the solver, if something needs their files.

use std::collections::HashMap;
use std::sync::Arc;

use cache::{CacheKey, Store};
use export::Assembly;
use export::records::{self, CONFIG_TYPE, CacheMode, CachePlace, CacheTo, Document, Kept};
use graph::VertexId;
use oci::{BoxFuture, ImageName, Platform, Reference, ResolvedImage};
use sandbox::Cancel;
use solver::{Failure, Import, Imported, Reporter, ResultTree, Step, StepResult};
use tokio::sync::OnceCell;

use crate::error::CommandError;
use crate::images::Images;

/// The places of `--cache-from`.
pub(crate) struct Imports {
    places: Vec<(CachePlace, OnceCell<Results>)>,
    platforms: Vec<Platform>,
    images: Arc<Images>,
    reporter: Reporter,
}

type Results = HashMap<CacheKey, Arc<Imported>>;

impl Imports {
    /// The results in `places`, in images for one of `platforms` if they are kept in images.
    pub(crate) fn new(
        places: &[CachePlace],
        platforms: Vec<Platform>,
        images: Arc<Images>,
        reporter: Reporter,
    ) -> Imports {
        Imports {
            places: places.iter().map(|place| (place.clone(), OnceCell::new())).collect(),
            platforms,
            images,
            reporter,
        }
    }

    async fn load(&self, place: &CachePlace) -> Results {
        let step = self.reporter.start(format!("importing cache manifest from {place}"));
        let results = self.read(place).await.unwrap_or_else(|error| {
            step.note(format!("warning: no results from {place}: {error}"));
            Results::new()
        });
        step.done();
        results
    }

    async fn read(&self, place: &CachePlace) -> Result<Results, String> {
        let Some(name) = name_of(place) else {
            return Ok(Results::new());
        };
        let mut results = Results::new();
        let mut seen = Vec::new();
        let mut trouble = None;
        for platform in &self.platforms {
            let resolved = match self.images.elsewhere(&name, platform).await {
                Ok(resolved) => resolved,
                Err(error) => {
                    trouble.get_or_insert(error.to_string());
                    continue;
                }
            };
            if !seen.contains(&resolved.manifest_descriptor.digest) {
                seen.push(resolved.manifest_descriptor.digest);
                add(&mut results, &name, &resolved)?;
            }
        }
        match trouble {
            Some(trouble) if seen.is_empty() => Err(trouble),
            _ => Ok(results),
        }
    }
}

impl Import for Imports {
    fn find<'a>(&'a self, key: &'a CacheKey) -> BoxFuture<'a, Option<Arc<Imported>>> {
        Box::pin(async move {
            for (place, results) in &self.places {
                if let Some(imported) = results.get_or_init(|| self.load(place)).await.get(key) {
                    return Some(imported.clone());
                }
            }
            None
        })
    }
}

/// Adds what a manifest lists: in its own configuration, or in that of an image.
fn add(results: &mut Results, from: &ImageName, resolved: &ResolvedImage) -> Result<(), String> {
    let document = if resolved.manifest.config.media_type == CONFIG_TYPE {
        Document::parse(&resolved.config_bytes)
    } else {
        match &resolved.config.cache {
            Some(text) => Document::parse_inline(text),
            None => return Err("the image has no list of results in it".to_owned()),
        }
    };
    let listed = document
        .and_then(|document| document.results())
        .map_err(|error| error.to_string())?;
    for result in listed {
        let Some(key) = result.keys.first() else { continue };
        let imported = Arc::new(Imported {
            key: *key,
            from: from.clone(),
            layers: result.stack,
        });
        for key in result.keys {
            results.entry(key).or_insert_with(|| imported.clone());
        }
    }
    Ok(())
}

fn name_of(place: &CachePlace) -> Option<ImageName> {
    match place {
        CachePlace::Registry(reference) => Some(ImageName::Registry(reference.clone())),
        CachePlace::Local { path, tag, digest } => Some(ImageName::Layout {
            path: path.clone(),
            tag: Some(tag.clone()).filter(|_| digest.is_none()),
            digest: *digest,
        }),
        CachePlace::Inline => None,
    }
}

/// What a build found out, to be kept elsewhere.
pub(crate) struct Harvest {
    pub(crate) results: Vec<StepResult>,
    /// For each image the steps that it is made of.
    pub(crate) spines: Vec<Vec<VertexId>>,
    pub(crate) store: Store,
    pub(crate) images: Arc<Images>,
    pub(crate) cancel: Cancel,
}

impl Harvest {
    /// Serves every `--cache-to` but the inline ones, one after the other.
    ///
    /// # Errors
    /// The first place that does not take the results, unless its errors are to be ignored.
    pub(crate) async fn keep_all(&self, places: &[CacheTo], reporter: &Reporter) -> Result<(), CommandError> {
        for to in places.iter().filter(|to| to.place != CachePlace::Inline) {
            let step = reporter.start(format!("exporting cache to {}", to.place));
            match self.keep(to, &step).await {
                Ok(()) => step.done(),
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
        Ok(())
    }

    async fn keep(&self, to: &CacheTo, step: &Step) -> Result<(), CommandError> {
        let failed = |error: &(dyn std::error::Error + 'static)| {
            CommandError::failed(format!("failed to export the cache to {}", to.place)).because(error)
        };
        let wanted = |result: &&StepResult| match to.mode {
            CacheMode::Max => true,
            CacheMode::Min => self.spines.iter().any(|spine| spine.contains(&result.vertex)),
        };
        let kept = self.kept(self.results.iter().filter(wanted), step).await?;
        let how = Assembly {
            compression: to.compression,
            force_compression: to.force_compression,
            ..Assembly::default()
        };
        let (store, meter) = (self.store.clone(), step.meter());
        let made =
            tokio::task::spawn_blocking(move || records::manifest(&store, &kept, &how, &crate::deliver::Told(meter)));
        let image = made
            .await
            .unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
            .map_err(|error| failed(&error))?;
        let told = crate::deliver::Told(step.meter());
        match &to.place {
            CachePlace::Registry(name) => {
                let client = self.images.client().await.map_err(|error| failed(&error))?;
                let pushed = export::to_registry(&self.store, &image, std::slice::from_ref(name), client, &told).await;
                pushed.map_err(|error| failed(&error))
            }
            CachePlace::Local { path, tag, .. } => {
                let name: Reference = format!("cache:{tag}")
                    .parse()
                    .map_err(|error: oci::Error| failed(&error))?;
                export::to_layout_directory(&self.store, &image, &[name], path, &told).map_err(|error| failed(&error))
            }
            CachePlace::Inline => Ok(()),
        }
    }

    /// The results that the image at `place` is made of, as its configuration keeps them.
    pub(crate) async fn inline(&self, place: usize, how: &Assembly, step: &Step) -> Result<String, CommandError> {
        let spine = &self.spines[place];
        let of_image = self.results.iter().filter(|result| spine.contains(&result.vertex));
        let kept = self.kept(of_image, step).await?;
        let (store, how) = (self.store.clone(), how.clone());
        let made = tokio::task::spawn_blocking(move || records::document(&store, &kept, &how));
        let document = made
            .await
            .unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        let failed = |error: export::Error| CommandError::failed("failed to export the cache").because(&error);
        Ok(document.map_err(failed)?.to_inline())
    }

    /// The results with their trees in the store: those that nobody needed are fetched now.
    async fn kept<'a>(
        &self,
        results: impl Iterator<Item = &'a StepResult>,
        step: &Step,
    ) -> Result<Vec<Kept>, CommandError> {
        let mut kept = Vec::new();
        for result in results {
            let snapshot = match &result.tree {
                ResultTree::Here(snapshot) => snapshot.clone(),
                ResultTree::There(imported) => {
                    let stack = (&imported.from, &imported.layers[..]);
                    let fetched = solver::fetch_layers(&self.store, &*self.images, stack, step, &self.cancel).await;
                    let failed =
                        |error: solver::StepError| CommandError::failed("failed to fetch a result").because(&error);
                    match fetched.map_err(failed)? {
                        Some(snapshot) => snapshot,
                        None => continue,
                    }
                }
            };
            let keys = std::iter::once(result.key).chain(result.alias).collect();
            kept.push(Kept { keys, snapshot });
        }
        Ok(kept)
    }
}
