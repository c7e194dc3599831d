//! COPY, ADD, WORKDIR: changes to files.

use std::collections::HashMap;

use cache::ActiveSnapshot;
use graph::{FileAction, FileOp, Owner, UserName};
use sandbox::users::{self, UserRef};

use super::Work;
use crate::StepError;
use crate::files::{self, FilesError};

/// Makes the changes, one after the other, to the work's base.
pub(super) fn run(work: &Work, op: &FileOp) -> Result<ActiveSnapshot, StepError> {
    let active = work.prepare()?;
    let tree = active.mount()?;
    let root = tree.path();
    let mut sources = HashMap::new();
    for action in &op.actions {
        if let FileAction::Copy(copy) = action {
            sources.insert(copy.from, work.sources.tree(copy.from)?);
        }
    }
    // Names mean what they mean in the tree the files go to.
    let owner = |owner: &Owner| {
        Ok(users::owner(
            root,
            &user(&owner.user),
            owner.group.as_ref().map(user).as_ref(),
        )?)
    };
    for action in &op.actions {
        let source = |input| *sources.get(&input).expect("every copy's source was gathered");
        let cancelled = || work.solver.cancel.is_cancelled();
        match files::apply(action, &source, root, &owner, &cancelled) {
            Err(FilesError::Cancelled) => return Err(StepError::Cancelled),
            done => done?,
        }
    }
    drop(tree);
    Ok(active)
}

fn user(name: &UserName) -> UserRef {
    match name {
        UserName::Id(id) => UserRef::Id(*id),
        UserName::Name(name) => UserRef::Name(name.clone()),
    }
}
