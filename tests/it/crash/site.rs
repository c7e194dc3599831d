//! A place where a mixed build is done again and again: pulled base, COPY, RUN, stages, cache mounts, an archive, a folder,
//! a push, a pull, a prune.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use super::draw::Draw;
use crate::registry::{Access, Registry};
use crate::support::{Bases, User, Workshop, binary, run, text};

/// What processes of the site have in their environment, rbuild and steps alike.
pub(super) const MARK: &str = "RBUILD_CRASH_TEST";

/// Files of the context that a big copy takes, so that the next one links what it can.
const MANY: usize = 130;

/// The contexts there are. They differ in one file.
pub(super) const VARIANTS: [&str; 2] = ["one", "two"];

/// What is done in one go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Task {
    /// Build; an archive, a folder, a name and the file of metadata come out.
    Export,
    /// Build and push.
    Push,
    /// Build a local image of plain layers, whose archives nobody writes.
    Keep,
    Pull,
    Prune,
    PruneAll,
}

pub(super) const TASKS: [Task; 6] = [
    Task::Export,
    Task::Push,
    Task::Keep,
    Task::Pull,
    Task::Prune,
    Task::PruneAll,
];

/// What there is before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Before {
    /// All that the last build left.
    All,
    /// The same, and the results of steps are gone.
    Images,
    /// A store in which everything was pruned.
    Nothing,
    /// No store.
    NoStore,
}

pub(super) const BEFORES: [Before; 4] = [Before::All, Before::Images, Before::Nothing, Before::NoStore];

/// What came out of a build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    exported: String,
    archive: String,
    folder: String,
    pushed: String,
    kept: String,
}

pub(super) struct Site {
    pub(super) workshop: Workshop,
    registry: Registry,
    binary: PathBuf,
    store: PathBuf,
    expected: Vec<Outcome>,
    /// The names in an emptied store.
    bare: Vec<String>,
    variant: usize,
}

impl Site {
    /// Makes it, and does each build once without being disturbed. Its store is `store`, or one in the workshop.
    pub(super) fn new(user: User, store: Option<&Path>) -> Option<Site> {
        let (bases, registry) = (Bases::find()?, Registry::start(Access::Open)?);
        let workshop = Workshop::new(user);
        // Its own, so that its processes are told from those of other tests.
        let own = workshop.path("rbuild");
        fs::copy(binary(), &own).unwrap();
        fs::set_permissions(&own, fs::Permissions::from_mode(0o755)).unwrap();
        let base = workshop.context("base", &[("Dockerfile", "FROM busybox\nRUN rm -rf /var/spool\n")]);
        run(workshop
            .build(bases, &base)
            .args(["--push", "-t", &registry.name("base:1")]));
        let mut site = Site {
            store: store.map_or_else(|| workshop.store(), Path::to_owned),
            binary: own,
            workshop,
            registry,
            expected: Vec::new(),
            bare: Vec::new(),
            variant: 0,
        };
        for name in VARIANTS {
            site.make_context(name);
        }
        for variant in 0..VARIANTS.len() {
            site.variant = variant;
            site.forget_store();
            let outcome = site.build_all().unwrap_or_else(|said| panic!("undisturbed: {said}"));
            site.expected.push(outcome);
        }
        site.bare = site.emptied();
        Some(site)
    }

    fn make_context(&self, name: &str) {
        let dockerfile = format!(
            "FROM {base} AS tools\nENV {MARK}=step\nCOPY tools /tools\n\
             RUN set -e; mkdir /made; for i in 1 2 3 4 5 6 7 8; do cat /tools/a > /made/$i; done; ln -s 1 /made/link; \
             touch -d @1000000000 /made/[0-9] /made; touch -h -d @1000000000 /made/link\n\
             RUN --mount=type=cache,target=/kept set -e; echo x >> /kept/log; cp /tools/a /a; touch -d @1000000000 /a\n\
             FROM {base}\nENV {MARK}=step\nCOPY many /many\nCOPY --from=tools /made /made\n\
             RUN --mount=type=bind,from=tools,source=/a,target=/given set -e; \
             cat /given /made/[0-9] > /all; rm /bin/who /many/7; touch -d @1000000000 /all /bin /many\n\
             CMD [\"cat\", \"/all\"]\n",
            base = self.registry.name("base:1")
        );
        let many: Vec<(String, String)> = (0..MANY)
            .map(|at| (format!("many/{at}"), format!("file {at}\n")))
            .collect();
        let mut files = vec![("Dockerfile", dockerfile.as_str()), ("tools/a", name)];
        files.extend(many.iter().map(|(path, content)| (path.as_str(), content.as_str())));
        let context = self.workshop.context(name, &files);
        run(Command::new("find")
            .arg(context)
            .args(["-exec", "touch", "-d", "@900000000", "{}", "+"]));
    }

