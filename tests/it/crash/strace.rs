//! `strace`, which kills a process, or lets a call fail, at the n-th call of a kind.

use std::process::Command;

use super::site::{Site, Task};
use crate::support::{has, skipped};

/// Where faults go: into rbuild itself, or also into all that it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    Rbuild,
    Everything,
}

pub(super) fn is_there() -> bool {
    has("strace") || skipped::<()>("strace").is_some()
}

/// The command of a task under strace, which does `what` at the call number `when` of those called `call`. Each thread
/// counts its own.
pub(super) fn command(site: &Site, task: Task, (call, what, when): (&str, &str, &str), reach: Reach) -> Command {
    let mut command = Command::new("strace");
    command.args(["-f", "-qqq", "-o", "/dev/null"]);
    command.arg(match reach {
        Reach::Rbuild => "--detach-on=execve",
        Reach::Everything => "--seccomp-bpf",
    });
    command
        .arg(format!("--trace={call}"))
        .arg(format!("--inject={call}:{what}:when={when}"))
        .arg(site.binary())
        .args(site.arguments(task));
    site.dress(&mut command);
    command
}
