//! What the kernel gives, and the rung of isolation that comes of it.

use std::ffi::OsStr;
use std::fmt::Write as _;

use oci::Platform;
use sandbox::{ControlGroups, Emulation, Error, Ids, Isolation, Machine};

use super::Check;

/// Mounts can be given attributes and overlays be mounted without root.
const OLDEST: (u32, u32) = (5, 12);
/// User namespaces have emulators of their own.
const WITH_EMULATORS: (u32, u32) = (6, 7);
/// Those that base images are made for.
const ARCHITECTURES: [&str; 7] = ["amd64", "386", "arm64", "arm", "riscv64", "ppc64le", "s390x"];

pub(super) fn version(machine: &Machine) -> Check {
    let text = format!("Linux {}", machine.release);
    if machine.kernel < OLDEST {
        let next = "boot Linux 5.12 or later";
        return Check::problem("kernel", format!("{text}: builds need 5.12"), next);
    }
    if machine.kernel < WITH_EMULATORS {
        let text = format!("{text}: an ordinary user's builds cannot bring emulators of their own before 6.7");
        return Check::note("kernel", text, "nothing, unless images for other processors are built");
    }
    Check::ok("kernel", text)
}

/// `is_plain` is whether steps have no namespaces, and then no filter that takes power over them.
pub(super) fn filters(machine: &Machine, is_plain: bool) -> Check {
    if !machine.has_filters && !is_plain {
        let text = "the kernel cannot filter system calls, so no step can be started";
        return Check::problem("seccomp", text, "boot a kernel with CONFIG_SECCOMP_FILTER");
    }
    Check::ok(
        "seccomp",
        match (machine.is_filtered, is_plain) {
            (true, true) => "rbuild and its steps are under the filter of system calls of their surroundings",
            (true, false) => "each step is under a filter of system calls, and rbuild under one of its surroundings",
            (false, _) => "each step is under a filter of system calls",
        },
    )
}

/// Which rung it is, why it is no better one, and how to get there.
pub(super) fn isolation(entered: &Result<Isolation, Error>, ids: &Ids) -> Check {
    let name = "isolation";
    let isolation = match entered {
        Ok(isolation) => isolation,
        Err(error) => {
            let (reason, next) = refusal(error);
            return Check::problem(name, reason, next);
        }
    };
    match isolation {
        Isolation::Root => Check::ok(
            name,
            "as root, each step in namespaces of its own: the first rung of four",
        ),
        Isolation::UserNamespace { user, uids } => {
            let programs = [&ids.newuidmap, &ids.newgidmap];
            let programs: Vec<String> = programs
                .into_iter()
                .flatten()
                .map(|path| path.display().to_string())
                .collect();
            let by = match programs.is_empty() {
                true => String::new(),
                false => format!(", mapped by {}", programs.join(" and ")),
            };
            let mut text = format!("in a user namespace of `{user}` with {uids} user ids{by}: the second rung of four");
            if ids.users.max(ids.groups) > 0 && ids.users.min(ids.groups) < 65_535 {
                let _ = write!(text, "; {} user and {} group ids are lent", ids.users, ids.groups);
                let next = "images with higher ids need a range of 65536: see `usermod --add-subuids --add-subgids`";
                return Check::note(name, text, next);
            }
            Check::ok(name, text)
        }
        Isolation::SingleId { user, lack } => {
            let text = format!(
                "in a user namespace of `{user}` with a single user id, because {lack}: the third rung of four; steps that \
                 need other users (`USER 1000`, `chown`, `apt-get install`) fail, other owners of files are recorded"
            );
            Check::note(name, text, isolation.remedy().unwrap_or_default())
        }
        Isolation::Plain { lack } => {
            let text = format!(
                "as root without namespaces, because {lack}: the last rung of four; steps have a root of their own and are not \
                 isolated from what is around rbuild; they have no /proc of processes, and `--network=none` fails"
            );
            Check::note(name, text, isolation.better().unwrap_or_default())
        }
    }
}

/// The refusal and what to do about it, apart.
fn refusal(error: &Error) -> (String, String) {
    let as_root = "run rbuild as root, where no user namespace is needed";
    match error {
        Error::UserNamespaceForbidden { prohibition, .. } => (
            format!("cannot create a user namespace: {}", prohibition.reason()),
            prohibition.remedy().unwrap_or(as_root).to_owned(),
        ),
        Error::Isolate { doing, source } => (
            format!("cannot {doing}: {source}"),
            "in a container, start it with `--security-opt seccomp=unconfined --security-opt apparmor=unconfined`, or as \
             root with `--cap-add=SYS_ADMIN`"
                .to_owned(),
        ),
        error => {
            let text = error.to_string();
            match text.split_once("; ") {
                Some((reason, next)) => (reason.to_owned(), next.to_owned()),
                None => (text, as_root.to_owned()),
            }
        }
    }
}

pub(super) fn control_groups(groups: &ControlGroups) -> Check {
    let name = "control groups";
    let Some(version) = groups.version else {
        let next = "nothing, unless steps shall be limited: then mount /sys/fs/cgroup";
        return Check::note(
            name,
            "none are mounted: steps are not limited in memory, time and processes",
            next,
        );
    };
    let controllers = match groups.controllers.is_empty() {
        true => "no controllers".to_owned(),
        false => groups.controllers.join(", "),
    };
    if groups.writable.is_empty() {
        let next = "nothing, unless steps shall be limited: then run in a group of your own, as with `systemd-run --user \
                    --scope -p Delegate=yes rbuild …`";
        return Check::note(
            name,
            format!("version {version} with {controllers}, not writable for us"),
            next,
        );
    }
    Check::ok(
        name,
        format!(
            "version {version} with {controllers}; writable: {}",
            groups.writable.join(", ")
        ),
    )
}

/// For which processors programs run here. Tells the kernel of emulators in `search`, as a build would.
pub(super) fn emulators(isolation: &Isolation, search: Option<&OsStr>) -> Check {
    let host = Platform::host().architecture;
    let names = ARCHITECTURES.map(str::to_owned);
    let found = sandbox::emulate(&names, isolation, search);
    let mut text = format!("programs for {host}");
    let mut others = 0;
    for (name, emulation) in ARCHITECTURES.into_iter().zip(found) {
        let how = match emulation {
            _ if name == host => continue,
            Emulation::Native => format!(", {name}"),
            Emulation::By(program) => format!(", {name} (by {})", program.display()),
            Emulation::InsideOnly(program) => format!(", {name} (by {} of the image)", program.display()),
            Emulation::Unregistered(_) | Emulation::None => continue,
        };
        others += usize::from(!how.ends_with(name));
        text += &how;
    }
    match others {
        0 => Check::note(
            "platforms",
            format!("{text} run here, and no others"),
            "for RUN steps of other platforms install emulators: `apt-get install qemu-user-static` (Debian, Ubuntu), \
             `dnf install qemu-user-static` (Fedora)",
        ),
        _ => Check::ok("platforms", format!("{text} run here")),
    }
}
