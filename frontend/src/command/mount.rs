//! `--mount` of RUN: a line of comma-separated values, `key=value` or a bare key.
//!
//! Variables may stand in values, so most of it can be read only when they are known; but not in `from`, because it decides
//! which stages there are to be made.

use graph::Sharing;

use super::csv;
use crate::quote::quote;
use crate::{Diagnostic, suggest};

const KEYS: [&str; 19] = [
    "type",
    "from",
    "source",
    "target",
    "readonly",
    "id",
    "sharing",
    "required",
    "size",
    "mode",
    "uid",
    "gid",
    "src",
    "dst",
    "destination",
    "ro",
    "rw",
    "readwrite",
    "env",
];
const KINDS: [(&str, Kind); 5] = [
    ("bind", Kind::Bind),
    ("cache", Kind::Cache),
    ("tmpfs", Kind::Tmpfs),
    ("secret", Kind::Secret),
    ("ssh", Kind::Ssh),
];
const SHARINGS: [(&str, Sharing); 3] = [
    ("shared", Sharing::Shared),
    ("private", Sharing::Private),
    ("locked", Sharing::Locked),
];

/// A mount as it stands in the Dockerfile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    /// All of it.
    pub(crate) text: String,
    /// Where its files come from: a stage, a context or an image.
    pub(crate) from: Option<String>,
}

/// A mount with its variables replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) kind: Kind,
    pub(crate) from: String,
    pub(crate) source: String,
    pub(crate) target: String,
    /// `None` if it does not say.
    pub(crate) read_only: Option<bool>,
    pub(crate) id: String,
    pub(crate) sharing: Option<Sharing>,
    pub(crate) required: bool,
    pub(crate) size: Option<u64>,
    pub(crate) mode: Option<u32>,
    pub(crate) user: Option<u32>,
    pub(crate) group: Option<u32>,
    pub(crate) variable: Option<String>,
}

/// What is mounted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Kind {
    #[default]
    Bind,
    Cache,
    Tmpfs,
    Secret,
    Ssh,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        KINDS[self as usize].0
    }
}

impl Written {
    /// Reads what does not depend on variables.
    pub(super) fn new(text: &str) -> Result<Written, Diagnostic> {
        let mut from = None;
        for field in csv::fields(text)? {
            let Some((key, value)) = field.split_once('=') else {
                continue;
            };
            if !key.eq_ignore_ascii_case("from") {
                continue;
            }
            if value.find('$').is_some_and(|place| place + 1 != value.len()) {
                return Err(Diagnostic::new(format!(
                    "'{}' doesn't support variable expansion, define alias stage instead",
                    key.to_lowercase()
                )));
            }
            from = Some(value.to_owned());
        }
        Ok(Written {
            text: text.to_owned(),
            from: from.filter(|from| !from.is_empty()),
        })
    }

    /// Reads the rest; `expand` replaces variables.
    pub(crate) fn read(&self, expand: impl Fn(&str) -> Result<String, Diagnostic>) -> Result<Asked, Diagnostic> {
        let mut asked = Asked::default();
        for field in csv::fields(&self.text)? {
            match field.split_once('=') {
                Some((key, value)) => asked.set(&field, &key.to_lowercase(), &expand(value)?)?,
                None => asked.turn_on(&field, &field.to_lowercase())?,
            }
        }
        asked.check()?;
        Ok(asked)
    }
}

impl Asked {
    /// A key without a value.
    fn turn_on(&mut self, field: &str, key: &str) -> Result<(), Diagnostic> {
        match key {
            "readonly" | "ro" => self.read_only = Some(true),
            "readwrite" | "rw" => self.read_only = Some(false),
            "required" => {
                self.needs(&[Kind::Secret, Kind::Ssh], key)?;
                self.required = true;
            }
            _ => {
                let message = format!("invalid field '{field}' must be a key=value pair");
                return Err(Diagnostic::new(message));
            }
        }
        Ok(())
    }

