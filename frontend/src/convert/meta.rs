//! Instructions that change the configuration, and WORKDIR, which makes a directory besides.

use graph::{FileAction, FileOp, InputIndex, MakeDirectory, Owner, UserName};
use oci::{Empty, Healthcheck};

use super::history::Layer;
use super::{Scope, Tree};
use crate::command::{CommandLine, Placed};
use crate::quote::{list, quote_list};
use crate::{Diagnostic, duration, lint, path};

/// `PATH_MAX` of Linux, the byte at the end included.
const LONGEST_PATH: usize = 4096;

impl Scope<'_, '_> {
    pub(super) fn maintainer(&mut self, author: &str) -> Result<(), Diagnostic> {
        self.state.config.author = Some(author.to_owned());
        self.remember(format!("MAINTAINER {author}"), Layer::None);
        Ok(())
    }

    pub(super) fn user(&mut self, user: &str) -> Result<(), Diagnostic> {
        let user = self.expand(user)?;
        self.remember(format!("USER {user}"), Layer::None);
        self.state.config.config.user = user;
        Ok(())
    }

    pub(super) fn workdir(&mut self, written: &str, placed: &Placed) -> Result<(), Diagnostic> {
        let written = self.expand(written)?;
        if !std::mem::replace(&mut self.state.has_workdir, true) {
            lint::stage::relative_workdir(&written, &self.state.platform.os, &self.spot);
        }
        let config = &mut self.state.config.config;
        let directory = path::working_directory(&config.working_dir, &written);
        if directory.len() >= LONGEST_PATH {
            return Err(Diagnostic::new(format!(
                "the working directory has {} bytes, and the kernel knows no path of more than {LONGEST_PATH}",
                directory.len()
            )));
        }
        config.working_dir.clone_from(&directory);
        let layer = if directory == "/" {
            Layer::None
        } else {
            self.make_directory(path::clean(&directory), placed);
            Layer::Made
        };
        self.remember(format!("WORKDIR {directory}"), layer);
        Ok(())
    }

    fn make_directory(&mut self, path: String, placed: &Placed) {
        let user = &self.state.config.config.user;
        let mut components = vec![("instruction".to_owned(), format!("WORKDIR {path}"))];
        if !user.is_empty() {
            components.push(("USER".to_owned(), user.clone()));
        }
        let make = MakeDirectory {
            path,
            mode: 0o755,
            owner: Some(user).filter(|user| !user.is_empty()).map(|user| owner(user)),
            timestamp: self.converter.globals.epoch,
        };
        let expander = self.converter.globals.expander.clone();
        let metadata = self.metadata(placed, &expander, components);
        let inputs: Vec<_> = self.root().into_iter().collect();
        let file = FileOp {
            base: inputs.first().map(|_| InputIndex(0)),
            names: None,
            actions: vec![FileAction::MakeDirectory(make)],
        };
        self.state.tree = Tree::Made(self.converter.add_files(file, inputs, metadata));
    }

    pub(super) fn volume(&mut self, paths: &[String]) -> Result<(), Diagnostic> {
        let paths = self.expand_all(paths)?;
        for path in &paths {
            if path.is_empty() {
                return Err(Diagnostic::new("VOLUME specified can not be an empty string"));
            }
            self.state.config.config.volumes.insert(path.clone(), Empty {});
        }
        self.remember(format!("VOLUME {}", list(&paths)), Layer::None);
        Ok(())
    }

    pub(super) fn stop_signal(&mut self, signal: &str) -> Result<(), Diagnostic> {
        let signal = self.expand(signal)?;
        if !is_signal(&signal) {
            return Err(Diagnostic::new(format!("invalid signal: {signal}")));
        }
        self.remember(format!("STOPSIGNAL {signal}"), Layer::None);
        self.state.config.config.stop_signal = signal;
        Ok(())
    }

    pub(super) fn shell(&mut self, words: &[String]) -> Result<(), Diagnostic> {
        self.state.config.config.shell = words.to_vec();
        self.remember(format!("SHELL {}", list(words)), Layer::None);
        Ok(())
    }

    pub(super) fn cmd(&mut self, line: &CommandLine) -> Result<(), Diagnostic> {
        lint::stage::used_once(&mut self.state.once.command, &self.spot);
        self.check_form(line);
        let args = self.args(line);
        self.remember(format!("CMD {}", quote_list(&args)), Layer::None);
        let config = &mut self.state.config.config;
        // Go writes no empty lists, so an empty command leaves no trace.
        config.cmd = Some(args).filter(|args| !args.is_empty());
        config.args_escaped = true;
        Ok(())
    }

