//! COPY, ADD, WORKDIR: changes to files.

use std::collections::HashMap;

use cache::{ActiveSnapshot, SnapshotId};
use graph::{FileAction, FileOp, Owner, Unpack, UserName};
use sandbox::users::{self, UserRef};

use super::{Work, step_name};
use crate::StepError;
use crate::files::{self, FilesError, Reuse, Shown, Target, Tree};

/// Makes the changes, one after the other, to the work's base.
pub(super) fn run(work: &Work, op: &FileOp) -> Result<ActiveSnapshot, StepError> {
    let active = work.prepare()?;
    // With nothing below, the directory of the changes is the tree. It could be laid over others then, which an overlay
    // would prevent: that marks new directories as hiding what is below.
    let mut mounted = work.base.as_ref().map(|_| active.mount()).transpose()?;
    let root = mounted.as_ref().map_or(active.upper(), |tree| tree.path()).to_owned();
    let mut sources = HashMap::new();
    for action in &op.actions {
        if let FileAction::Copy(copy) = action {
            sources.insert(copy.from, work.sources.tree(copy.from)?);
        }
    }
    // Names mean what they mean in the tree the files go to, or are going to be laid over.
    let known_in = match op.names.map(|input| work.sources.tree(input)).transpose()? {
        Some(Tree::Snapshot(tree)) => tree.path(),
        Some(Tree::Directory(path)) => path,
        Some(Tree::Context(_)) | None => &root,
    };
    let nowhere = op.names.is_none() && work.base.is_none();
    let owner = |owner: &Owner| {
        if nowhere && (is_name(&owner.user) || owner.group.as_ref().is_some_and(is_name)) {
            return Err(FilesError::NamesOfNothing.into());
        }
        Ok(users::owner(
            known_in,
            &user(&owner.user),
            owner.group.as_ref().map(user).as_ref(),
        )?)
    };
    // A file of two trees must not be one that a later step writes to in place.
    let mut reuse = match &mounted {
        Some(tree) if !tree.is_mounted() => None,
        _ => reuse(work, op, &active)?,
    };
    make_room(work, op, reuse.as_ref())?;
    let last = op.actions.len().saturating_sub(1);
    for (position, action) in op.actions.iter().enumerate() {
        let source = |input| *sources.get(&input).expect("every copy's source was gathered");
        let cancelled = || work.solver.cancel.is_cancelled();
        let _span = trace::span("change files");
        let target = Target {
            root: &root,
            upper: mounted
                .as_ref()
                .filter(|tree| tree.is_mounted())
                .map(|_| active.upper()),
            owners: active.owners(),
            reuse: reuse.as_mut(),
        };
        let shown = match files::apply(action, &source, target, &owner, &cancelled) {
            Err(FilesError::Cancelled) => return Err(StepError::Cancelled),
            done => done?,
        };
        if shown == Shown::InPart && position < last {
            // The old mount has to be gone before there is a new one.
            close(&mut mounted)?;
            mounted = Some(active.mount()?);
        }
        reuse.iter_mut().for_each(Reuse::next_action);
    }
    close(&mut mounted)?;
    reuse.map_or(Ok(()), Reuse::keep)?;
    Ok(active)
}

fn close(tree: &mut Option<cache::Tree>) -> Result<(), cache::Error> {
    tree.take().map_or(Ok(()), cache::Tree::close)
}

/// Sees to it that there is room for what is copied from contexts, or fails before the first byte.
fn make_room(work: &Work, op: &FileOp, reuse: Option<&Reuse>) -> Result<(), StepError> {
    let store = &work.solver.store;
    let copies = || {
        op.actions.iter().filter_map(|action| match action {
            FileAction::Copy(copy) => Some(copy),
            _ => None,
        })
    };
    let mut likely: u64 = 0;
    for copy in copies() {
        let size = files::size(work.sources.tree(copy.from)?, copy)?;
        likely = likely.saturating_add(size.unwrap_or(0));
    }
    store.make_room(likely, 0)?;
    // Files may be linked from the last result, share their blocks with the originals, or have holes.
    if store.free()? >= likely || store.may_share_blocks() || reuse.is_some_and(Reuse::has_before) {
        return Ok(());
    }
    let mut certain: u64 = 0;
    for copy in copies() {
        let tree = work.sources.tree(copy.from)?;
        if let Tree::Context(_) = tree {
            certain = certain.saturating_add(files::size_on_disk(tree, copy)?);
        }
    }
    Ok(store.make_room(certain, certain)?)
}

/// What the copies of a step can take from its last result. What is unpacked may link to files that are there and change
/// them, so a step that unpacks besides copying takes nothing.
fn reuse(work: &Work, op: &FileOp, active: &ActiveSnapshot) -> Result<Option<Reuse>, StepError> {
    let unpacks = |action: &FileAction| matches!(action, FileAction::Copy(copy) if copy.unpack == Unpack::Archives);
    let copies = |action: &FileAction| matches!(action, FileAction::Copy(_));
    if !op.actions.iter().any(copies) || (op.actions.len() > 1 && op.actions.iter().any(unpacks)) {
        return Ok(None);
    }
    let store = &work.solver.store;
    let list = |id: SnapshotId| store.stat_cache_path(&format!("{id}.files"));
    let latest = store.latest_of_step(&step_name(&work.solver, &work.vertex))?;
    let before = latest.map(|latest| {
        let made = latest.origin().unwrap_or(&latest);
        (made.directory(), list(made.id()))
    });
    let before = before.as_ref().map(|(root, list)| (root.as_path(), list.as_path()));
    Ok(Some(Reuse::new(before, &list(active.id()))))
}

fn is_name(name: &UserName) -> bool {
    matches!(name, UserName::Name(_))
}

fn user(name: &UserName) -> UserRef {
    match name {
        UserName::Id(id) => UserRef::Id(*id),
        UserName::Name(name) => UserRef::Name(name.clone()),
    }
}
