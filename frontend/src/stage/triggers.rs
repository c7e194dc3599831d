//! Triggers: what ONBUILD of a base left to be done by those who build on it.
//!
//! A trigger is an instruction of the stage that is based on it, done before all others, once: what builds on that stage
//! does not inherit it. The triggers of an image are known when the image has been looked up; they can bring in further
//! images, whose triggers again are known only later. So this goes in rounds, until one adds nothing.

use super::{Base, Globals, Place, Stages, refuse_circles};
use crate::command::{Command, Placed};
use crate::plan::Resolved;
use crate::{Diagnostic, Options};

/// More than anyone wants; a few lines could ask for billions.
const MOST: usize = 1 << 16;

impl Stages {
    /// Puts the triggers of those bases that are known by now before the commands of the stages on them. Whether there were
    /// any; then the target may need more images than before.
    pub(crate) fn attach_triggers(
        &mut self,
        resolved: &Resolved,
        globals: &Globals,
        options: &Options,
    ) -> Result<bool, Diagnostic> {
        let mut attached = false;
        for place in self.needed.clone() {
            let stage = &self.list[place];
            if !stage.awaits_triggers {
                continue;
            }
            let Some(texts) = self.triggers_of(&stage.base, resolved) else {
                continue;
            };
            attached |= !texts.is_empty();
            self.list[place].awaits_triggers = false;
            self.attach(place, &texts)
                .and_then(|()| self.connect(place, 0..texts.len(), globals, options))
                .map_err(|error| Diagnostic {
                    lines: vec![self.list[place].lines.clone()],
                    ..error
                })?;
        }
        if attached {
            refuse_circles(&self.list)?;
            self.find_needed();
        }
        Ok(attached)
    }

    /// The triggers that a base leaves, as they were written; `None` while that is not known.
    fn triggers_of(&self, base: &Base, resolved: &Resolved) -> Option<Vec<String>> {
        match base {
            Base::Image { wanted, .. } => {
                let image = resolved.get(wanted)?;
                Some(image.config.config.on_build.clone())
            }
            Base::Stage(place) if self.list[*place].awaits_triggers => None,
            Base::Stage(place) => {
                let texts = self.list[*place]
                    .commands
                    .iter()
                    .filter_map(|placed| match &placed.command {
                        Command::Onbuild(trigger) => Some(trigger.clone()),
                        _ => None,
                    });
                Some(texts.collect())
            }
            Base::Scratch | Base::Local { .. } | Base::Remote { .. } => Some(Vec::new()),
        }
    }

    /// Puts the triggers before the commands of a stage.
    fn attach(&mut self, place: Place, texts: &[String]) -> Result<(), Diagnostic> {
        self.triggers += texts.len();
        if self.triggers > MOST {
            return Err(Diagnostic::new(format!(
                "more than {MOST} ONBUILD triggers are to be run"
            )));
        }
        let stage = &mut self.list[place];
        let triggers = texts.iter().map(|text| {
            Placed::trigger(text, &stage.lines).map_err(|error| Diagnostic {
                hint: Some(format!("its base left this to be done here: ONBUILD {}", shown(text))),
                ..error
            })
        });
        let mut commands = triggers.collect::<Result<Vec<_>, _>>()?;
        commands.append(&mut stage.commands);
        stage.commands = commands;
        let moved = std::mem::take(&mut stage.sources).into_iter();
        stage.sources = moved
            .map(|((index, reading), source)| ((index + texts.len(), reading), source))
            .collect();
        Ok(())
    }
}

/// As much of a trigger as tells which one it is.
fn shown(text: &str) -> String {
    let mut characters = text.lines().next().unwrap_or_default().chars();
    let begin: String = characters.by_ref().take(80).collect();
    match characters.next() {
        Some(_) => begin + "…",
        None => begin,
    }
}
