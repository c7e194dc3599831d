//! Several `rbuild` processes work on one store at the same time, beside others that prune it.
//!
//! The long test takes its size from the environment: `RBUILD_TEST_PROCESSES` (6) for `RBUILD_TEST_SECONDS` (8).

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::progress::Steps;
use crate::support::{Bases, Workshop, eventually, progress, run, text};

const DOCKERFILE: &str =
    "FROM busybox AS first\nRUN sleep 1 && echo one > /one\nFROM first\nCOPY file /\nRUN cat /one /file > /both\n";

#[test]
fn four_builds_of_the_same_thing_share_one_store() {
    let Some(bases) = Bases::find() else { return };
    let workshop = Workshop::own();
    let context = workshop.context("same", &[("Dockerfile", DOCKERFILE), ("file", "two\n")]);
    let builds = (0..4).map(|number| start(workshop.build(bases, &context).args(["-t", &format!("same:{number}")])));
    finish(builds.collect());

    for number in 0..4 {
        assert_eq!(
            run(workshop
                .rbuild()
                .args(["run", &format!("same:{number}"), "cat", "/both"])),
            "one\ntwo\n"
        );
    }
    assert_eq!(
        Steps::parse(&progress(&mut workshop.build(bases, &context))).not_cached(),
        [""; 0]
    );
}

#[test]
fn equal_steps_of_different_builds_run_once() {
    let Some(bases) = Bases::find() else { return };
    let workshop = Workshop::own();
    // Each execution leaves a line in a cache that all share.
    let count = "RUN --mount=type=cache,target=/count,id=count";
    // Of each Dockerfile there are two builds.
    let builds = (0..8).map(|build| {
        let number = build % 4;
        let dockerfile = format!(
            "FROM busybox\n{count} echo common >> /count/lines && sleep 1\nCOPY file /\n\
             {count} echo third >> /count/lines && cp /file /third\n{count} echo own {number} >> /count/lines\n"
        );
        let context = workshop.context(
            &format!("c{number}-{build}"),
            &[("Dockerfile", &dockerfile), ("file", "two\n")],
        );
        start(&mut workshop.build(bases, &context))
    });
    finish(builds.collect());

    let mut lines: Vec<String> = Vec::new();
    for cache in fs::read_dir(workshop.store().join("v1/caches")).unwrap() {
        let text = fs::read_to_string(cache.unwrap().path().join("root/content/lines")).unwrap();
        lines.extend(text.lines().map(str::to_owned));
    }
    lines.sort();
    assert_eq!(lines, ["common", "own 0", "own 1", "own 2", "own 3", "third"]);
}

#[test]
fn who_waits_says_for_whom() {
    let Some(bases) = Bases::find() else { return };
    let workshop = Workshop::own();
    let work = "RUN echo begun && sleep 3";
    let locked = "RUN --mount=type=cache,target=/c,id=thing,sharing=locked echo begun && sleep 3";
    for (name, first, second, expected) in [
        ("step", work, work, "which runs this step"),
        (
            "cache",
            locked,
            &*format!("{locked} && :"),
            "which has the cache mount `thing`",
        ),
    ] {
        let dockerfile = |step: &str| format!("FROM busybox\n{step}\n");
        let context = |place: &str, step: &str| {
            workshop.context(&format!("{name}-{place}"), &[("Dockerfile", &dockerfile(step))])
        };
        let mut holder = workshop.direct(bases, &context("first", first));
        let holder = holder.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let has_begun = || runs(&workshop, first);
        assert!(eventually(Duration::from_secs(60), has_begun), "{name} has not begun");
        let others: Vec<_> = ["plain", "rawjson"]
            .iter()
            .map(|mode| {
                let mut command = workshop.direct(bases, &context("second", second));
                command.arg(format!("--progress={mode}"));
                let command = command.stdout(Stdio::null()).stderr(Stdio::piped());
                command.spawn().unwrap()
            })
            .collect();
        let [plain, raw]: [String; 2] = others
            .into_iter()
            .map(|other| text(&other.wait_with_output().unwrap().stderr))
            .collect::<Vec<_>>()
            .try_into()
            .unwrap();
        let process = format!("waiting for process {} ", holder.id());
        let what = format!("{first}`), {expected}");
        let told = |text: &str| {
            text.lines()
                .filter(|line| line.contains(&process) && line.ends_with(&what))
                .count()
        };
        // Two wait; only the first of them is sure to wait for the holder itself.
        let (plain_told, raw_told) = (told(&plain), told(&decoded(&raw)));
        assert!(
            plain_told <= 1 && raw_told <= 1 && plain_told + raw_told > 0,
            "{plain}\n{raw}"
        );
        finish(vec![holder]);
        run(workshop.rbuild().args(["prune", "--all"]));
    }
}