    fn set(&mut self, field: &str, key: &str, value: &str) -> Result<(), Diagnostic> {
        match key {
            "type" => self.kind = one_of("unsupported mount type", value, &KINDS)?,
            "from" => value.clone_into(&mut self.from),
            "source" | "src" => value.clone_into(&mut self.source),
            "target" | "dst" | "destination" => value.clone_into(&mut self.target),
            "readonly" | "ro" => self.read_only = Some(truth(key, value)?),
            "readwrite" | "rw" => self.read_only = Some(!truth(key, value)?),
            "required" => {
                self.needs(&[Kind::Secret, Kind::Ssh], key)?;
                self.required = truth(key, value)?;
            }
            "size" => {
                self.needs(&[Kind::Tmpfs], key)?;
                let size = size(value).ok_or_else(|| invalid(key, value))?;
                self.size = Some(size).filter(|size| *size > 0);
            }
            "id" => value.clone_into(&mut self.id),
            "sharing" => self.sharing = Some(one_of("unsupported sharing value", value, &SHARINGS)?),
            "mode" => self.mode = Some(number(key, value, 8)?),
            "uid" => self.user = Some(id(key, value)?),
            "gid" => self.group = Some(id(key, value)?),
            "env" => self.variable = Some(value.to_owned()),
            _ => {
                let message = format!("unexpected key '{key}' in '{field}'");
                return Err(Diagnostic::new(suggest::wrap(message, key, KEYS)));
            }
        }
        Ok(())
    }

    /// A key that only some kinds have; the kind has to be told before it.
    fn needs(&self, kinds: &[Kind], key: &str) -> Result<(), Diagnostic> {
        if kinds.contains(&self.kind) {
            return Ok(());
        }
        let message = format!("unexpected key '{key}' for mount type '{}'", self.kind.name());
        Err(Diagnostic::new(message))
    }

    /// What does not go together.
    fn check(&self) -> Result<(), Diagnostic> {
        if matches!(self.kind, Kind::Bind | Kind::Tmpfs) {
            for (key, value) in [("mode", self.mode), ("uid", self.user), ("gid", self.group)] {
                if value.is_some() {
                    let kind = quote(self.kind.name());
                    return Err(Diagnostic::new(format!("{key} not allowed for {kind} type mounts")));
                }
            }
        }
        let refusal = match self.kind {
            Kind::Secret if !self.from.is_empty() => "secret mount should not have a from",
            Kind::Secret if self.sharing.is_some() => "secret mount should not define sharing",
            Kind::Secret if self.source.is_empty() && self.target.is_empty() && self.id.is_empty() => {
                "invalid secret mount. one of source, target required"
            }
            Kind::Secret if !self.source.is_empty() && !self.id.is_empty() => "both source and id can't be set",
            Kind::Secret if self.variable.as_deref() == Some("") => {
                "the name of the variable of a secret cannot be empty"
            }
            kind if kind != Kind::Cache && self.sharing.is_some() => {
                let message = format!("invalid cache sharing set for {} mount", kind.name());
                return Err(Diagnostic::new(message));
            }
            Kind::Ssh if !self.source.is_empty() => "ssh does not support source",
            _ => return Ok(()),
        };
        Err(Diagnostic::new(refusal))
    }
}

/// What `value` means among `options`, whatever its case.
fn one_of<T: Copy>(message: &str, value: &str, options: &[(&str, T)]) -> Result<T, Diagnostic> {
    let lower = value.to_lowercase();
    let found = options.iter().find(|(name, _)| *name == lower);
    found.map(|(_, option)| *option).ok_or_else(|| {
        let message = format!("{message} {}", quote(value));
        let names = options.iter().map(|(name, _)| *name);
        Diagnostic::new(suggest::wrap(message, value, names))
    })
}

/// The words that Go takes for true and false.
fn truth(key: &str, value: &str) -> Result<bool, Diagnostic> {
    match value {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err(invalid(key, value)),
    }
}

fn invalid(key: &str, value: &str) -> Diagnostic {
    Diagnostic::new(format!("invalid value for {key}: {value}"))
}

/// Of a user or a group. The highest number means "leave as it is" to the kernel: files would be root's.
fn id(key: &str, value: &str) -> Result<u32, Diagnostic> {
    match number(key, value, 10)? {
        u32::MAX => Err(Diagnostic::new(format!(
            "invalid value {value} for {key}: the highest is {}",
            u32::MAX - 1
        ))),
        id => Ok(id),
    }
}

fn number(key: &str, value: &str, radix: u32) -> Result<u32, Diagnostic> {
    u32::from_str_radix(value, radix)
        .ok()
        .filter(|_| !value.starts_with('+'))
        .ok_or_else(|| Diagnostic::new(format!("invalid value {value} for {key}")))
}

