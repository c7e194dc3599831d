//! What runs, what is found, what is left alone: small graphs on a real store, with an executor that only writes files.
//!
//! The store mounts overlays, so these need root (or a user namespace) and say so where they have neither.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and tells what it skips"
)]

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use cache::{CacheKey, Ownership, Store, Views};
use graph::{
    Builder, Copy, Definition, ExecOp, FileAction, FileOp, HttpSource, InputIndex, LocalSource, MergeOp, Metadata,
    NetworkMode, Op, Process, Unpack, VertexId,
};
use oci::{Blob, BoxFuture, Descriptor, DiffId, Digest, Fetch, ImageName, Platform, PortError, ResolvedImage};
use sandbox::{Cancel, Executor, Exit, Gauge, Spec};
use solver::{
    Error, Event, Identity, Import, Imported, Landing, Leave, Outcome, RemoteError, RemoteSource, Remotes, Reporter,
    ResultTree, Session, Solver, Step,
};

/// "Runs" a command by writing its first word into the file named by its second; `fail` fails, `wait` waits for another.
#[derive(Default)]
struct Scripted {
    ran: Mutex<Vec<String>>,
    now: AtomicUsize,
    most: AtomicUsize,
    meeting: (Mutex<usize>, Condvar),
}

impl Executor for Scripted {
    fn run_measured(
        &self,
        spec: &Spec,
        output: &mut dyn FnMut(sandbox::Stream, &[u8]),
        cancel: &Cancel,
        _gauge: &Gauge,
    ) -> Result<Exit, sandbox::Error> {
        let command = spec.args.join(" ");
        self.ran.lock().unwrap().push(command.clone());
        self.most
            .fetch_max(self.now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        let exit = match spec.args[0].as_str() {
            "fail" => Ok(Exit::Code(3)),
            "meet" => self.meet(),
            "hang" => wait_for(cancel),
            content => {
                output(sandbox::Stream::Stdout, b"written\n");
                std::fs::write(spec.root.join(&spec.args[1]), content).unwrap();
                Ok(Exit::Code(0))
            }
        };
        self.now.fetch_sub(1, Ordering::SeqCst);
        exit
    }
}

impl Scripted {
    /// Ends well only if two commands are here at the same time.
    fn meet(&self) -> Result<Exit, sandbox::Error> {
        let (here, changed) = &self.meeting;
        let mut here = here.lock().unwrap();
        *here += 1;
        changed.notify_all();
        let (here, _) = changed
            .wait_timeout_while(here, Duration::from_secs(20), |here| *here < 2)
            .unwrap();
        Ok(Exit::Code(if *here >= 2 { 0 } else { 1 }))
    }
}

/// Runs until it is cancelled, but not for ever.
fn wait_for(cancel: &Cancel) -> Result<Exit, sandbox::Error> {
    for _ in 0..4000 {
        if cancel.is_cancelled() {
            return Err(sandbox::Error::Cancelled);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(Exit::Code(0))
}

/// There are no images here.
struct NoImages;

impl Fetch for NoImages {
    fn resolve<'a>(&'a self, name: &'a ImageName, _: &'a Platform) -> BoxFuture<'a, Result<ResolvedImage, PortError>> {
        Box::pin(async move { Err(PortError::NotFound { name: name.to_string() }) })
    }

    fn blob<'a>(&'a self, name: &'a ImageName, _: &'a Descriptor) -> BoxFuture<'a, Result<Blob, PortError>> {
        Box::pin(async move { Err(PortError::NotFound { name: name.to_string() }) })
    }
}

/// Servers that have one thing at every address, and count who asks.
#[derive(Default)]
struct Web {
    content: Mutex<String>,
    asked: AtomicUsize,
    fetched: AtomicUsize,
}

impl Remotes for Web {
    fn identify<'a>(&'a self, _: RemoteSource<'a>, _: &'a Step) -> BoxFuture<'a, Result<Identity, RemoteError>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        Box::pin(async { Ok(Identity(self.content.lock().unwrap().clone())) })
    }

    fn fetch<'a>(
        &'a self,
        _: RemoteSource<'a>,
        landing: &'a Landing,
        _: &'a Step,
    ) -> BoxFuture<'a, Result<(), RemoteError>> {
        self.fetched.fetch_add(1, Ordering::SeqCst);
        let content = self.content.lock().unwrap().clone();
        Box::pin(async move { Ok(std::fs::write(landing.files.join("file"), content)?) })
    }
}

