//! Questions about a Dockerfile that need no build: what is wrong with it, what it can be given, what can be built.
//!
//! They are asked for the builder's own platform, whatever platforms a build is to be for, as BuildKit does.

use graph::Builder;
use oci::Fetch;

use crate::convert::Converter;
use crate::diagnostic::Error;
use crate::lint::Findings;
use crate::outline::{Outline, Target};
use crate::plan::{Reading, Resolved, resolve_all};
use crate::stage::{Globals, Stages};
use crate::{Diagnostic, Options};

/// Looks for everything that a rule has something against: in all stages, unless a target is named. Base images are
/// looked up.
///
/// # Errors
/// What would keep the Dockerfile from being built; what was found before is in `findings`.
pub async fn check(text: &[u8], options: &Options, images: &dyn Fetch, findings: &Findings) -> Result<(), Error> {
    let reach = match options.target {
        None => Reach::All,
        Some(_) => Reach::Target,
    };
    let survey = Survey::new(text, options, images, findings, reach).await?;
    survey.convert()?;
    Ok(())
}

/// What the target can be given. Base images are looked up.
///
/// # Errors
/// What would keep the target from being built.
pub async fn outline(
    text: &[u8],
    options: &Options,
    images: &dyn Fetch,
    findings: &Findings,
) -> Result<Outline, Error> {
    let survey = Survey::new(text, options, images, findings, Reach::Target).await?;
    Ok(survey.convert()?)
}

/// The stages, in order. Nothing is looked up, no variable replaced and no rule asked.
///
/// # Errors
/// For text that is no Dockerfile.
pub fn targets(text: &[u8], options: &Options) -> Result<Vec<Target>, Diagnostic> {
    let reading = Reading::unlinted(text, options)?;
    let last = reading.sections.len().saturating_sub(1);
    let sections = reading.sections.iter().enumerate();
    Ok(sections
        .filter_map(|(index, section)| Target::of(&section.from, index == last))
        .collect())
}

/// Which stages are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// Those the target needs.
    Target,
    /// All.
    All,
}

/// A Dockerfile of which everything is known that can be known without building it.
struct Survey {
    options: Options,
    globals: Globals,
    stages: Stages,
    resolved: Resolved,
}

impl Survey {
    async fn new(
        text: &[u8],
        options: &Options,
        images: &dyn Fetch,
        findings: &Findings,
        reach: Reach,
    ) -> Result<Survey, Error> {
        let reading = Reading::new(text, options, findings)?;
        let options = Options {
            platforms: Vec::new(),
            multi_platform: false,
            ..options.clone()
        };
        let globals = reading.globals(&options, reading.linter.clone())?;
        let mut stages = Stages::new(reading.sections, &globals, &options)?;
        if reach == Reach::All {
            stages = stages.all_needed();
        }
        let mut variants = [(options, globals, stages)];
        let resolved = resolve_all(&mut variants, images).await?;
        let [(options, globals, stages)] = variants;
        Ok(Survey {
            options,
            globals,
            stages,
            resolved,
        })
    }

    fn convert(&self) -> Result<Outline, Diagnostic> {
        let mut builder = Builder::new();
        let mut converter = Converter::new(&self.options, &self.globals, &self.stages, &self.resolved, &mut builder);
        converter.run()?;
        Ok(converter.outline())
    }
}
