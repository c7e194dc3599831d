//! Stages to vertices: each instruction changes a stage's tree, its image configuration or its variables.
//!
//! One file for each family of instructions; all of them work on a [`Scope`].

mod base;
mod copy;
mod expose;
mod heredoc;
mod history;
mod meta;
mod mounts;
mod origin;
mod progress;
pub(crate) mod remote;
mod run;
mod variables;

use std::collections::BTreeSet;

use std::collections::HashMap;

use graph::{Builder, FileOp, Metadata, Op, VertexId};
use oci::{ImageConfig, Platform};

use crate::command::{Command, Placed};
use crate::lint::stage::Once;
use crate::lint::{self, Spot};
use crate::outline::Record;
use crate::plan::Resolved;
use crate::stage::{Globals, Place, Stage, Stages};
use crate::words::{Expander, WordError};
use crate::{Diagnostic, Environment, Options, path};

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Makes a definition of stages.
#[derive(Debug)]
pub(crate) struct Converter<'a> {
    options: &'a Options,
    globals: &'a Globals,
    stages: &'a Stages,
    resolved: &'a Resolved,
    builder: &'a mut Builder,
    states: Vec<Option<State>>,
}

/// What a stage has come to.
#[derive(Clone, Debug)]
struct State {
    tree: Tree,
    config: ImageConfig,
    /// What processes see: variables of the image and arguments declared.
    environment: Environment,
    /// Where in the configuration's list the variables of the image stand.
    env_places: HashMap<String, usize>,
    /// Names and values of the arguments declared, in order.
    arguments: Vec<(String, Option<String>)>,
    platform: Platform,
    /// How long the history of its EXPOSEs is.
    exposed: usize,
    /// Where in this stage instructions stand that only count once.
    once: Once,
    /// Whether the Dockerfile has set the working directory, in this stage or one it is based on.
    has_workdir: bool,
    /// What this stage can be given.
    record: Record,
}

/// The files of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tree {
    /// None.
    Empty,
    /// Those of a vertex.
    Made(VertexId),
    /// Those of a context, which nothing can be added to.
    Lent(VertexId),
}

/// A stage under conversion.
struct Scope<'a, 'c> {
    converter: &'c mut Converter<'a>,
    stage: &'a Stage,
    state: State,
    /// The instruction under conversion, as the linter sees it.
    spot: Spot,
    progress: progress::Counter,
}

impl<'a> Converter<'a> {
    /// A converter of `stages`, whose images are `resolved`. The vertices go to `builder`.
    pub(crate) fn new(
        options: &'a Options,
        globals: &'a Globals,
        stages: &'a Stages,
        resolved: &'a Resolved,
        builder: &'a mut Builder,
    ) -> Converter<'a> {
        Converter {
            options,
            globals,
            stages,
            resolved,
            builder,
            states: stages.list.iter().map(|_| None).collect(),
        }
    }

    /// Converts the stages that are needed.
    pub(crate) fn run(&mut self) -> Result<(), Diagnostic> {
        let stages = self.stages;
        self.check_platforms();
        for place in &stages.needed {
            let state = self.stage(*place)?;
            self.states[*place] = Some(state);
        }
        self.globals.linter.verdict()
    }

    /// The vertex of the target's tree and the image's configuration, once all is converted.
    pub(crate) fn finish(mut self) -> (Option<VertexId>, ImageConfig) {
        let stages = self.stages;
        let mut target = self.states[stages.target]
            .take()
            .expect("the target is among the stages needed");
        self.own(&stages.list[stages.target], &mut target);
        let mut config = target.config;
        for (name, value) in &self.options.labels {
            config.config.labels.insert(name.clone(), value.clone());
        }
        if let Some(asked) = self.options.platforms.first() {
            claim(&mut config, asked);
        }
        let platform = config.platform();
        config.variant = platform.variant;
        (config.os, config.architecture) = (platform.os, platform.architecture);
        let tree = match target.tree {
            Tree::Empty => None,
            Tree::Made(id) | Tree::Lent(id) => Some(id),
        };
        (tree, config)
    }

    pub(crate) fn stages(&self) -> &Stages {
        self.stages
    }

    pub(crate) fn globals(&self) -> &Globals {
        self.globals
    }

    /// What the stage at `place` can be given, if it was converted.
    pub(crate) fn record(&self, place: Place) -> Option<&Record> {
        self.states[place].as_ref().map(|state| &state.record)
    }

    fn stage(&mut self, place: Place) -> Result<State, Diagnostic> {
        let stages = self.stages;
        let stage = &stages.list[place];
        let mut progress = progress::Counter::new(stage, self.options.multi_platform);
        let state = self
            .base(stage, &mut progress)
            .and_then(|state| self.afford(&state).map(|()| state))
            .map_err(|error| error.or_at(&stage.lines))?;
        let mut scope = Scope {
            converter: self,
            stage,
            state,
            spot: Spot::nowhere(),
            progress,
        };
        for (index, placed) in stage.commands.iter().enumerate() {
            scope.spot = scope.converter.globals.linter.at(placed);
            scope
                .command(index, placed)
                .map_err(|error| error.or_at(&placed.lines))?;
        }
        Ok(scope.state)
    }

    /// Each stage has what it was given of another one, and each process the variables.
    fn afford(&self, state: &State) -> Result<(), Diagnostic> {
        let pairs = state.environment.iter();
        let labels = state.config.config.labels.iter();
        let sizes = pairs.map(|(name, value)| name.len() + value.len());
        let bytes: usize = sizes.chain(labels.map(|(name, value)| name.len() + value.len())).sum();
        let taken = self.globals.expander.allowance.take(bytes);
        taken.map_err(|reason| Diagnostic::new(reason.to_string()))
    }

    /// Adds a vertex of files, or finds the equal one.
    fn add_files(&mut self, file: FileOp, inputs: Vec<VertexId>, metadata: Metadata) -> VertexId {
        self.builder.add(Op::File(file), inputs, metadata)
    }
}

