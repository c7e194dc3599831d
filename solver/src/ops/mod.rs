//! Doing the work of a vertex: one file for each op.

use std::path::PathBuf;
use std::sync::Arc;

use cache::{ActiveSnapshot, CacheKey, KeyLock, Snapshot};
use graph::{Op, Vertex};

use crate::explain::{self, TREE_BELOW};
use crate::readings::Reading;
use crate::trees::Sources;
use crate::wait::{self, Waiting};
use crate::{Solver, Step, StepError};

mod exec;
mod file;
pub(crate) mod image;
mod limit;
mod merge;
mod mounts;
pub(crate) mod remote;

/// The work of one vertex, ready to be done: its inputs are there.
pub(crate) struct Work {
    pub(crate) solver: Solver,
    pub(crate) vertex: Vertex,
    pub(crate) key: CacheKey,
    /// Another key under which the result shall be found.
    pub(crate) alias: Option<CacheKey>,
    /// The tree that is changed; `None` is the empty one.
    pub(crate) base: Option<Snapshot>,
    pub(crate) sources: Arc<Sources>,
    pub(crate) log: Option<PathBuf>,
}

/// Who made the result.
pub(crate) enum Made {
    /// This build.
    Now(Snapshot),
    /// Another build, while this one waited for it.
    Meanwhile(Snapshot),
}

/// What the work of an op comes to.
enum Done {
    /// A tree to be committed.
    Active(ActiveSnapshot),
    /// A finished tree.
    Snapshot(Snapshot),
}

impl Work {
    /// Does the work and records the result. Blocks.
    pub(crate) fn run(&self, step: &Step) -> Result<Made, StepError> {
        let _span = trace::span_of("step", &self.vertex.metadata.name);
        let _alone = self.lock(step)?;
        if !self.vertex.metadata.ignore_cache
            && let Some(record) = self.solver.store.lookup(&self.key)?
        {
            return Ok(Made::Meanwhile(record.snapshot));
        }
        let components = self.components()?;
        self.explain(step, &components)?;
        // What a process is going to write nobody knows.
        self.solver.store.make_room(0, 0)?;
        let done = match &self.vertex.op {
            Op::Exec(exec) => Done::Active(exec::run(self, exec, step)?),
            Op::File(file) => Done::Active(file::run(self, file)?),
            Op::Merge(merge) => Done::Snapshot(merge::run(self, merge)?),
            Op::Image(_) | Op::Local(_) | Op::Http(_) | Op::Git(_) => unreachable!("sources are not run"),
        };
        if self.solver.cancel.is_cancelled() {
            return Err(StepError::Cancelled);
        }
        self.keep(done, &components).map(Made::Now)
    }

    /// Equal work is done once at a time on a store, whichever process does it.
    fn lock(&self, step: &Step) -> Result<KeyLock, StepError> {
        let _span = trace::span("lock");
        let waiting = Waiting::new(step, &self.solver.cancel);
        wait::lock(&self.solver.store, &self.key, "runs this step", waiting)
    }

    fn keep(&self, done: Done, components: &[(String, String)]) -> Result<Snapshot, StepError> {
        let snapshot = match done {
            Done::Active(active) => active.commit()?,
            Done::Snapshot(snapshot) => snapshot,
        };
        let keys = (&self.key, self.alias.as_ref());
        record(&self.solver, &self.vertex, keys, components, &snapshot)?;
        Ok(snapshot)
    }

    /// The tree of the base, ready to be changed.
    fn prepare(&self) -> Result<ActiveSnapshot, StepError> {
        Ok(self.solver.store.prepare(self.base.as_ref())?)
    }

    /// The named inputs of this step.
    fn components(&self) -> Result<Vec<(String, String)>, StepError> {
        let _span = trace::span("name inputs");
        let mut components = self.vertex.metadata.components.clone();
        if let Some(base) = &self.base {
            components.push((TREE_BELOW.to_owned(), base.id().to_string()));
        }
        for reading in Reading::of(&self.vertex.op) {
            // A whole tree has too many files to name them all.
            if !reading.is_whole() || self.sources.is_context(reading.from()) {
                components.extend(self.sources.components(&reading)?);
            }
        }
        Ok(components)
    }

