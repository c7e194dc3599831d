//! The process outside of a user namespace that has its maps written.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::maps::{Extent, Maps};
use super::{Lack, is_apparmor_restricted, read_setting};
use crate::error::Prohibition;
use crate::{Error, init};

/// The process outside that sees to it that the maps get written.
pub(super) struct Mapper(Child);

/// What it answers.
#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    Done,
    Missing(Program),
    Refused { program: String, message: String },
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Program {
    Newuidmap,
    Newgidmap,
}

impl Program {
    fn name(self) -> &'static str {
        match self {
            Program::Newuidmap => "newuidmap",
            Program::Newgidmap => "newgidmap",
        }
    }
}

impl Mapper {
    pub(super) fn start(maps: &Maps) -> Result<Mapper, Error> {
        let failed = |source| Error::Supervise {
            doing: "start a process to map ids",
            source,
        };
        let child = Command::new("/proc/self/exe")
            .arg0(init::NAME)
            .arg(init::MAP)
            .arg(std::process::id().to_string())
            .arg(serde_json::to_string(maps).map_err(|error| failed(error.into()))?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        Ok(Mapper(child))
    }

    /// Has the maps written, now that we are inside; or says why there are none.
    pub(super) fn map(mut self) -> Result<Result<(), Lack>, Error> {
        let failed = |source| Error::Supervise {
            doing: "have ids mapped",
            source,
        };
        if let Some(mut stdin) = self.0.stdin.take() {
            stdin.write_all(b"\n").map_err(failed)?;
        }
        let mut answer = Vec::new();
        if let Some(mut stdout) = self.0.stdout.take() {
            stdout.read_to_end(&mut answer).map_err(failed)?;
        }
        self.0.wait().map_err(failed)?;
        match serde_json::from_slice(&answer).map_err(|error| failed(error.into()))? {
            Answer::Done => Ok(Ok(())),
            Answer::Missing(Program::Newuidmap) => Ok(Err(Lack::NoMapper)),
            Answer::Missing(Program::Newgidmap) => Err(Error::MapperMissing {
                program: Program::Newgidmap.name(),
            }),
            Answer::Refused { .. } if is_apparmor_restricted(&read_setting) => Err(Error::UserNamespaceForbidden {
                prohibition: Prohibition::AppArmor,
                source: Errno::PERM.into(),
            }),
            // Nothing is mapped yet, so that we still can map ourselves.
            Answer::Refused { program, message } if program != Program::Newgidmap.name() => {
                let message = format!("{program}: {message}");
                Ok(Err(Lack::Refused { message }))
            }
            Answer::Refused { program, message } => Err(Error::MapRefused { program, message }),
        }
    }
}

/// The work of the process outside: `args` are whom to map, and how.
pub(crate) fn map_for_caller(mut args: impl Iterator<Item = OsString>) -> io::Result<()> {
    let mut argument = || {
        args.next()
            .and_then(|argument| argument.into_string().ok())
            .ok_or(Errno::INVAL)
    };
    let (pid, maps) = (argument()?, argument()?);
    let pid: u32 = pid.parse().map_err(io::Error::other)?;
    let maps: Maps = serde_json::from_str(&maps)?;
    // Nothing comes if the caller could not get inside.
    if io::stdin().read(&mut [0])? == 0 {
        return Ok(());
    }
    let answer = if maps.by_programs {
        map_by_programs(pid, &maps)
    } else {
        map_by_hand(pid, &maps)
    };
    let mut stdout = io::stdout();
    stdout.write_all(&serde_json::to_vec(&answer)?)?;
    stdout.flush()
}

fn map_by_programs(pid: u32, maps: &Maps) -> Answer {
    for (program, extents) in [(Program::Newuidmap, &maps.uids), (Program::Newgidmap, &maps.gids)] {
        let numbers = extents
            .iter()
            .flat_map(|extent| [extent.inside, extent.outside, extent.count]);
        let run = Command::new(program.name())
            .arg(pid.to_string())
            .args(numbers.map(|number| number.to_string()))
            .output();
        match run {
            Ok(output) if output.status.success() => {}
            Ok(output) => {
                let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                return Answer::Refused {
                    program: program.name().to_owned(),
                    message,
                };
            }
            // A folder of PATH that may not be read makes the search end in «denied» although nothing was found.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => {
                return Answer::Missing(program);
            }
            Err(error) => {
                return Answer::Refused {
                    program: program.name().to_owned(),
                    message: error.to_string(),
                };
            }
        }
    }
    Answer::Done
}

fn map_by_hand(pid: u32, maps: &Maps) -> Answer {
    for (file, extents) in [("uid_map", &maps.uids), ("gid_map", &maps.gids)] {
        let path = format!("/proc/{pid}/{file}");
        let lines: String = extents
            .iter()
            .map(|Extent { inside, outside, count }| format!("{inside} {outside} {count}\n"))
            .collect();
        if let Err(error) = fs::write(&path, lines) {
            return Answer::Refused {
                program: path,
                message: error.to_string(),
            };
        }
    }
    Answer::Done
}
