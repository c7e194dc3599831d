//! COPY and ADD: files from a context, a stage or an image, documents, and what comes from elsewhere.
//!
//! An instruction is one file op; each of its sources becomes a copy in it, whose [`Origin`] says where the files are.

use graph::pattern::PatternList;
use graph::{
    Copy as CopyAction, FileAction, FileMode, FileOp, InputIndex, MergeOp, Metadata, ModeError, Op, Unpack, UserName,
    VertexId,
};

use super::history::Layer;
use super::meta::owner;
use super::origin::Origin;
use super::remote::Remote;
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
    /// Whether it is a tree of its own; a mode goes with the ordinary way only, as BuildKit has it.
    link: bool,
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
            match Remote::of(source)? {
                None => {}
                Some(Remote::Git(_)) => return Err(Diagnostic::new("source can't be a git ref for COPY")),
                Some(Remote::Http(_)) => return Err(Diagnostic::new("source can't be a URL for COPY")),
            }
        }
        let mut origins = Vec::new();
        for source in &transfer.paths {
            let tree = match from {
                Some(tree) => self.converter.files(tree),
                None => {
                    self.check_ignored("Copy", source);
                    self.converter.main_context()
                }
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
            if Remote::of(source)?.is_none() {
                return Err(Diagnostic::new("checksum requires HTTP(S) or Git sources"));
            }
        }
        let unpack = match add.unpack {
            Some(false) => Unpack::Never,
            Some(true) | None => Unpack::Archives,
        };
        let mut origins = Vec::new();
        for source in &transfer.paths {
            origins.push(match Remote::of(source)? {
                Some(remote) => self.remote(&remote, add, placed)?,
                None => {
                    self.check_ignored("Add", source);
                    Origin::path(self.converter.main_context(), source, unpack)
                }
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
            link: chosen.link && mode_text.is_none(),
            mode_text,
            parents: false,
            excludes: &chosen.excludes,
            paths: self.expand_all(&sources.paths)?,
            destination: self.expand(&sources.destination)?,
            placed,
        })
    }

    /// Says whether the ignore file leaves out a source.
    fn check_ignored(&self, verb: &str, source: &str) {
        if let Some(ignored) = &self.converter.globals.ignored {
            ignored.check(verb, source, &self.spot);
        }
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
        let expander = self.converter.globals.expander.clone();
        let components = vec![("instruction".to_owned(), text.clone())];
        let mut metadata = self.metadata(transfer.placed, &expander, components);
        metadata.ignore_cache = self.ignores_cache();
        let destination = path::destination(&self.state.config.config.working_dir, &transfer.destination);
        let root = self.root();
        let tree = if transfer.link {
            self.link(transfer, origins, &destination, root, metadata)
        } else {
            let (actions, inputs) = transfer.actions(origins, &destination, root);
            let file = FileOp {
                base: root.map(|_| InputIndex(0)),
                names: None,
                actions,
            };
            self.converter.add_files(file, inputs, metadata)
        };
        self.state.tree = Tree::Made(tree);
        self.remember(format!("{text} # buildkit"), Layer::Made);
        Ok(())
    }

    /// Copies to a tree of its own, which is laid over the stage's: so it depends on nothing in there but, if names are to
    /// be looked up, on who its users are.
    fn link(
        &mut self,
        transfer: &Transfer<'_>,
        origins: Vec<Origin>,
        destination: &str,
        root: Option<VertexId>,
        metadata: Metadata,
    ) -> VertexId {
        let of_name = |name: &UserName| matches!(name, UserName::Name(_));
        let owner = transfer.owner.as_deref().map(owner);
        let named = owner.is_some_and(|owner| of_name(&owner.user) || owner.group.as_ref().is_some_and(of_name));
        let names = root.filter(|_| named);
        let (actions, inputs) = transfer.actions(origins, destination, names);
        let file = FileOp {
            base: None,
            names: names.map(|_| InputIndex(0)),
            actions,
        };
        let made = self.converter.add_files(file, inputs, metadata.clone());
        let Some(root) = root else { return made };
        let merge = MergeOp {
            base: InputIndex(0),
            over: vec![InputIndex(1)],
        };
        let name = match metadata.name.split_once("] ") {
            Some((number, text)) => format!("{number}] LINK {text}"),
            None => format!("LINK {}", metadata.name),
        };
        let builder = &mut self.converter.builder;
        builder.add(Op::Merge(merge), vec![root, made], Metadata { name, ..metadata })
    }
}

impl Transfer<'_> {
    /// What to do to get the files of all origins, and the inputs for that, `first` being the first of them.
    fn actions(
        &self,
        origins: Vec<Origin>,
        destination: &str,
        first: Option<VertexId>,
    ) -> (Vec<FileAction>, Vec<VertexId>) {
        let mut inputs: Vec<_> = first.into_iter().collect();
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
                destination: destination.to_owned(),
                owner: self.owner.as_deref().map(owner),
                mode: self.mode.clone(),
                include: origin.include,
                excludes: self.excludes.to_vec(),
                unpack: origin.unpack,
            })
        });
        (actions.collect(), inputs)
    }

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
