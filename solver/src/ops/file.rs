//! COPY, ADD, WORKDIR: changes to files.

use std::collections::HashMap;

use cache::ActiveSnapshot;
use graph::{FileAction, FileOp, Owner, UserName};
use sandbox::users::{self, UserRef};

use super::Work;
use crate::StepError;
use crate::files::{self, FilesError, Tree};

/// Makes the changes, one after the other, to the work's base.
pub(super) fn run(work: &Work, op: &FileOp) -> Result<ActiveSnapshot, StepError> {
    let active = work.prepare()?;
    // With nothing below, the directory of the changes is the tree. It could be laid over others then, which an overlay
    // would prevent: that marks new directories as hiding what is below.
    let mounted = work.base.as_ref().map(|_| active.mount()).transpose()?;
    let root = mounted.as_ref().map_or(active.upper(), |tree| tree.path());
    let mut sources = HashMap::new();
    for action in &op.actions {
        if let FileAction::Copy(copy) = action {
            sources.insert(copy.from, work.sources.tree(copy.from)?);
        }
    }
    // Names mean what they mean in the tree the files go to, or are going to be laid over.
    let known_in = match op.names.map(|input| work.sources.tree(input)).transpose()? {
        Some(Tree::Directory(path)) => path,
        Some(Tree::Context(_)) | None => root,
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
    for action in &op.actions {
        let source = |input| *sources.get(&input).expect("every copy's source was gathered");
        let cancelled = || work.solver.cancel.is_cancelled();
        let _span = trace::span("change files");
        match files::apply(action, &source, root, &owner, &cancelled) {
            Err(FilesError::Cancelled) => return Err(StepError::Cancelled),
            done => done?,
        }
    }
    drop(mounted);
    Ok(active)
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
