//! What a target can be given: arguments, secrets and SSH agents, those of the stages it needs included; and the list of
//! targets. Nothing is looked up or built for the list.

use std::collections::{BTreeMap, BTreeSet};

use graph::SourceLines;

use crate::command::{Command, Placed};
use crate::convert::Converter;
use crate::stage::{Base, Place};

/// What a target can be given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outline {
    /// The stage's name; empty if it has none.
    pub name: String,
    /// What the comment above it says.
    pub description: String,
    /// In the order in which they stand.
    pub arguments: Vec<Argument>,
    /// In the order in which they stand.
    pub secrets: Vec<Demand>,
    /// In the order in which they stand.
    pub agents: Vec<Demand>,
}

/// An argument of a build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument {
    /// Its name.
    pub name: String,
    /// Its value as things are; empty if it has none.
    pub value: String,
    /// What the comment above it says.
    pub description: String,
    /// Where it is declared.
    pub lines: SourceLines,
}

/// A secret or an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand {
    /// Its id.
    pub name: String,
    /// Whether the build fails without it.
    pub is_required: bool,
    /// Where it is first asked for.
    pub lines: SourceLines,
}

/// A stage that can be built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its name; empty if it has none.
    pub name: String,
    /// Whether it is built if no other is named.
    pub is_default: bool,
    /// What the comment above it says.
    pub description: String,
    /// What it is based on, variables not replaced.
    pub base: String,
    /// Its platform, variables not replaced; empty if none is named.
    pub platform: String,
    /// Where it begins.
    pub lines: SourceLines,
}

impl Target {
    pub(crate) fn of(from: &Placed, is_default: bool) -> Option<Target> {
        let Command::From(stage) = &from.command else {
            return None;
        };
        let name = stage.name.clone().unwrap_or_default();
        Some(Target {
            is_default,
            description: description(&from.comments, &name),
            base: stage.image.clone(),
            platform: stage.platform.clone().unwrap_or_default(),
            lines: from.lines.clone(),
            name,
        })
    }
}

/// What stands behind `name` in the first of the comments that begins with it.
pub(crate) fn description(comments: &[String], name: &str) -> String {
    let of_name = |comment: &String| Some(comment.strip_prefix(name)?.strip_prefix(' ')?.to_owned());
    match name {
        "" => String::new(),
        _ => comments.iter().find_map(of_name).unwrap_or_default(),
    }
}

/// A declaration: what an [`Argument`] is made of, and the arguments that its value is made of.
#[derive(Clone, Debug)]
pub(crate) struct Declaration {
    pub(crate) value: String,
    pub(crate) description: String,
    pub(crate) lines: SourceLines,
    pub(crate) needs: BTreeSet<String>,
}

/// What a stage asks for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record {
    pub(crate) used: BTreeSet<String>,
    pub(crate) declared: BTreeMap<String, Declaration>,
    pub(crate) secrets: Vec<Demand>,
    pub(crate) agents: Vec<Demand>,
}

impl Record {
    /// Notes that the argument `name` is used, and how the stage declares it, unless it has it from above.
    pub(crate) fn argument(&mut self, name: &str, declaration: Option<Declaration>) {
        self.used.insert(name.to_owned());
        if let Some(declaration) = declaration {
            self.declared.insert(name.to_owned(), declaration);
        }
    }
}

/// Notes a secret or an agent, the first time.
pub(crate) fn demand(list: &mut Vec<Demand>, name: &str, is_required: bool, lines: &SourceLines) {
    if list.iter().all(|known| known.name != name) {
        list.push(Demand {
            name: name.to_owned(),
            is_required,
            lines: lines.clone(),
        });
    }
}

impl Converter<'_> {
    /// The outline of the target, once everything it needs is converted.
    pub(crate) fn outline(&self) -> Outline {
        let target = &self.stages().list[self.stages().target];
        let mut outline = Outline {
            name: target.name.clone(),
            description: target.description.clone(),
            ..Outline::default()
        };
        let mut seen = BTreeSet::new();
        let below = self.bases_with_arguments();
        for place in self.lineage(self.stages().target) {
            self.add_arguments(place, &below, &mut seen, &mut outline.arguments);
            let Some(record) = self.record(place) else { continue };
            for (from, to) in [
                (&record.secrets, &mut outline.secrets),
                (&record.agents, &mut outline.agents),
            ] {
                for found in from {
                    demand(to, &found.name, found.is_required, &found.lines);
                }
            }
        }
        // Within a line by name: a fixed order, where BuildKit has any.
        let place = |argument: &Argument| (argument.lines.0.start, argument.name.clone());
        outline.arguments.sort_by_key(place);
        outline.secrets.sort_by_key(|demand| demand.lines.0.start);
        outline.agents.sort_by_key(|demand| demand.lines.0.start);
        outline
    }

    /// The stage, what it is based on, and what it reads, again and again.
    fn lineage(&self, start: Place) -> Vec<Place> {
        let list = &self.stages().list;
        let mut seen = vec![false; list.len()];
        let mut open = vec![start];
        let mut order = Vec::new();
        while let Some(place) = open.pop() {
            if std::mem::replace(&mut seen[place], true) {
                continue;
            }
            order.push(place);
            let mut next: Vec<Place> = list[place].dependencies().map(|(next, _)| next).collect();
            next.reverse();
            open.append(&mut next);
            if let Base::Stage(base) = list[place].base {
                open.push(base);
            }
        }
        order
    }

    /// For each stage the nearest of those it is based on whose FROM uses an argument.
    fn bases_with_arguments(&self) -> Vec<Option<Place>> {
        let list = &self.stages().list;
        let mut below: Vec<Option<Place>> = vec![None; list.len()];
        for (place, stage) in list.iter().enumerate() {
            // A base stands above what is based on it.
            below[place] = match stage.base {
                Base::Stage(base) if list[base].used.is_empty() => below[base],
                Base::Stage(base) => Some(base),
                _ => None,
            };
        }
        below
    }

    fn add_arguments(
        &self,
        place: Place,
        below: &[Option<Place>],
        seen: &mut BTreeSet<String>,
        arguments: &mut Vec<Argument>,
    ) {
        let empty = Record::default();
        let record = self.record(place).unwrap_or(&empty);
        let declared = |name: &str| record.declared.get(name).or_else(|| self.globals().declared.get(name));
        let mut open: Vec<&str> = record.used.iter().map(String::as_str).collect();
        let mut next = Some(place);
        while let Some(place) = next {
            let stage = &self.stages().list[place];
            open.extend(stage.used.iter().map(String::as_str));
            next = below[place];
        }
        let mut visited = BTreeSet::new();
        while let Some(name) = open.pop() {
            if !visited.insert(name) {
                continue;
            }
            let Some(declaration) = declared(name) else { continue };
            open.extend(declaration.needs.iter().map(String::as_str));
            if seen.insert(name.to_owned()) {
                arguments.push(Argument {
                    name: name.to_owned(),
                    value: declaration.value.clone(),
                    description: declaration.description.clone(),
                    lines: declaration.lines.clone(),
                });
            }
        }
    }
}