/// A store, a context and an executor, for some builds one after the other.
struct World {
    folder: tempfile::TempDir,
    views: Views,
    executor: Arc<Scripted>,
    web: Arc<Web>,
    events: Arc<Mutex<Vec<String>>>,
    parallelism: Option<usize>,
    imports: Option<Arc<dyn Import>>,
    leave: Option<Arc<dyn Leave>>,
    /// The vertices that had their trees, in this order.
    finished: Arc<Mutex<Vec<VertexId>>>,
}

impl World {
    fn new() -> Option<World> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: needs root, to mount overlays");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("context")).unwrap();
        Some(World {
            folder,
            views: Views::Mounted,
            executor: Arc::default(),
            web: Arc::default(),
            events: Arc::default(),
            parallelism: None,
            imports: None,
            leave: None,
            finished: Arc::default(),
        })
    }

    fn write(&self, name: &str, content: &str) {
        std::fs::write(self.folder.path().join("context").join(name), content).unwrap();
    }

    /// Builds, and tells what ran since the last call.
    fn build(&self, definition: Definition) -> (Result<Option<PathBuf>, Error>, Vec<String>) {
        let root = self.folder.path().join("store");
        let store = Store::open_viewing(&root, Ownership::Kept, self.views).unwrap();
        let events = self.events.clone();
        events.lock().unwrap().clear();
        let finished = self.finished.clone();
        let solver = Solver {
            store: store.clone(),
            images: Arc::new(NoImages),
            remotes: self.web.clone(),
            executor: self.executor.clone(),
            session: Session {
                contexts: HashMap::from([("context".to_owned(), self.folder.path().join("context"))]),
                ..Session::default()
            },
            reporter: Reporter::new(Arc::new(move |event| {
                let text = match event {
                    Event::Finished { outcome, .. } => match outcome {
                        Outcome::Done => "done",
                        Outcome::Cached => "cached",
                        Outcome::Failed(_) => "failed",
                        Outcome::Cancelled => "cancelled",
                    }
                    .to_owned(),
                    Event::Note { text, .. } => text,
                    _ => return,
                };
                events.lock().unwrap().push(text);
            })),
            cancel: Cancel::new(),
            imports: self.imports.clone(),
            leave: self.leave.clone(),
            finished: Some(Arc::new(move |id, _| finished.lock().unwrap().push(id))),
            before_run: None,
            step_timeout: None,
            certificates: None,
            resources: sandbox::Resources::default(),
            max_parallelism: self.parallelism,
            build: "test".to_owned(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let solved = runtime.block_on(solver.solve(definition));
        let ran = std::mem::take(&mut *self.executor.ran.lock().unwrap());
        (
            solved.map(|solved| match solved.trees[0].as_ref()? {
                ResultTree::Here(snapshot) => Some(snapshot.directory()),
                ResultTree::There(imported) => Some(PathBuf::from(imported.from.to_string())),
            }),
            ran,
        )
    }

    fn said(&self) -> Vec<String> {
        self.events.lock().unwrap().clone()
    }
}

fn run(builder: &mut Builder, root: Option<VertexId>, command: &str) -> VertexId {
    run_again(builder, root, command, false)
}

fn run_again(builder: &mut Builder, root: Option<VertexId>, command: &str, ignore_cache: bool) -> VertexId {
    let process = Process {
        args: command.split(' ').map(str::to_owned).collect(),
        env: vec![],
        proxy_env: vec![],
        working_directory: "/".into(),
        user: String::new(),
        hostname: None,
    };
    let op = ExecOp {
        root: root.map(|_| InputIndex(0)),
        process,
        mounts: vec![],
        secret_env: vec![],
        security: graph::Security::Sandbox,
        network: NetworkMode::Default,
        extra_hosts: vec![],
        shm_size: None,
        ulimits: vec![],
        platform: Platform::host(),
    };
    let metadata = Metadata {
        name: format!("[1/1] RUN {}", command.split(' ').next_back().unwrap()),
        components: vec![("instruction".into(), command.into())],
        ignore_cache,
        ..Metadata::default()
    };
    builder.add(Op::Exec(op), root.into_iter().collect(), metadata)
}

fn copy(builder: &mut Builder, base: Option<VertexId>, from: &[(VertexId, &str, &str)]) -> VertexId {
    let mut inputs: Vec<VertexId> = base.into_iter().collect();
    let mut actions = Vec::new();
    for (tree, source, destination) in from {
        inputs.push(*tree);
        actions.push(FileAction::Copy(Copy {
            from: InputIndex(inputs.len() - 1),
            source: (*source).into(),
            destination: (*destination).into(),
            owner: None,
            mode: None,
            include: None,
            excludes: vec![],
            unpack: Unpack::Never,
        }));
    }
    let op = FileOp {
        base: base.map(|_| InputIndex(0)),
        names: None,
        actions,
    };
    builder.add(
        Op::File(op),
        inputs,
        Metadata {
            name: "[1/1] COPY".into(),
            ..Metadata::default()
        },
    )
}

fn context(builder: &mut Builder) -> VertexId {
    let local = LocalSource {
        context: "context".into(),
        excludes: vec![],
    };
    builder.add(
        Op::Local(local),
        vec![],
        Metadata {
            name: "[internal] load build context".into(),
            ..Metadata::default()
        },
    )
}

#[test]
fn a_file_of_a_server_is_fetched_when_it_has_changed() {
    let Some(world) = World::new() else { return };
    let graph = |url: &str| {
        let mut builder = Builder::new();
        let http = HttpSource {
            url: url.to_owned(),
            file_name: "file".to_owned(),
            checksum: None,
        };
        let source = builder.add(Op::Http(http), vec![], Metadata::default());
        let copied = copy(&mut builder, None, &[(source, "/file", "/copy")]);
        builder.finish(Some(copied))
    };
    for (content, url, asked, fetched) in [
        ("one", "http://a/", 1, 1),
        ("one", "http://a/", 2, 1),
        // The same file from elsewhere is the same.
        ("one", "http://b/", 3, 1),
        ("two", "http://b/", 4, 2),
    ] {
        content.clone_into(&mut world.web.content.lock().unwrap());
        let (result, _) = world.build(graph(url));
        let copied = result.unwrap().unwrap().join("copy");
        assert_eq!(std::fs::read_to_string(copied).unwrap(), content);
        let counts = [&world.web.asked, &world.web.fetched].map(|count| count.load(Ordering::SeqCst));
        assert_eq!(counts, [asked, fetched], "{content} of {url}");
    }
}

#[test]
fn who_wants_to_know_is_told_of_each_tree_when_it_is_there() {
    let Some(world) = World::new() else { return };
    let mut builder = Builder::new();
    let first = run(&mut builder, None, "write a 1");
    let second = run(&mut builder, Some(first), "write b 2");
    let definition = builder.finish(Some(second));
    for told in [vec![first, second], vec![second]] {
        world.build(definition.clone()).0.unwrap();
        assert_eq!(std::mem::take(&mut *world.finished.lock().unwrap()), told);
    }
}

/// Says of every key that the result is elsewhere, where it is not.
struct Boaster;

impl Import for Boaster {
    fn find<'a>(&'a self, key: &'a CacheKey) -> BoxFuture<'a, Option<Arc<Imported>>> {
        let layer = Digest::of(b"layer");
        let imported = Imported {
            key: *key,
            from: ImageName::Registry("elsewhere".parse().unwrap()),
            layers: vec![(Descriptor::new("", layer, 5), DiffId(layer))],
        };
        Box::pin(async move { Some(Arc::new(imported)) })
    }
}

#[test]
fn a_result_elsewhere_that_cannot_be_had_is_made_here() {
    let Some(mut world) = World::new() else { return };
    world.imports = Some(Arc::new(Boaster));
    let mut builder = Builder::new();
    let one = run(&mut builder, None, "x one");
    let two = run(&mut builder, Some(one), "y two");
    let (result, ran) = world.build(builder.finish(Some(two)));
    assert_eq!(ran, ["x one", "y two"]);
    assert!(result.unwrap().unwrap().join("two").exists());
    let excuses = world
        .said()
        .iter()
        .filter(|said| said.starts_with("done again here: "))
        .count();
    assert_eq!(excuses, 2, "{:?}", world.said());
}

/// Is content with any result wherever it is, or with none.
struct Content(bool);

impl Leave for Content {
    fn may_stay<'a>(&'a self, _: &'a Imported) -> BoxFuture<'a, bool> {
        Box::pin(async { self.0 })
    }
}

#[test]
fn a_target_may_stay_elsewhere_and_what_stands_on_another_may_not() {
    let Some(mut world) = World::new() else { return };
    world.imports = Some(Arc::new(Boaster));
    for (content, runs) in [(true, vec![]), (false, vec!["x one", "y two"])] {
        world.leave = Some(Arc::new(Content(content)));
        let mut builder = Builder::new();
        let one = run(&mut builder, None, "x one");
        let two = run(&mut builder, Some(one), "y two");
        let (result, ran) = world.build(builder.finish(Some(two)));
        assert_eq!(ran, runs);
        assert_eq!(result.unwrap().unwrap().ends_with("library/elsewhere:latest"), content);
    }
    // A step that is unknown needs the tree below it.
    world.imports = None;
    world.leave = Some(Arc::new(Content(true)));
    let mut builder = Builder::new();
    let one = run(&mut builder, None, "x one");
    let other = run(&mut builder, Some(one), "y other");
    assert_eq!(world.build(builder.finish(Some(other))).1, ["y other"]);
}

#[test]
fn the_second_build_runs_nothing() {
    let Some(world) = World::new() else { return };
    let graph = || {
        let mut builder = Builder::new();
        let one = run(&mut builder, None, "x one");
        let two = run(&mut builder, Some(one), "y two");
        builder.finish(Some(two))
    };
    let (first, ran) = world.build(graph());
    assert_eq!(ran, ["x one", "y two"]);
    assert_eq!(
        std::fs::read_to_string(first.unwrap().unwrap().join("two")).unwrap(),
        "y"
    );
    let (second, ran) = world.build(graph());
    assert_eq!(ran, Vec::<String>::new());
    assert!(second.unwrap().unwrap().join("two").exists());
    assert_eq!(world.said(), ["cached", "cached"]);
}

#[test]
fn builds_are_the_same_where_trees_are_copied() {
    let Some(mut world) = World::new() else { return };
    let folder = world.folder.path().join("context/many");
    std::fs::create_dir(&folder).unwrap();
    for number in 0..200 {
        std::fs::write(folder.join(format!("{number}")), "original").unwrap();
    }
    let graph = |first: &str| {
        let mut builder = Builder::new();
        let context = context(&mut builder);
        let stage = run(&mut builder, None, &format!("{first} made"));
        let stage = copy(&mut builder, Some(stage), &[(context, "/many", "/many")]);
        let stage = run(&mut builder, Some(stage), "written many/7");
        let target = copy(&mut builder, None, &[(context, "/many/1", "/one")]);
        let target = run(&mut builder, Some(target), "x x");
        let target = copy(
            &mut builder,
            Some(target),
            &[(stage, "/many/7", "/seven"), (stage, "/made", "/made")],
        );
        let target = run(&mut builder, Some(target), "again seven");
        builder.finish(Some(target))
    };
    let text = |path: PathBuf| std::fs::read_to_string(path).unwrap();
    world.views = Views::Copied;
    for (first, expected) in [
        ("a", &["a made", "written many/7", "x x", "again seven"][..]),
        ("a", &[]),
        ("b", &["b made", "written many/7", "again seven"]),
    ] {
        let (result, mut ran) = world.build(graph(first));
        let result = result.unwrap().unwrap();
        let mut expected = expected.to_vec();
        ran.sort();
        expected.sort_unstable();
        assert_eq!(ran, expected);
        let names = std::fs::read_dir(&result)
            .unwrap()
            .map(|entry| entry.unwrap().file_name());
        assert_eq!(names.collect::<Vec<_>>(), ["seven"], "only what the step wrote");
        assert_eq!(text(result.join("seven")), "again");
    }
    // What steps wrote to in place was no file of an earlier result.
    let snapshots = std::fs::read_dir(world.folder.path().join("store/v1/snapshots")).unwrap();
    let copied = snapshots.map(|entry| entry.unwrap().path().join("many/7"));
    let (written, original): (Vec<_>, Vec<_>) = copied
        .filter(|path| path.exists())
        .partition(|path| path.parent().unwrap().read_dir().unwrap().count() == 1);
    assert!(written.into_iter().all(|path| text(path) == "written"));
    assert_eq!(original.len(), 2);
    assert!(original.into_iter().all(|path| text(path) == "original"));
    // The same store shows them by mounts as well.
    world.views = Views::Mounted;
    assert_eq!(world.build(graph("b")).1, [""; 0]);
}

#[test]
fn only_what_depends_on_an_edited_file_runs_again() {
    let Some(world) = World::new() else { return };
    let graph = || {
        let mut builder = Builder::new();
        let files = context(&mut builder);
        let tools = run(&mut builder, None, "tools t");
        let sources = copy(&mut builder, Some(tools), &[(files, "/a", "/a")]);
        let made = run(&mut builder, Some(sources), "made m");
        builder.finish(Some(made))
    };
    world.write("a", "1");
    world.write("b", "1");
    assert_eq!(world.build(graph()).1, ["tools t", "made m"]);
    world.write("b", "2");
    assert_eq!(world.build(graph()).1, Vec::<String>::new());
    world.write("a", "2");
    assert_eq!(world.build(graph()).1, ["made m"]);
    world.write("a", "1");
    assert_eq!(
        world.build(graph()).1,
        Vec::<String>::new(),
        "an old state is found again"
    );
}

#[test]
fn linked_files_are_found_again_on_another_base() {
    let Some(world) = World::new() else { return };
    let graph = |base: &str| {
        let mut builder = Builder::new();
        let files = context(&mut builder);
        let below = run(&mut builder, None, base);
        let linked = copy(&mut builder, None, &[(files, "/a", "/d/a")]);
        let merge = Op::Merge(MergeOp {
            base: InputIndex(0),
            over: vec![InputIndex(1)],
        });
        let merged = builder.add(merge, vec![below, linked], Metadata::default());
        builder.finish(Some(merged))
    };
    world.write("a", "1");
    let (one, ran) = world.build(graph("one o"));
    assert_eq!(ran, ["one o"]);
    let (two, ran) = world.build(graph("two t"));
    assert_eq!(ran, ["two t"]);
    assert_eq!(one.unwrap(), two.unwrap(), "the files are in the same directory");
    assert_eq!(world.said().iter().filter(|text| *text == "cached").count(), 1);
    assert_eq!(world.build(graph("one o")).1, Vec::<String>::new());
}

#[test]
fn a_rebuilt_stage_with_the_same_files_stops_the_rebuilding() {
    let Some(world) = World::new() else { return };
    let graph = |first: &str| {
        let mut builder = Builder::new();
        let noise = run(&mut builder, None, &format!("{first} noise"));
        let stage = run(&mut builder, Some(noise), "same out");
        let copied = copy(&mut builder, None, &[(stage, "/out", "/out")]);
        let last = run(&mut builder, Some(copied), "last l");
        builder.finish(Some(last))
    };
    assert_eq!(world.build(graph("1")).1, ["1 noise", "same out", "last l"]);
    assert_eq!(world.build(graph("2")).1, ["2 noise", "same out"]);
    assert_eq!(
        world.build(graph("2")).1,
        Vec::<String>::new(),
        "and is found at once the next time"
    );
}

#[test]
fn what_shall_run_again_does_also_where_what_reads_it_is_known() {
    let Some(world) = World::new() else { return };
    let graph = |again: bool| {
        let mut builder = Builder::new();
        let stage = run_again(&mut builder, None, "same out", again);
        let above = run(&mut builder, Some(stage), "1 above");
        let copied = copy(&mut builder, None, &[(stage, "/out", "/out"), (above, "/out", "/out2")]);
        let last = run(&mut builder, Some(copied), "last l");
        builder.finish(Some(last))
    };
    assert_eq!(world.build(graph(false)).1, ["same out", "1 above", "last l"]);
    assert_eq!(
        world.build(graph(true)).1,
        ["same out", "1 above"],
        "and what stands on it, but not what only reads the same files"
    );
    assert_eq!(world.build(graph(false)).1, Vec::<String>::new());
}

#[test]
fn independent_steps_run_at_the_same_time_unless_told_otherwise() {
    let Some(mut world) = World::new() else { return };
    let graph = |word: &str| {
        let mut builder = Builder::new();
        let a = run(&mut builder, None, &format!("{word} a"));
        let b = run(&mut builder, None, &format!("{word} b"));
        let both = copy(&mut builder, None, &[(a, "/", "/"), (b, "/", "/")]);
        builder.finish(Some(both))
    };
    world.build(graph("meet")).0.unwrap();
    world.parallelism = Some(1);
    world.executor.most.store(0, Ordering::SeqCst);
    world.build(graph("x")).0.unwrap();
    assert_eq!(world.executor.most.load(Ordering::SeqCst), 1);
}

#[test]
fn stages_that_are_copied_from_one_after_the_other_run_at_the_same_time() {
    let Some(world) = World::new() else { return };
    let mut builder = Builder::new();
    let a = run(&mut builder, None, "meet a");
    let b = run(&mut builder, None, "meet b");
    let first = copy(&mut builder, None, &[(a, "/", "/")]);
    let between = run(&mut builder, Some(first), "x between");
    let second = copy(&mut builder, Some(between), &[(b, "/", "/")]);
    world.build(builder.finish(Some(second))).0.unwrap();
}

#[test]
fn a_stage_and_the_step_below_its_copy_run_at_the_same_time() {
    let Some(world) = World::new() else { return };
    let mut builder = Builder::new();
    let stage = run(&mut builder, None, "meet a");
    let below = run(&mut builder, None, "meet b");
    let copied = copy(&mut builder, Some(below), &[(stage, "/", "/")]);
    world.build(builder.finish(Some(copied))).0.unwrap();
}

#[test]
fn the_first_failure_stops_the_others_and_is_the_one_told() {
    let Some(world) = World::new() else { return };
    let mut builder = Builder::new();
    let good = run(&mut builder, None, "hang a");
    let bad = run(&mut builder, None, "fail b");
    let both = copy(&mut builder, None, &[(good, "/", "/"), (bad, "/", "/")]);
    let (result, _) = world.build(builder.finish(Some(both)));
    let error = result.unwrap_err().to_string();
    assert_eq!(error, "process \"fail b\" did not complete successfully: exit code: 3");
    let mut said = world.said();
    said.sort();
    assert_eq!(said, ["cancelled", "failed"]);
}

#[test]
fn a_step_that_runs_again_says_why() {
    let Some(world) = World::new() else { return };
    let graph = || {
        let mut builder = Builder::new();
        let files = context(&mut builder);
        let copied = copy(&mut builder, None, &[(files, "/", "/")]);
        builder.finish(Some(copied))
    };
    for (name, content) in [("a", "1"), ("b", "1"), ("a", "2")] {
        world.write(name, content);
        world.build(graph()).0.unwrap();
    }
    assert!(
        world
            .said()
            .iter()
            .any(|note| note.starts_with("runs again: ") && note.contains('a')),
        "{:?}",
        world.said()
    );
}

#[test]
fn what_is_not_needed_is_not_asked_for() {
    let Some(world) = World::new() else { return };
    let (result, ran) = world.build(Builder::new().finish(None));
    assert_eq!((result.unwrap(), ran), (None, vec![]));
}

#[test]
fn a_chain_of_stages_may_be_longer_than_the_stack() {
    let Some(world) = World::new() else { return };
    let mut builder = Builder::new();
    let mut stage = run(&mut builder, None, "fail a");
    for _ in 0..10_000 {
        stage = copy(&mut builder, None, &[(stage, "/a", "/a")]);
    }
    let (result, _) = world.build(builder.finish(Some(stage)));
    let error = result.unwrap_err().to_string();
    assert_eq!(error, "process \"fail a\" did not complete successfully: exit code: 3");
}
