//! ARG, ENV and LABEL: names and values.

use super::history::Layer;
use super::{Scope, refuse_word};
use crate::Diagnostic;
use crate::command::ArgPair;
use crate::environment::split;

/// Arguments that say something to the builder and nothing to processes.
const UNSEEN: [&str; 2] = ["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];

impl Scope<'_, '_> {
    pub(super) fn arg(&mut self, pairs: &[ArgPair]) -> Result<(), Diagnostic> {
        let mut text = "ARG".to_owned();
        for ArgPair { name, default } in pairs {
            let value = self.argument(name, default.as_deref())?;
            text = format!("{text} {name}");
            if let Some(value) = &value {
                text = format!("{text}={value}");
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
        if let Some(given) = self.converter.options.build_args.get(name) {
            return Ok(Some(given.clone()));
        }
        let globals = self.converter.globals;
        match default {
            None => Ok(globals.arguments.get(name).map(str::to_owned)),
            Some(default) => globals
                .expander
                .text(default, &self.state.environment)
                .map(Some)
                .map_err(refuse_word),
        }
    }

    pub(super) fn env(&mut self, pairs: &[(String, String)]) -> Result<(), Diagnostic> {
        let mut text = "ENV".to_owned();
        for (name, value) in self.expanded(pairs)? {
            text = format!("{text} {name}={value}");
            let line = format!("{name}={value}");
            let env = &mut self.state.config.config.env;
            match env.iter_mut().find(|existing| split(existing).0 == name) {
                Some(existing) => *existing = line,
                None => env.push(line),
            }
            self.state.environment.set(name, value);
        }
        self.remember(text, Layer::None);
        Ok(())
    }

    pub(super) fn label(&mut self, pairs: &[(String, String)]) -> Result<(), Diagnostic> {
        let mut text = "LABEL".to_owned();
        for (name, value) in self.expanded(pairs)? {
            text = format!("{text} {name}={value}");
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