    pub(super) fn entrypoint(&mut self, line: &CommandLine) -> Result<(), Diagnostic> {
        lint::stage::used_once(&mut self.state.once.entrypoint, &self.spot);
        self.check_form(line);
        let args = self.args(line);
        self.remember(format!("ENTRYPOINT {}", quote_list(&args)), Layer::None);
        let config = &mut self.state.config.config;
        config.entrypoint = Some(args).filter(|args| !args.is_empty());
        if self.state.once.command.is_none() {
            config.cmd = None;
        }
        Ok(())
    }

    fn check_form(&self, line: &CommandLine) {
        if let CommandLine::Shell(_) = line {
            lint::stage::shell_form(&self.state.config.config.shell, &self.spot);
        }
    }

    pub(super) fn healthcheck(&mut self, check: &Healthcheck) -> Result<(), Diagnostic> {
        lint::stage::used_once(&mut self.state.once.healthcheck, &self.spot);
        let text = format!(
            "HEALTHCHECK {{Test:{} Interval:{} Timeout:{} StartPeriod:{} StartInterval:{} Retries:{}}}",
            list(&check.test),
            duration::print(check.interval),
            duration::print(check.timeout),
            duration::print(check.start_period),
            duration::print(check.start_interval),
            check.retries
        );
        self.remember(text, Layer::None);
        self.state.config.config.healthcheck = Some(check.clone());
        Ok(())
    }

    /// Stored for builds on top of this one; leaves no history.
    pub(super) fn onbuild(&mut self, trigger: &str) -> Result<(), Diagnostic> {
        self.state.config.config.on_build.push(trigger.to_owned());
        Ok(())
    }

    /// The words to run: in shell form behind the words of SHELL.
    pub(super) fn args(&self, line: &CommandLine) -> Vec<String> {
        match line {
            CommandLine::Exec(args) => args.clone(),
            CommandLine::Shell(text) => self.shell_args(text),
        }
    }

    pub(super) fn shell_args(&self, text: &str) -> Vec<String> {
        let mut args = self.state.config.config.shell.clone();
        if args.is_empty() {
            let default: &[&str] = match self.state.config.os.as_str() {
                "windows" => &["cmd", "/S", "/C"],
                _ => &["/bin/sh", "-c"],
            };
            args.extend(default.iter().map(|word| (*word).to_owned()));
        }
        args.push(text.to_owned());
        args
    }

    /// The vertex to build on, if there is one.
    pub(super) fn root(&mut self) -> Option<graph::VertexId> {
        self.converter.own(self.stage, &mut self.state);
        match self.state.tree {
            Tree::Empty => None,
            Tree::Made(id) | Tree::Lent(id) => Some(id),
        }
    }
}

/// `user[:group]` as the owner of files.
pub(super) fn owner(text: &str) -> Owner {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    Owner {
        user: user_name(user),
        group: group.map(user_name),
    }
}

/// An empty name is root's.
fn user_name(text: &str) -> UserName {
    match text.parse::<i32>().ok().and_then(|id| u32::try_from(id).ok()) {
        Some(id) => UserName::Id(id),
        None if matches!(text, "root" | "") => UserName::Id(0),
        None => UserName::Name(text.to_owned()),
    }
}

/// A number other than 0, or a name that Linux knows, with or without `SIG`.
fn is_signal(text: &str) -> bool {
    const NAMES: &str = "ABRT ALRM BUS CHLD CLD CONT FPE HUP ILL INT IO IOT KILL PIPE POLL PROF PWR QUIT SEGV STKFLT STOP \
         SYS TERM TRAP TSTP TTIN TTOU URG USR1 USR2 VTALRM WINCH XCPU XFSZ RTMIN RTMAX";
    if let Ok(number) = text.parse::<i64>() {
        return number != 0;
    }
    let upper = text.to_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let real_time = |prefix: &str, most: u8| {
        let number = name
            .strip_prefix(prefix)
            .filter(|number| !number.starts_with(['0', '+']));
        number
            .and_then(|number| number.parse::<u8>().ok())
            .is_some_and(|number| number <= most)
    };
    NAMES.split_whitespace().any(|known| known == name) || real_time("RTMIN+", 15) || real_time("RTMAX-", 14)
}
