//! Permissions that `--chmod` gives: octal digits, or changes in the words of chmod(1).
//!
//! ```text
//! change  = clause , clause …
//! clause  = [ugoa]… operation…            whom (all, where nobody is named), and what
//! operation = (+ | - | =) [rwxXstugo]…    give, take, or give and take all else; `u`, `g`, `o` stand for what those have
//! ```
//!
//! As BuildKit reads them: no umask takes part; `X` is `x` for directories and for files that anybody may execute at the
//! start; `s` means nothing for others alone; `t` turns to the sticky bit only, with nothing beside it.

use std::fmt;
use std::str::FromStr;

const READ: u32 = 0o444;
const WRITE: u32 = 0o222;
const EXECUTE: u32 = 0o111;
const SET_ID: u32 = 0o6000;
const STICKY: u32 = 0o1000;
const ALL: u32 = 0o7777;
const OTHERS: u32 = 0o007;

/// The mode that copied files get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileMode {
    /// These bits, at most 0o7777.
    Octal(u32),
    /// What they have, changed.
    Symbolic(ModeChange),
}

/// A change of permissions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModeChange {
    text: String,
    steps: Vec<Step>,
}

/// The text is no mode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModeError {
    /// Digits that are not octal, or too many.
    #[error("invalid chmod parameter: '{0}'. it should be octal string and between 0 and 07777")]
    Octal(String),
    /// No change that can be understood.
    #[error("invalid chmod parameter: '{0}'. it should be an octal string or like u=rwX,go=rX")]
    Symbolic(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Give(u32),
    Take(u32),
    /// Given to what somebody could execute at the start, and to directories.
    GiveIfExecutable(u32),
    TakeIfExecutable(u32),
    /// What one class has, for the classes of the mask.
    Copy {
        shift: u32,
        to: u32,
        how: Operation,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Give,
    Take,
    Set,
}

impl FileMode {
    /// What becomes of `mode`.
    #[must_use]
    pub fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        match self {
            FileMode::Octal(octal) => *octal,
            FileMode::Symbolic(change) => change.apply(mode, is_directory),
        }
    }
}

impl FromStr for FileMode {
    type Err = ModeError;

    fn from_str(text: &str) -> Result<FileMode, ModeError> {
        if text.starts_with(|first: char| first.is_ascii_digit()) {
            return match u32::from_str_radix(text, 8) {
                Ok(mode) if mode <= ALL => Ok(FileMode::Octal(mode)),
                _ => Err(ModeError::Octal(text.to_owned())),
            };
        }
        let mut steps = Vec::new();
        for clause in text.split(',') {
            read_clause(clause, &mut steps).ok_or_else(|| ModeError::Symbolic(text.to_owned()))?;
        }
        let text = text.to_owned();
        Ok(FileMode::Symbolic(ModeChange { text, steps }))
    }
}

impl fmt::Display for FileMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileMode::Octal(mode) => write!(f, "{mode:o}"),
            FileMode::Symbolic(change) => f.write_str(&change.text),
        }
    }
}

fn read_clause(clause: &str, steps: &mut Vec<Step>) -> Option<()> {
    let operations = clause.trim_start_matches(['u', 'g', 'o', 'a']);
    let mut whom = 0;
    for class in clause[..clause.len() - operations.len()].chars() {
        whom |= match class {
            'u' => 0o4700,
            'g' => 0o2070,
            'o' => OTHERS,
            _ => ALL & !STICKY,
        };
    }
    let mut letters = operations.chars().peekable();
    letters.peek()?;
    while let Some(sign) = letters.next() {
        let operation = match sign {
            '+' => Operation::Give,
            '-' => Operation::Take,
            '=' => Operation::Set,
            _ => return None,
        };
        let mut permissions = Permissions::of(whom, operation);
        while let Some(letter) = letters.next_if(|letter| !['+', '-', '='].contains(letter)) {
            permissions.letter(letter, steps)?;
        }
        permissions.flush(steps, operation == Operation::Set);
        // Who was named stays named, but the sticky bit is nobody's.
        whom = permissions.whom & !STICKY;
    }
    Some(())
}

/// The letters after one sign.
struct Permissions {
    whom: u32,
    operation: Operation,
    bits: u32,
    conditional: bool,
    has_set: bool,
}

impl Permissions {
    fn of(whom: u32, operation: Operation) -> Permissions {
        Permissions {
            whom,
            operation,
            bits: 0,
            conditional: false,
            has_set: false,
        }
    }

    fn letter(&mut self, letter: char, steps: &mut Vec<Step>) -> Option<()> {
        let not_others_alone = self.whom == 0 || self.whom & !OTHERS != 0;
        match letter {
            'r' => self.bits |= READ,
            'w' => self.bits |= WRITE,
            'x' => self.bits |= EXECUTE,
            'X' => self.conditional = true,
            's' if not_others_alone => self.bits |= SET_ID,
            't' if not_others_alone => {
                self.whom |= STICKY;
                self.bits |= STICKY;
            }
            's' | 't' => {}
            'u' | 'g' | 'o' => {
                self.flush(steps, false);
                self.has_set = true;
                let shift = match letter {
                    'u' => 6,
                    'g' => 3,
                    _ => 0,
                };
                let class = |mask| if self.whom == 0 { mask } else { self.whom & mask & READ };
                let to = [0o700, 0o070, 0o007]
                    .into_iter()
                    .filter(|mask| class(*mask) != 0)
                    .fold(0, |to, mask| to | mask);
                let how = self.operation;
                steps.push(Step::Copy { shift, to, how });
            }
            _ => return None,
        }
        Some(())
    }

