//! Definitions: the vertices of a build, and the builder that makes sure of their order.

use std::collections::{HashMap, HashSet};

use crate::{Metadata, Op, Vertex, VertexId};

/// The vertices of a build, every input before its readers, and the targets: the vertices whose trees are the results,
/// one for each platform asked for.
#[derive(Clone, Debug, Default)]
pub struct Definition {
    order: Vec<VertexId>,
    vertices: HashMap<VertexId, Vertex>,
    targets: Vec<Option<VertexId>>,
}

impl Definition {
    /// The vertex of that id.
    ///
    /// # Panics
    /// If the id comes from another definition.
    #[must_use]
    pub fn vertex(&self, id: VertexId) -> &Vertex {
        self.vertices
            .get(&id)
            .expect("a vertex id is only handed out by its own definition")
    }

    /// All vertices, every input before its readers.
    pub fn iter(&self) -> impl Iterator<Item = (VertexId, &Vertex)> {
        self.order.iter().map(|id| (*id, self.vertex(*id)))
    }

    /// Lets people see vertices by other names: `renamed` tells that of a vertex, or `None` where it stays.
    pub fn rename(&mut self, renamed: impl Fn(&Vertex) -> Option<String>) {
        for vertex in self.vertices.values_mut() {
            if let Some(name) = renamed(vertex) {
                vertex.metadata.name = name;
            }
        }
    }

    /// The vertices whose trees are the results, in the order asked for; `None` is the empty tree of `FROM scratch`.
    #[must_use]
    pub fn targets(&self) -> &[Option<VertexId>] {
        &self.targets
    }

    /// The first target: the only one, unless several platforms are built for.
    #[must_use]
    pub fn target(&self) -> Option<VertexId> {
        self.targets.first().copied().flatten()
    }

    /// For each target the stack of vertices that its tree is made by, lowest first: each but the first changes the tree of
    /// the one before it.
    #[must_use]
    pub fn spines(&self) -> Vec<Vec<VertexId>> {
        self.targets.iter().map(|target| self.spine(*target)).collect()
    }

    fn spine(&self, target: Option<VertexId>) -> Vec<VertexId> {
        let mut spine = Vec::new();
        let mut next = target;
        while let Some(id) = next {
            spine.push(id);
            let vertex = self.vertex(id);
            next = vertex.op.base().map(|base| vertex.inputs[base.0]);
        }
        spine.reverse();
        spine
    }
}

/// Collects vertices. Adding an equal one again gives the id it already has; the first one's metadata stays.
#[derive(Debug, Default)]
pub struct Builder(Definition);

impl Builder {
    /// A builder with no vertices.
    #[must_use]
    pub fn new() -> Builder {
        Builder::default()
    }

    /// Adds a vertex.
    ///
    /// # Panics
    /// If the op names an input that is not in the list, or an input was not added before.
    pub fn add(&mut self, op: Op, inputs: Vec<VertexId>, metadata: Metadata) -> VertexId {
        assert!(
            op.inputs().iter().all(|input| input.0 < inputs.len()),
            "an op names its inputs by their place"
        );
        assert!(
            inputs.iter().all(|input| self.0.vertices.contains_key(input)),
            "inputs are added before their readers"
        );
        let vertex = Vertex { op, inputs, metadata };
        let id = vertex.id();
        if !self.0.vertices.contains_key(&id) {
            self.0.order.push(id);
            self.0.vertices.insert(id, vertex);
        }
        id
    }

    /// The vertex of that id, as added so far.
    #[must_use]
    pub fn vertex(&self, id: VertexId) -> &Vertex {
        self.0.vertex(id)
    }

    /// The definition with one `target`, and without the vertices that it does not need.
    #[must_use]
    pub fn finish(self, target: Option<VertexId>) -> Definition {
        self.finish_all(vec![target])
    }

    /// The definition with several `targets`, and without the vertices that none of them needs.
    #[must_use]
    pub fn finish_all(self, targets: Vec<Option<VertexId>>) -> Definition {
        let mut definition = self.0;
        let mut needed: HashSet<VertexId> = HashSet::new();
        let mut open: Vec<VertexId> = targets.iter().copied().flatten().collect();
        while let Some(id) = open.pop() {
            if needed.insert(id) {
                open.extend(&definition.vertex(id).inputs);
            }
        }
        definition.order.retain(|id| needed.contains(id));
        definition.vertices.retain(|id, _| needed.contains(id));
        definition.targets = targets;
        definition
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FileAction, FileOp, InputIndex, LocalSource, MakeDirectory};

    fn directory(base: Option<InputIndex>, path: &str) -> Op {
        let make = MakeDirectory {
            path: path.into(),
            mode: 0o755,
            owner: None,
            timestamp: None,
        };
        Op::File(FileOp {
            base,
            names: None,
            actions: vec![FileAction::MakeDirectory(make)],
        })
    }

    #[test]
    fn equal_vertices_are_one() {
        let mut builder = Builder::new();
        let a = builder.add(
            directory(None, "/a"),
            vec![],
            Metadata {
                name: "first".into(),
                ..Metadata::default()
            },
        );
        let b = builder.add(directory(None, "/a"), vec![], Metadata::default());
        assert_eq!(a, b);
        assert_eq!(builder.vertex(a).metadata.name, "first");
    }

    #[test]
    fn what_the_target_does_not_need_is_left_out() {
        let mut builder = Builder::new();
        let base = builder.add(directory(None, "/a"), vec![], Metadata::default());
        let context = LocalSource {
            context: "context".into(),
            excludes: vec![],
        };
        builder.add(Op::Local(context), vec![], Metadata::default());
        let top = builder.add(directory(Some(InputIndex(0)), "/b"), vec![base], Metadata::default());
        let definition = builder.finish(Some(top));
        assert_eq!(definition.iter().map(|(id, _)| id).collect::<Vec<_>>(), [base, top]);
        assert_eq!(definition.spines(), [[base, top]]);
    }
}
