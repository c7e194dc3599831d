//! `--cache-from`: lists that are read while the build is planned, and asked for what the store lacks.
//!
//! A place is spoken of when the store first lacks something, and only then is its list waited for; a build that has all
//! results says nothing of caches and waits for none. Of several places the ones that have answered are asked first: equal
//! keys are equal work, wherever it was done.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cache::CacheKey;
use export::records::{self, Listed};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use oci::{BoxFuture, PortError};
use sandbox::Cancel;
use solver::{Earlier, Import, Imported, Reporter, Step};
use tokio::sync::{OnceCell, watch};

use super::shelf::read_list;
use super::{Budget, Shelf};
use crate::interrupt;

/// The places of `--cache-from`.
pub(crate) struct Imports {
    places: Vec<Place>,
    budget: Budget,
    is_told_of_budget: AtomicBool,
    reporter: Reporter,
    cancel: Cancel,
}

struct Place {
    /// As the user names it.
    shown: String,
    list: watch::Receiver<Option<Arc<List>>>,
    waited: OnceCell<()>,
}

/// A list that was read, or could not be.
#[derive(Default)]
struct List {
    results: HashMap<CacheKey, Arc<Imported>>,
    by_step: HashMap<String, Vec<Listed>>,
    trouble: Option<String>,
}

impl Imports {
    /// Begins to read the lists of `shelves`, which go by these names.
    pub(crate) fn begin(
        shelves: Vec<(String, Arc<dyn Shelf>)>,
        budget: Budget,
        reporter: Reporter,
        cancel: Cancel,
    ) -> Imports {
        let begin = |(shown, shelf): (String, Arc<dyn Shelf>)| {
            let (done, list) = watch::channel(None);
            tokio::spawn(async move {
                let list = List::read(&*shelf).await;
                // Nobody may be left to hear of it.
                let _ = done.send(Some(Arc::new(list)));
            });
            Place {
                shown,
                list,
                waited: OnceCell::new(),
            }
        };
        Imports {
            places: shelves.into_iter().map(begin).collect(),
            budget,
            is_told_of_budget: AtomicBool::new(false),
            reporter,
            cancel,
        }
    }

    /// Waits for the list of a place, and says once what came of that.
    async fn wait(&self, place: &Place) {
        let wait = async || {
            let step = self
                .reporter
                .start(format!("importing cache manifest from {}", place.shown));
            let mut list = place.list.clone();
            let waiting = async {
                tokio::select! {
                    // It ends without a list only if the runtime does.
                    list = list.wait_for(Option::is_some) => list.ok().and_then(|list| list.clone()),
                    () = interrupt::wished(&self.cancel) => None,
                }
            };
            match self.budget.within(waiting).await {
                Some(list) => {
                    if let Some(trouble) = list.and_then(|list| list.trouble.clone()) {
                        step.note(format!("warning: no results from {}: {trouble}", place.shown));
                    }
                }
                None => self.tell_of_budget(&step),
            }
            step.done();
        };
        place.waited.get_or_init(wait).await;
    }

    fn tell_of_budget(&self, step: &Step) {
        if let Some(limit) = self.budget.limit()
            && !self.is_told_of_budget.swap(true, Ordering::Relaxed)
        {
            step.note(format!(
                "warning: {limit:?} were spent on waiting for caches, as much as --cache-budget allows: the build goes on \
                 without the rest"
            ));
        }
    }
}

impl Place {
    fn has(&self, key: &CacheKey) -> Option<Arc<Imported>> {
        self.list.borrow().as_ref()?.results.get(key).cloned()
    }
}

impl Import for Imports {
    fn find<'a>(&'a self, key: &'a CacheKey) -> BoxFuture<'a, Option<Arc<Imported>>> {
        Box::pin(async move {
            let (ready, others): (Vec<&Place>, Vec<&Place>) =
                self.places.iter().partition(|place| place.list.borrow().is_some());
            for place in ready {
                self.wait(place).await;
                if let Some(found) = place.has(key) {
                    return Some(found);
                }
            }
            let waiting = others.into_iter().map(|place| async move {
                self.wait(place).await;
                place.has(key)
            });
            let mut answers: FuturesUnordered<_> = waiting.collect();
            while let Some(answer) = answers.next().await {
                if answer.is_some() {
                    return answer;
                }
            }
            None
        })
    }

    fn earlier(&self, key: &CacheKey, step: &str, inputs: &[(String, String)]) -> Option<Earlier> {
        if self.places.iter().any(|place| place.has(key).is_some()) {
            return None;
        }
        let of_place = |place: &Place| {
            let list = place.list.borrow().clone()?;
            let candidates = list.by_step.get(step)?.iter().filter_map(|result| {
                let before = result.origin.as_ref()?.inputs.clone();
                let now = records::fingerprints(result.keys.first()?, inputs);
                let same = now.iter().filter(|input| before.contains(input)).count();
                let differing = now.len().max(before.len()) - same;
                let place = place.shown.clone();
                Some(((differing, -result.used.unwrap_or(0)), Earlier { place, before, now }))
            });
            candidates.min_by_key(|(distance, _)| *distance)
        };
        let nearest = self.places.iter().filter_map(of_place);
        nearest
            .min_by_key(|(distance, _)| *distance)
            .map(|(_, earlier)| earlier)
    }

    fn patience(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.budget.over().await;
            if !self.is_told_of_budget.load(Ordering::Relaxed) {
                let step = self.reporter.start("importing from caches");
                self.tell_of_budget(&step);
                step.done();
            }
        })
    }
}

impl List {
    async fn read(shelf: &dyn Shelf) -> List {
        let trouble = |text: String| List {
            trouble: Some(text),
            ..List::default()
        };
        match read_list(shelf).await {
            Ok(Some(found)) => match found.results {
                Ok(results) => List::of(&results, shelf),
                Err(error) => trouble(error),
            },
            Ok(None) => trouble("there is no list yet".to_owned()),
            Err(error) => trouble(told(&error)),
        }
    }

    fn of(listed: &[Listed], shelf: &dyn Shelf) -> List {
        let mut list = List::default();
        for result in listed {
            let Some(key) = result.keys.first() else { continue };
            let imported = Arc::new(Imported {
                key: *key,
                from: shelf.name(),
                layers: result.stack.clone(),
            });
            for key in &result.keys {
                list.results.entry(*key).or_insert_with(|| imported.clone());
            }
            if let Some(origin) = &result.origin {
                let of_step = list.by_step.entry(origin.step.clone()).or_default();
                of_step.push(result.clone());
            }
        }
        list
    }
}

/// An error and its cause in one line.
fn told(error: &PortError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
