//! Stages: what each is based on, what it copies from, and which of them the target needs.
//!
//! Images and contexts that a stage copies from are kept as stages too, of which nothing is done: whatever has files has
//! a place in one list.

mod globals;
mod sources;
mod triggers;

use std::collections::{BTreeSet, HashMap, HashSet};

use graph::SourceLines;
use oci::{ImageName, Platform, Reference};

pub(crate) use globals::{Globals, Start};

use crate::command::{Command, Placed};
use crate::plan::{Section, Wanted};
use crate::quote::quote;
use crate::{Diagnostic, NamedContext, Options, RemoteContext, outline, suggest};

/// The place of a stage in the list.
pub(crate) type Place = usize;

/// All stages, and the one to build.
#[derive(Debug)]
pub(crate) struct Stages {
    pub(crate) list: Vec<Stage>,
    pub(crate) target: Place,
    /// In which order the stages that the target needs are made.
    pub(crate) needed: Vec<Place>,
    /// Whether all stages are needed, and not only what the target needs.
    all: bool,
    /// The stages of the Dockerfile by name.
    names: HashMap<String, Place>,
    /// What is copied from and is no stage of the Dockerfile, by name.
    foreign: HashMap<String, Place>,
    /// How many stages the Dockerfile has.
    written: usize,
    /// How many triggers have been put before commands.
    triggers: usize,
}

/// A stage, or something to copy from.
#[derive(Debug)]
pub(crate) struct Stage {
    /// Given with AS; empty if none was.
    pub(crate) name: String,
    /// As progress shows it; empty if there is only one stage.
    pub(crate) title: String,
    /// What it is based on.
    pub(crate) base: Base,
    /// As it stands in the Dockerfile, variables replaced.
    pub(crate) image: String,
    /// What the comment above it says.
    pub(crate) description: String,
    /// The arguments of its FROM.
    pub(crate) used: BTreeSet<String>,
    /// The platform, if one is named.
    pub(crate) platform: Option<Platform>,
    /// What is done in it.
    pub(crate) commands: Vec<Placed>,
    /// The other stages that commands read, by the place of the command and that of the reading in it.
    pub(crate) sources: HashMap<(usize, usize), Place>,
    /// Where the FROM stands (or the COPY).
    pub(crate) lines: SourceLines,
    /// Whether it is no stage of the Dockerfile, only something to copy from.
    pub(crate) is_foreign: bool,
    /// Whether a context takes its place.
    is_replaced: bool,
    /// Whether the triggers of its base are still to be put before its commands.
    awaits_triggers: bool,
}

/// What a stage is based on.
#[derive(Clone, Debug)]
pub(crate) enum Base {
    /// An earlier stage.
    Stage(Place),
    /// Nothing.
    Scratch,
    /// A directory of the user's.
    Local {
        /// The name of the context as the user gave it.
        title: String,
        /// The name under which the session knows it.
        context: String,
        /// Patterns of its ignore file.
        excludes: Vec<String>,
    },
    /// Files from elsewhere.
    Remote {
        /// The name of the context as the user gave it.
        title: String,
        /// Where they are.
        source: RemoteContext,
    },
    /// An image.
    Image {
        /// The image and the platform it is wanted for.
        wanted: Wanted,
        /// The name of the context it stands for, if it does.
        title: Option<String>,
    },
}

/// An image to look up.
#[derive(Debug)]
pub(crate) struct WantedImage {
    pub(crate) wanted: Wanted,
    /// As it stands in the Dockerfile.
    pub(crate) written: String,
    pub(crate) lines: SourceLines,
}

impl Stages {
    /// Connects the stages and finds the target.
    pub(crate) fn new(sections: Vec<Section>, globals: &Globals, options: &Options) -> Result<Stages, Diagnostic> {
        let mut list: Vec<Stage> = Vec::new();
        let mut names: HashMap<String, Place> = HashMap::new();
        for section in sections {
            let stage = Stage::new(section, list.len(), &names, globals, options)?;
            if !stage.name.is_empty() {
                names.insert(stage.name.clone(), list.len());
            }
            list.push(stage);
        }
        let mut stages = Stages {
            target: target(&list, &names, options)?,
            needed: Vec::new(),
            all: false,
            foreign: HashMap::new(),
            written: list.len(),
            triggers: 0,
            list,
            names,
        };
        for place in 0..stages.written {
            let commands = 0..stages.list[place].commands.len();
            stages.connect(place, commands, globals, options)?;
        }
        refuse_circles(&stages.list)?;
        // To BuildKit a mount without `from` is a stage too: one that has no name and no image.
        if let [only] = &mut stages.list[..]
            && !only.commands.iter().any(|placed| has_mounts(&placed.command))
        {
            only.title.clear();
        }
        stages.forget_replaced();
        stages.find_needed();
        Ok(stages)
    }

