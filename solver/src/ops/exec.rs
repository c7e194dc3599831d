//! RUN: a process on a tree.

use std::path::Path;

use cache::ActiveSnapshot;
use graph::{ExecOp, NetworkMode, Process, Security, Ulimit};
use sandbox::{Exit, Gauge, Limit, Mount, Network, Privileges, Spec};

use super::Work;
use super::limit;
use super::mounts::Mounts;
use crate::log::StepLog;
use crate::mask::Mask;
use crate::{Step, StepError, Stream, files};

/// Where a process finds the certificates it is lent.
const CERTIFICATES: &str = "/run/rbuild/ca-certificates.crt";
/// What programs and libraries ask for it.
const CERTIFICATE_VARIABLES: [&str; 8] = [
    "SSL_CERT_FILE",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "PIP_CERT",
    "GIT_SSL_CAINFO",
    "CARGO_HTTP_CAINFO",
    "AWS_CA_BUNDLE",
];

/// Runs the process on the work's base; its tree with what the process wrote is the result.
pub(super) fn run(work: &Work, op: &ExecOp, step: &Step) -> Result<ActiveSnapshot, StepError> {
    let active = work.solver.store.prepare_next(work.base.as_ref())?;
    let laid = active.lay_mount_points(sandbox::SYSTEM_FOLDER, &sandbox::SYSTEM_FILES)?;
    let tree = active.mount()?;
    let mounts = Mounts::new(work, op, step)?;
    let secrets = mounts.secrets();
    let mask = Mask::of(secrets.iter().map(|(_, value)| *value));
    let mut log = match &work.log {
        Some(path) => {
            work.solver.store.hold_logs(&work.solver.build)?;
            StepLog::create(path, step, &mask)?
        }
        None => unreachable!("a process has a log"),
    };
    let mut spec = spec(op, tree.path());
    spec.resources.clone_from(&work.solver.resources);
    add_secrets(&mut spec.env, &mounts.secret_env);
    spec.mounts.clone_from(&mounts.list);
    if let Some(certificates) = &work.solver.certificates {
        trust(&mut spec, certificates);
    }
    let mut written = Ok(());
    let running = trace::span("run");
    let mut write = |stream, bytes: &[u8]| {
        let stream = match stream {
            sandbox::Stream::Stdout => Stream::Stdout,
            sandbox::Stream::Stderr => Stream::Stderr,
            sandbox::Stream::Note => return step.note(String::from_utf8_lossy(bytes).into_owned()),
        };
        if written.is_ok() {
            written = log.write(stream, bytes);
        }
    };
    let (solver, gauge) = (&work.solver, Gauge::default());
    step.running(&gauge);
    let (outcome, is_late) = limit::within(solver.step_timeout, &solver.cancel, |cancel| {
        solver.executor.run_measured(&spec, &mut write, cancel, &gauge)
    });
    drop(running);
    log.finish()?;
    written?;
    if matches!(outcome, Ok(Exit::Code(0))) {
        tree.close()?;
        laid.map_or(Ok(()), cache::MountPoints::take_away)?;
        warn_of_secrets(&secrets, &active, step);
    }
    drop(mounts);
    match outcome {
        Ok(Exit::Code(0)) => Ok(active),
        Ok(exit) => Err(unsuccessful(&op.process, exit)),
        Err(sandbox::Error::Cancelled) if is_late => Err(StepError::TimedOut {
            command: command_line(&op.process),
            limit: solver.step_timeout.unwrap_or_default(),
        }),
        Err(sandbox::Error::Cancelled) => Err(StepError::Cancelled),
        Err(source) => Err(StepError::Start {
            command: command_line(&op.process),
            source,
        }),
    }
}

/// Says which of the files that the process wrote have the value of a secret in them: they are part of the layer.
fn warn_of_secrets(secrets: &[(&str, &[u8])], active: &ActiveSnapshot, step: &Step) {
    let values: Vec<(&str, Mask)> = secrets
        .iter()
        .map(|(id, value)| (*id, Mask::of(std::iter::once(*value))))
        .filter(|(_, mask)| !mask.is_empty())
        .collect();
    if values.is_empty() {
        return;
    }
    for (path, content) in files::small_files(active.upper()) {
        for (id, _) in values.iter().filter(|(_, mask)| mask.finds_in(&content)) {
            step.note(format!(
                "WARN: the step wrote the value of secret `{id}` to {path}, which the layer keeps"
            ));
        }
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
    spec.limits = op.ulimits.iter().map(resource_limit).collect();
    if let Some(hostname) = &process.hostname {
        spec.hostname.clone_from(hostname);
    }
    if let Some(size) = op.shm_size {
        spec.shm_size = size;
    }
    spec
}

/// Shows the process the certificates, and names them in every variable that programs ask, unless the Dockerfile or a
/// build argument has set it. The mount point is gone with the process, so the layer tells of none of this.
fn trust(spec: &mut Spec, certificates: &Path) {
    spec.mounts.push(Mount::Bind {
        source: certificates.to_owned(),
        inside: String::new(),
        target: CERTIFICATES.to_owned(),
        read_only: true,
    });
    for name in CERTIFICATE_VARIABLES {
        let is_it = |line: &String| line.split_once('=').is_some_and(|(known, _)| known == name);
        if !spec.env.iter().any(is_it) {
            spec.env.push(format!("{name}={CERTIFICATES}"));
        }
    }
}

/// A secret takes the place of a variable of the same name.
fn add_secrets(env: &mut Vec<String>, secrets: &[String]) {
    fn name(line: &str) -> &str {
        line.split('=').next().unwrap_or_default()
    }
    env.retain(|line| secrets.iter().all(|secret| name(secret) != name(line)));
    env.extend_from_slice(secrets);
}

fn resource_limit(ulimit: &Ulimit) -> Limit {
    Limit {
        resource: ulimit.name.clone(),
        soft: ulimit.soft,
        hard: ulimit.hard,
    }
}

fn unsuccessful(process: &Process, exit: Exit) -> StepError {
    let (command, ending) = (command_line(process), exit.to_string());
    match exit {
        Exit::OutOfMemory { .. } => StepError::OutOfMemory { command, ending },
        Exit::Code(code) => StepError::Process {
            command,
            ending,
            code: Some(code),
        },
        Exit::Signal(_) => StepError::Process {
            command,
            ending,
            code: None,
        },
    }
}

fn command_line(process: &Process) -> String {
    process.args.join(" ")
}
