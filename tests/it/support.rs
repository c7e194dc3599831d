//! The given of every test: the binary, a user to run it as, a store of its own, the base images. Nothing here asserts more
//! than that a command ended as its caller wanted.

use std::fs;
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Longer than any example takes on a slow machine; a build that hangs fails instead of blocking all.
const PATIENCE_SECONDS: &str = "1200";

/// Variables that change what rbuild does, and are not the tests'.
pub(crate) const OF_THE_DEVELOPER: [&str; 13] = [
    "RBUILD_ROOT",
    "RBUILD_ISOLATION",
    "RBUILD_CA_FILE",
    "BUILDKIT_PROGRESS",
    "SOURCE_DATE_EPOCH",
    "DOCKER_CONFIG",
    "CI",
    "GITHUB_ACTIONS",
    "GITHUB_OUTPUT",
    "GITHUB_STEP_SUMMARY",
    "GITLAB_CI",
    "BUILDKITE",
    "TF_BUILD",
];

/// Who runs the binary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum User {
    /// The user of the tests.
    Own,
    /// An ordinary user, when the tests run as root.
    Other(String),
}

impl User {
    /// The ordinary user of `RBUILD_TEST_USER`, if this process can become it.
    pub(crate) fn ordinary() -> Option<User> {
        let name = std::env::var("RBUILD_TEST_USER").ok().filter(|name| !name.is_empty());
        if !rustix::process::geteuid().is_root() || name.is_none() || !has("runuser") || !has("newuidmap") {
            return skipped("root, RBUILD_TEST_USER, runuser and newuidmap");
        }
        name.map(User::Other)
    }

    /// The ordinary user of `RBUILD_TEST_USER_WITHOUT_RANGE`, to whom no ids are lent, if this process can become it.
    pub(crate) fn without_range() -> Option<User> {
        let name = std::env::var("RBUILD_TEST_USER_WITHOUT_RANGE")
            .ok()
            .filter(|name| !name.is_empty());
        if !rustix::process::geteuid().is_root() || name.is_none() || !has("runuser") {
            return skipped("root, RBUILD_TEST_USER_WITHOUT_RANGE and runuser");
        }
        name.map(User::Other)
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("timeout");
        command.args(["--foreground", "--kill-after=10", PATIENCE_SECONDS]);
        if let User::Other(name) = self {
            command.args([
                "runuser",
                "-u",
                name,
                "--",
                "env",
                "-u",
                "XDG_DATA_HOME",
                "-u",
                "XDG_RUNTIME_DIR",
            ]);
        }
        command.arg(program);
        command
    }

    fn give(&self, path: &Path) {
        if let User::Other(name) = self {
            run(Command::new("chown").args(["-R", name]).arg(path));
        }
    }
}

/// A user, a store and a work folder, all gone when it is dropped.
#[derive(Debug)]
pub(crate) struct Workshop {
    user: User,
    folder: TempDir,
    /// The rung of isolation that its builds are on, if it is not to be the best.
    rung: Option<String>,
}

