//! What the user lends to a build: directories, and what nobody else shall see.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use crate::StepError;

/// More than this no secret has.
const LARGEST_SECRET: u64 = 500 * 1024;

/// What the user lends, by the names the graph knows it by.
#[derive(Clone, Debug, Default)]
pub struct Session {
    /// The directories of the contexts, absolute paths; `context` is the main one.
    pub contexts: HashMap<String, PathBuf>,
    /// What only processes that ask for it get to see.
    pub secrets: HashMap<String, Secret>,
    /// What signs for processes that ask for it.
    pub agents: HashMap<String, Agent>,
}

/// What signs as an SSH agent does.
#[derive(Clone, Debug)]
pub enum Agent {
    /// What listens there.
    Socket {
        /// Where.
        path: PathBuf,
        /// Whether everything is passed on, be it the agent protocol or not.
        is_raw: bool,
    },
    /// The keys in these files.
    Keys(Vec<PathBuf>),
}

/// Where a secret is.
#[derive(Clone, Debug)]
pub enum Secret {
    /// In a file, read when it is needed.
    File(PathBuf),
    /// Here.
    Value(sandbox::Secret),
}

impl Session {
    /// The secret of that name, if there is one.
    ///
    /// # Errors
    /// If its file cannot be read, or it is too large.
    pub fn secret(&self, id: &str) -> Result<Option<Vec<u8>>, StepError> {
        let content = match self.secrets.get(id) {
            None => return Ok(None),
            Some(Secret::Value(value)) => value.0.clone(),
            Some(Secret::File(path)) => match read(path) {
                Ok(content) => content,
                Err(source) => {
                    let (id, path) = (id.to_owned(), path.clone());
                    return Err(StepError::SecretFile { id, path, source });
                }
            },
        };
        if content.len() as u64 > LARGEST_SECRET {
            return Err(StepError::SecretTooLarge { id: id.to_owned() });
        }
        Ok(Some(content))
    }
}

fn read(path: &PathBuf) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?.take(LARGEST_SECRET + 1).read_to_end(&mut content)?;
    Ok(content)
}
