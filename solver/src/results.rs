//! What a build leaves behind besides its target: the result of every step, for those who keep them elsewhere.

use std::sync::Arc;

use cache::{CacheKey, Snapshot, Store};
use graph::{Op, VertexId};

use crate::solve::{Build, Found};
use crate::{Imported, ops};

/// The result of one step, with all that another store needs to know it by.
#[derive(Clone, Debug)]
pub struct StepResult {
    /// The step.
    pub vertex: VertexId,
    /// Its key.
    pub key: CacheKey,
    /// The key it had before the files it reads were known.
    pub alias: Option<CacheKey>,
    /// Its tree.
    pub tree: ResultTree,
    /// Its stage and text, by which other machines know it.
    pub step: String,
}

/// Where the tree of a step is.
#[derive(Clone, Debug)]
pub enum ResultTree {
    /// In the store.
    Here(Snapshot),
    /// Elsewhere: nobody needed its files.
    There(Arc<Imported>),
}

impl StepResult {
    /// Its named inputs, as other machines name them too; nothing where they are not known here.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn inputs(&self, store: &Store) -> Result<Vec<(String, String)>, cache::Error> {
        let components = store.components(&self.key)?.unwrap_or_default();
        Ok(ops::own_components(&components))
    }
}

impl Build {
    /// What is known of every step, now that the build is done.
    pub(crate) fn results(&self) -> Vec<StepResult> {
        let mut results = Vec::new();
        for (id, vertex) in self.definition.iter() {
            let asked = &self.asked[&id];
            if matches!(vertex.op, Op::Image(_) | Op::Local(_) | Op::Http(_) | Op::Git(_)) {
                continue;
            }
            let Some(known) = asked.known.get() else { continue };
            let made = asked.snapshot.get().cloned().flatten().map(ResultTree::Here);
            let tree = made.or_else(|| match &known.found {
                Found::Yes(snapshot) => snapshot.clone().map(ResultTree::Here),
                Found::There(imported) => Some(ResultTree::There(imported.clone())),
                Found::No => None,
            });
            results.extend(tree.map(|tree| StepResult {
                vertex: id,
                key: known.key,
                alias: known.alias,
                step: ops::step_text(vertex),
                tree,
            }));
        }
        results
    }
}
