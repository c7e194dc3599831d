//! Builds of an ordinary user to whom no ids are lent: there is one user id, and other owners of files are recorded.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Bases, User, Workshop, ends_with, has, progress, run, skipped};

const OWNED: &str = "\
FROM debian:bookworm-slim AS first
COPY --chown=1000:2000 d /srv/d
ADD archive.tar /unpacked
COPY --chown=www-data:games f /f
WORKDIR /w
FROM busybox AS second
COPY --from=first /srv/d /srv/d
COPY --from=first /unpacked /unpacked
COPY --from=first /etc /etc2
COPY --link --chown=7:8 d /linked
FROM second
COPY --from=first --chown=5 /srv/d/link /l/
COPY --from=second /linked /again
ADD --chown=9:9 archive.tar /nine
COPY f /linked/link
";

/// Files, links, a pipe and an archive whose entries are somebody's.
fn files(workshop: &Workshop, name: &str) -> PathBuf {
    let context = workshop.path(name);
    let place = |path: &str| context.join(path);
    fs::create_dir_all(place("d/sub")).unwrap();
    fs::create_dir_all(place("packed")).unwrap();
    fs::write(place("Dockerfile"), OWNED).unwrap();
    fs::write(place("f"), "f").unwrap();
    fs::write(place("d/sub/x"), "x").unwrap();
    symlink("sub/x", place("d/link")).unwrap();
    symlink("../a", place("d/sub/up")).unwrap();
    fs::write(place("packed/t"), "t").unwrap();
    symlink("t", place("packed/l")).unwrap();
    fs::hard_link(place("packed/t"), place("packed/again")).unwrap();
    run(Command::new("mkfifo").arg(place("packed/p")));
    run(Command::new("tar")
        .args(["--owner=1234", "--group=4321", "--numeric-owner", "-C"])
        .arg(place("packed"))
        .arg("-cf")
        .arg(place("archive.tar"))
        .arg("."));
    run(Command::new("chmod").args(["-R", "a+rX"]).arg(&context));
    context
}

fn built(workshop: &Workshop, bases: &Bases, context: &Path) -> [Vec<u8>; 2] {
    let places = ["image.tar", "files.tar"].map(|name| workshop.path(name));
    let outputs = [
        format!("type=oci,dest={}", places[0].display()),
        format!("type=tar,dest={}", places[1].display()),
    ];
    progress(
        workshop
            .build(bases, context)
            .args(["-o", &outputs[0], "-o", &outputs[1]]),
    );
    places.map(|place| fs::read(place).unwrap())
}

#[test]
fn an_image_without_run_is_the_one_that_root_builds() {
    let (Some(bases), Some(user)) = (Bases::find(), User::without_range()) else {
        return;
    };
    let (roots, alone) = (Workshop::own(), Workshop::new(user));
    let context = files(&roots, "context");
    let [image, tree] = built(&roots, bases, &context);
    let (same, alike) = (built(&alone, bases, &context), [image, tree]);
    assert!(same[1] == alike[1], "the files differ");
    assert!(same[0] == alike[0], "the images differ");
    // Found again, not built again: owners are part of what is kept.
    let again = built(&alone, bases, &context);
    assert!(again[0] == alike[0], "the image that was found differs");
}

#[test]
fn a_run_sees_roots_files_and_keeps_the_owners_of_what_it_leaves() {
    let (Some(bases), Some(user)) = (Bases::find(), User::without_range()) else {
        return;
    };
    let workshop = Workshop::new(user);
    let dockerfile = "FROM busybox\nCOPY --chown=1000:2000 kept changed replaced /d/\n\
        RUN echo more >> /d/changed && rm /d/replaced && echo new > /d/replaced && chmod 700 /d && \
        [ \"$(stat -c %u:%g /d/kept)\" = 0:0 ]\n";
    let files = [
        ("Dockerfile", dockerfile),
        ("kept", ""),
        ("changed", ""),
        ("replaced", ""),
    ];
    let context = workshop.context("context", &files);
    let tar = workshop.path("out.tar");
    let output = format!("type=tar,dest={}", tar.display());
    let said = progress(workshop.build(bases, &context).args(["-o", &output]));
    assert!(
        said.contains("with a single user id (it has no range in /etc/subuid)"),
        "{said}"
    );
    let listed = run(Command::new("tar").args(["--numeric-owner", "-tvf"]).arg(&tar));
    for (path, owner) in [
        ("d/", "1000/2000"),
        ("d/kept", "1000/2000"),
        ("d/changed", "1000/2000"),
        ("d/replaced", "0/0"),
    ] {
        let line = listed.lines().find(|line| line.ends_with(&format!(" {path}"))).unwrap();
        assert!(line.contains(owner), "{line}");
    }
    progress(workshop.build(bases, &context).args(["-t", "im"]));
    let owners = run(workshop.rbuild().args(["run", "im", "stat", "-c", "%u", "/d/kept"]));
    assert_eq!(owners, "0\n");
    let folder = workshop.path("out");
    progress(workshop.build(bases, &context).arg("-o").arg(&folder));
    assert_eq!(fs::read_to_string(folder.join("d/changed")).unwrap(), "more\n");
}

