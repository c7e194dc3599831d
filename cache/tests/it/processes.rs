//! Several processes at once, and killed ones.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use cache::{Compression, Prune, Store};
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
    store.prune(&Prune::default()).unwrap();
    assert_eq!((count("snapshots"), count("blobs/sha256")), (0, 0));
}
