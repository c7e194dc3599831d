//! Vertices: an op and its inputs.

use std::fmt;
use std::ops::Range;

use oci::Digest;

use crate::Op;
use crate::encode::{Encode, Encoder};

/// The identity of a vertex in one build: the sha256 of its canonical bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VertexId(pub Digest);

/// An op, the vertices it reads, and what people are told of it.
#[derive(Clone, Debug)]
pub struct Vertex {
    /// What is done.
    pub op: Op,
    /// Whose results it reads; ops name them by place.
    pub inputs: Vec<VertexId>,
    /// No part of the identity.
    pub metadata: Metadata,
}

/// What people are told of a vertex, and how they want it treated. No part of its identity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// As progress shows it: `[build 2/4] RUN make`.
    pub name: String,
    /// The lines of the Dockerfile it comes from.
    pub lines: Option<SourceLines>,
    /// Do the work even if a record of it is there.
    pub ignore_cache: bool,
    /// The named values that the vertex's key is made of, in the user's words (`ARG VERSION` → `1.2`), so that a miss can
    /// say which of them changed.
    pub components: Vec<(String, String)>,
}

/// Lines of a Dockerfile, the first being 1; the end is exclusive.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SourceLines(pub Range<usize>);

impl Vertex {
    /// The identity: op and inputs, nothing else.
    #[must_use]
    pub fn id(&self) -> VertexId {
        let mut encoder = Encoder::new("vertex");
        self.op.encode(&mut encoder);
        encoder.list("inputs", &self.inputs, |encoder, input| {
            encoder.bytes("id", input.0.raw());
        });
        VertexId(encoder.finish())
    }
}

impl fmt::Display for VertexId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