impl Workshop {
    pub(crate) fn new(user: User) -> Workshop {
        let folder = tempfile::Builder::new()
            .prefix("rbuild-it-")
            .tempdir_in(scratch())
            .unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for name in ["store", "work"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        user.give(folder.path());
        let rung = (user == User::Own).then(rung).flatten();
        Workshop { user, folder, rung }
    }

    /// One of root's in which builds do without namespaces.
    pub(crate) fn plain() -> Option<Workshop> {
        if !rustix::process::geteuid().is_root() {
            return skipped("root");
        }
        let mut workshop = Workshop::own();
        workshop.rung = Some("plain".to_owned());
        Some(workshop)
    }

    /// One for each user and rung that attacks are tried as.
    pub(crate) fn of_everybody() -> impl Iterator<Item = Workshop> {
        let users = [Some(User::Own), User::ordinary()].into_iter().flatten();
        users.map(Workshop::new).chain(Workshop::plain())
    }

    pub(crate) fn own() -> Workshop {
        Workshop::new(User::Own)
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    /// The part of the store that the builds of this user are kept in.
    pub(crate) fn home(&self) -> PathBuf {
        let homes = ["v1", "v1-single"].map(|home| self.store().join(home));
        homes.into_iter().find(|home| home.is_dir()).unwrap()
    }

    /// A path in the work folder; nothing is made.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("work").join(name)
    }

    /// A context of the given files, `Dockerfile` among them.
    pub(crate) fn context(&self, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let context = self.path(name);
        for (file, text) in files {
            let file = context.join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        self.user.give(&context);
        context
    }

    /// A copy of a folder of the repository's, to be edited.
    pub(crate) fn copy(&self, source: &Path, name: &str) -> PathBuf {
        let copy = self.path(name);
        run(Command::new("cp").args(["-r", "--"]).arg(source).arg(&copy));
        self.user.give(&copy);
        copy
    }

    /// `rbuild` on this workshop's store, its environment free of what the developer has set.
    pub(crate) fn rbuild(&self) -> Command {
        let mut command = self.user.command(binary());
        command
            .arg("--root")
            .arg(self.store())
            .current_dir(self.folder.path().join("work"));
        for name in OF_THE_DEVELOPER {
            command.env_remove(name);
        }
        command.envs(self.rung.iter().map(|rung| ("RBUILD_ISOLATION", rung)));
        command
    }

    /// A shell of this workshop's user in its work folder, for what only a shell does before it runs its arguments.
    pub(crate) fn shell(&self, script: &str) -> Command {
        let mut command = self.user.command(Path::new("sh"));
        command
            .args(["-c", script, "sh"])
            .current_dir(self.folder.path().join("work"));
        command
    }

    /// A build with plain progress and the base images of this machine in the place of those of a registry.
    pub(crate) fn build(&self, bases: &Bases, context: &Path) -> Command {
        let mut command = self.rbuild();
        command.arg("--progress=plain").args(bases.arguments()).arg(context);
        command
    }

    /// Without `timeout` or another user in between: for tests that send signals to it.
    pub(crate) fn direct(&self, bases: &Bases, context: &Path) -> Command {
        let mut command = Command::new(binary());
        for name in OF_THE_DEVELOPER {
            command.env_remove(name);
        }
        command
            .envs(self.rung.iter().map(|rung| ("RBUILD_ISOLATION", rung)))
            .arg("--root")
            .arg(self.store())
            .arg("--progress=plain")
            .args(bases.arguments())
            .arg(context);
        command
    }
}

impl Drop for Workshop {
    /// A store of an ordinary user holds files of its subordinate ids, which only rbuild (or root) may delete.
    fn drop(&mut self) {
        if !rustix::process::geteuid().is_root() {
            let _ = self.rbuild().args(["prune", "--all"]).output();
        }
    }
}

/// The base images made by `scripts/make-bases`, readable by every user.
#[derive(Debug)]
pub(crate) struct Bases {
    folder: PathBuf,
}

impl Bases {
    pub(crate) fn find() -> Option<&'static Bases> {
        static BASES: OnceLock<Option<Bases>> = OnceLock::new();
        let found = BASES.get_or_init(|| {
            let folder = PathBuf::from(std::env::var_os("RBUILD_TEST_BASES")?);
            folder.join("busybox/index.json").exists().then(|| Bases {
                folder: readable_by_all(&folder),
            })
        });
        found
            .as_ref()
            .or_else(|| skipped("RBUILD_TEST_BASES, a folder made by scripts/make-bases"))
    }

    /// The layouts are in folders of it.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    fn arguments(&self) -> Vec<String> {
        let at = |name: &str, layout: &str, tag: &str| {
            format!(
                "--build-context={name}=oci-layout://{}/{layout}:{tag}",
                self.folder.display()
            )
        };
        vec![
            at("debian:bookworm-slim", "debian", "bookworm-slim"),
            at("busybox", "busybox", "latest"),
        ]
    }

    /// The folder to lend as `certs`, with `ca-certificates.crt` in it, when the tests were given a bundle.
    pub(crate) fn certificates(&self) -> Option<PathBuf> {
        let certificates = self.folder.join("certs");
        certificates.exists().then_some(certificates)
    }
}

