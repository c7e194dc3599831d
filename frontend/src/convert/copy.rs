//! COPY and ADD: files from a context, a stage or an image, documents, and what comes from elsewhere.
//!
//! An instruction is one file op; each of its sources becomes a copy in it, whose [`Origin`] says where the files are.

use graph::pattern::PatternList;
use graph::{Copy as CopyAction, FileAction, FileMode, FileOp, InputIndex, ModeError, Unpack};

use super::history::Layer;
use super::meta::owner;
use super::origin::{Origin, Remote};
use super::{Scope, Tree};
use crate::command::{Add, Chosen, Copy, Placed, Sources};
use crate::quote::quote;
use crate::{Diagnostic, path};

/// What COPY and ADD have in common, variables replaced.
struct Transfer<'a> {
    instruction: &'static str,
    sources: &'a Sources,
    paths: Vec<String>,
    destination: String,
    owner: Option<String>,
    mode: Option<FileMode>,
    /// The mode as it was written.
    mode_text: Option<String>,
    parents: bool,
    excludes: &'a [String],
    placed: &'a Placed,
}

impl Scope<'_, '_> {
    pub(super) fn copy(&mut self, copy: &Copy, index: usize, placed: &Placed) -> Result<(), Diagnostic> {
        let mut transfer = self.transfer("COPY", &copy.sources, &copy.chosen, placed)?;
        transfer.parents = copy.parents;
        let from = match self.stage.sources.get(&(index, 0)) {
            None => None,
            Some(place) => Some(self.tree_of(*place, copy.from.as_deref().unwrap_or_default())?),
        };
        for source in &transfer.paths {
            match Remote::of(source) {
                None => {}
                Some(Remote::Git) => return Err(Diagnostic::new("source can't be a git ref for COPY")),
                Some(Remote::Http) => return Err(Diagnostic::new("source can't be a URL for COPY")),
            }
        }
        refuse_unsupported(&transfer, &copy.chosen)?;
        let mut origins = Vec::new();
        for source in &transfer.paths {
            let tree = match from {
                Some(tree) => self.converter.files(tree),
                None => self.converter.main_context(),
            };
            origins.push(match copy.parents {
                true => Origin::with_parents(tree, source),
                false => Origin::path(tree, source, Unpack::Never),
            });
        }
        self.transfer_files(&transfer, origins)
    }

    pub(super) fn add(&mut self, add: &Add, placed: &Placed) -> Result<(), Diagnostic> {
        let transfer = self.transfer("ADD", &add.sources, &add.chosen, placed)?;
        if add.checksum.is_some() {
            let [source] = &transfer.paths[..] else {
                return Err(Diagnostic::new("checksum can't be specified for multiple sources"));
            };
            if Remote::of(source).is_none() {
                return Err(Diagnostic::new("checksum requires HTTP(S) or Git sources"));
            }
        }
        refuse_unsupported(&transfer, &add.chosen)?;
        let unpack = match add.unpack {
            Some(false) => Unpack::Never,
            Some(true) | None => Unpack::Archives,
        };
        let mut origins = Vec::new();
        for source in &transfer.paths {
            origins.push(match Remote::of(source) {
                Some(remote) => self.remote(remote, source, add, placed)?,
                None => Origin::path(self.converter.main_context(), source, unpack),
            });
        }
        self.transfer_files(&transfer, origins)
    }

    fn transfer<'p>(
        &self,
        instruction: &'static str,
        sources: &'p Sources,
        chosen: &'p Chosen,
        placed: &'p Placed,
    ) -> Result<Transfer<'p>, Diagnostic> {
        let filled = |text: &Option<String>| match text {
            None => Ok(None),
            Some(text) => self.expand(text).map(|text| Some(text).filter(|text| !text.is_empty())),
        };
        let mode_text = filled(&chosen.mode)?;
        let mode = mode_text.as_deref().map(str::parse).transpose();
        PatternList::new(&chosen.excludes).map_err(|error| Diagnostic::new(format!("invalid --exclude: {error}")))?;
        Ok(Transfer {
            instruction,
            sources,
            owner: filled(&chosen.owner)?,
            mode: mode.map_err(|error: ModeError| Diagnostic::new(error.to_string()))?,
            mode_text,
            parents: false,
            excludes: &chosen.excludes,
            paths: self.expand_all(&sources.paths)?,
            destination: self.expand(&sources.destination)?,
            placed,
        })
    }

    /// The files of the stage named by `--from`.
    fn tree_of(&self, place: usize, from: &str) -> Result<Tree, Diagnostic> {
        match &self.converter.states[place] {
            Some(state) => Ok(state.tree),
            None => Err(Diagnostic::new(format!(
                "cannot copy from stage {}, it needs to be defined before current stage {}",
                quote(from),
                quote(&self.stage.title)
            ))),
        }
    }

    /// Adds the file op that copies from `origins`, in order, and then the documents.
    fn transfer_files(&mut self, transfer: &Transfer<'_>, mut origins: Vec<Origin>) -> Result<(), Diagnostic> {
        for document in &transfer.sources.documents {
            origins.push(self.document(document)?);
        }
        let text = transfer.text();
        let expander = self.converter.globals.expander;
        let components = vec![("instruction".to_owned(), text.clone())];
        let mut metadata = self.metadata(transfer.placed, &expander, components);
        metadata.ignore_cache = self.ignores_cache();
        let destination = path::destination(&self.state.config.config.working_dir, &transfer.destination);
        let mut inputs: Vec<_> = self.root().into_iter().collect();
        let base = inputs.first().map(|_| InputIndex(0));
        let below = inputs.len();
        let actions = origins.into_iter().map(|origin| {
            let known = inputs[below..].iter().position(|input| *input == origin.tree);
            let place = below + known.unwrap_or(inputs.len() - below);
            if known.is_none() {
                inputs.push(origin.tree);
            }
            FileAction::Copy(CopyAction {
                from: InputIndex(place),
                source: origin.path,
                destination: destination.clone(),
                owner: transfer.owner.as_deref().map(owner),
                mode: transfer.mode.clone(),
                include: origin.include,
                excludes: transfer.excludes.to_vec(),
                unpack: origin.unpack,
            })
        });
        let file = FileOp {
            base,
            actions: actions.collect(),
        };
        self.state.tree = Tree::Made(self.converter.add_files(file, inputs, metadata));
        self.remember(format!("{text} # buildkit"), Layer::Made);
        Ok(())
    }
}

fn refuse_unsupported(transfer: &Transfer<'_>, chosen: &Chosen) -> Result<(), Diagnostic> {
    if !chosen.link {
        return Ok(());
    }
    let what = format!("{} --link", transfer.instruction);
    Err(Diagnostic::unsupported(what, &transfer.placed.lines))
}

impl Transfer<'_> {
    /// As history shows it.
    fn text(&self) -> String {
        let mut words = vec![self.instruction.to_owned()];
        words.extend(self.parents.then(|| "--parents".to_owned()));
        words.extend(self.owner.iter().map(|owner| format!("--chown={owner}")));
        words.extend(self.mode_text.iter().map(|mode| format!("--chmod={mode}")));
        words.extend(self.paths.iter().cloned());
        let documents = self.sources.documents.iter();
        words.extend(documents.map(|document| format!("<<{}", document.name)));
        words.push(self.destination.clone());
        words.join(" ")
    }
}