    /// The command of a task, without what else comes before the program's name.
    pub(super) fn arguments(&self, task: Task) -> Vec<String> {
        let mut arguments = vec![format!("--root={}", self.store.display())];
        let dest = self.dest();
        let build = |more: &[&str]| {
            let context = self.workshop.path(VARIANTS[self.variant]).display().to_string();
            let mut words = vec!["build".to_owned(), "--progress=plain".to_owned()];
            words.extend(more.iter().map(|word| (*word).to_owned()));
            words.push(context);
            words
        };
        let words: Vec<String> = match task {
            Task::Export => build(&[
                "-t=app:1",
                &format!("-o=type=oci,dest={}", dest.join("image.tar").display()),
                &format!("-o=type=local,dest={}", dest.join("folder").display()),
                &format!("--metadata-file={}", dest.join("exported.json").display()),
            ]),
            Task::Push => build(&[
                "--push",
                &format!("-t={}", self.registry.name("out:1")),
                &format!("--metadata-file={}", dest.join("pushed.json").display()),
            ]),
            Task::Keep => build(&[
                "-t=kept:1",
                &format!("--metadata-file={}", dest.join("kept.json").display()),
            ]),
            Task::Pull => vec!["pull".to_owned(), self.registry.name("base:1")],
            Task::Prune => vec!["prune".to_owned()],
            Task::PruneAll => vec!["prune".to_owned(), "--all".to_owned()],
        };
        arguments.extend(words);
        arguments
    }

    /// Where exports go.
    fn dest(&self) -> PathBuf {
        self.workshop.path("dest")
    }

    pub(super) fn binary(&self) -> &Path {
        &self.binary
    }

    pub(super) fn store(&self) -> &Path {
        &self.store
    }