/// The image says it is for the platform that was asked for.
fn claim(config: &mut ImageConfig, asked: &Platform) {
    let same = config.os == asked.os && config.architecture == asked.architecture;
    config.os.clone_from(&asked.os);
    config.architecture.clone_from(&asked.architecture);
    if asked.variant.is_some() || !same {
        config.variant.clone_from(&asked.variant);
    }
    if asked.os_version.is_some() || !same {
        config.os_version.clone_from(&asked.os_version);
    }
    if !asked.os_features.is_empty() {
        config.os_features.clone_from(&asked.os_features);
    }
}

impl Scope<'_, '_> {
    fn command(&mut self, index: usize, placed: &Placed) -> Result<(), Diagnostic> {
        self.progress.at_trigger = placed.is_trigger;
        match &placed.command {
            Command::From(_) => unreachable!("a stage has one FROM, and that is not among its commands"),
            Command::Arg(pairs) => self.arg(pairs, placed),
            Command::Env(pairs) => self.env(pairs),
            Command::Label(pairs) => self.label(pairs),
            Command::Maintainer(author) => self.maintainer(author),
            Command::Workdir(path) => self.workdir(path, placed),
            Command::User(user) => self.user(user),
            Command::Expose(ports) => self.expose(ports),
            Command::Volume(paths) => self.volume(paths),
            Command::StopSignal(signal) => self.stop_signal(signal),
            Command::Shell(words) => self.shell(words),
            Command::Cmd(line) => self.cmd(line),
            Command::Entrypoint(line) => self.entrypoint(line),
            Command::Healthcheck(check) => self.healthcheck(check),
            Command::Onbuild(trigger) => self.onbuild(trigger),
            Command::Run(run) => self.run(run, index, placed),
            Command::Copy(copy) => self.copy(copy, index, placed),
            Command::Add(add) => self.add(add, placed),
        }
    }

    /// A word with the stage's variables.
    fn expand(&self, word: &str) -> Result<String, Diagnostic> {
        self.expand_by(&self.converter.globals.expander, word)
    }

    /// A word as `expander` reads it, with the stage's variables.
    fn expand_by(&self, expander: &Expander, word: &str) -> Result<String, Diagnostic> {
        let State {
            environment, arguments, ..
        } = &self.state;
        let undefined = |names: &BTreeSet<String>| lint::stage::undefined(names, arguments, environment, &self.spot);
        match expander.expand(word, environment) {
            Ok(expansion) => {
                undefined(&expansion.unmatched);
                Ok(expansion.text)
            }
            Err(error) => {
                undefined(&error.unmatched);
                Err(refuse_word(error))
            }
        }
    }

    fn expand_all(&self, words: &[String]) -> Result<Vec<String>, Diagnostic> {
        words.iter().map(|word| self.expand(word)).collect()
    }

    fn working_directory(&self) -> String {
        path::from_root(&self.state.config.config.working_dir)
    }

    /// Whether the user wants the stage's work done again.
    fn ignores_cache(&self) -> bool {
        self.converter.options.no_cache.covers(&self.stage.name)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "handed to map_err")]
fn refuse_word(error: WordError) -> Diagnostic {
    Diagnostic::new(error.to_string())
}
