//! The whole way: text, options and images in; definition and image configuration out.

use std::collections::{HashMap, HashSet};

use futures_util::future::join_all;
use graph::Builder;
use oci::{Fetch, ImageConfig, ImageName, Platform, ResolvedImage};

use crate::command::{Command, Placed};
use crate::convert::{self, Converter};
use crate::diagnostic::Error;
use crate::lint::{Findings, Linter};
use crate::parse::{self, Dockerfile};
use crate::stage::{Globals, Stages, WantedImage};
use crate::{Diagnostic, Options, lint, suggest, syntax};

/// A build, ready to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What to do, with a target for each image.
    pub definition: graph::Definition,
    /// The images to come, one for each platform in the order asked for.
    pub images: Vec<PlannedImage>,
    /// Whether the images are to be in an index, even a single one.
    pub multi_platform: bool,
    /// `SOURCE_DATE_EPOCH`, wherever it was set.
    pub epoch: Option<i64>,
}

/// An image to come.
#[derive(Clone, Debug)]
pub struct PlannedImage {
    /// The platform asked for.
    pub platform: Platform,
    /// Its configuration, without the layers that are still to be made and without times.
    pub config: ImageConfig,
}

/// An image for a platform.
pub(crate) type Wanted = (ImageName, Platform);

/// What the images mean that a build starts or copies from.
pub(crate) type Resolved = HashMap<Wanted, ResolvedImage>;

/// Makes a plan of a Dockerfile. Only images that the target needs are looked up, all at once. What is allowed but not
/// good goes to `findings`, for the first platform only.
///
/// # Errors
/// [`Error::Dockerfile`] for a wrong Dockerfile, [`Error::Image`] for an image that cannot be looked up.
pub async fn plan(text: &[u8], options: &Options, images: &dyn Fetch, findings: &Findings) -> Result<Plan, Error> {
    let reading = Reading::new(text, options, findings)?;
    let mut variants = Vec::new();
    for options in options.each_platform()? {
        let linter = match variants.is_empty() {
            true => reading.linter.clone(),
            false => Linter::deaf(),
        };
        let globals = reading.globals(&options, linter)?;
        let stages = Stages::new(reading.sections.clone(), &globals, &options)?;
        variants.push((options, globals, stages));
    }
    let resolved = resolve_all(&mut variants, images).await?;
    let (mut builder, mut targets, mut planned) = (Builder::new(), Vec::new(), Vec::new());
    for (options, globals, stages) in &variants {
        let mut converter = Converter::new(options, globals, stages, &resolved, &mut builder);
        converter.run()?;
        let (target, config) = converter.finish();
        targets.push(target);
        planned.push(PlannedImage {
            platform: options.target_platform().clone(),
            config,
        });
    }
    let (first, globals, _) = &variants[0];
    Ok(Plan {
        definition: builder.finish_all(targets),
        images: planned,
        multi_platform: first.multi_platform,
        epoch: globals.epoch,
    })
}

/// What makes the main context, which is not a directory of the user's: for reading the Dockerfile in it.
#[must_use]
pub fn context_definition(options: &Options) -> graph::Definition {
    let mut builder = Builder::new();
    let context = convert::remote::main_context(&mut builder, options);
    builder.finish(Some(context))
}

/// A Dockerfile, read and understood as far as that goes without knowing any variable.
pub(crate) struct Reading {
    pub(crate) dockerfile: Dockerfile,
    /// The ARGs before the first FROM.
    pub(crate) metas: Vec<Placed>,
    pub(crate) sections: Vec<Section>,
    pub(crate) linter: Linter,
}

impl Reading {
    /// Reads `text`; what shows already goes to `findings`.
    pub(crate) fn new(text: &[u8], options: &Options, findings: &Findings) -> Result<Reading, Diagnostic> {
        syntax::refuse_foreign(text, options)?;
        let linter = Linter::new(text, options, findings)?;
        Reading::with(text, linter)
    }

    /// Reads `text` whatever the rules say.
    pub(crate) fn unlinted(text: &[u8], options: &Options) -> Result<Reading, Diagnostic> {
        syntax::refuse_foreign(text, options)?;
        Reading::with(text, Linter::deaf())
    }