    /// Adds the step for the letters so far; `=` with no letters takes all.
    fn flush(&mut self, steps: &mut Vec<Step>, at_end: bool) {
        let whom = if self.whom == 0 { ALL } else { self.whom };
        if self.operation == Operation::Set && (self.bits != 0 || self.conditional || at_end) && !self.has_set {
            let all = if self.whom == 0 { ALL & !STICKY } else { self.whom };
            steps.push(Step::Take(all));
            self.has_set = true;
        }
        if self.bits != 0 {
            steps.push(match self.operation {
                Operation::Take => Step::Take(self.bits & whom),
                Operation::Give | Operation::Set => Step::Give(self.bits & whom),
            });
        }
        if self.conditional {
            let bits = EXECUTE & whom;
            steps.push(match self.operation {
                Operation::Take => Step::TakeIfExecutable(bits),
                Operation::Give | Operation::Set => Step::GiveIfExecutable(bits),
            });
        }
        (self.bits, self.conditional) = (0, false);
    }
}

impl ModeChange {
    /// What becomes of `mode`.
    #[must_use]
    pub fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        let executable = is_directory || mode & EXECUTE != 0;
        let mut new = mode;
        for step in &self.steps {
            match *step {
                Step::Give(bits) => new |= bits,
                Step::Take(bits) => new &= !bits,
                Step::GiveIfExecutable(bits) if executable => new |= bits,
                Step::TakeIfExecutable(bits) if executable => new &= !bits,
                Step::GiveIfExecutable(_) | Step::TakeIfExecutable(_) => {}
                Step::Copy { shift, to, how } => {
                    let value = (((new >> shift) & 0o7) * 0o111) & to;
                    new = match how {
                        Operation::Give => new | value,
                        Operation::Take => new & !value,
                        Operation::Set => (new & !to) | value,
                    };
                }
            }
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(change: &str, mode: u32, is_directory: bool) -> u32 {
        change.parse::<FileMode>().unwrap().apply(mode, is_directory)
    }

    /// What BuildKit makes of a plain file, a program, a directory and a set-user-id program.
    #[test]
    fn changes_are_made_to_each_file() {
        for (change, file, program, directory, special) in [
            ("0750", 0o750, 0o750, 0o750, 0o750),
            ("u=rwX,go=rX", 0o644, 0o755, 0o755, 0o755),
            ("+X", 0o600, 0o711, 0o711, 0o4755),
            ("-X", 0o600, 0o600, 0o600, 0o4644),
            ("=X", 0o000, 0o111, 0o111, 0o111),
            ("u=X", 0o000, 0o100, 0o100, 0o155),
            ("a+X,u-x", 0o600, 0o611, 0o611, 0o4655),
            ("ug-X", 0o600, 0o600, 0o600, 0o4645),
            ("u-rX", 0o200, 0o200, 0o200, 0o4255),
            ("a=rX", 0o444, 0o555, 0o555, 0o555),
            ("u=g", 0o000, 0o000, 0o000, 0o4555),
            ("u=rg", 0o000, 0o000, 0o000, 0o555),
            ("g=u-w", 0o640, 0o750, 0o750, 0o4755),
            ("g+u,o+g", 0o666, 0o777, 0o777, 0o4777),
            ("o=u,u=", 0o006, 0o007, 0o007, 0o057),
            ("+xg", 0o711, 0o711, 0o711, 0o4755),
            ("+s", 0o6600, 0o6700, 0o6700, 0o6755),
            ("u+s,g+s", 0o6600, 0o6700, 0o6700, 0o6755),
            ("o+s", 0o600, 0o700, 0o700, 0o4755),
            ("+t", 0o1600, 0o1700, 0o1700, 0o5755),
            ("+tr", 0o1600, 0o1700, 0o1700, 0o5755),
            ("=r", 0o444, 0o444, 0o444, 0o444),
            ("a=", 0, 0, 0, 0),
            ("-w", 0o400, 0o500, 0o500, 0o4555),
            ("a=rx,u+w", 0o755, 0o755, 0o755, 0o755),
        ] {
            assert_eq!(apply(change, 0o600, false), file, "{change} of a file");
            assert_eq!(apply(change, 0o700, false), program, "{change} of a program");
            assert_eq!(apply(change, 0o700, true), directory, "{change} of a directory");
            assert_eq!(
                apply(change, 0o4755, false),
                special,
                "{change} of a set-user-id program"
            );
        }
    }

    #[test]
    fn what_is_no_mode_is_refused() {
        for text in ["9", "17777", "-1", "u", "rwx", "u=q", "", "u=r,", "+755", "u,+r"] {
            let error = text.parse::<FileMode>().unwrap_err();
            assert!(error.to_string().contains(&format!("'{text}'")), "{error}");
        }
    }
}
