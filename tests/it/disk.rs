//! Room on the disk: limits that are kept, a disk that fills up, and who is said to have what.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::progress::Steps;
use crate::support::{Bases, Workshop, ends_with, is_plain, progress, run, skipped};

/// A small file system, mounted for the time of a test.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(workshop: &Workshop, size: &str) -> Option<SmallDisk> {
        if !rustix::process::geteuid().is_root() {
            return skipped("root, to mount a small file system");
        }
        let path = workshop.path("small");
        fs::create_dir(&path).unwrap();
        let options = format!("size={size}");
        run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(&path));
        Some(SmallDisk(path))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_store_is_named_and_works_again_with_less_to_do() {
    let Some(bases) = Bases::find() else { return };
    let workshop = Workshop::own();
    let Some(disk) = SmallDisk::mount(&workshop, "8m") else {
        return;
    };
    let context = workshop.context("big", &[("Dockerfile", "FROM busybox\nCOPY big /\n")]);
    fs::write(context.join("big"), vec![7; 20 << 20]).unwrap();
    let words = ends_with(workshop.build(bases, &context).arg("--root").arg(&disk.0), 5);
    for part in [
        "there is no room on the disk of",
        "21.0MB are needed",
        "are missing",
        "rbuild prune",
    ] {
        assert!(words.contains(part), "{words}");
    }
    // What nobody knows before the process has written it the kernel has to refuse.
    // In a tree that is copied only the process hears of it.
    let (code, said) = match is_plain() {
        true => (1, "I/O error"),
        false => (5, "No space left on device"),
    };
    let unknown = "FROM busybox\nRUN head -c 20000000 /dev/zero > /big\n";
    fs::write(context.join("Dockerfile"), unknown).unwrap();
    let words = ends_with(workshop.build(bases, &context).arg("--root").arg(&disk.0), code);
    assert!(words.contains(said), "{words}");
    fs::write(context.join("Dockerfile"), "FROM busybox\nCOPY big /\n").unwrap();

    fs::write(context.join("big"), "small now").unwrap();
    run(workshop.build(bases, &context).arg("--root").arg(&disk.0));
}

#[test]
fn an_archive_that_does_not_fit_is_not_there_at_all() {
    let Some(bases) = Bases::find() else { return };
    let workshop = Workshop::own();
    let Some(disk) = SmallDisk::mount(&workshop, "1m") else {
        return;
    };
    let context = workshop.context(
        "big",
        &[("Dockerfile", "FROM busybox\nRUN head -c 4000000 /dev/urandom > /big\n")],
    );
    let output = format!("type=oci,dest={}", disk.0.join("image.tar").display());
    let words = ends_with(workshop.build(bases, &context).args(["-o", &output]), 5);
    assert!(words.contains("there is no room on the disk of"), "{words}");
    assert_eq!(fs::read_dir(&disk.0).unwrap().count(), 0);
}

#[test]
fn a_disk_without_a_free_byte_can_be_pruned() {
    let Some(bases) = Bases::find() else { return };
    let workshop = Workshop::own();
    let Some(disk) = SmallDisk::mount(&workshop, "16m") else {
        return;
    };
    let context = large(&workshop, "context", 5);
    run(workshop.build(bases, &context).arg("--root").arg(&disk.0));
    let fill = disk.0.join("fill");
    let mut file = fs::File::create(&fill).unwrap();
    while std::io::Write::write_all(&mut file, &[1; 4096]).is_ok() {}
    drop(file);
    let said = run(workshop.rbuild().args(["prune", "--all", "--root"]).arg(&disk.0));
    assert!(!said.contains("Freed: 0B"), "{said}");
    assert_eq!(fs::read_dir(disk.0.join("v1/snapshots")).unwrap().count(), 0);
    assert!(usage(&workshop, &disk.0)["items"].as_array().unwrap().is_empty());
}

