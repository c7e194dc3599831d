//! Images that stay in the store: built, used by other builds, run, pruned around.

use std::fs;

use crate::support::{Bases, User, Workshop, progress, run};

const FIRST: &str = "FROM busybox\nRUN echo first > /file && rm /bin/wget\nCOPY --link Dockerfile /d/\n";
const SECOND: &str = "FROM first\nRUN cat /file > /copy && ls /bin/wget /d >> /copy; true\nCMD [\"cat\", \"/copy\"]\n";

fn blobs(workshop: &Workshop) -> usize {
    fs::read_dir(workshop.home().join("blobs/sha256")).unwrap().count()
}

fn an_image_that_stays_here_is_used_as_it_is(user: User) {
    let Some(bases) = Bases::find() else { return };
    let workshop = Workshop::new(user);
    let first = workshop.context("first", &[("Dockerfile", FIRST)]);
    progress(workshop.build(bases, &first).args(["-t", "first"]));
    // Base layer, configuration, manifest.
    assert_eq!(blobs(&workshop), 3, "no layer of ours is written");
    let snapshots = || fs::read_dir(workshop.home().join("snapshots")).unwrap().count();
    let before = snapshots();

    let second = workshop.context("second", &[("Dockerfile", SECOND)]);
    progress(workshop.build(bases, &second).args(["-t", "second"]));
    assert_eq!(snapshots(), before + 1, "nothing is unpacked");
    assert_eq!(
        run(workshop.rbuild().args(["run", "second"])),
        "first\n/d:\nDockerfile\n"
    );

    run(workshop.rbuild().args(["rmi", "first"]));
    run(workshop.rbuild().args(["prune", "--all"]));
    assert_eq!(
        run(workshop.rbuild().args(["run", "second"])),
        "first\n/d:\nDockerfile\n"
    );
    let archive = workshop.path("second.tar");
    let output = format!("type=oci,compression=uncompressed,dest={}", archive.display());
    progress(
        workshop
            .build(bases, &second)
            .args(["--build-context", "first=docker-image://second", "-o", &output]),
    );
    assert!(archive.exists());

    run(workshop.rbuild().args(["rmi", "second"]));
    run(workshop.rbuild().args(["prune", "--all"]));
    assert_eq!((blobs(&workshop), snapshots()), (0, 0));
}

#[test]
fn an_image_that_stays_here() {
    an_image_that_stays_here_is_used_as_it_is(User::Own);
}

#[test]
fn an_image_that_stays_here_as_an_ordinary_user() {
    if let Some(user) = User::ordinary() {
        an_image_that_stays_here_is_used_as_it_is(user);
    }
}