/// What steps noted, from progress as JSON.
fn decoded(raw: &str) -> String {
    let mut all = String::new();
    for line in raw.lines() {
        let Ok(document) = serde_json::from_str::<serde_json::Value>(line) else {
            continue;
        };
        for log in document["logs"].as_array().into_iter().flatten() {
            let data = log["data"].as_str().unwrap_or_default();
            all.push_str(&text(&STANDARD.decode(data).unwrap()));
        }
    }
    all
}

/// Whether a step with this text runs: its lock says so, and that of its cache mount if it has one.
fn runs(workshop: &Workshop, step: &str) -> bool {
    let files = |path: PathBuf| {
        fs::read_dir(path)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
    };
    let is_signed = |path: PathBuf| fs::read_to_string(path).is_ok_and(|text| text.contains(step));
    let store = workshop.store().join("v1");
    files(store.join("locks")).any(is_signed)
        && (!step.contains("type=cache") || files(store.join("caches")).any(|path| is_signed(path.join("lock"))))
}

#[test]
fn pruning_does_not_wait_for_builds_and_does_not_harm_them() {
    let Some(bases) = Bases::find() else { return };
    let workshop = Workshop::own();
    let dockerfile = "FROM busybox AS first\nRUN echo one > /one\nFROM first\nRUN echo begun && sleep 4\n\
        COPY --from=first /one /two\nRUN cat /one /two > /both\n";
    let context = workshop.context("pruned", &[("Dockerfile", dockerfile)]);
    let mut build = workshop.direct(bases, &context);
    let build = build
        .args(["-t", "pruned"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut build = build.spawn().unwrap();
    let has_begun = || runs(&workshop, "RUN echo begun");
    assert!(eventually(Duration::from_secs(60), has_begun));
    for _ in 0..5 {
        let said = run(workshop.rbuild().args(["prune", "--all"]));
        let held = format!("by process {} (build of {})", build.id(), context.display());
        assert!(said.contains(&held), "{said}");
        assert!(run(workshop.rbuild().arg("du")).contains("step"));
    }
    assert!(build.try_wait().unwrap().is_none(), "pruning waited for the build");
    finish(vec![build]);
    assert_eq!(
        run(workshop.rbuild().args(["run", "pruned", "cat", "/both"])),
        "one\none\n"
    );
}

#[test]
fn an_image_in_use_outlives_its_name() {
    let Some(bases) = Bases::find() else { return };
    let workshop = Workshop::own();
    let context = workshop.context("used", &[("Dockerfile", "FROM busybox\nRUN echo here > /file\n")]);
    run(workshop.build(bases, &context).args(["-t", "used"]));
    let script = "touch /begun; echo begun; sleep 3; cat /file";
    let mut command = workshop.rbuild();
    let command = command.args(["run", "used", "sh", "-c", script]).stdout(Stdio::piped());
    let child = command.spawn().unwrap();
    let active = workshop.store().join("v1/active");
    let is_running = || {
        fs::read_dir(&active).unwrap().flatten().any(|entry| {
            ["upper", "merged"]
                .iter()
                .any(|tree| entry.path().join(tree).join("begun").exists())
        })
    };
    assert!(eventually(Duration::from_secs(60), is_running));
    run(workshop.rbuild().args(["rmi", "used"]));
    run(workshop.rbuild().args(["prune", "--all"]));
    let output = child.wait_with_output().unwrap();
    assert_eq!(text(&output.stdout), "begun\nhere\n");
    let said = run(workshop.rbuild().args(["prune", "--all"]));
    assert!(!said.contains("Freed: 0B"), "{said}");
}

/// What one process after the other builds, and what comes out.
struct Project {
    context: PathBuf,
    number: usize,
}

#[test]
fn builds_of_all_kinds_beside_pruning_are_right() {
    let Some(bases) = Bases::find() else { return };
    let number = |name: &str, default: usize| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(default)
    };
    let (processes, seconds) = (number("RBUILD_TEST_PROCESSES", 6), number("RBUILD_TEST_SECONDS", 8));
    let workshop = Workshop::own();
    let projects: Vec<Project> = (0..4).map(|number| project(&workshop, number)).collect();
    let (over, builds, ran, prunes) = (
        AtomicBool::new(false),
        AtomicUsize::new(0),
        AtomicUsize::new(0),
        AtomicUsize::new(0),
    );
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..processes)
            .map(|worker| {
                let (workshop, projects, builds, ran) = (&workshop, &projects, &builds, &ran);
                scope.spawn(move || {
                    let end = Instant::now() + Duration::from_secs(seconds as u64);
                    let mut round = worker;
                    while Instant::now() < end {
                        // Half of them the same, half of them each their own.
                        let project = &projects[if round.is_multiple_of(2) {
                            0
                        } else {
                            round % projects.len()
                        }];
                        let steps = build_and_check(workshop, bases, project, (worker, round));
                        ran.fetch_add(steps, Ordering::Relaxed);
                        builds.fetch_add(1, Ordering::Relaxed);
                        round += 1;
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            let wishes: [&[&str]; 4] = [
                &["prune"],
                &["prune", "--all"],
                &["prune", "--keep-storage=3MB", "--all"],
                &["du"],
            ];
            for wish in wishes.iter().cycle() {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                run(workshop.rbuild().args(*wish));
                prunes.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        let outcomes: Vec<_> = workers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        over.store(true, Ordering::Relaxed);
        for outcome in outcomes {
            outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    });
    let count = |number: &AtomicUsize| number.load(Ordering::Relaxed);
    eprintln!(
        "{processes} processes for {seconds} s: {} builds, {} steps run, pruned or looked at {} times",
        count(&builds),
        count(&ran),
        count(&prunes)
    );
    assert!(count(&builds) >= processes && count(&prunes) > 3);

    let names = run(workshop.rbuild().args(["images", "--format=json"]));
    let names: serde_json::Value = serde_json::from_str(&names).unwrap();
    for name in names.as_array().unwrap() {
        run(workshop.rbuild().args(["rmi", name["name"].as_str().unwrap()]));
    }
    run(workshop.rbuild().args(["prune", "--all"]));
    for place in ["snapshots", "blobs/sha256", "caches", "active", "tmp"] {
        let path = workshop.store().join("v1").join(place);
        let is_empty = || fs::read_dir(&path).unwrap().count() == 0;
        assert!(eventually(Duration::from_secs(10), is_empty), "{place} is not empty");
    }
}

fn project(workshop: &Workshop, number: usize) -> Project {
    let dockerfile = format!(
        "FROM busybox AS tools\nRUN echo tool > /tool\nFROM tools AS made\nCOPY data /data\n\
         RUN --mount=type=cache,target=/c,id=shared cat /data/file > /c/{number} && cat /c/{number} /tool > /made\n\
         FROM busybox\nCOPY --from=made /made /made\n\
         RUN --mount=type=cache,target=/l,id=locked,sharing=locked echo x >> /l/x && echo {number} >> /made\n"
    );
    let file = format!("file {number}\n");
    let context = workshop.context(
        &format!("project-{number}"),
        &[("Dockerfile", &dockerfile), ("data/file", &file)],
    );
    Project { context, number }
}

/// Builds it, into a folder, an archive or the store; gives how many steps were run and not found.
fn build_and_check(workshop: &Workshop, bases: &Bases, project: &Project, (worker, round): (usize, usize)) -> usize {
    let mut command = workshop.build(bases, &project.context);
    let expected = format!("file {0}\ntool\n{0}\n", project.number);
    let out = workshop.path(&format!("out-{worker}"));
    match round % 3 {
        0 => command.arg(format!("--output=type=local,dest={}", out.display())),
        1 => command.arg(format!("--output=type=oci,dest={}.tar", out.display())),
        _ => command.args(["-t", &format!("project:{worker}")]),
    };
    if round % 5 == 4 {
        command.arg("--keep-storage=2MB");
    }
    let said = progress(&mut command);
    match round % 3 {
        0 => assert_eq!(fs::read_to_string(out.join("made")).unwrap(), expected, "{said}"),
        1 => {
            let index = run(Command::new("tar").args(["-xOf", &format!("{}.tar", out.display()), "index.json"]));
            assert!(index.contains("sha256:"), "{index}");
        }
        _ => {
            let name = format!("project:{worker}");
            let made = run(workshop.rbuild().args(["run", &name, "cat", "/made"]));
            assert_eq!(made, expected, "{said}");
            run(workshop.rbuild().args(["rmi", &name]));
        }
    }
    Steps::parse(&said).not_cached().len()
}

fn start(command: &mut Command) -> Child {
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

fn finish(builds: Vec<Child>) {
    for build in builds {
        let output = build.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
}

#[test]
fn four_different_builds_share_one_store() {
    let Some(bases) = Bases::find() else { return };
    let workshop = Workshop::own();
    let contexts: Vec<_> = (0..4).map(|number| different(&workshop, number)).collect();
    let builds = contexts.iter().zip(0..).map(|(context, number)| {
        start(
            workshop
                .build(bases, context)
                .args(["-t", &format!("different:{number}")]),
        )
    });
    finish(builds.collect());

    for number in 0..4 {
        let printed = run(workshop
            .rbuild()
            .args(["run", &format!("different:{number}"), "cat", "/number", "/both"]));
        assert_eq!(printed, format!("{number}\none\ntwo\n"));
    }
}

fn different(workshop: &Workshop, number: usize) -> PathBuf {
    let dockerfile = format!("{DOCKERFILE}RUN echo {number} > /number\n");
    workshop.context(&format!("c{number}"), &[("Dockerfile", &dockerfile), ("file", "two\n")])
}
