//! RUN: a process on the stage's tree.

use graph::{ExecOp, InputIndex, Metadata, NetworkMode, Op, Process};

use super::heredoc::{self, Script};
use super::history::Layer;
use super::mounts::{self, Mounts};
use super::{Scope, Tree};
use crate::Diagnostic;
use crate::command::{Network, Placed, Run, Security};
use crate::environment::split;
use crate::words::{Expander, Quotes, Unset};

/// Where a document is that names its own interpreter.
const PIPES: &str = "/dev/pipes";
const PROXIES: [&str; 5] = ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"];

impl Scope<'_, '_> {
    pub(super) fn run(&mut self, run: &Run, index: usize, placed: &Placed) -> Result<(), Diagnostic> {
        if !run.devices.is_empty() {
            return Err(Diagnostic::unsupported("RUN --device", &placed.lines)
                .hint("devices are part of the labs channel of the Dockerfile language only"));
        }
        let script = Script::of(run, &self.state.config.os)?;
        let args = match &script {
            Script::Line(line) => self.args(line),
            Script::File { name, .. } => self.shell_args(&format!("{PIPES}/{name}")),
        };
        if args.is_empty() {
            return Err(Diagnostic::new("arguments are required"));
        }
        let mut inputs: Vec<_> = self.root().into_iter().collect();
        let root = inputs.first().map(|_| InputIndex(0));
        let mut mounts = self.mounts(run, index, &mut inputs)?;
        if let Script::File { name, content } = script {
            let document = self.file_of_text(&name, content, 0o755);
            mounts.list.push(mounts::read_only(document, PIPES, &mut inputs));
        }
        let security = self.security(run.security)?;
        let network = self.network(run.network)?;
        let metadata = Metadata {
            name: self.run_name(run, placed, &mounts),
            lines: Some(placed.lines.clone()),
            ignore_cache: self.ignores_cache(),
            components: self.run_components(run, &args),
        };
        self.converter.afford(&self.state)?;
        let options = self.converter.options;
        let exec = ExecOp {
            root,
            process: self.process(args.clone(), mounts.agent),
            mounts: mounts.list,
            secret_env: mounts.secret_env,
            security,
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

    /// The step's name, in which a secret is no more than stars.
    fn run_name(&mut self, run: &Run, placed: &Placed, mounts: &Mounts) -> String {
        let mut code = placed.code.clone();
        if let Some(summary) = heredoc::summary(run) {
            code = format!("{code} {summary}");
        }
        let mut environment = self.state.environment.clone();
        for variable in &mounts.secret_env {
            environment.set(&variable.name, "****");
        }
        let expander = Expander {
            quotes: Quotes::Kept,
            unset: Unset::Kept,
            ..self.converter.globals.expander.clone()
        };
        self.step_name(&code, &expander, &environment)
    }

    fn security(&self, asked: Security) -> Result<graph::Security, Diagnostic> {
        match asked {
            Security::Sandbox => Ok(graph::Security::Sandbox),
            Security::Insecure if self.converter.options.allow_security_insecure => Ok(graph::Security::Insecure),
            Security::Insecure => Err(Diagnostic::new("security.insecure is not allowed")
                .hint("allow the build to do all that you may with --allow security.insecure")),
        }
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

    fn process(&self, args: Vec<String>, agent: Option<String>) -> Process {
        let config = &self.state.config.config;
        let build_args = &self.converter.options.build_args;
        let mut env = self.state.environment.clone();
        if env.get("PATH").is_none() && self.state.platform.os != "windows" {
            env.set("PATH", super::DEFAULT_PATH);
        }
        if let Some(socket) = agent {
            env.set(mounts::AGENT, socket);
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
    fn run_components(&self, run: &Run, args: &[String]) -> Vec<(String, String)> {
        let config = &self.state.config.config;
        let flags: Vec<String> = run
            .mounts
            .iter()
            .map(|mount| format!("--mount={} ", mount.text))
            .collect();
        let instruction = format!("RUN {}{}", flags.concat(), args.join(" "));
        let mut components = vec![("instruction".to_owned(), instruction)];
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
