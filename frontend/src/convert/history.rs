//! History entries, in BuildKit's spelling.

use oci::History;

use super::Scope;

const COMMENT: &str = "buildkit.dockerfile.v0";

/// Whether an instruction made a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layer {
    /// It did, by a vertex.
    Made,
    /// It changed the configuration only.
    None,
}

impl Scope<'_, '_> {
    /// Adds an entry; when it was made is said by whoever makes the layer.
    pub(super) fn remember(&mut self, created_by: String, layer: Layer) {
        self.state.config.history.push(History {
            created: None,
            created_by: Some(created_by),
            author: None,
            comment: Some(COMMENT.to_owned()),
            empty_layer: layer == Layer::None,
        });
    }
}