    /// The command that does a task as it is, without `timeout` or another user in between.
    pub(super) fn command(&self, task: Task) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(self.arguments(task));
        self.dress(&mut command);
        command
    }

    pub(super) fn dress(&self, command: &mut Command) {
        command
            .env(MARK, "rbuild")
            .current_dir(self.workshop.path(""))
            .stdin(Stdio::null());
        for name in ["RBUILD_ROOT", "BUILDKIT_PROGRESS", "SOURCE_DATE_EPOCH", "DOCKER_CONFIG"] {
            command.env_remove(name);
        }
    }

    /// Does something else with the store, which must succeed.
    fn rbuild(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(&self.binary);
        command.arg(format!("--root={}", self.store.display())).args(arguments);
        self.dress(&mut command);
        run(&mut command)
    }

    /// Draws what there is before the next disturbance, and makes it so.
    pub(super) fn prepare(&mut self, draw: &mut Draw) -> Before {
        let before = *draw.one_of(&BEFORES);
        match before {
            Before::All => {}
            Before::Images => drop(self.rbuild(&["prune", "--all"])),
            Before::Nothing => drop(self.emptied()),
            Before::NoStore => self.forget_store(),
        }
        if draw.below(2) == 0 {
            let _ = fs::remove_dir_all(self.dest());
        }
        self.variant = usize::try_from(draw.below(VARIANTS.len() as u64)).unwrap();
        before
    }

    /// Takes all names away, prunes all, and lists what is left.
    fn emptied(&self) -> Vec<String> {
        let images: Vec<Value> = serde_json::from_str(&self.rbuild(&["images", "--format=json"])).unwrap();
        let names = images.iter().map(|image| image["name"].as_str().unwrap());
        let forget: Vec<&str> = ["rmi"].into_iter().chain(names).collect();
        if forget.len() > 1 {
            self.rbuild(&forget);
        }
        self.rbuild(&["prune", "--all"]);
        let mut names = Vec::new();
        list(&self.store, &mut |path, _| names.push(path.to_owned()));
        // The journal of the database comes and goes; what is known of the files of contexts stays.
        names.retain(|name| {
            let is_known = name.starts_with("v1/index.db") || (name.starts_with("v1/stat/") && !name.contains('.'));
            name.starts_with("v1/") && !is_known
        });
        names
    }

    /// What the store holds after everything was pruned must be what an undisturbed one holds then.
    pub(super) fn verify_empty(&self) -> Result<(), String> {
        let left: Vec<String> = self
            .emptied()
            .into_iter()
            .filter(|name| !self.bare.contains(name))
            .collect();
        let total = self.rbuild(&["du"]);
        match left.is_empty() && total.contains("Total:       0") {
            true => Ok(()),
            false => Err(format!("a pruned store is not empty: {left:?}\n{total}")),
        }
    }

    fn forget_store(&self) {
        if let Ok(entries) = fs::read_dir(&self.store) {
            for entry in entries
                .map(Result::unwrap)
                .filter(|entry| entry.file_name() != "lost+found")
            {
                run(Command::new("rm").arg("-rf").arg(entry.path()));
            }
        }
    }

    /// Does a task undisturbed.
    pub(super) fn perform(&self, task: Task) -> Result<(), String> {
        let output = self.command(task).output().unwrap();
        succeeded(&output).map_err(|said| format!("{task:?}: {said}"))
    }

    /// Does all builds, undisturbed.
    pub(super) fn build_all(&self) -> Result<Outcome, String> {
        for task in [Task::Export, Task::Push, Task::Keep] {
            self.perform(task)?;
        }
        let mut folder = String::new();
        list(&self.dest().join("folder"), &mut |path, metadata| {
            let content = match metadata.is_file() {
                true => digest(&self.dest().join("folder").join(path)),
                false => String::new(),
            };
            writeln!(folder, "{path} {:o} {content}", metadata.permissions().mode()).unwrap();
        });
        Ok(Outcome {
            exported: self.told("exported.json"),
            archive: digest(&self.dest().join("image.tar")),
            folder,
            pushed: self.told("pushed.json"),
            kept: self.told("kept.json"),
        })
    }

    fn told(&self, name: &str) -> String {
        let metadata: Value = serde_json::from_slice(&fs::read(self.dest().join(name)).unwrap()).unwrap();
        metadata["containerimage.digest"].as_str().unwrap().to_owned()
    }

    /// Whether a task that said it succeeded gave what it should.
    pub(super) fn verify_result(&self, task: Task) -> Result<(), String> {
        let expected = &self.expected[self.variant];
        let (told, expected) = match task {
            Task::Export => (self.told("exported.json"), &expected.exported),
            Task::Push => (self.told("pushed.json"), &expected.pushed),
            Task::Keep => (self.told("kept.json"), &expected.kept),
            Task::Pull | Task::Prune | Task::PruneAll => return Ok(()),
        };
        match told == *expected {
            true => Ok(()),
            false => Err(format!("{task:?} gave {told}, not {expected}")),
        }
    }

    /// Builds everything, and compares it with what came of it undisturbed; then verifies the store.
    pub(super) fn verify(&self) -> Result<(), String> {
        let outcome = self.build_all()?;
        if outcome != self.expected[self.variant] {
            return Err(format!(
                "came out otherwise: {outcome:?}, not {:?}",
                self.expected[self.variant]
            ));
        }
        let there: BTreeMap<String, ()> = fs::read_dir(self.dest())
            .unwrap()
            .map(|entry| (entry.unwrap().file_name().into_string().unwrap(), ()))
            .collect();
        let names: Vec<&String> = there.keys().collect();
        if names != ["exported.json", "folder", "image.tar", "kept.json", "pushed.json"] {
            return Err(format!("the destination holds {names:?}"));
        }
        let mut fsck = Command::new(&self.binary);
        fsck.arg(format!("--root={}", self.store.display()))
            .args(["debug", "fsck"]);
        self.dress(&mut fsck);
        let output = fsck.output().unwrap();
        succeeded(&output).map_err(|said| format!("fsck: {said}"))
    }
}

fn succeeded(output: &Output) -> Result<(), String> {
    match output.status.success() {
        true => Ok(()),
        false => Err(format!(
            "{}\n{}{}",
            output.status,
            text(&output.stdout),
            text(&output.stderr)
        )),
    }
}

fn digest(path: &Path) -> String {
    oci::Digest::of(&fs::read(path).unwrap()).to_string()
}

/// Shows all that is below `root`, sorted.
fn list(root: &Path, show: &mut dyn FnMut(&str, &fs::Metadata)) {
    let mut open = vec![root.to_owned()];
    let mut found = BTreeMap::new();
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            if metadata.is_dir() {
                open.push(path.clone());
            }
            found.insert(path.strip_prefix(root).unwrap().display().to_string(), metadata);
        }
    }
    found.iter().for_each(|(path, metadata)| show(path, metadata));
}
