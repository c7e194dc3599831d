//! RUN: a process on a tree.

use std::path::Path;

use cache::ActiveSnapshot;
use graph::{ExecOp, NetworkMode, Process, Security, Ulimit};
use sandbox::{Exit, Limit, Network, Privileges, Spec};

use super::Work;
use super::mounts::Mounts;
use crate::log::StepLog;
use crate::{Step, StepError, Stream};

/// Runs the process on the work's base; its tree with what the process wrote is the result.
pub(super) fn run(work: &Work, op: &ExecOp, step: &Step) -> Result<ActiveSnapshot, StepError> {
    let active = work.prepare()?;
    let tree = active.mount()?;
    let mut log = match &work.log {
        Some(path) => StepLog::create(path, step)?,
        None => unreachable!("a process has a log"),
    };
    let mounts = Mounts::new(work, op, step)?;
    let mut spec = spec(op, tree.path());
    add_secrets(&mut spec.env, &mounts.secret_env);
    spec.mounts.clone_from(&mounts.list);
    let mut written = Ok(());
    let running = trace::span("run");
    let outcome = work.solver.executor.run(
        &spec,
        &mut |stream, bytes| {
            let stream = match stream {
                sandbox::Stream::Stdout => Stream::Stdout,
                sandbox::Stream::Stderr => Stream::Stderr,
            };
            if written.is_ok() {
                written = log.write(stream, bytes);
            }
        },
        &work.solver.cancel,
    );
    drop(running);
    log.finish()?;
    written?;
    drop(mounts);
    drop(tree);
    match outcome {
        Ok(Exit::Code(0)) => Ok(active),
        Ok(exit) => Err(unsuccessful(&op.process, exit)),
        Err(sandbox::Error::Cancelled) => Err(StepError::Cancelled),
        Err(source) => Err(StepError::Start {
            command: command_line(&op.process),
            source,
        }),
    }
}

fn spec(op: &ExecOp, root: &Path) -> Spec {
    let process = &op.process;
    let mut spec = Spec::new(root, process.args.clone());
    spec.env = process.env.iter().chain(&process.proxy_env).cloned().collect();
    spec.working_directory.clone_from(&process.working_directory);
    spec.user.clone_from(&process.user);
    spec.hosts.clone_from(&op.extra_hosts);
    spec.network = match op.network {
        NetworkMode::Default | NetworkMode::Host => Network::Host,
        NetworkMode::None => Network::None,
    };
    spec.privileges = match op.security {
        Security::Sandbox => Privileges::Default,
        Security::Insecure => Privileges::Insecure,
    };
    spec.limits = op.ulimits.iter().map(limit).collect();
    if let Some(hostname) = &process.hostname {
        spec.hostname.clone_from(hostname);
    }
    if let Some(size) = op.shm_size {
        spec.shm_size = size;
    }
    spec
}

/// A secret takes the place of a variable of the same name.
fn add_secrets(env: &mut Vec<String>, secrets: &[String]) {
    fn name(line: &str) -> &str {
        line.split('=').next().unwrap_or_default()
    }
    env.retain(|line| secrets.iter().all(|secret| name(secret) != name(line)));
    env.extend_from_slice(secrets);
}

fn limit(ulimit: &Ulimit) -> Limit {
    Limit {
        resource: ulimit.name.clone(),
        soft: ulimit.soft,
        hard: ulimit.hard,
    }
}

fn unsuccessful(process: &Process, exit: Exit) -> StepError {
    let code = match exit {
        Exit::Code(code) => Some(code),
        Exit::Signal(_) | Exit::OutOfMemory => None,
    };
    let ending = exit.to_string();
    StepError::Process {
        command: command_line(process),
        ending,
        code,
    }
}

fn command_line(process: &Process) -> String {
    process.args.join(" ")
}