    /// Says why the step runs again, if it ran before with other inputs.
    fn explain(&self, step: &Step, components: &[(String, String)]) -> Result<(), StepError> {
        let _span = trace::span("explain");
        if self.vertex.metadata.ignore_cache {
            return Ok(());
        }
        let before = self
            .solver
            .store
            .components_of_latest(&step_name(&self.solver, &self.vertex))?;
        let reason = match before {
            Some(before) => explain::difference(&before, components),
            None => self.difference_elsewhere(components),
        };
        if let Some(reason) = reason {
            step.note(format!("runs again: {reason}"));
        }
        Ok(())
    }

    /// The same, by what is recorded elsewhere. The trees below have other names there.
    fn difference_elsewhere(&self, components: &[(String, String)]) -> Option<String> {
        let own = own_components(components);
        let text = step_text(&self.vertex);
        let earlier = self.solver.imports.as_ref()?.earlier(&self.key, &text, &own)?;
        let reason = explain::difference(&earlier.before, &earlier.now);
        let reason = reason.unwrap_or_else(|| format!("{TREE_BELOW} changed"));
        Some(format!("{reason}, since the cached result of {}", earlier.place))
    }
}

/// Records a vertex's result under its key, and the other key as an alias of that.
pub(crate) fn record(
    solver: &Solver,
    vertex: &Vertex,
    (key, alias): (&CacheKey, Option<&CacheKey>),
    components: &[(String, String)],
    snapshot: &Snapshot,
) -> Result<(), StepError> {
    let _span = trace::span("record");
    let store = &solver.store;
    store.record(key, components, &step_name(solver, vertex), snapshot)?;
    if let Some(alias) = alias {
        store.alias(alias, key)?;
    }
    Ok(())
}

/// What earlier runs of this step are found by: the project and the step's text, without its number.
fn step_name(solver: &Solver, vertex: &Vertex) -> String {
    let project = solver
        .session
        .contexts
        .get("context")
        .map(|path| path.display().to_string());
    format!("{} {}", project.unwrap_or_default(), step_text(vertex))
}

/// The step's stage and text, without its number: what it goes by on other machines, too.
pub(crate) fn step_text(vertex: &Vertex) -> String {
    let (stage, text) = stage_and_text(&vertex.metadata.name);
    format!("{stage} {text}")
}

/// The named inputs without the tree below, which has another name on every machine.
pub(crate) fn own_components(components: &[(String, String)]) -> Vec<(String, String)> {
    let own = components.iter().filter(|(name, _)| name != TREE_BELOW);
    own.cloned().collect()
}

/// Of `[linux/arm64 build 2/4] RUN make` the words before the number, and what stands behind the bracket.
fn stage_and_text(name: &str) -> (String, &str) {
    let Some((inside, text)) = name.strip_prefix('[').and_then(|rest| rest.split_once("] ")) else {
        return (String::new(), name);
    };
    let mut words: Vec<&str> = inside.split_whitespace().collect();
    let is_number = |word: &&str| word.bytes().all(|byte| byte.is_ascii_digit() || byte == b'/');
    words.pop_if(|word| is_number(&&**word));
    (words.join(" "), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_known_by_its_platform_stage_and_text() {
        for (name, stage, text) in [
            ("[2/4] RUN make", "", "RUN make"),
            ("[build  2/14] RUN [ a ] b", "build", "RUN [ a ] b"),
            (
                "[linux/amd64->arm64 build 2/4] RUN x",
                "linux/amd64->arm64 build",
                "RUN x",
            ),
            ("[linux/arm64 2/2] COPY a b", "linux/arm64", "COPY a b"),
            ("FROM app", "", "FROM app"),
        ] {
            assert_eq!(stage_and_text(name), (stage.to_owned(), text), "{name}");
        }
    }
}
