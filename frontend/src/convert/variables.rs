//! ARG, ENV and LABEL: names and values.

use std::collections::BTreeSet;

use super::Scope;
use super::history::Layer;
use crate::command::{ArgPair, Pairs, Placed, Separator};
use crate::lint::stage::UNSEEN;
use crate::outline::{self, Declaration};
use crate::{Diagnostic, lint};

impl Scope<'_, '_> {
    pub(super) fn arg(&mut self, pairs: &[ArgPair], placed: &Placed) -> Result<(), Diagnostic> {
        let mut text = "ARG".to_owned();
        for ArgPair { name, default } in pairs {
            lint::stage::secret("ARG", name, &self.spot);
            let value = self.argument(name, default.as_deref())?;
            self.record_argument(name, default.as_deref(), value.as_deref(), placed);
            text.extend([" ", name]);
            if let Some(value) = &value {
                text.extend(["=", value]);
                if !UNSEEN.contains(&name.as_str()) {
                    self.state.environment.set(name, value);
                }
            }
            self.state.arguments.push((name.clone(), value));
        }
        self.remember(text, Layer::None);
        Ok(())
    }

    /// What was given, or the default, or the value of the global argument.
    fn argument(&self, name: &str, default: Option<&str>) -> Result<Option<String>, Diagnostic> {
        if let Some(given) = self.converter.globals.given.get(name) {
            return Ok(Some(given.clone()));
        }
        let globals = self.converter.globals;
        match default {
            None => Ok(globals.arguments.get(name).map(str::to_owned)),
            Some(default) => self.expand(default).map(Some),
        }
    }

    /// Notes that the stage can be given the argument. One without any value of its own is the one from above FROM.
    fn record_argument(&mut self, name: &str, default: Option<&str>, value: Option<&str>, placed: &Placed) {
        let is_given = self.converter.globals.given.contains_key(name);
        let is_from_above = default.is_none() && !is_given && self.converter.globals.arguments.get(name).is_some();
        let declaration = Declaration {
            value: value.unwrap_or_default().to_owned(),
            description: outline::description(&placed.comments, name),
            lines: placed.lines.clone(),
            needs: BTreeSet::new(),
        };
        let declaration = (!is_from_above).then_some(declaration);
        self.state.record.argument(name, declaration);
    }

    pub(super) fn env(&mut self, pairs: &Pairs) -> Result<(), Diagnostic> {
        let mut text = "ENV".to_owned();
        for (name, value) in self.expanded(&pairs.list)? {
            self.check_separator(pairs.separator);
            lint::stage::secret("ENV", &name, &self.spot);
            text.extend([" ", &name, "=", &value]);
            let line = format!("{name}={value}");
            let env = &mut self.state.config.config.env;
            match self.state.env_places.get(&name) {
                Some(place) => env[*place] = line,
                None => {
                    self.state.env_places.insert(name.clone(), env.len());
                    env.push(line);
                }
            }
            self.state.environment.set(name, value);
        }
        self.remember(text, Layer::None);
        Ok(())
    }

    fn check_separator(&self, separator: Separator) {
        if separator == Separator::Blank {
            lint::stage::legacy_pair(&self.spot);
        }
    }

    pub(super) fn label(&mut self, pairs: &Pairs) -> Result<(), Diagnostic> {
        let mut text = "LABEL".to_owned();
        for (name, value) in self.expanded(&pairs.list)? {
            self.check_separator(pairs.separator);
            text.extend([" ", &name, "=", &value]);
            self.state.config.config.labels.insert(name, value);
        }
        self.remember(text, Layer::None);
        Ok(())
    }

    /// All of one instruction see the same variables.
    fn expanded(&self, pairs: &[(String, String)]) -> Result<Vec<(String, String)>, Diagnostic> {
        pairs
            .iter()
            .map(|(name, value)| Ok((self.expand(name)?, self.expand(value)?)))
            .collect()
    }
}
