//! A disk that fills up: a clear error, nothing half-written, and work goes on once there is room.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::support::{Bases, Workshop, ends_with, run, skipped};

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
    let words = ends_with(workshop.build(bases, &context).arg("--root").arg(&disk.0), 1);
    assert!(
        words.contains("No space left on device") && words.contains("rbuild prune"),
        "{words}"
    );

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
    let words = ends_with(workshop.build(bases, &context).args(["-o", &output]), 1);
    assert!(words.contains("No space left on device"), "{words}");
    assert_eq!(fs::read_dir(&disk.0).unwrap().count(), 0);
}