    /// The same, with all stages to be made, whether the target needs them or not.
    pub(crate) fn all_needed(mut self) -> Stages {
        self.all = true;
        self.find_needed();
        self
    }

    /// What is written in a stage that a context replaces counts for circles only.
    fn forget_replaced(&mut self) {
        for stage in self.list.iter_mut().filter(|stage| stage.is_replaced) {
            stage.commands.clear();
            stage.sources.clear();
        }
    }

    fn find_needed(&mut self) {
        self.needed = match self.all {
            true => {
                let mut all: Vec<Place> = (0..self.list.len()).collect();
                all.sort_by_key(|place| !self.list[*place].is_foreign);
                all
            }
            false => needed(&self.list, self.target),
        };
    }

    /// The images that the target needs, each once.
    pub(crate) fn images(&self) -> Vec<WantedImage> {
        let mut images: Vec<WantedImage> = Vec::new();
        let mut seen: HashSet<&Wanted> = HashSet::new();
        for stage in self.needed.iter().map(|place| &self.list[*place]) {
            if let Base::Image { wanted, .. } = &stage.base
                && seen.insert(wanted)
            {
                images.push(WantedImage {
                    wanted: wanted.clone(),
                    written: stage.image.clone(),
                    lines: stage.lines.clone(),
                });
            }
        }
        images
    }

    /// The names of stages.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.list
            .iter()
            .map(|stage| stage.name.as_str())
            .filter(|name| !name.is_empty())
    }
}

impl Stage {
    fn new(
        section: Section,
        place: Place,
        names: &HashMap<String, Place>,
        globals: &Globals,
        options: &Options,
    ) -> Result<Stage, Diagnostic> {
        let Command::From(from) = &section.from.command else {
            unreachable!("a section begins with FROM");
        };
        let Start { image, platform, used } = globals.from(from, &section.from)?;
        let name = from.name.clone().unwrap_or_default();
        let title = if name.is_empty() {
            format!("stage-{place}")
        } else {
            name.clone()
        };
        let stage = Stage {
            title,
            description: outline::description(&section.from.comments, &name),
            used,
            base: Base::Scratch,
            commands: section.commands,
            sources: HashMap::new(),
            name,
            image,
            platform,
            lines: section.from.lines,
            is_foreign: false,
            is_replaced: false,
            awaits_triggers: true,
        };
        let wanted = stage.platform.as_ref().unwrap_or(options.target_platform()).clone();
        let replacement = Some(stage.name.as_str()).filter(|name| !name.is_empty());
        if let Some((title, context)) = replacement.and_then(|name| options.context(name, &wanted)) {
            return Ok(Stage {
                base: Base::of_context(title, context, &wanted),
                used: BTreeSet::new(),
                is_replaced: true,
                // What replaces a stage is taken as it is.
                awaits_triggers: false,
                ..stage
            });
        }
        let base = match names.get(&stage.image) {
            Some(place) => Base::Stage(*place),
            None => Base::new(&stage.image, &wanted, options).map_err(|error| error.at(&stage.lines))?,
        };
        Ok(Stage { base, ..stage })
    }

    /// Something to copy from that is no stage of the Dockerfile.
    fn foreign(image: &str, lines: &SourceLines, options: &Options) -> Result<Stage, Diagnostic> {
        let base = Base::new(image, options.target_platform(), options).map_err(|error| error.at(lines))?;
        Ok(Stage {
            name: String::new(),
            title: String::new(),
            description: String::new(),
            used: BTreeSet::new(),
            base,
            image: image.to_owned(),
            platform: None,
            commands: Vec::new(),
            sources: HashMap::new(),
            lines: lines.clone(),
            is_foreign: true,
            is_replaced: false,
            awaits_triggers: false,
        })
    }

    /// The other stages it reads, and the lines where it says so.
    pub(crate) fn dependencies(&self) -> impl Iterator<Item = (Place, &SourceLines)> {
        let mut sources: Vec<_> = self.sources.iter().map(|(reading, place)| (*reading, *place)).collect();
        sources.sort_unstable();
        sources
            .into_iter()
            .map(|((command, _), place)| (place, &self.commands[command].lines))
    }
}

