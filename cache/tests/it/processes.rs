//! Several processes at once, and killed ones.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cache::{Compression, Prune, Snapshot, Store};
use oci::Digest;
use tempfile::TempDir;

use crate::key;

/// Not a test by itself: what the processes do that the tests below start.
#[test]
fn child() {
    let (Ok(root), Ok(task)) = (std::env::var("STORE_TEST_ROOT"), std::env::var("STORE_TEST_TASK")) else {
        return;
    };
    let store = Store::open(Path::new(&root)).unwrap();
    for round in 0..if task == "forever" { usize::MAX } else { 25 } {
        let key = key(&format!("{round}"));
        let _lock = store.lock(&key).unwrap();
        if store.lookup(&key).unwrap().is_some() {
            continue;
        }
        let active = store.prepare(None).unwrap();
        for file in 0..10 {
            fs::write(active.upper().join(format!("{file}")), format!("{round}")).unwrap();
        }
        let snapshot = active.commit().unwrap();
        store.record(&key, &[], "child", &snapshot).unwrap();
        store.layer(&snapshot, Compression::default(), false).unwrap();
        let _unfinished = store.prepare(Some(&snapshot)).unwrap();
    }
}

fn spawn(root: &Path, task: &str) -> std::process::Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "processes::child", "--nocapture"])
        .env("STORE_TEST_ROOT", root)
        .env("STORE_TEST_TASK", task)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn four_processes_do_equal_work_once() {
    let root = TempDir::new().unwrap();
    let children: Vec<_> = (0..4).map(|_| spawn(root.path(), "some")).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let store = Store::open(root.path()).unwrap();
    assert_eq!(fs::read_dir(root.path().join("v1/snapshots")).unwrap().count(), 25);
    for round in 0..25 {
        let record = store.lookup(&key(&format!("{round}"))).unwrap().unwrap();
        assert_eq!(
            fs::read_to_string(record.snapshot.directory().join("9")).unwrap(),
            format!("{round}")
        );
    }
}

/// Not a test by itself: finds, makes and reads, each time as a process that has just begun.
#[test]
fn reader() {
    let Ok(root) = std::env::var("STORE_TEST_READ") else {
        return;
    };
    let end = Instant::now() + Duration::from_secs(4);
    let (mut found, mut made) = (0, 0);
    for round in 0.. {
        if Instant::now() > end {
            break;
        }
        let store = Store::open(Path::new(&root)).unwrap();
        let mut below: Option<Snapshot> = None;
        for step in 0..6 {
            let key = key(&format!("{} {step}", round % 3));
            let _lock = store.lock(&key).unwrap();
            let snapshot = match store.lookup(&key).unwrap() {
                Some(record) => {
                    found += 1;
                    record.snapshot
                }
                None => {
                    made += 1;
                    let active = store.prepare(below.as_ref()).unwrap();
                    fs::write(active.upper().join("f"), format!("{step}")).unwrap();
                    let snapshot = active.commit().unwrap();
                    store.record(&key, &[], "reader", &snapshot).unwrap();
                    snapshot
                }
            };
            below = Some(snapshot);
        }
        let top = below.unwrap();
        let layers = top
            .stack()
            .iter()
            .map(|snapshot| store.layer(snapshot, Compression::default(), false).unwrap())
            .collect::<Vec<_>>();
        std::thread::sleep(Duration::from_millis(round % 7));
        for (step, snapshot) in top.stack().iter().enumerate() {
            let text = fs::read_to_string(snapshot.directory().join("f")).unwrap();
            assert_eq!(text, format!("{step}"));
        }
        for layer in layers {
            let content = store.content(&layer.descriptor.digest).unwrap().unwrap();
            let mut bytes = Vec::new();
            content.copy_to(&mut bytes).unwrap();
            assert_eq!(Digest::of(&bytes), layer.descriptor.digest);
        }
    }
    eprintln!("found {found}, made {made}");
}

#[test]
fn pruning_in_a_loop_takes_nothing_from_processes_that_come_and_go() {
    let root = TempDir::new().unwrap();
    let read = || {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "processes::reader", "--nocapture"])
            .env("STORE_TEST_READ", root.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    };
    let mut readers: Vec<_> = (0..4).map(|_| read()).collect();
    let (mut removed, mut turns) = (0, 0);
    while readers.iter_mut().any(|reader| reader.try_wait().unwrap().is_none()) {
        let store = Store::open(root.path()).unwrap();
        removed += store.prune(&Prune::default()).unwrap().removed.len();
        turns += 1;
    }
    for mut reader in readers {
        assert!(reader.wait().unwrap().success());
    }
    eprintln!("{turns} times pruned, {removed} removed");
    assert!(removed > 0, "pruned {turns} times");
    Store::open(root.path()).unwrap().prune(&Prune::default()).unwrap();
    for place in ["snapshots", "blobs/sha256"] {
        assert_eq!(fs::read_dir(root.path().join("v1").join(place)).unwrap().count(), 0);
    }
}

#[test]
fn a_killed_process_leaves_nothing_that_counts() {
    let root = TempDir::new().unwrap();
    for delay in [30, 55, 80, 105, 130] {
        let mut child = spawn(root.path(), "forever");
        std::thread::sleep(std::time::Duration::from_millis(delay));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let store = Store::open(root.path()).unwrap();
    for round in 0.. {
        let Some(record) = store.lookup(&key(&format!("{round}"))).unwrap() else {
            break;
        };
        assert_eq!(fs::read_dir(record.snapshot.directory()).unwrap().count(), 10);
    }
    // Sweeping happens beside the work; a store that is closed and opened again has had its time.
    let count = |place: &str| fs::read_dir(root.path().join("v1").join(place)).unwrap().count();
    for _ in 0..100 {
        if count("active") + count("tmp") == 0 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!((count("active"), count("tmp"), count("leases")), (0, 0, 1));
    // What this process looked up it holds.
    drop(store);
    Store::open(root.path()).unwrap().prune(&Prune::default()).unwrap();
    assert_eq!((count("snapshots"), count("blobs/sha256")), (0, 0));
}
