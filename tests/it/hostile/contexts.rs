//! Contexts whose Dockerfile or ignore file is no file, leads elsewhere, or never ends.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use super::{ended, refusal};
use crate::support::{Workshop, run, socket, text};

fn pipe(path: &Path) {
    run(Command::new("mkfifo").arg(path));
}

fn huge(path: &Path) {
    File::create(path).unwrap().set_len(5 << 30).unwrap();
}

type Make = fn(&Path);

/// What takes the place of a file, and what is said of it.
fn impostors() -> Vec<(&'static str, Make, &'static str)> {
    vec![
        ("pipe", pipe, "it is a pipe, not a file"),
        ("huge", huge, "it has more than 16777216 bytes"),
        ("folder", |path| fs::create_dir(path).unwrap(), "directory"),
        ("socket", |path| drop(socket(path)), ""),
        (
            "zeros",
            |path| symlink("/dev/zero", path).unwrap(),
            "it is a link to `/dev/zero`, outside of its folder",
        ),
        ("terminal", |path| symlink("/dev/tty", path).unwrap(), ""),
        (
            "secret",
            |path| symlink("../secret", path).unwrap(),
            "it is a link to `../secret`, outside of its folder",
        ),
        (
            "passwords",
            |path| symlink("/etc/shadow", path).unwrap(),
            "outside of its folder",
        ),
        ("itself", |path| symlink(path.file_name().unwrap(), path).unwrap(), ""),
        (
            "through a folder",
            |path| {
                symlink("..", path.parent().unwrap().join("up")).unwrap();
                symlink("up/secret", path).unwrap();
            },
            "outside of its folder",
        ),
    ]
}

#[test]
fn the_dockerfile_of_a_folder_is_a_file_of_it() {
    let workshop = Workshop::own();
    fs::write(workshop.path("secret"), "top-secret-word is no instruction\n").unwrap();
    for (what, make, expected) in impostors() {
        let context = workshop.context(&format!("with-{what}"), &[("a", "x")]);
        make(&context.join("Dockerfile"));
        let said = refusal(workshop.rbuild().arg(&context));
        assert!(
            said.contains(expected) && !said.contains("top-secret"),
            "{what}: {said}"
        );
        assert!(!said.contains("root:"), "{what}: {said}");
    }
}

#[test]
fn the_ignore_file_of_a_folder_is_a_file_of_it() {
    let workshop = Workshop::own();
    fs::write(workshop.path("secret"), "[top-secret-word\n").unwrap();
    for (what, make, expected) in impostors() {
        for name in [".dockerignore", "Dockerfile.dockerignore"] {
            let context = workshop.context(
                &format!("{what}-{name}"),
                &[("Dockerfile", "FROM scratch\nCOPY a /\n"), ("a", "x")],
            );
            make(&context.join(name));
            let output = ended(workshop.rbuild().args(["-o", "type=cacheonly"]).arg(&context));
            let said = text(&output.stderr);
            assert!(!said.contains("top-secret"), "{what}: {said}");
            // What is not even looked at is as good.
            assert!(
                said.contains(expected) || output.status.success(),
                "{what} {name}: {said}"
            );
        }
    }
}

#[test]
fn odd_files_do_not_keep_a_build_waiting() {
    let workshop = Workshop::own();
    let dockerfile = "FROM scratch\nCOPY . /all/\nADD pipe* /p/\n";
    let context = workshop.context("odd", &[("Dockerfile", dockerfile), ("d/a", "x")]);
    pipe(&context.join("pipe"));
    drop(socket(&context.join("socket")));
    symlink("loop", context.join("loop")).unwrap();
    symlink("/etc/shadow", context.join("shadow")).unwrap();
    fs::write(context.join("unreadable"), "x").unwrap();
    fs::set_permissions(context.join("unreadable"), fs::Permissions::from_mode(0o000)).unwrap();
    let mut deep = context.join("d");
    for _ in 0..300 {
        deep.push("deeper");
    }
    fs::create_dir_all(&deep).unwrap();
    let archive = workshop.path("out.tar");
    let output = format!("type=tar,dest={}", archive.display());
    let built = ended(workshop.rbuild().args(["-o", &output]).arg(&context));
    assert!(built.status.success(), "{}", text(&built.stderr));
    let listed = run(Command::new("tar").arg("-tvf").arg(&archive));
    for line in [
        "all/pipe",
        "all/socket",
        "p/pipe",
        "all/shadow -> /etc/shadow",
        "all/loop -> loop",
        "deeper/deeper/",
    ] {
        assert!(listed.contains(line), "{line}");
    }
}

#[test]
fn a_tree_as_deep_as_paths_go_becomes_a_layer_and_goes() {
    let Some(bases) = crate::support::Bases::find() else {
        return;
    };
    let workshop = Workshop::own();
    let dockerfile = "FROM busybox\nRUN p=$(printf 'd/%.0s' $(seq 1 1200)); mkdir -p $p && echo x > $p/f\n";
    let context = workshop.context("deep", &[("Dockerfile", dockerfile)]);
    let output = format!("type=oci,dest={}", workshop.path("deep.tar").display());
    run(workshop.build(bases, &context).args(["-o", &output, "-t", "deep"]));
    run(workshop.rbuild().args(["rmi", "deep"]));
    run(workshop.rbuild().args(["prune", "--all"]));
    let left = fs::read_dir(workshop.store().join("v1/snapshots")).unwrap().count();
    assert_eq!(left, 0, "what is deep can be removed");
}