/// A copy of the bases (hard links where possible) outside the home directory of whoever runs the tests.
fn readable_by_all(folder: &Path) -> PathBuf {
    let copy = scratch().join(format!("bases-{}", std::process::id()));
    let certificates = copy.join("certs");
    fs::create_dir_all(&certificates).unwrap();
    for base in ["busybox", "debian"] {
        run(Command::new("cp").args(["-r", "--"]).arg(folder.join(base)).arg(&copy));
    }
    if let Some(bundle) = std::env::var_os("RBUILD_TEST_CA") {
        fs::copy(bundle, certificates.join("ca-certificates.crt")).unwrap();
    } else {
        fs::remove_dir(&certificates).unwrap();
    }
    run(Command::new("chmod").args(["-R", "a+rX"]).arg(&copy));
    copy
}

/// The program under test, at a path that every user can reach.
pub(crate) fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let copy = scratch().join(format!("rbuild-{}", std::process::id()));
        // By another program: what this one has open for writing, children of other tests have too, and it cannot be run.
        run(Command::new("cp").arg(env!("CARGO_BIN_EXE_rbuild")).arg(&copy));
        run(Command::new("chmod").arg("755").arg(&copy));
        copy
    })
}

/// The rung of isolation that all builds are to be on, but for those of other users: `RBUILD_TEST_ISOLATION`.
fn rung() -> Option<String> {
    std::env::var("RBUILD_TEST_ISOLATION")
        .ok()
        .filter(|rung| !rung.is_empty())
}

/// Whether builds do without namespaces, and so without mounts: trees are copied.
pub(crate) fn is_plain() -> bool {
    rung().as_deref() == Some("plain")
}

/// Whether builds have namespaces, for tests of what only those give.
pub(crate) fn has_namespaces() -> bool {
    !is_plain() || skipped::<()>("namespaces").is_some()
}

/// Where stores go: on a real disk. `scripts/test` gives a folder that every user can reach, and deletes it.
pub(crate) fn scratch() -> PathBuf {
    let target = || PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    std::env::var_os("RBUILD_TEST_SCRATCH").map_or_else(target, PathBuf::from)
}

/// Whether the user of the tests has other user ids than its own, for steps that need such.
pub(crate) fn has_other_ids() -> bool {
    let lent = fs::read_to_string("/etc/subuid").unwrap_or_default();
    let name = run(Command::new("id").arg("-un"));
    let is_lent = || lent.lines().any(|line| line.split(':').next() == Some(name.trim()));
    rustix::process::geteuid().is_root() || (has("newuidmap") && is_lent()) || skipped::<()>("a range of ids").is_some()
}

/// Says what is missing, on a line of its own, and gives nothing.
pub(crate) fn skipped<T>(missing: &str) -> Option<T> {
    eprintln!("skipped: needs {missing}");
    None
}

/// Whether a program is installed.
pub(crate) fn has(program: &str) -> bool {
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(system)
        .any(|folder| folder.join(program).exists())
}

/// Runs a command that must succeed and gives its stdout.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}",
        output.status,
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// Runs a command that must end with this code and gives its stderr.
pub(crate) fn ends_with(command: &mut Command, code: i32) -> String {
    let output = command.output().unwrap();
    let stderr = text(&output.stderr);
    assert_eq!(
        output.status.code(),
        Some(code),
        "{command:?} ended otherwise; it said:\n{stderr}"
    );
    stderr
}

/// What a command said on stderr, where its progress is; it must succeed.
pub(crate) fn progress(command: &mut Command) -> String {
    let output: Output = command.output().unwrap();
    let stderr = text(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{stderr}", output.status);
    stderr
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Waits until the condition holds; false when it does not in time.
pub(crate) fn eventually(limit: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    while Instant::now() < end {
        if holds() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    holds()
}

/// A port of the loopback nobody listens on.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A socket at a path of any length: `bind` itself takes 107 bytes, and folders of tests may be deep.
pub(crate) fn socket(path: &Path) -> UnixListener {
    let folder = fs::File::open(path.parent().unwrap()).unwrap();
    let of_the_folder = format!("/proc/self/fd/{}", folder.as_raw_fd());
    UnixListener::bind(Path::new(&of_the_folder).join(path.file_name().unwrap())).unwrap()
}