/// A number of bytes as docker takes it: `64m`, `1.5GiB`, `10 kb`; all units are powers of 1024.
fn size(text: &str) -> Option<u64> {
    let unit = text.rfind(|letter: char| letter.is_ascii_digit() || ". ".contains(letter))? + 1;
    let (number, unit) = text.split_at(unit);
    let number = number.strip_suffix(' ').unwrap_or(number);
    let number: f64 = number.parse().ok().filter(|number| *number >= 0.0)?;
    let unit = unit.to_ascii_lowercase();
    let power = match unit.strip_suffix("ib").or(unit.strip_suffix('b')).unwrap_or(&unit) {
        "" if !unit.ends_with("ib") => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return None,
    };
    let bytes = number * 1024_f64.powi(power);
    (bytes <= i64::MAX as f64).then_some(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Asked, String> {
        let plain = |word: &str| Ok(word.to_owned());
        let read = Written::new(text).and_then(|written| written.read(plain));
        read.map_err(|error| error.message)
    }

    #[test]
    fn sizes_are_read_as_docker_does() {
        for (text, bytes) in [
            ("0", Some(0)),
            ("64m", Some(64 << 20)),
            ("1.5GiB", Some(3 << 29)),
            ("10 kb", Some(10 << 10)),
            ("7B", Some(7)),
            ("1ib", None),
            ("m", None),
            ("-1", None),
            ("1mm", None),
            ("", None),
        ] {
            assert_eq!(size(text), bytes, "{text}");
        }
    }

    #[test]
    fn every_key_has_its_aliases() {
        let base = Asked {
            target: "/t".into(),
            ..Asked::default()
        };
        for (text, expected) in [
            ("dst=/t", base.clone()),
            ("TYPE=Bind,destination=/t", base.clone()),
            (
                "target=/t,rw",
                Asked {
                    read_only: Some(false),
                    ..base.clone()
                },
            ),
            (
                "target=/t,readwrite=false",
                Asked {
                    read_only: Some(true),
                    ..base.clone()
                },
            ),
            (
                "type=cache,target=/t,src=/s,from=a,sharing=LOCKED,mode=0700,uid=1,gid=2",
                Asked {
                    kind: Kind::Cache,
                    source: "/s".into(),
                    from: "a".into(),
                    sharing: Some(Sharing::Locked),
                    mode: Some(0o700),
                    user: Some(1),
                    group: Some(2),
                    ..base.clone()
                },
            ),
            (
                "type=secret,required,\"id=a,b\",env=E,target=/t",
                Asked {
                    kind: Kind::Secret,
                    required: true,
                    id: "a,b".into(),
                    variable: Some("E".into()),
                    ..base
                },
            ),
        ] {
            assert_eq!(read(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_does_not_fit_is_named() {
        for (text, message) in [
            ("target=/t,size=1", "unexpected key 'size' for mount type 'bind'"),
            ("target", "invalid field 'target' must be a key=value pair"),
            ("type=tmpfs,size=x", "invalid value for size: x"),
            ("type=cache,mode=9", "invalid value 9 for mode"),
            ("type=cache,uid=-1", "invalid value -1 for uid"),
            (
                "type=cache,uid=4294967295",
                "invalid value 4294967295 for uid: the highest is 4294967294",
            ),
            (
                "type=secret,gid=4294967295",
                "invalid value 4294967295 for gid: the highest is 4294967294",
            ),
            ("ro=yes", "invalid value for ro: yes"),
            (
                "type=cache,required",
                "unexpected key 'required' for mount type 'cache'",
            ),
            ("type=tmpfs,sharing=shared", "invalid cache sharing set for tmpfs mount"),
            (
                "type=cache,sharing=share",
                "unsupported sharing value \"share\" (did you mean shared?)",
            ),
            ("type=secret", "invalid secret mount. one of source, target required"),
            ("type=secret,id=a,src=b", "both source and id can't be set"),
            (
                "type=secret,id=a,env=",
                "the name of the variable of a secret cannot be empty",
            ),
            ("type=secret,id=a,from=b", "secret mount should not have a from"),
            (
                "type=secret,id=a,sharing=private",
                "secret mount should not define sharing",
            ),
            ("type=ssh,source=a", "ssh does not support source"),
            ("type=tmpfs,gid=1", "gid not allowed for \"tmpfs\" type mounts"),
            (
                "from=$a",
                "'from' doesn't support variable expansion, define alias stage instead",
            ),
        ] {
            assert_eq!(read(text), Err(message.to_owned()), "{text}");
        }
    }
}
