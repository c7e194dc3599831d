//! The same inputs give the same image, whoever builds it, where and when.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::{Bases, User, Workshop, run};

const FILES: [(&str, &str); 4] = [
    (
        "Dockerfile",
        "FROM busybox\nWORKDIR /srv/app\nCOPY . .\nCOPY --chown=daemon:mail --chmod=640 a /etc/a\nADD b /deep/er/b\nENV A=1\nCMD [\"cat\", \"/etc/a\"]\n",
    ),
    ("a", "one\n"),
    ("b", "two\n"),
    ("folder/c", "three\n"),
];

#[test]
fn two_stores_make_the_same_image_also_later_and_as_another_user() {
    let Some(bases) = Bases::find() else { return };
    let first = Workshop::own();
    let context = first.context("context", &FILES);
    let digest = built(&first, bases, &context);
    // A second later, so that a clock that gets into the image shows.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let second = Workshop::own();
    assert_eq!(built(&second, bases, &context), digest);
    if let Some(user) = User::ordinary() {
        let third = Workshop::new(user);
        let copy = third.path("context");
        run(Command::new("cp").arg("-a").arg(&context).arg(&copy));
        assert_eq!(built(&third, bases, &copy), digest);
    }
}

#[test]
fn an_archive_is_the_same_to_the_byte() {
    let Some(bases) = Bases::find() else { return };
    let archive = |workshop: &Workshop, context: &Path, kind: &str| {
        let dest = workshop.path(kind);
        let output = format!("type={kind},dest={}", dest.display());
        run(workshop.build(bases, context).args(["-t", "same:1", "-o", &output]));
        std::fs::read(dest).unwrap()
    };
    let (first, second) = (Workshop::own(), Workshop::own());
    let context = first.context("context", &FILES);
    for kind in ["oci", "docker", "tar"] {
        assert!(
            archive(&first, &context, kind) == archive(&second, &context, kind),
            "{kind}"
        );
    }
}

#[test]
fn an_archive_is_the_same_whether_its_layer_was_there_or_grew() {
    let Some(bases) = Bases::find() else { return };
    let workshop = Workshop::own();
    let context = workshop.context(
        "context",
        &[("Dockerfile", "FROM busybox\nCOPY noise small /\n"), ("small", "x")],
    );
    let mut state = 1u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    })
    .take(24 << 20)
    .collect();
    std::fs::write(context.join("noise"), noise).unwrap();
    let dest = workshop.path("image.tar");
    for (kind, compression) in [("oci", "gzip"), ("oci", "zstd"), ("docker", "gzip")] {
        let output = format!("type={kind},dest={},compression={compression}", dest.display());
        let [grown, again] = [(); 2].map(|()| {
            run(workshop.build(bases, &context).args(["-t", "same:1", "-o", &output]));
            std::fs::read(&dest).unwrap()
        });
        assert!(grown == again, "{kind} {compression}");
        std::fs::remove_file(&dest).unwrap();
    }
}

#[test]
fn a_copy_done_again_is_as_one_done_afresh() {
    let Some(bases) = Bases::find() else { return };
    let dockerfile = "FROM busybox\nWORKDIR /srv\nCOPY a.d .\nCOPY . .\n";
    let names: Vec<String> = (0..200).map(|n| format!("{}.d/{n}", ["a", "b"][n % 2])).collect();
    let numbers: Vec<String> = (0..200).map(|n| format!("{n}\n")).collect();
    let mut files = vec![("Dockerfile", dockerfile), ("a.d/7", "7\n")];
    files.extend(names.iter().map(String::as_str).zip(numbers.iter().map(String::as_str)));
    let first = Workshop::own();
    let context = first.context("context", &files);
    built(&first, bases, &context);
    std::fs::write(context.join("b.d/9"), "another\n").unwrap();
    std::fs::remove_file(context.join("b.d/11")).unwrap();
    std::os::unix::fs::symlink("13", context.join("b.d/11")).unwrap();
    let again = built(&first, bases, &context);
    let afresh = Workshop::own();
    assert_eq!(again, built(&afresh, bases, &context));
    let seen = run(first.rbuild().args(["run", "same:1", "cat", "/srv/a.d/7"]));
    assert_eq!(seen, "7\n");
}

fn built(workshop: &Workshop, bases: &Bases, context: &Path) -> String {
    run(workshop.build(bases, context).args(["-t", "same:1"]));
    let images: Value = serde_json::from_str(&run(workshop.rbuild().args(["inspect", "same:1"]))).unwrap();
    images[0]["Descriptor"]["digest"].as_str().unwrap().to_owned()
}
