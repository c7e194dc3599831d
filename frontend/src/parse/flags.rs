//! Flags of instructions: which there are, and what was given.

use crate::Diagnostic;
use crate::suggest;

/// What a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `--x`, `--x=true` or `--x=false`.
    Switch,
    /// `--x=value`, once.
    Value,
    /// `--x=value`, as often as one likes.
    Values,
}

/// A flag that an instruction knows.
pub(crate) type Flag = (&'static str, Kind);

/// The flags given, all of them known and well formed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flags(Vec<(&'static str, String)>);

impl Flags {
    /// Checks `given` against `known`.
    pub(crate) fn read(given: &[String], known: &[Flag]) -> Result<Flags, Diagnostic> {
        let mut flags = Flags::default();
        for word in given {
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (word.as_str(), None),
            };
            let bare = &name[2..];
            let Some((known, kind)) = known.iter().find(|(known, _)| *known == bare) else {
                let message = format!("unknown flag: {name}");
                let names = known.iter().map(|(name, _)| *name);
                return Err(Diagnostic::new(suggest::wrap(message, bare, names)));
            };
            if *kind != Kind::Values && flags.value(known).is_some() {
                return Err(Diagnostic::new(format!("duplicate flag specified: {name}")));
            }
            flags.0.push((known, checked(name, value, *kind)?));
        }
        Ok(flags)
    }

    /// The value given for a flag that takes one.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.values(name).next()
    }

    /// All values given for a flag that takes several.
    pub(crate) fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter(move |(given, _)| *given == name)
            .map(|(_, value)| value.as_str())
    }

    /// What a switch was set to, if it was.
    pub(crate) fn switch(&self, name: &str) -> Option<bool> {
        self.value(name).map(|value| value == "true")
    }
}

/// The value in the form in which it is kept.
fn checked(name: &str, value: Option<&str>, kind: Kind) -> Result<String, Diagnostic> {
    let missing = || Diagnostic::new(format!("missing a value on flag: {name}"));
    if kind != Kind::Switch {
        return value.map(str::to_owned).ok_or_else(missing);
    }
    match value.map(str::to_ascii_lowercase).as_deref() {
        None | Some("true") => Ok("true".to_owned()),
        Some("false") => Ok("false".to_owned()),
        Some("") => Err(missing()),
        Some(_) => {
            let value = value.unwrap_or_default();
            let message = format!("expecting boolean value for flag {name}, not: {value}");
            Err(Diagnostic::new(message))
        }
    }
}
