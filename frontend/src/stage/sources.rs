//! What commands read of other stages: `COPY --from`, and `from` of a RUN's mounts.

use std::ops::Range;

use super::{Place, Stage, Stages};
use crate::command::{Command, mount};
use crate::stage::Globals;
use crate::words::Expander;
use crate::{Diagnostic, Environment, Options};

/// What a command reads that is not in its own stage, as written.
struct Origin {
    /// Which of the command's readings it is: for RUN, the place of the mount.
    reading: usize,
    name: String,
    /// Whether a number is the place of a stage.
    may_be_number: bool,
}

/// All that a command reads of other stages.
fn origins(command: &Command) -> Vec<Origin> {
    match command {
        Command::Copy(copy) => {
            let origin = |name: &String| Origin {
                reading: 0,
                name: name.clone(),
                may_be_number: true,
            };
            copy.from.iter().map(origin).collect()
        }
        Command::Run(run) => {
            let origin = |(reading, mount): (usize, &mount::Written)| {
                Some(Origin {
                    reading,
                    name: mount.from.clone()?,
                    may_be_number: false,
                })
            };
            run.mounts.iter().enumerate().filter_map(origin).collect()
        }
        _ => Vec::new(),
    }
}

impl Stages {
    /// Finds what these commands of a stage read; images and contexts join the list.
    pub(super) fn connect(
        &mut self,
        place: Place,
        commands: Range<usize>,
        globals: &Globals,
        options: &Options,
    ) -> Result<(), Diagnostic> {
        for index in commands {
            let placed = &self.list[place].commands[index];
            let lines = placed.lines.clone();
            for origin in origins(&placed.command) {
                let source = self
                    .source(&origin, &globals.expander)
                    .map_err(|error| error.at(&lines))?;
                let source = match source {
                    Some(place) => place,
                    None => {
                        self.list.push(Stage::foreign(&origin.name, &lines, options)?);
                        self.foreign.insert(origin.name, self.list.len() - 1);
                        self.list.len() - 1
                    }
                };
                self.list[place].sources.insert((index, origin.reading), source);
            }
        }
        Ok(())
    }

    /// Where in the list it is, if it is there already.
    fn source(&self, origin: &Origin, expander: &Expander) -> Result<Option<Place>, Diagnostic> {
        if origin.may_be_number {
            refuse_variables(expander, &origin.name)?;
            if let Ok(number) = origin.name.parse::<i64>() {
                return self.stage_of_number(number).map(Some);
            }
        }
        let stage = self.names.get(&origin.name.to_lowercase());
        Ok(stage.or_else(|| self.foreign.get(&origin.name)).copied())
    }

    fn stage_of_number(&self, number: i64) -> Result<Place, Diagnostic> {
        usize::try_from(number)
            .ok()
            .filter(|place| *place < self.written)
            .ok_or_else(|| Diagnostic::new(format!("invalid stage index {number}")))
    }
}

fn refuse_variables(expander: &Expander, from: &str) -> Result<(), Diagnostic> {
    let expanded = expander
        .text(from, &Environment::new())
        .map_err(|error| Diagnostic::new(error.to_string()))?;
    if expanded == from {
        return Ok(());
    }
    Err(Diagnostic::new(
        "variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope as a workaround",
    ))
}
