//! All attacks of `testdata/attacks`, each in a process of one step.

use std::collections::BTreeMap;
use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use super::table::{Builder, Verdict, differences, document, expected, verdicts};
use crate::support::{User, Workshop, binary, has, progress, run, scratch, skipped};

/// The second step sees what the first was lent only if somebody left it there.
pub(super) const DOCKERFILE: &str = "FROM scratch\n\
    ARG HOST_FILE\nARG HOST_PROCESS\nARG HOST_SOCKET\nARG HOST_STORE\nARG HOST_DISK\n\
    COPY attack /attack\n\
    ADD devices.tar /archive/\n\
    RUN --mount=type=secret,id=other [\"/attack\", \"/before\", \"secrets-of-others\"]\n\
    RUN --mount=type=bind,target=/bind --mount=type=bind,target=/bind-rw,rw --mount=type=cache,target=/cache \
    --mount=type=tmpfs,target=/scratch [\"/attack\", \"/verdicts\"]\n";

/// The program, made once; nothing (and a word on stderr) where there is no compiler.
pub(super) fn program() -> Option<PathBuf> {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    if !has("cc") {
        return skipped("cc");
    }
    Some(PROGRAM.get_or_init(compile).clone())
}

fn compile() -> PathBuf {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/attacks");
    let program = scratch().join(format!("attack-{}", std::process::id()));
    let mut compile = Command::new("cc");
    compile.args(["-static", "-O1", "-o"]).arg(&program);
    let mut files: Vec<PathBuf> = fs::read_dir(sources)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "c"));
    run(compile.args(files));
    program
}

/// The numbers of the machine's first disk.
fn disk() -> Option<(u32, u32)> {
    let partitions = fs::read_to_string("/proc/partitions").unwrap_or_default();
    partitions.lines().find_map(|line| {
        let mut words = line.split_whitespace().map(str::parse::<u32>);
        Some((words.next()?.ok()?, words.next()?.ok()?))
    })
}

/// An archive that holds a node of it.
pub(super) fn archive_with_a_disk() -> Vec<u8> {
    let (major, minor) = disk().unwrap_or((8, 0));
    let mut header = [0_u8; 512];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, "disk");
    put(100, "0000600");
    put(108, "0000000");
    put(116, "0000000");
    put(124, "00000000000");
    put(136, "00000000000");
    put(148, "        ");
    put(156, "4");
    put(257, "ustar\0\x30\x30");
    put(329, &format!("{major:07o}"));
    put(337, &format!("{minor:07o}"));
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut archive = header.to_vec();
    archive.resize(512 * 20, 0);
    archive
}

/// What of the machine the attacks are to reach, as build arguments.
pub(super) struct Outside {
    pub(super) arguments: Vec<String>,
    _listener: UnixListener,
}

impl Outside {
    fn new(workshop: &Workshop) -> Outside {
        let secret = workshop.path("host-file");
        fs::write(&secret, "of the host").unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
        Outside::of(&secret, std::process::id(), &workshop.store())
    }

    pub(super) fn of(file: &Path, process: u32, store: &Path) -> Outside {
        // Not a path: the name may have 107 bytes only, and folders of tests may be deep.
        static OUTSIDES: AtomicU32 = AtomicU32::new(0);
        let number = OUTSIDES.fetch_add(1, Ordering::Relaxed);
        let name = format!("rbuild-attacked-{}-{number}", std::process::id());
        let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let arguments = [
            ("HOST_FILE", file.display().to_string()),
            ("HOST_PROCESS", process.to_string()),
            ("HOST_SOCKET", name),
            ("HOST_STORE", store.display().to_string()),
            (
                "HOST_DISK",
                disk()
                    .map(|(major, minor)| format!("{major}:{minor}"))
                    .unwrap_or_default(),
            ),
        ];
        Outside {
            arguments: arguments
                .iter()
                .map(|(name, value)| format!("--build-arg={name}={value}"))
                .collect(),
            _listener: listener,
        }
    }
}

