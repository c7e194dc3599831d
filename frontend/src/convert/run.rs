//! RUN: a process on the stage's tree.

use graph::{ExecOp, InputIndex, Metadata, NetworkMode, Op, Process};

use super::heredoc::{self, Script};
use super::history::Layer;
use super::{Scope, Tree};
use crate::Diagnostic;
use crate::command::{Network, Placed, Run, Security, mount};
use crate::environment::split;
use crate::words::{Expander, Quotes, Unset};

const PROXIES: [&str; 5] = ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"];

impl Scope<'_, '_> {
    pub(super) fn run(&mut self, run: &Run, placed: &Placed) -> Result<(), Diagnostic> {
        self.refuse_unsupported_run(run, placed)?;
        let args = match Script::of(run, &self.state.config.os)? {
            Script::Line(line) => self.args(&line),
            Script::File { .. } => {
                return Err(Diagnostic::unsupported(
                    "RUN with a heredoc that begins with #!",
                    &placed.lines,
                ));
            }
        };
        if args.is_empty() {
            return Err(Diagnostic::new("arguments are required"));
        }
        let network = self.network(run.network)?;
        let components = self.run_components(&args);
        let expander = Expander {
            quotes: Quotes::Kept,
            unset: Unset::Kept,
            ..self.converter.globals.expander
        };
        let mut code = placed.code.clone();
        if let Some(summary) = heredoc::summary(run) {
            code = format!("{code} {summary}");
        }
        let environment = self.state.environment.clone();
        let metadata = Metadata {
            name: self.step_name(&code, &expander, &environment),
            lines: Some(placed.lines.clone()),
            ignore_cache: self.ignores_cache(),
            components,
        };
        let inputs: Vec<_> = self.root().into_iter().collect();
        let options = self.converter.options;
        let exec = ExecOp {
            root: inputs.first().map(|_| InputIndex(0)),
            process: self.process(args.clone()),
            network,
            extra_hosts: options.extra_hosts.clone(),
            shm_size: options.shm_size,
            ulimits: options.ulimits.clone(),
            platform: self.state.platform.clone(),
        };
        self.state.tree = Tree::Made(self.converter.builder.add(Op::Exec(exec), inputs, metadata));
        self.remember(self.run_history(&args), Layer::Made);
        Ok(())
    }

    fn refuse_unsupported_run(&self, run: &Run, placed: &Placed) -> Result<(), Diagnostic> {
        for text in &run.mounts {
            mount::check(text, |word| self.expand(word))?;
        }
        if run.security == Security::Insecure {
            return Err(Diagnostic::new("security.insecure is not allowed").at(&placed.lines));
        }
        let unsupported = if !run.mounts.is_empty() {
            "RUN --mount"
        } else if !run.devices.is_empty() {
            "RUN --device"
        } else {
            return Ok(());
        };
        Err(Diagnostic::unsupported(unsupported, &placed.lines))
    }

    fn network(&self, asked: Network) -> Result<NetworkMode, Diagnostic> {
        let options = self.converter.options;
        let forced = options.network.unwrap_or_default();
        match asked {
            Network::Default => Ok(forced),
            Network::None => Ok(NetworkMode::None),
            Network::Host if options.allow_network_host || forced == NetworkMode::Host => Ok(NetworkMode::Host),
            Network::Host => Err(Diagnostic::new("network.host is not allowed")
                .hint("allow the build the host's network with --allow network.host")),
        }
    }

    fn process(&self, args: Vec<String>) -> Process {
        let config = &self.state.config.config;
        let build_args = &self.converter.options.build_args;
        let mut env = self.state.environment.clone();
        if env.get("PATH").is_none() && self.state.platform.os != "windows" {
            env.set("PATH", super::DEFAULT_PATH);
        }
        Process {
            args,
            env: env.to_lines(),
            proxy_env: self.proxies(),
            working_directory: self.working_directory(),
            user: config.user.clone(),
            hostname: build_args
                .get("BUILDKIT_SANDBOX_HOSTNAME")
                .filter(|name| !name.is_empty())
                .cloned(),
        }
    }

    /// Both spellings of each proxy that was given as a build argument and not declared.
    fn proxies(&self) -> Vec<String> {
        let declared = self.declared();
        let mut lines = Vec::new();
        for upper in PROXIES {
            let given = self
                .converter
                .options
                .build_args
                .iter()
                .rfind(|(name, value)| name.eq_ignore_ascii_case(upper) && !value.is_empty());
            let Some((_, value)) = given else { continue };
            let lower = upper.to_ascii_lowercase();
            for name in [upper, lower.as_str()] {
                if declared.iter().all(|(known, _)| *known != name) {
                    lines.push(format!("{name}={value}"));
                }
            }
        }
        lines
    }

    /// `RUN |1 A=1 /bin/sh -c make # buildkit`: with the arguments declared, each once, at their present value.
    fn run_history(&self, args: &[String]) -> String {
        let arguments = self.declared();
        let mut words = Vec::new();
        if !arguments.is_empty() {
            words.push(format!("|{}", arguments.len()));
            words.extend(arguments.iter().map(|(name, value)| format!("{name}={value}")));
        }
        words.extend_from_slice(args);
        format!("RUN {} # buildkit", words.join(" "))
    }

    /// The arguments declared so far, each once, at the place of its first declaration.
    fn declared(&self) -> Vec<(&str, &str)> {
        let mut declared: Vec<(&str, &str)> = Vec::new();
        for (name, value) in &self.state.arguments {
            let value = self
                .state
                .environment
                .get(name)
                .or(value.as_deref())
                .unwrap_or_default();
            match declared.iter_mut().find(|(known, _)| known == name) {
                Some((_, known)) => *known = value,
                None => declared.push((name, value)),
            }
        }
        declared
    }

    /// What the step's key is made of, in the user's words.
    fn run_components(&self, args: &[String]) -> Vec<(String, String)> {
        let config = &self.state.config.config;
        let mut components = vec![("instruction".to_owned(), format!("RUN {}", args.join(" ")))];
        let declared = self.declared();
        let of_image = config.env.iter().map(|line| split(line));
        for (name, value) in of_image.filter(|(name, _)| declared.iter().all(|(known, _)| known != name)) {
            components.push((format!("ENV {name}"), value.to_owned()));
        }
        for (name, value) in declared {
            components.push((format!("ARG {name}"), value.to_owned()));
        }
        if !config.user.is_empty() {
            components.push(("USER".to_owned(), config.user.clone()));
        }
        components.push(("WORKDIR".to_owned(), self.working_directory()));
        components
    }
}
