//! Files in TOML, read key by key, so that every complaint and every answer names the line it comes from. Keys that
//! nobody asks for are ignored, as the owners of these formats do.

use std::io;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use crate::error::Error;

/// A table of a file.
#[derive(Clone, Copy)]
pub(super) struct Table<'a> {
    path: &'a Path,
    text: &'a str,
    entries: &'a DeTable<'a>,
    position: usize,
}

/// Reads the file at `path` and gives it to `read`; nothing if there is none, or none that we may look at.
pub(super) fn read<T>(path: &Path, read: impl FnOnce(Table<'_>) -> Result<T, Error>) -> Result<Option<T>, Error> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if is_absence(&error) => return Ok(None),
        Err(error) => return Err(complaint(path, 1, error.to_string())),
    };
    let document = DeTable::parse(&text).map_err(|error| {
        let position = error.span().map_or(0, |span| span.start);
        complaint(path, line_of(&text, position), error.message().to_owned())
    })?;
    let table = Table {
        path,
        text: &text,
        entries: document.get_ref(),
        position: 0,
    };
    read(table).map(Some)
}

/// Whether a file counts as not there: what this user may not see is not meant for them.
pub(super) fn is_absence(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::PermissionDenied
    )
}

impl<'a> Table<'a> {
    /// Where it is, for people.
    pub(super) fn place(&self) -> String {
        format!("`{}` line {}", self.path.display(), line_of(self.text, self.position))
    }

    /// A path of the file, which counts from the folder that the file is in.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("/")).join(name)
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<String>, Error> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let text = value.get_ref().as_str();
        text.map(|text| Some(text.to_owned()))
            .ok_or_else(|| self.wrong(key, value.span().start, "a string"))
    }

    pub(super) fn is_set(&self, key: &str) -> Result<bool, Error> {
        let Some(value) = self.get(key) else { return Ok(false) };
        let truth = value.get_ref().as_bool();
        truth.ok_or_else(|| self.wrong(key, value.span().start, "true or false"))
    }

    /// One string, or several.
    pub(super) fn texts(&self, key: &str) -> Result<Option<Vec<String>>, Error> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let wrong = || self.wrong(key, value.span().start, "a string or a list of strings");
        match value.get_ref() {
            DeValue::String(text) => Ok(Some(vec![text.to_string()])),
            DeValue::Array(values) => {
                let texts = values.iter().map(|value| value.get_ref().as_str().map(str::to_owned));
                texts.collect::<Option<_>>().map(Some).ok_or_else(wrong)
            }
            _ => Err(wrong()),
        }
    }

    /// One string, or a list whose members are strings or lists of strings.
    pub(super) fn groups(&self, key: &str) -> Result<Vec<Vec<String>>, Error> {
        let Some(value) = self.get(key) else {
            return Ok(Vec::new());
        };
        let wrong = || {
            self.wrong(
                key,
                value.span().start,
                "a string, or a list of strings or of pairs of strings",
            )
        };
        let strings = |value: &DeValue<'_>| match value {
            DeValue::String(text) => Some(vec![text.to_string()]),
            DeValue::Array(values) => {
                let texts = values.iter().map(|value| value.get_ref().as_str().map(str::to_owned));
                texts.collect()
            }
            _ => None,
        };
        match value.get_ref() {
            DeValue::Array(values) => {
                let groups = values.iter().map(|value| strings(value.get_ref()));
                groups.collect::<Option<_>>().ok_or_else(wrong)
            }
            one => strings(one).map(|group| vec![group]).ok_or_else(wrong),
        }
    }

    pub(super) fn table(&self, key: &str) -> Result<Option<Table<'a>>, Error> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value.get_ref() {
            DeValue::Table(entries) => Ok(Some(self.inner(entries, value.span().start))),
            _ => Err(self.wrong(key, value.span().start, "a table")),
        }
    }

    /// The tables under `[[key]]`.
    pub(super) fn list(&self, key: &str) -> Result<Vec<Table<'a>>, Error> {
        let Some(value) = self.get(key) else {
            return Ok(Vec::new());
        };
        let wrong = || self.wrong(key, value.span().start, "a list of tables");
        let members = value.get_ref().as_array().ok_or_else(wrong)?.iter();
        let tables = members.map(|member| {
            let entries = member.get_ref().as_table()?;
            Some(self.inner(entries, member.span().start))
        });
        tables.collect::<Option<_>>().ok_or_else(wrong)
    }

    /// The tables in this one with their names, in the order of the file.
    pub(super) fn named(&self) -> Result<Vec<(String, Table<'a>)>, Error> {
        let mut found = Vec::new();
        for (name, value) in self.entries {
            let position = name.span().start;
            let Some(entries) = value.get_ref().as_table() else {
                return Err(self.wrong(name.get_ref(), position, "a table"));
            };
            found.push((name.get_ref().to_string(), self.inner(entries, position)));
        }
        found.sort_by_key(|(_, table)| table.position);
        Ok(found)
    }

    /// The names in this table.
    pub(super) fn keys(&self) -> impl Iterator<Item = &'a str> {
        self.entries.keys().map(|key| key.get_ref().as_ref())
    }

    /// Says what is wrong here.
    pub(super) fn complain(&self, reason: impl Into<String>) -> Error {
        complaint(self.path, line_of(self.text, self.position), reason.into())
    }

    fn get(&self, key: &str) -> Option<&'a toml::Spanned<DeValue<'a>>> {
        let found = self.entries.iter().find(|(name, _)| name.get_ref().as_ref() == key);
        found.map(|(_, value)| value)
    }

    fn inner(&self, entries: &'a DeTable<'a>, position: usize) -> Table<'a> {
        Table {
            entries,
            position,
            ..*self
        }
    }

    fn wrong(&self, key: &str, position: usize, expected: &str) -> Error {
        complaint(
            self.path,
            line_of(self.text, position),
            format!("`{key}` is not {expected}"),
        )
    }
}

fn line_of(text: &str, position: usize) -> usize {
    text.bytes().take(position).filter(|byte| *byte == b'\n').count() + 1
}

fn complaint(path: &Path, line: usize, reason: String) -> Error {
    Error::Configuration {
        path: path.to_owned(),
        line,
        reason,
    }
}