impl Base {
    /// What a name means that is no stage's.
    fn new(image: &str, platform: &Platform, options: &Options) -> Result<Base, Diagnostic> {
        if image == "scratch" {
            return Ok(Base::Scratch);
        }
        if let Some((title, context)) = options.context(image, platform) {
            return Ok(Base::of_context(title, context, platform));
        }
        let reference: Reference = image
            .parse()
            .map_err(|error| Diagnostic::new(format!("failed to parse stage name {}: {error}", quote(image))))?;
        Ok(Base::Image {
            wanted: (ImageName::Registry(reference), platform.clone()),
            title: None,
        })
    }

    fn of_context(title: &str, context: &NamedContext, platform: &Platform) -> Base {
        match context {
            NamedContext::Scratch => Base::Scratch,
            NamedContext::Local { context, excludes } => Base::Local {
                title: title.to_owned(),
                context: context.clone(),
                excludes: excludes.clone(),
            },
            NamedContext::Remote(source) => Base::Remote {
                title: title.to_owned(),
                source: source.clone(),
            },
            NamedContext::Image(name) => Base::Image {
                wanted: (name.clone(), platform.clone()),
                title: Some(title.to_owned()),
            },
        }
    }
}

fn target(list: &[Stage], names: &HashMap<String, Place>, options: &Options) -> Result<Place, Diagnostic> {
    let Some(target) = &options.target else {
        return Ok(list.len() - 1);
    };
    names.get(&target.to_lowercase()).copied().ok_or_else(|| {
        let message = format!("target stage {} could not be found", quote(target));
        let titles = list.iter().map(|stage| stage.title.as_str());
        Diagnostic::new(suggest::wrap(message, target, titles))
    })
}

fn has_mounts(command: &Command) -> bool {
    matches!(command, Command::Run(run) if !run.mounts.is_empty())
}

fn refuse_circles(list: &[Stage]) -> Result<(), Diagnostic> {
    let mut visits = vec![Visit::None; list.len()];
    for (place, stage) in list.iter().enumerate() {
        if let Some(lines) = circle(list, place, &mut visits) {
            let message = format!("circular dependency detected on stage: {}", stage.title);
            return Err(Diagnostic {
                lines,
                ..Diagnostic::new(message)
            });
        }
    }
    Ok(())
}

/// What the search for circles knows of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Visit {
    /// Nothing.
    None,
    /// It is on the way to the stage looked at.
    OnWay,
    /// It leads into no circle.
    Done,
}

/// The lines that lead from `start` into a circle.
fn circle(list: &[Stage], start: Place, visits: &mut [Visit]) -> Option<Vec<SourceLines>> {
    if visits[start] == Visit::Done {
        return None;
    }
    let exits = |place: Place| {
        let exits = list[place].dependencies();
        let mut exits: Vec<_> = exits.map(|(next, lines)| (next, lines.clone())).collect();
        exits.reverse();
        (place, exits)
    };
    // The way so far: at each stage, what it still has to be left for. A loop and not a recursion, because the way can be
    // as long as the file.
    let mut way = vec![exits(start)];
    let mut taken: Vec<SourceLines> = Vec::new();
    visits[start] = Visit::OnWay;
    while let Some((place, open)) = way.last_mut() {
        let Some((next, lines)) = open.pop() else {
            visits[*place] = Visit::Done;
            way.pop();
            taken.pop();
            continue;
        };
        match visits[next] {
            Visit::Done => {}
            Visit::OnWay => {
                taken.push(lines);
                return Some(taken);
            }
            Visit::None => {
                visits[next] = Visit::OnWay;
                taken.push(lines);
                way.push(exits(next));
            }
        }
    }
    None
}

/// What the target needs, itself included: first what is no stage of the Dockerfile, then the stages in order.
fn needed(list: &[Stage], target: Place) -> Vec<Place> {
    let mut seen = vec![false; list.len()];
    seen[target] = true;
    let mut open = vec![target];
    while let Some(place) = open.pop() {
        let stage = &list[place];
        let base = match stage.base {
            Base::Stage(place) => Some(place),
            _ => None,
        };
        for next in base.into_iter().chain(stage.dependencies().map(|(next, _)| next)) {
            if !std::mem::replace(&mut seen[next], true) {
                open.push(next);
            }
        }
    }
    let mut needed: Vec<Place> = (0..list.len()).filter(|place| seen[*place]).collect();
    needed.sort_by_key(|place| !list[*place].is_foreign);
    needed
}