fn context(workshop: &Workshop, program: &Path) -> PathBuf {
    let context = workshop.context("attacks", &[("Dockerfile", DOCKERFILE), ("secret", "lent")]);
    fs::copy(program, context.join("attack")).unwrap();
    fs::set_permissions(context.join("attack"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(context.join("devices.tar"), archive_with_a_disk()).unwrap();
    context
}

/// Runs all attacks in a build by `command`, and reads what they told.
fn attacked(workshop: &Workshop, command: &mut Command, context: &Path) -> BTreeMap<String, Verdict> {
    let outside = Outside::new(workshop);
    let out = context.join("out");
    let secret = format!("--secret=id=other,src={}", context.join("secret").display());
    progress(
        command
            .args(["--network=host", "--allow=network.host", &secret])
            .args(&outside.arguments)
            .arg(format!("--output=type=local,dest={}", out.display())),
    );
    let before = fs::read_to_string(out.join("before")).unwrap();
    assert!(before.contains("reached"), "the first step has its secret: {before}");
    verdicts(&fs::read_to_string(out.join("verdicts")).unwrap())
}

#[track_caller]
pub(super) fn assert_as_documented(builder: Builder, found: &BTreeMap<String, Verdict>) {
    let differences = differences(&expected(&document(), builder), found);
    let stopped = found.values().filter(|verdict| verdict.word == "stopped").count();
    eprintln!("{builder:?}: {stopped} of {} attacks stopped", found.len());
    assert!(differences.is_empty(), "{builder:?}:\n{}", differences.join("\n"));
}

#[test]
fn attacks_end_as_the_document_says() {
    let Some(program) = program() else { return };
    for (user, builder) in [
        (
            Some(User::Own).filter(|_| rustix::process::geteuid().is_root()),
            Builder::Root,
        ),
        (User::ordinary(), Builder::Rootless),
    ] {
        let Some(user) = user else { continue };
        let workshop = Workshop::new(user);
        let context = context(&workshop, &program);
        let mut build = workshop.rbuild();
        build.arg("--progress=plain").arg(&context);
        assert_as_documented(builder, &attacked(&workshop, &mut build, &context));
    }
}

/// Where no control group can be made, all that a step can write is without devices: nodes of the usual ones too.
#[test]
fn without_control_groups_no_node_that_a_step_makes_can_be_opened() {
    let Some(program) = program() else { return };
    if !rustix::process::geteuid().is_root() || !has("unshare") {
        return skipped("root and unshare").unwrap_or_default();
    }
    let workshop = Workshop::own();
    let context = context(&workshop, &program);
    let hide = "grep -E ' cgroup2? ' /proc/self/mounts | cut -d' ' -f2 | xargs -r -n1 umount -l; exec \"$@\"";
    let mut build = Command::new("unshare");
    build
        .args(["-m", "sh", "-c", hide, "sh"])
        .arg(binary())
        .arg("--root")
        .arg(workshop.store());
    build.arg("--progress=plain").arg(&context);
    let mut found = attacked(&workshop, &mut build, &context);
    assert_eq!(found.remove("device-usual").unwrap().word, "stopped");
    let mut expected = expected(&document(), Builder::Root);
    expected.remove("device-usual");
    let differences = differences(&expected, &found);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// A root that was changed by `chroot` alone leaves the true one behind: rbuild must not.
#[test]
fn in_a_chroot_a_step_does_not_find_the_true_root() {
    let Some(program) = program() else { return };
    if !rustix::process::geteuid().is_root() || !has("unshare") {
        return skipped("root and unshare").unwrap_or_default();
    }
    let workshop = Workshop::own();
    let context = context(&workshop, &program);
    let jail = workshop.path("jail");
    fs::create_dir(&jail).unwrap();
    let enter = "mount --make-rprivate / && mount --rbind / \"$0\" && exec chroot \"$0\" \"$@\"";
    let mut build = Command::new("unshare");
    build
        .args(["-m", "sh", "-c", enter])
        .arg(&jail)
        .arg(binary())
        .arg("--root")
        .arg(workshop.store());
    build.arg("--progress=plain").arg(&context);
    assert_as_documented(Builder::Root, &attacked(&workshop, &mut build, &context));
}

/// The same against another builder: `RBUILD_TEST_PEER` is a command that takes the arguments of `docker`.
#[test]
fn attacks_on_buildkit_end_as_the_document_says() {
    let Some(peer) = std::env::var("RBUILD_TEST_PEER").ok().filter(|peer| !peer.is_empty()) else {
        return skipped("RBUILD_TEST_PEER, a command such as `docker`").unwrap_or_default();
    };
    let Some(program) = program() else { return };
    let workshop = Workshop::own();
    let context = context(&workshop, &program);
    let mut words = peer.split_whitespace();
    let mut build = Command::new(words.next().unwrap_or_default());
    build
        .args(words)
        .args(["buildx", "build", "--progress=plain", "--no-cache"])
        .arg(&context);
    assert_as_documented(Builder::BuildKit, &attacked(&workshop, &mut build, &context));
}

#[test]
fn what_is_allowed_is_explained() {
    let document = document();
    let (_, notes) = document.split_once("## What is allowed").unwrap();
    for builder in [Builder::Root, Builder::Rootless, Builder::Plain] {
        for (name, cell) in expected(&document, builder) {
            assert!(matches!(cell.as_str(), "stopped" | "allowed"), "{name}: {cell}");
            assert!(
                cell == "stopped" || notes.contains(&format!("`{name}`")),
                "{name} is allowed and not explained"
            );
        }
    }
}
