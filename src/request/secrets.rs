//! `--secret`: what only processes that ask for it get to see, in a file or in a variable.

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use solver::Secret;

use crate::environment::Environment;
use crate::error::CommandError;

/// The largest a secret may be, in bytes.
const LARGEST: u64 = 500 * 1024;

/// One value of the flag.
#[derive(Debug, Default)]
struct Typed {
    id: String,
    path: String,
    variable: String,
}

/// The secrets by their names; of two of one name the later counts.
pub(super) fn resolve(typed: &[String], environment: &Environment) -> Result<HashMap<String, Secret>, CommandError> {
    let mut secrets = HashMap::new();
    for text in typed {
        let typed = Typed::read(text).map_err(CommandError::usage)?;
        let secret = typed.find(environment).map_err(CommandError::usage)?;
        secrets.insert(typed.id, secret);
    }
    Ok(secrets)
}

impl Typed {
    fn read(text: &str) -> Result<Typed, String> {
        let mut typed = Typed::default();
        let mut is_variable = false;
        for field in export::split_fields(text)? {
            let (key, value) = field
                .split_once('=')
                .ok_or_else(|| format!("invalid field '{field}' must be a key=value pair"))?;
            match key.to_lowercase().as_str() {
                "type" => match value {
                    "file" | "env" => is_variable = value == "env",
                    _ => return Err(format!("unsupported secret type {value:?}")),
                },
                "id" => value.clone_into(&mut typed.id),
                "source" | "src" => value.clone_into(&mut typed.path),
                "env" => value.clone_into(&mut typed.variable),
                key => return Err(format!("unexpected key '{key}' in '{field}'")),
            }
        }
        if is_variable && typed.variable.is_empty() {
            typed.variable = std::mem::take(&mut typed.path);
        }
        if typed.id.is_empty() {
            return Err("secret missing ID".to_owned());
        }
        Ok(typed)
    }

    /// Where it is. If nothing says so, in the variable of its name, or else in the file of its name.
    fn find(&self, environment: &Environment) -> Result<Secret, String> {
        let silent = self.path.is_empty() && self.variable.is_empty();
        let by_name = silent && environment.raw(&self.id).is_some();
        let (variable, path) = match (by_name, silent) {
            (true, _) => (&self.id, &self.path),
            (false, true) => (&self.variable, &self.id),
            (false, false) => (&self.variable, &self.path),
        };
        let path = (!path.is_empty()).then(|| environment.absolute(Path::new(path)));
        if let Some(path) = &path {
            let file =
                std::fs::metadata(path).map_err(|error| format!("failed to stat {}: {error}", path.display()))?;
            if file.len() > LARGEST {
                return Err(format!("secret {} too big. max size 500KiB", self.id));
            }
        }
        Ok(match path {
            Some(path) if variable.is_empty() => Secret::File(path),
            _ => {
                let value = environment.raw(variable).unwrap_or_default();
                Secret::Value(sandbox::Secret(value.as_bytes().to_vec()))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_where_it_is_said_to_be_or_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        for file in ["s", "f"] {
            std::fs::write(folder.path().join(file), file).unwrap();
        }
        let environment = Environment::of(folder.path(), &[("V", "value"), ("E", "")]);
        let found = |text: &str| match resolve(&[text.to_owned()], &environment) {
            Ok(secrets) => match secrets.into_values().next().unwrap() {
                Secret::File(path) => path.file_name().unwrap().to_str().unwrap().to_owned(),
                Secret::Value(value) => format!("={}", String::from_utf8(value.0).unwrap()),
            },
            Err(error) => error.message().to_owned(),
        };
        for (text, expected) in [
            ("id=a,src=f", "f"),
            ("type=file,id=a,source=f", "f"),
            ("id=s", "s"),
            ("id=V", "=value"),
            ("id=E", "="),
            ("id=a,env=V", "=value"),
            ("id=a,env=NOPE", "="),
            ("type=env,id=a,src=V", "=value"),
            ("id=s,type=env", "s"),
            ("src=f", "secret missing ID"),
            ("id=a,type=x", "unsupported secret type \"x\""),
            ("id=a,foo=1", "unexpected key 'foo' in 'foo=1'"),
            ("nope", "invalid field 'nope' must be a key=value pair"),
        ] {
            assert_eq!(found(text), expected, "{text}");
        }
        assert!(found("id=nope").starts_with("failed to stat "));
    }

    #[test]
    fn a_secret_is_not_shown() {
        let environment = Environment::of(Path::new("/"), &[("V", "hush")]);
        let secrets = resolve(&["id=V".to_owned()], &environment).unwrap();
        assert!(!format!("{secrets:?}").contains("104"));
    }
}
