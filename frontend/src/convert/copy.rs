//! COPY and ADD: files from a context, a stage or an image.

use graph::{Copy as CopyAction, FileAction, FileOp, InputIndex, Unpack, VertexId};

use super::history::Layer;
use super::meta::owner;
use super::mode::{self, Mode};
use super::{Scope, Tree};
use crate::command::{Add, Chosen, Copy, Placed, Sources};
use crate::quote::quote;
use crate::{Diagnostic, path};

/// What COPY and ADD have in common, variables replaced.
struct Transfer<'a> {
    instruction: &'static str,
    paths: Vec<String>,
    destination: String,
    owner: Option<String>,
    mode: Option<String>,
    unpack: Unpack,
    placed: &'a Placed,
}

impl Scope<'_, '_> {
    pub(super) fn copy(&mut self, copy: &Copy, index: usize, placed: &Placed) -> Result<(), Diagnostic> {
        let transfer = self.transfer("COPY", &copy.sources, &copy.chosen, placed)?;
        let from = match self.stage.sources.get(&index) {
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
        if copy.parents {
            return Err(Diagnostic::unsupported("COPY --parents", &placed.lines));
        }
        self.refuse_unsupported(&transfer, &copy.sources, &copy.chosen)?;
        let from = match from {
            Some(tree) => self.converter.files(tree),
            None => self.converter.main_context(),
        };
        self.transfer_files(&transfer, from)
    }

    pub(super) fn add(&mut self, add: &Add, placed: &Placed) -> Result<(), Diagnostic> {
        let mut transfer = self.transfer("ADD", &add.sources, &add.chosen, placed)?;
        if add.unpack != Some(false) {
            transfer.unpack = Unpack::Archives;
        }
        let is_remote = transfer.paths.iter().any(|source| Remote::of(source).is_some());
        if add.checksum.is_some() {
            if transfer.paths.len() != 1 {
                return Err(Diagnostic::new("checksum can't be specified for multiple sources"));
            }
            if !is_remote {
                return Err(Diagnostic::new("checksum requires HTTP(S) or Git sources"));
            }
        }
        let unsupported = if is_remote {
            Some("ADD from a remote address")
        } else if add.keep_git_dir.is_some() {
            Some("ADD --keep-git-dir")
        } else {
            None
        };
        if let Some(what) = unsupported {
            return Err(Diagnostic::unsupported(what, &placed.lines));
        }
        self.refuse_unsupported(&transfer, &add.sources, &add.chosen)?;
        let context = self.converter.main_context();
        self.transfer_files(&transfer, context)
    }

    fn transfer<'p>(
        &self,
        instruction: &'static str,
        sources: &Sources,
        chosen: &Chosen,
        placed: &'p Placed,
    ) -> Result<Transfer<'p>, Diagnostic> {
        let filled = |text: &Option<String>| match text {
            None => Ok(None),
            Some(text) => self.expand(text).map(|text| Some(text).filter(|text| !text.is_empty())),
        };
        Ok(Transfer {
            instruction,
            owner: filled(&chosen.owner)?,
            mode: filled(&chosen.mode)?,
            paths: self.expand_all(&sources.paths)?,
            destination: self.expand(&sources.destination)?,
            unpack: Unpack::Never,
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

    fn refuse_unsupported(
        &self,
        transfer: &Transfer<'_>,
        sources: &Sources,
        chosen: &Chosen,
    ) -> Result<(), Diagnostic> {
        let symbolic = match &transfer.mode {
            Some(mode) => mode::parse(mode)? == Mode::Symbolic,
            None => false,
        };
        let unsupported = if symbolic {
            "--chmod with a symbolic mode"
        } else if chosen.link {
            "--link"
        } else if !chosen.excludes.is_empty() {
            "--exclude"
        } else if !sources.documents.is_empty() {
            "with a heredoc"
        } else {
            return Ok(());
        };
        let what = format!("{} {unsupported}", transfer.instruction);
        Err(Diagnostic::unsupported(what, &transfer.placed.lines))
    }

    fn transfer_files(&mut self, transfer: &Transfer<'_>, from: VertexId) -> Result<(), Diagnostic> {
        let mode = match transfer.mode.as_deref().map(mode::parse).transpose()? {
            Some(Mode::Octal(mode)) => Some(mode),
            Some(Mode::Symbolic) | None => None,
        };
        let text = transfer.text();
        let expander = self.converter.globals.expander;
        let components = vec![("instruction".to_owned(), text.clone())];
        let mut metadata = self.metadata(transfer.placed, &expander, components);
        metadata.ignore_cache = self.ignores_cache();
        let destination = path::destination(&self.state.config.config.working_dir, &transfer.destination);
        let mut inputs: Vec<_> = self.root().into_iter().collect();
        let base = inputs.first().map(|_| InputIndex(0));
        let place = InputIndex(inputs.len());
        inputs.push(from);
        let actions = transfer.paths.iter().map(|source| {
            FileAction::Copy(CopyAction {
                from: place,
                source: path::from_root(source),
                destination: destination.clone(),
                owner: transfer.owner.as_deref().map(owner),
                mode,
                unpack: transfer.unpack,
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

impl Transfer<'_> {
    /// As history shows it.
    fn text(&self) -> String {
        let mut words = vec![self.instruction.to_owned()];
        words.extend(self.owner.iter().map(|owner| format!("--chown={owner}")));
        words.extend(self.mode.iter().map(|mode| format!("--chmod={mode}")));
        words.extend(self.paths.iter().cloned());
        words.push(self.destination.clone());
        words.join(" ")
    }
}

/// A source that is not in the context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Remote {
    Git,
    Http,
}

impl Remote {
    fn of(source: &str) -> Option<Remote> {
        if source.starts_with("http://") || source.starts_with("https://") {
            let address = source.split(['#', '?']).next().unwrap_or_default();
            return Some(if address.ends_with(".git") {
                Remote::Git
            } else {
                Remote::Http
            });
        }
        let by_scheme = source.starts_with("git://") || source.starts_with("ssh://");
        // user@host:path, as ssh and git write it
        let by_user = source.split_once('@').is_some_and(|(user, rest)| {
            let letter = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
            let host = rest.split_once(':').map(|(host, _)| host);
            !user.is_empty()
                && user.chars().all(letter)
                && host.is_some_and(|host| !host.is_empty() && host.chars().all(letter))
        });
        (by_scheme || by_user).then_some(Remote::Git)
    }
}
