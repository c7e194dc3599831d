//! FROM: where a stage's tree, configuration and variables begin.

use std::collections::HashMap;

use graph::{Copy, FileAction, FileOp, ImageSource, InputIndex, Metadata, Op, Unpack, VertexId};
use oci::{History, ImageConfig, ImageName, Platform, ResolvedImage};

use super::progress::Counter;
use super::remote;
use super::{Converter, DEFAULT_PATH, State, Tree};
use crate::environment::split;
use crate::lint;
use crate::lint::stage::Once;
use crate::outline::Record;
use crate::plan::Wanted;
use crate::stage::{Base, Place, Stage};
use crate::{Diagnostic, Environment, path};

impl Converter<'_> {
    /// Says which base images are for another platform than is built for.
    pub(super) fn check_platforms(&self) {
        for stage in self.stages.needed.iter().map(|place| &self.stages.list[*place]) {
            let Base::Image { wanted, title: None } = &stage.base else {
                continue;
            };
            let actual = &self.resolved[wanted].config;
            if !is_empty(actual) {
                let linter = &self.globals.linter;
                lint::from::image_platform(&stage.image, &wanted.1, &actual.platform(), &stage.lines, linter);
            }
        }
    }

    /// The state that a stage begins with.
    pub(super) fn base(&mut self, stage: &Stage, progress: &mut Counter) -> Result<State, Diagnostic> {
        let state = match &stage.base {
            Base::Stage(place) => self.child_of(*place)?,
            Base::Scratch => State::new(Tree::Empty, &self.platform_of(stage)),
            Base::Local {
                title,
                context,
                excludes,
            } => {
                let id = remote::local(
                    self.builder,
                    context,
                    excludes,
                    format!("[context {title}] load from client"),
                );
                State::new(Tree::Lent(id), &self.platform_of(stage))
            }
            Base::Remote { title, source } => {
                let id = remote::context(self.builder, source, Some(title));
                State::new(Tree::Lent(id), &self.platform_of(stage))
            }
            Base::Image { wanted, title } => self.image(stage, wanted, title.as_deref(), progress)?,
        };
        Ok(state.begun())
    }

    fn platform_of(&self, stage: &Stage) -> Platform {
        stage
            .platform
            .clone()
            .unwrap_or_else(|| self.options.target_platform().clone())
    }

    fn child_of(&mut self, place: Place) -> Result<State, Diagnostic> {
        let stages = self.stages;
        let mut parent = self.states[place]
            .clone()
            .expect("a stage is made after the one it is based on");
        let parent_stage = &stages.list[place];
        self.own(parent_stage, &mut parent);
        parent.config.config.on_build.clear();
        Ok(State {
            once: Once::default(),
            record: Record::default(),
            ..parent
        })
    }

    fn image(
        &mut self,
        stage: &Stage,
        wanted: &Wanted,
        title: Option<&str>,
        progress: &mut Counter,
    ) -> Result<State, Diagnostic> {
        let found = &self.resolved[wanted];
        let mut config = found.config.clone();
        config.created = None;
        config.cache = None;
        config.config.on_build.clear();
        let pinned = pinned(found);
        let tree = if is_empty(&found.config) {
            Tree::Empty
        } else {
            let source = ImageSource {
                name: pinned.clone(),
                manifest: found.manifest_descriptor.digest,
                platform: wanted.1.clone(),
            };
            let name = match title {
                Some(title) => format!("[context {title}] {pinned}"),
                None => progress.name(&format!("FROM {pinned}"), &wanted.1, &Environment::new()),
            };
            let metadata = Metadata {
                name,
                lines: Some(stage.lines.clone()),
                ignore_cache: false,
                components: vec![("base image".to_owned(), pinned.to_string())],
            };
            Tree::Made(self.builder.add(Op::Image(source), Vec::new(), metadata))
        };
        let platform = self.platform_found(stage, wanted, &config);
        Ok(State {
            config,
            ..State::new(tree, &platform)
        })
    }

    /// For which platform the steps of a stage are: where none was asked for, what the image is for is believed.
    fn platform_found(&self, stage: &Stage, wanted: &Wanted, config: &ImageConfig) -> Platform {
        let is_asked_for = stage.platform.is_some() || !self.options.platforms.is_empty();
        let is_named = !config.os.is_empty() && !config.architecture.is_empty();
        let same = config.os == wanted.1.os && config.architecture == wanted.1.architecture;
        if is_asked_for || same || !is_named {
            wanted.1.clone()
        } else {
            config.platform()
        }
    }

    /// Makes sure that something can be added to the state's tree: files that are lent are copied.
    pub(super) fn own(&mut self, stage: &Stage, state: &mut State) {
        let Tree::Lent(context) = state.tree else { return };
        let copy = Copy {
            from: InputIndex(0),
            source: "/".to_owned(),
            destination: "/".to_owned(),
            owner: None,
            mode: None,
            include: None,
            excludes: Vec::new(),
            unpack: Unpack::Never,
        };
        let file = FileOp {
            base: None,
            names: None,
            actions: vec![FileAction::Copy(copy)],
        };
        let name = self.builder.vertex(context).metadata.name.clone();
        let metadata = Metadata {
            name: format!("FROM {}", stage.image),
            lines: Some(stage.lines.clone()),
            ..Metadata::default()
        };
        state.tree = Tree::Made(self.add_files(file, vec![context], metadata));
        state.config.history.push(History {
            created_by: Some(name),
            comment: Some("buildkit.exporter.image.v0".to_owned()),
            ..History::default()
        });
    }

    /// The vertex of files to copy from.
    pub(super) fn files(&mut self, tree: Tree) -> VertexId {
        match tree {
            Tree::Made(id) | Tree::Lent(id) => id,
            Tree::Empty => remote::empty(self.builder),
        }
    }
}

impl State {
    fn new(tree: Tree, platform: &Platform) -> State {
        State {
            tree,
            config: ImageConfig::scratch(platform),
            environment: Environment::new(),
            env_places: HashMap::new(),
            arguments: Vec::new(),
            platform: platform.clone(),
            exposed: 0,
            once: Once::default(),
            has_workdir: false,
            record: Record::default(),
        }
    }

    /// With the variables of the image, and those that there always are.
    fn begun(mut self) -> State {
        let config = &mut self.config.config;
        let has_path = config.env.iter().any(|line| split(line).0 == "PATH");
        if !has_path && self.platform.os != "windows" {
            config.env.push(format!("PATH={DEFAULT_PATH}"));
        }
        self.env_places.clear();
        for (place, line) in config.env.iter().enumerate() {
            let (name, value) = split(line);
            self.environment.set(name, value);
            self.env_places.entry(name.to_owned()).or_insert(place);
        }
        if !config.working_dir.is_empty() {
            config.working_dir = path::working_directory("/", &config.working_dir);
        }
        self
    }
}

/// The name with the digest of what it pointed at, so that nothing can change during the build.
fn pinned(image: &ResolvedImage) -> ImageName {
    let digest = image.root.digest;
    match &image.name {
        ImageName::Registry(reference) => ImageName::Registry(reference.pinned(digest)),
        ImageName::Results(place) => ImageName::Results(place.clone()),
        ImageName::Layout { path, tag, .. } => ImageName::Layout {
            path: path.clone(),
            tag: tag.clone(),
            digest: Some(digest),
        },
    }
}

/// Whether an image has no files: neither layers nor a history of any.
fn is_empty(config: &ImageConfig) -> bool {
    config.rootfs.diff_ids.is_empty() && config.history.iter().all(|entry| entry.empty_layer)
}
