//! Limits written to trees that look like control groups and are plain folders.

use super::*;

fn resources() -> Resources {
    Resources {
        memory: Some(64 << 20),
        memory_swap: Some(96 << 20),
        cpu_shares: Some(512),
        cpu_period: Some(50_000),
        cpu_quota: Some(25_000),
        cpuset_cpus: Some("0-1".to_owned()),
        cpuset_mems: None,
        pids: Some(100),
        parent: None,
    }
}

fn unified(top: &Path, own: &str) -> Hierarchy {
    Hierarchy {
        kind: Kind::Unified,
        controllers: ["cpuset", "cpu", "io", "memory", "pids"].map(str::to_owned).to_vec(),
        mount: top.to_owned(),
        own: top.join(own),
    }
}

/// A group whose children get these controllers, with these members.
fn group(path: &Path, lent: &str, members: &str) {
    fs::create_dir_all(path).unwrap();
    fs::write(path.join("cgroup.subtree_control"), lent).unwrap();
    fs::write(path.join("cgroup.procs"), members).unwrap();
}

fn written(group: &Path, file: &str) -> String {
    fs::read_to_string(group.join(file)).unwrap()
}

#[test]
fn the_new_hierarchy_is_told_in_its_words() {
    let top = tempfile::tempdir().unwrap();
    group(&top.path().join("own"), "cpuset cpu memory pids", "");
    let places = places(&[unified(top.path(), "own")], &resources()).unwrap();
    assert_eq!(places.len(), 1);
    let step = places[0].parent.join("step");
    fs::create_dir(&step).unwrap();
    let mut overrun = None;
    places[0].write_to(&step, &mut overrun).unwrap();
    let expected = [
        ("memory.max", "67108864"),
        ("memory.swap.max", "33554432"),
        ("cpu.weight", "20"),
        ("cpu.max", "25000 50000"),
        ("cpuset.cpus", "0-1"),
        ("pids.max", "100"),
    ];
    for (file, value) in expected {
        assert_eq!(written(&step, file), value, "{file}");
    }
    assert!(!step.join("cpuset.mems").exists());
    let overrun = overrun.unwrap();
    assert!(!overrun.happened());
    fs::write(step.join("memory.events"), "oom 1\noom_kill 1\n").unwrap();
    assert!(overrun.happened() && overrun.limit == 64 << 20);
}

#[test]
fn old_hierarchies_get_a_group_each() {
    let top = tempfile::tempdir().unwrap();
    let old = |name: &str| {
        let own = top.path().join(name).join("own");
        fs::create_dir_all(&own).unwrap();
        Hierarchy {
            kind: Kind::Old,
            controllers: vec![name.to_owned()],
            mount: top.path().join(name),
            own,
        }
    };
    let hierarchies = ["memory", "cpu", "cpuset", "pids"].map(old);
    fs::write(top.path().join("cpuset/cpuset.mems"), "0\n").unwrap();
    fs::write(top.path().join("cpuset/cpuset.cpus"), "0-3\n").unwrap();
    for file in ["cpuset.cpus", "cpuset.mems"] {
        fs::write(top.path().join("cpuset/own").join(file), "\n").unwrap();
    }
    let places = places(&hierarchies, &resources()).unwrap();
    let mut overrun = None;
    for place in &places {
        fs::create_dir(place.parent.join("step")).unwrap();
        place.write_to(&place.parent.join("step"), &mut overrun).unwrap();
    }
    let expected = [
        ("memory", "memory.limit_in_bytes", "67108864"),
        ("memory", "memory.memsw.limit_in_bytes", "100663296"),
        ("cpu", "cpu.shares", "512"),
        ("cpu", "cpu.cfs_period_us", "50000"),
        ("cpu", "cpu.cfs_quota_us", "25000"),
        ("cpuset", "cpuset.cpus", "0-1"),
        // Of the parent, which had it from its own.
        ("cpuset", "cpuset.mems", "0"),
        ("pids", "pids.max", "100"),
    ];
    for (hierarchy, file, value) in expected {
        assert_eq!(
            written(&top.path().join(hierarchy).join("own/step"), file),
            value,
            "{file}"
        );
    }
    assert!(overrun.is_some());
}

#[test]
fn a_group_that_is_shared_with_others_makes_way_for_its_parent() {
    let top = tempfile::tempdir().unwrap();
    group(top.path(), "cpuset cpu memory pids", "");
    let own = top.path().join("session");
    group(&own, "", "1\n2\n");
    // A kernel refuses to lend from a group with processes in it; here the file does.
    fs::remove_file(own.join("cgroup.subtree_control")).unwrap();
    fs::create_dir(own.join("cgroup.subtree_control")).unwrap();
    let found = places(&[unified(top.path(), "session")], &resources()).unwrap();
    assert_eq!(found[0].parent, top.path());
}

#[test]
fn what_cannot_be_enforced_is_an_error_by_name() {
    let top = tempfile::tempdir().unwrap();
    let own = top.path().join("session");
    for path in [top.path(), &own] {
        fs::create_dir_all(path.join("cgroup.subtree_control")).unwrap();
    }
    let pids = Resources {
        pids: Some(5),
        ..Resources::default()
    };
    let error = places(&[unified(top.path(), "session")], &pids)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("`--pids-limit`") && error.contains("Delegate=yes"),
        "{error}"
    );
    let error = places(&[], &pids).unwrap_err().to_string();
    assert!(
        error.contains("`--pids-limit`") && error.contains("controller `pids`"),
        "{error}"
    );
    let outside = Resources {
        parent: Some("/../x".to_owned()),
        ..pids
    };
    let error = places(&[unified(top.path(), "session")], &outside)
        .unwrap_err()
        .to_string();
    assert!(error.contains("`--cgroup-parent`"), "{error}");
}

#[test]
fn shares_become_weights() {
    for (shares, expected) in [(2, "1"), (1024, "39"), (262_144, "10000"), (0, "1")] {
        assert_eq!(weight(shares), expected);
    }
}