/// A context whose build keeps so many megabytes.
fn large(workshop: &Workshop, name: &str, megabytes: usize) -> PathBuf {
    let context = workshop.context(name, &[("Dockerfile", "FROM busybox\nCOPY big /\n")]);
    let mut bytes = vec![0; megabytes << 20];
    for (place, byte) in bytes.iter_mut().enumerate() {
        *byte = (place / 4096 + name.len()) as u8 ^ name.as_bytes()[name.len() - 1];
    }
    fs::write(context.join("big"), bytes).unwrap();
    context
}

/// What `du` tells, of a store.
fn usage(workshop: &Workshop, root: &Path) -> Value {
    let told = run(workshop.rbuild().args(["du", "--format=json", "--root"]).arg(root));
    serde_json::from_str(&told).unwrap()
}

/// How much of it is cache.
fn cache(usage: &Value) -> u64 {
    let items = usage["items"].as_array().unwrap();
    let free = items.iter().filter(|item| item["pinned"] == false);
    free.map(|item| item["size"].as_u64().unwrap()).sum()
}

fn is_cached(workshop: &Workshop, bases: &Bases, context: &Path, root: &Path) -> bool {
    let said = progress(workshop.build(bases, context).arg("--root").arg(root));
    Steps::parse(&said).not_cached().is_empty()
}

#[test]
fn a_limit_on_the_cache_is_kept_and_the_oldest_goes() {
    let Some(bases) = Bases::find() else { return };
    let workshop = Workshop::own();
    let contexts: Vec<PathBuf> = (0..4)
        .map(|number| large(&workshop, &format!("c{number}"), 5))
        .collect();
    for context in &contexts {
        run(workshop.build(bases, context).arg("--keep-storage=16MB"));
        let cache = cache(&usage(&workshop, &workshop.store()));
        assert!(cache <= 16 << 20, "{cache}");
        // Uses are told apart by the second.
        std::thread::sleep(std::time::Duration::from_millis(1100));
    }
    assert!(is_cached(&workshop, bases, &contexts[3], &workshop.store()));
    assert!(!is_cached(&workshop, bases, &contexts[0], &workshop.store()));

    let mut command = workshop.build(bases, &contexts[1]);
    run(command.env("RBUILD_KEEP_STORAGE", "1MB"));
    let left = cache(&usage(&workshop, &workshop.store()));
    assert!(left <= 1 << 20, "{left}");
    let words = ends_with(
        workshop.build(bases, &contexts[1]).env("RBUILD_MIN_FREE_SPACE", "much"),
        2,
    );
    assert!(words.contains("RBUILD_MIN_FREE_SPACE"), "{words}");
}

#[test]
fn a_disk_about_to_be_full_makes_room_but_keeps_images() {
    let Some(bases) = Bases::find() else { return };
    let workshop = Workshop::own();
    // A copied tree takes what the image takes once more.
    let (size, larger) = if is_plain() { ("64m", 50) } else { ("40m", 20) };
    let Some(disk) = SmallDisk::mount(&workshop, size) else {
        return;
    };
    // Eight times five megabytes and more: each build finds room that the others leave.
    for number in 0..8 {
        let context = large(&workshop, &format!("c{number}"), 5);
        run(workshop.build(bases, &context).arg("--root").arg(&disk.0));
    }
    let image = large(&workshop, "image", 20);
    run(workshop
        .build(bases, &image)
        .args(["-t", "kept", "--root"])
        .arg(&disk.0));
    let more = large(&workshop, "more", larger);
    let words = ends_with(workshop.build(bases, &more).arg("--root").arg(&disk.0), 5);
    let needed = if is_plain() {
        "52.4MB are needed"
    } else {
        "21.0MB are needed"
    };
    for part in [needed, "by named images", "rbuild du"] {
        assert!(words.contains(part), "{words}");
    }
    let size = run(workshop
        .rbuild()
        .args(["run", "--root"])
        .arg(&disk.0)
        .args(["kept", "stat", "-c%s", "/big"]));
    assert_eq!(size, "20971520\n");
    let room = large(&workshop, "room", 5);
    run(workshop.build(bases, &room).arg("--root").arg(&disk.0));
    let asked = ends_with(
        workshop
            .build(bases, &more)
            .args(["--min-free-space=90%", "--root"])
            .arg(&disk.0),
        5,
    );
    assert!(asked.contains("are to stay free"), "{asked}");
}

