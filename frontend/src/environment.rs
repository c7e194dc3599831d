//! Variables: what `$NAME` means, and what a process sees.

/// Variables in the order in which they were last set, as BuildKit passes them to processes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment(Vec<(String, String)>);

impl Environment {
    /// An environment with nothing in it.
    #[must_use]
    pub fn new() -> Environment {
        Environment::default()
    }

    /// Sets a variable; one of that name loses its place.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        let name = name.into();
        self.0.retain(|(existing, _)| *existing != name);
        self.0.push((name, value.into()));
    }

    /// Takes a variable away.
    pub fn unset(&mut self, name: &str) {
        self.0.retain(|(existing, _)| existing != name);
    }

    /// The value of a variable.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(existing, _)| existing == name)
            .map(|(_, value)| value.as_str())
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Each as `NAME=value`.
    #[must_use]
    pub fn to_lines(&self) -> Vec<String> {
        self.iter().map(|(name, value)| format!("{name}={value}")).collect()
    }
}

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
