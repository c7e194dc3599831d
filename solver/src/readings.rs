//! What a vertex reads of its inputs besides the tree it changes: the sources of copies, and those of mounts. Pure.

use graph::{Copy, FileAction, InputIndex, Op, Vertex};

/// One source.
#[derive(Clone, Debug)]
pub(crate) enum Reading {
    /// What a copy selects.
    Copy(Copy),
    /// What a mount shows.
    Mount {
        /// The tree or context.
        from: InputIndex,
        /// A path in it.
        path: String,
    },
}

impl Reading {
    /// All of an op, in order.
    pub(crate) fn of(op: &Op) -> Vec<Reading> {
        match op {
            Op::Image(_) | Op::Local(_) | Op::Http(_) | Op::Git(_) | Op::Merge(_) => Vec::new(),
            Op::File(file) => {
                let copies = file.actions.iter().filter_map(|action| match action {
                    FileAction::Copy(copy) => Some(Reading::Copy(copy.clone())),
                    FileAction::MakeDirectory(_) | FileAction::MakeFile(_) => None,
                });
                copies.collect()
            }
            Op::Exec(exec) => {
                let shown = exec.mounts.iter().filter_map(graph::Mount::source);
                shown
                    .map(|source| Reading::Mount {
                        from: source.from,
                        path: source.path.to_owned(),
                    })
                    .collect()
            }
        }
    }

    /// The tree or context that is read.
    pub(crate) fn from(&self) -> InputIndex {
        match self {
            Reading::Copy(copy) => copy.from,
            Reading::Mount { from, .. } => *from,
        }
    }

    /// Whether a whole tree is read.
    pub(crate) fn is_whole(&self) -> bool {
        matches!(self, Reading::Mount { path, .. } if path == "/")
    }
}

/// Whether the vertex also reads the very tree it changes (`COPY --from=` of its own base).
pub(crate) fn reads_own_base(vertex: &Vertex) -> bool {
    let base = vertex.op.base();
    Reading::of(&vertex.op)
        .iter()
        .any(|reading| Some(reading.from()) == base)
}
