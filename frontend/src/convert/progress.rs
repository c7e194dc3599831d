//! What progress calls a step: `[build 2/4] RUN make`.

use graph::Metadata;

use super::Scope;
use crate::Environment;
use crate::command::{Command, Placed};
use crate::stage::{Base, Stage};
use crate::words::Expander;

/// Counts the steps of a stage: its FROM unless that is another stage or nothing, RUN, COPY, ADD and WORKDIR.
#[derive(Clone, Debug)]
pub(super) struct Counter {
    title: String,
    done: usize,
    total: usize,
}

impl Counter {
    pub(super) fn new(stage: &Stage) -> Counter {
        let counted = |placed: &&Placed| {
            matches!(
                placed.command,
                Command::Run(_) | Command::Copy(_) | Command::Add(_) | Command::Workdir(_)
            )
        };
        let from = match &stage.base {
            // What is only copied from has no steps at all.
            _ if stage.is_foreign => 0,
            Base::Stage(_) | Base::Scratch => 0,
            Base::Local { .. } | Base::Image { .. } => 1,
        };
        Counter {
            title: stage.title.clone(),
            done: 0,
            total: from + stage.commands.iter().filter(counted).count(),
        }
    }

    /// The next step's name.
    pub(super) fn name(&mut self, text: &str) -> String {
        if self.total == 0 {
            return text.to_owned();
        }
        self.done += 1;
        let Counter { title, done, total } = self;
        let width = total.to_string().len();
        let title = if title.is_empty() {
            String::new()
        } else {
            format!("{title} ")
        };
        format!("[{title}{done:width$}/{total}] {text}")
    }
}

impl Scope<'_, '_> {
    /// What people are told of a step whose instruction is `placed`; `components` are the instruction's own.
    pub(super) fn metadata(
        &mut self,
        placed: &Placed,
        expander: &Expander,
        components: Vec<(String, String)>,
    ) -> Metadata {
        let environment = self.state.environment.clone();
        Metadata {
            name: self.step_name(&placed.code, expander, &environment),
            lines: Some(placed.lines.clone()),
            ignore_cache: false,
            components,
        }
    }

    /// The next step's name: the instruction in upper case, its variables replaced.
    pub(super) fn step_name(&mut self, code: &str, expander: &Expander, environment: &Environment) -> String {
        let text = expander.text(code, environment).unwrap_or_else(|_| code.to_owned());
        let text = match text.split_once(' ') {
            Some((name, rest)) => format!("{} {rest}", name.to_uppercase()),
            None => text.to_uppercase(),
        };
        self.progress.name(&text)
    }
}