#[test]
fn a_tree_that_does_not_fit_is_not_begun_to_be_copied() {
    let (Some(bases), Some(workshop)) = (Bases::find(), Workshop::plain()) else {
        return;
    };
    let Some(disk) = SmallDisk::mount(&workshop, "36m") else {
        return;
    };
    // The file is moved into the store; the next step needs it once more.
    let context = large(&workshop, "copied", 20);
    let build = || {
        let mut build = workshop.build(bases, &context);
        build.arg("--root").arg(&disk.0);
        build
    };
    run(build().args(["-t", "kept"]));
    fs::write(context.join("Dockerfile"), "FROM busybox\nCOPY big /\nRUN true\n").unwrap();
    let words = ends_with(&mut build(), 5);
    for part in [
        "there is no room on the disk of",
        "are needed",
        "by named images",
        "rbuild prune",
    ] {
        assert!(words.contains(part), "{words}");
    }
    // What a later layer replaces is not needed twice.
    run(workshop.rbuild().args(["rmi", "kept", "--root"]).arg(&disk.0));
    let small = large(&workshop, "replaced", 6);
    let dockerfile = "FROM busybox\nCOPY big /\nRUN cp big other && mv other big\nRUN cp big other && mv other big\nRUN test -s big\n";
    fs::write(small.join("Dockerfile"), dockerfile).unwrap();
    run(workshop.build(bases, &small).arg("--root").arg(&disk.0));
}

#[test]
fn du_says_why_each_thing_is_kept() {
    let Some(bases) = Bases::find() else { return };
    let workshop = Workshop::own();
    let dockerfile = "FROM busybox AS a\nRUN echo a > /a\nFROM a AS b\nRUN echo b > /b\n";
    let context = workshop.context("why", &[("Dockerfile", dockerfile)]);
    run(workshop.build(bases, &context).args(["-t", "one", "--target=a"]));
    run(workshop.build(bases, &context).args(["-t", "two", "-t", "again"]));
    let told = usage(&workshop, &workshop.store());
    let items = told["items"].as_array().unwrap();
    let step = |text: &str| {
        let is_wanted = |item: &&Value| item["description"].as_str().unwrap().ends_with(text);
        items
            .iter()
            .find(is_wanted)
            .unwrap_or_else(|| panic!("no {text} in {told:#}"))
    };
    let (first, second) = (step("RUN echo a > /a"), step("RUN echo b > /b"));
    assert_eq!(first["images"].as_array().unwrap().len(), 2, "{first:#}");
    assert_eq!(first["needed_by"], serde_json::json!([second["id"]]));
    assert!(first["shared"] == true && second["shared"] == false && second["pinned"] == true);
    let images = told["images"].as_array().unwrap();
    assert_eq!(images.len(), 2, "two names of one image are one: {told:#}");
    let sum = |part: &str| images.iter().map(|image| image[part].as_u64().unwrap()).sum::<u64>();
    assert_eq!(sum("size"), sum("shared") + sum("unique"));

    let table = run(workshop.rbuild().arg("du"));
    assert!(
        table.contains("image again:latest, two:latest") && table.contains("Reclaimable: 0B"),
        "{table}"
    );
    let verbose = run(workshop.rbuild().args(["du", "--verbose"]));
    for part in ["Needed by:", "Image:       one:latest", "UNIQUE", "Shared:      yes"] {
        assert!(verbose.contains(part), "{verbose}");
    }
}
