//! What the user lends to a build.

use std::collections::HashMap;
use std::path::PathBuf;

/// The directories of the contexts, by the names the graph knows them by.
#[derive(Clone, Debug, Default)]
pub struct Session {
    /// Absolute paths; `context` is the main one.
    pub contexts: HashMap<String, PathBuf>,
}