#[test]
fn a_step_that_needs_more_ids_fails_with_the_command_that_gives_them() {
    let (Some(bases), Some(user)) = (Bases::find(), User::without_range()) else {
        return;
    };
    let workshop = Workshop::new(user);
    for (name, lines) in [
        ("chown", "RUN touch /f && chown 1000 /f"),
        ("user", "USER 1000\nRUN id"),
        ("groups", "RUN chgrp 5 /etc/passwd"),
    ] {
        let dockerfile = format!("FROM busybox\n{lines}\n");
        let context = workshop.context(name, &[("Dockerfile", &dockerfile)]);
        let said = ends_with(&mut workshop.build(bases, &context), 4);
        assert!(
            said.contains("\nhint: there is a single user id here") && said.contains("`usermod --add-subuids "),
            "{name}: {said}"
        );
    }
    let context = workshop.context("false", &[("Dockerfile", "FROM busybox\nRUN false\n")]);
    let said = ends_with(&mut workshop.build(bases, &context), 1);
    assert!(!said.contains("hint:"), "{said}");
}

#[test]
fn mounts_for_other_users_are_roots() {
    let (Some(bases), Some(user)) = (Bases::find(), User::without_range()) else {
        return;
    };
    let workshop = Workshop::new(user);
    let dockerfile = "FROM busybox AS owned\nCOPY --chown=1000 Dockerfile /d/\nFROM busybox\n\
        RUN --mount=type=secret,id=s,uid=1000 cat /run/secrets/s\n\
        RUN --mount=type=cache,target=/c,uid=1000 touch /c/x\n\
        RUN --mount=type=cache,target=/c,from=owned,source=/d cat /c/Dockerfile >/dev/null\n\
        RUN --mount=target=/b,from=owned,rw touch /b/d/y\n";
    let context = workshop.context("context", &[("Dockerfile", dockerfile), ("secret", "told\n")]);
    let secret = format!("id=s,src={}", context.join("secret").display());
    progress(workshop.build(bases, &context).args(["--secret", &secret]));
}

/// A range that is lent later begins another store: what was made without it is neither used nor harmed.
#[test]
fn stores_with_and_without_a_range_stand_side_by_side() {
    let (Some(bases), Some(user)) = (Bases::find(), User::ordinary()) else {
        return;
    };
    if !has("newuidmap") {
        return skipped("newuidmap").unwrap_or_default();
    }
    let workshop = Workshop::new(user);
    let dockerfile = "FROM busybox\nCOPY --chown=1000 --chmod=600 f /f\nRUN stat -c %u /f > /seen\n";
    let context = workshop.context("context", &[("Dockerfile", dockerfile), ("f", "")]);
    let seen = |path: Option<&Path>| {
        let mut build = workshop.build(bases, &context);
        if let Some(path) = path {
            build.env("PATH", path);
        }
        progress(build.args(["-t", "im"]));
        let mut show = workshop.rbuild();
        if let Some(path) = path {
            show.env("PATH", path);
        }
        run(show.args(["run", "im", "cat", "/seen"]))
    };
    let poor = crate::doctor::elsewhere(&workshop);
    assert_eq!(seen(Some(&poor)), "0\n");
    assert_eq!(seen(None), "1000\n");
    assert_eq!(seen(Some(&poor)), "0\n");
    let homes = ["v1", "v1-single"].map(|home| workshop.store().join(home).is_dir());
    assert_eq!(homes, [true, true]);
    let lines = run(workshop.rbuild().arg("doctor"));
    assert!(
        lines.contains("note     other store: ") && lines.contains("next: remove it: `rm -rf "),
        "{lines}"
    );
}