    fn with(text: &[u8], linter: Linter) -> Result<Reading, Diagnostic> {
        let dockerfile = parse::parse(text)?;
        lint::text::empty_continuations(&dockerfile.empty_continuations, &linter);
        let (metas, sections) = sections(&dockerfile, &linter)?;
        lint::text::sections(&sections, &linter);
        Ok(Reading {
            dockerfile,
            metas,
            sections,
            linter,
        })
    }

    /// The arguments before the first FROM, as a build with these options sees them.
    pub(crate) fn globals(&self, options: &Options, linter: Linter) -> Result<Globals, Diagnostic> {
        Globals::new(&self.metas, &self.sections, &self.dockerfile, options, linter)
    }
}

/// A stage as written.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    pub(crate) from: Placed,
    pub(crate) commands: Vec<Placed>,
}

/// The ARGs before the first FROM, and the stages.
fn sections(dockerfile: &Dockerfile, linter: &Linter) -> Result<(Vec<Placed>, Vec<Section>), Diagnostic> {
    let mut metas = Vec::new();
    let mut sections: Vec<Section> = Vec::new();
    for instruction in &dockerfile.instructions {
        lint::text::instruction(instruction, linter);
        let placed = Placed::new(instruction)?;
        lint::text::description(&placed, linter);
        match (&placed.command, sections.last_mut()) {
            (Command::From(_), _) => sections.push(Section {
                from: placed,
                commands: Vec::new(),
            }),
            (_, Some(section)) => section.commands.push(placed),
            (Command::Arg(_), None) => metas.push(placed),
            (_, None) => {
                return Err(Diagnostic::new("no build stage in current context").at(&placed.lines));
            }
        }
    }
    if sections.is_empty() {
        return Err(Diagnostic::new("dockerfile contains no stages to build"));
    }
    Ok((metas, sections))
}

/// One platform's build, before images are known and after.
type Variant = (Options, Globals, Stages);

/// Looks up all images that the targets need, and those that the triggers of these bring in, until all are known.
pub(crate) async fn resolve_all(variants: &mut [Variant], images: &dyn Fetch) -> Result<Resolved, Error> {
    let mut resolved = Resolved::new();
    loop {
        resolve(variants.iter().map(|(_, _, stages)| stages), images, &mut resolved).await?;
        let mut attached = false;
        for (options, globals, stages) in variants.iter_mut() {
            attached |= stages.attach_triggers(&resolved, globals, options)?;
        }
        if !attached {
            return Ok(resolved);
        }
    }
}

/// Looks up those images that the targets need and that are not known yet, each once.
async fn resolve<'a>(
    all: impl Iterator<Item = &'a Stages>,
    images: &dyn Fetch,
    resolved: &mut Resolved,
) -> Result<(), Error> {
    let mut wanted: Vec<(WantedImage, &'a Stages)> = Vec::new();
    let mut seen: HashSet<Wanted> = resolved.keys().cloned().collect();
    for stages in all {
        for image in stages.images() {
            if seen.insert(image.wanted.clone()) {
                wanted.push((image, stages));
            }
        }
    }
    let answers = wanted
        .iter()
        .map(|(image, _)| images.resolve(&image.wanted.0, &image.wanted.1));
    let answers = join_all(answers).await;
    for ((image, stages), answer) in wanted.into_iter().zip(answers) {
        let found = answer.map_err(|source| Error::Image {
            hint: near(&image.written, stages),
            image: image.written.clone(),
            lines: Some(image.lines.clone()),
            source: Box::new(source),
        })?;
        resolved.insert(image.wanted, found);
    }
    Ok(())
}

/// Images that people mean when they mistype them.
const COMMON: [&str; 7] = ["alpine", "busybox", "centos", "debian", "golang", "ubuntu", "fedora"];

fn near(written: &str, stages: &Stages) -> Option<String> {
    let names = stages.names().chain(COMMON);
    suggest::nearest(written, names).map(|name| format!("did you mean {name}?"))
}
