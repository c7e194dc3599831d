//! Running `git`: an environment of its own, an end when somebody wishes one.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use super::{Error, Source};

/// How often a running program is looked at.
const BEAT: Duration = Duration::from_millis(10);
/// How much of what the program writes is kept.
const LIMIT: u64 = 16 << 20;

/// The program, and what of this machine it may see.
#[derive(Clone)]
pub struct Program {
    /// Variables for it: `PATH`, those of proxies and of certificates, `SSH_AUTH_SOCK`. It gets no others of the user's.
    pub variables: Vec<(OsString, OsString)>,
    /// The user's list of ssh hosts. Hosts that it knows must be who they were.
    pub known_hosts: Option<PathBuf>,
    /// Asked now and then whether to stop.
    pub cancelled: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program")
            .field("known_hosts", &self.known_hosts)
            .finish_non_exhaustive()
    }
}

impl Program {
    /// Runs for one source.
    pub(super) fn session<'a>(&'a self, source: &'a Source, scratch: &'a Path) -> Result<Session<'a>, Error> {
        let hosts = scratch.join("known_hosts");
        let known = self.known_hosts.as_deref().map(std::fs::read);
        // A copy: the user's own list is not added to.
        let known = known.and_then(Result::ok).unwrap_or_default();
        std::fs::write(&hosts, known).map_err(super::files(&hosts))?;
        Ok(Session {
            program: self,
            source,
            scratch,
            ssh: format!(
                "ssh -F /dev/null -o BatchMode=yes -o StrictHostKeyChecking=accept-new -o UserKnownHostsFile={}",
                quoted(&hosts)
            ),
            git_dir: None,
            work_tree: None,
        })
    }
}

/// The program, run for one source.
pub(super) struct Session<'a> {
    program: &'a Program,
    source: &'a Source,
    scratch: &'a Path,
    ssh: String,
    git_dir: Option<PathBuf>,
    work_tree: Option<PathBuf>,
}

impl Session<'_> {
    /// Works in a repository from now on.
    pub(super) fn enter(&mut self, git_dir: &Path, work_tree: &Path) {
        self.git_dir = Some(git_dir.to_owned());
        self.work_tree = Some(work_tree.to_owned());
    }

    /// Whether history was left out.
    pub(super) fn is_shallow(&self) -> bool {
        self.git_dir.as_ref().is_some_and(|path| path.join("shallow").exists())
    }

    /// Runs the program and gives what it wrote. `what` says what failed, if it does.
    pub(super) fn run(&self, arguments: &[&str], what: &str) -> Result<String, Error> {
        let mut command = self.command();
        command.args(arguments);
        let mut child = command.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::NoProgram(super::redacted(&self.source.remote)),
            _ => Error::Start(error),
        })?;
        let (stdout, stderr) = (collect(child.stdout.take()), collect(child.stderr.take()));
        let status = self.wait(&mut child);
        let text = |pipe: std::thread::JoinHandle<Vec<u8>>| {
            let bytes = pipe.join().unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let (stdout, stderr) = (text(stdout), text(stderr));
        match status? {
            true => Ok(stdout),
            false => Err(Error::Failed {
                what: what.to_owned(),
                stderr: format!("{}{}", stderr.trim_end(), self.remark(&stderr)),
            }),
        }
    }

    /// What is to be said to what the program wrote.
    fn remark(&self, stderr: &str) -> &'static str {
        let is_redirect = ["301", "302", "303", "307", "308"]
            .iter()
            .any(|status| stderr.contains(&format!("returned error: {status}")));
        match is_redirect && self.source.authorization.is_some() {
            true => "\n(with a login no redirect is followed: give the address that it leads to)",
            false => "",
        }
    }

    /// The same with options that leave history out, or without them where the server cannot do that.
    pub(super) fn run_shallow(
        &self,
        command: &[&str],
        options: &[&str],
        rest: &[&str],
        what: &str,
    ) -> Result<String, Error> {
        match self.run(&[command, options, rest].concat(), what) {
            Err(Error::Failed { stderr, .. }) if stderr.contains("--depth") || stderr.contains("shallow") => {
                self.run(&[command, rest].concat(), what)
            }
            other => other,
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new("git");
        command
            .env_clear()
            .envs(self.program.variables.iter().map(|(name, value)| (name, value)))
            .env("GIT_TERMINAL_PROMPT", "0")
            // A server that sends fewer bytes a second for so many seconds counts as gone; one that works sends a few.
            .env("GIT_HTTP_LOW_SPEED_LIMIT", "1")
            .env("GIT_HTTP_LOW_SPEED_TIME", "300")
            .env("GIT_SSH_COMMAND", &self.ssh)
            .env("GIT_ALLOW_PROTOCOL", "https:http:git:ssh")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("HOME", "/dev/null")
            .env("LC_ALL", "C")
            .current_dir(self.work_tree.as_deref().unwrap_or(self.scratch))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        match (&self.git_dir, &self.work_tree) {
            (Some(git_dir), Some(work_tree)) => {
                command.env("GIT_DIR", git_dir).env("GIT_WORK_TREE", work_tree);
            }
            // Nothing that happens to be above the directory counts as a repository.
            _ => drop(command.env("GIT_CEILING_DIRECTORIES", self.scratch)),
        }
        if let (Some(authorization), Some(scope)) = (&self.source.authorization, scope(&self.source.remote)) {
            // In the environment and not among the arguments, which everybody can read.
            command
                .env("GIT_CONFIG_COUNT", "2")
                .env("GIT_CONFIG_KEY_0", format!("http.{scope}.extraheader"))
                .env("GIT_CONFIG_VALUE_0", format!("Authorization: {authorization}"))
                // Git would send the header also to the host that a redirect leads to.
                .env("GIT_CONFIG_KEY_1", format!("http.{scope}.followRedirects"))
                .env("GIT_CONFIG_VALUE_1", "false");
        }
        command
    }

    fn wait(&self, child: &mut Child) -> Result<bool, Error> {
        loop {
            if let Some(status) = child.try_wait().map_err(Error::Start)? {
                return Ok(status.success());
            }
            if (self.program.cancelled)() {
                // Its helpers, too; they are gone already if this fails.
                if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
                    let _ = kill_process_group(group, Signal::KILL);
                }
                let _ = child.wait();
                return Err(Error::Cancelled);
            }
            std::thread::sleep(BEAT);
        }
    }
}

fn collect(pipe: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // What cannot be read was not said.
            let _ = pipe.by_ref().take(LIMIT).read_to_end(&mut bytes);
            let _ = io::copy(&mut pipe, &mut io::sink());
        }
        bytes
    })
}

/// The part of an address that a header is for: scheme and host.
fn scope(remote: &str) -> Option<String> {
    let (scheme, _) = remote.split_once("://")?;
    let host = super::host(remote)?;
    matches!(scheme, "http" | "https").then(|| format!("{scheme}://{host}/"))
}

/// As one word of a shell.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}
