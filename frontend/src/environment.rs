//! Variables: what `$NAME` means, and what a process sees.

use std::collections::{BTreeMap, HashMap};

/// Variables in the order in which they were last set, as BuildKit passes them to processes.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// The value of each, and when it was set.
    values: HashMap<String, (u64, String)>,
    /// Their names by when they were set.
    order: BTreeMap<u64, String>,
    next: u64,
}

impl Environment {
    /// An environment with nothing in it.
    #[must_use]
    pub fn new() -> Environment {
        Environment::default()
    }

    /// Sets a variable; one of that name loses its place.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        let name = name.into();
        if let Some((before, _)) = self.values.insert(name.clone(), (self.next, value.into())) {
            self.order.remove(&before);
        }
        self.order.insert(self.next, name);
        self.next += 1;
    }

    /// Takes a variable away.
    pub fn unset(&mut self, name: &str) {
        if let Some((place, _)) = self.values.remove(name) {
            self.order.remove(&place);
        }
    }

    /// The value of a variable.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(|(_, value)| value.as_str())
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.order
            .values()
            .map(|name| (name.as_str(), self.values[name].1.as_str()))
    }

    /// Each as `NAME=value`.
    #[must_use]
    pub fn to_lines(&self) -> Vec<String> {
        self.iter().map(|(name, value)| format!("{name}={value}")).collect()
    }
}

impl PartialEq for Environment {
    fn eq(&self, other: &Environment) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Environment {}

/// Splits `NAME=value`; without `=` the value is empty.
pub(crate) fn split(line: &str) -> (&str, &str) {
    line.split_once('=').unwrap_or((line, ""))
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Environment {
        let mut environment = Environment::new();
        for (name, value) in pairs {
            environment.set(name, value);
        }
        environment
    }
}
