//! Results of steps kept elsewhere: a job with an empty store finds them, and only fetches what it reads.
//!
//! A step that was done again shows: it writes something else every time.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::proxy::{Faults, Proxy};
use crate::registry::{Access, Registry};
use crate::support::{Bases, User, Workshop, progress, run};

const FILES: [(&str, &str); 2] = [
    (
        "Dockerfile",
        "FROM busybox AS maker\nRUN head -c 16 /dev/urandom | md5sum > /made\n\
         FROM busybox AS taker\nCOPY --from=maker /made /taken\nRUN head -c 16 /dev/urandom | md5sum > /own\nCOPY edited /\n\
         FROM scratch\nCOPY --from=taker /taken /own /edited /\n",
    ),
    ("edited", "one\n"),
];

/// Builds into a folder, and tells what is in `taken` and `own` and what was said.
fn build(workshop: &Workshop, bases: &Bases, context: &Path, flags: &[&str]) -> (String, String, String) {
    static NUMBER: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let out = workshop.path(&format!("out-{number}"));
    let output = format!("type=local,dest={}", out.display());
    let said = progress(workshop.build(bases, context).args(["-o", &output]).args(flags));
    let read = |name: &str| std::fs::read_to_string(out.join(name)).unwrap();
    (read("taken"), read("own"), said)
}

fn in_folder(folder: &Path) -> (String, String) {
    let folder = folder.display();
    (
        format!("--cache-to=type=local,dest={folder},mode=max"),
        format!("--cache-from=type=local,src={folder}"),
    )
}

#[test]
fn another_store_finds_every_step_done() {
    let Some(bases) = Bases::find() else { return };
    for user in [Some(User::Own), User::ordinary()].into_iter().flatten() {
        let first = Workshop::new(user.clone());
        let context = first.context("context", &FILES);
        let (to, from) = in_folder(&first.path("cache"));
        let (taken, own, _) = build(&first, bases, &context, &[&to]);
        let second = Workshop::new(user);
        let (taken_again, own_again, said) = build(&second, bases, &context, &[&from]);
        assert_eq!((&taken_again, &own_again), (&taken, &own));
        assert_eq!(said.matches("CACHED").count(), 5, "{said}");
        assert!(!said.contains("runs again"), "{said}");

        // What does not depend on the edit is still found, and what does is done.
        std::fs::write(context.join("edited"), "two\n").unwrap();
        let third = Workshop::own();
        let (taken_again, own_again, said) = build(&third, bases, &context, &[&from]);
        assert_eq!((taken_again, own_again), (taken, own), "{said}");
    }
}

#[test]
fn the_least_that_is_kept_leads_to_the_image() {
    let Some(bases) = Bases::find() else { return };
    let (first, second) = (Workshop::own(), Workshop::own());
    let files = [(
        "Dockerfile",
        "FROM busybox AS maker\nRUN head -c 16 /dev/urandom | md5sum | tee /own > /taken\nFROM scratch\nCOPY --from=maker /taken /own /\n",
    )];
    let context = first.context("context", &files);
    let (to, from) = in_folder(&first.path("cache"));
    let (taken, _, _) = build(&first, bases, &context, &[&to.replace("mode=max", "mode=min")]);
    assert_eq!(build(&second, bases, &context, &[&from]).0, taken);
}

#[test]
fn a_registry_keeps_results_under_a_name_or_in_an_image() {
    let (Some(bases), Some(registry)) = (Bases::find(), Registry::start(Access::Open)) else {
        return;
    };
    let first = Workshop::own();
    let context = first.context("context", &FILES);
    let (cache, image) = (registry.name("app:cache"), registry.name("app:1"));
    let to = format!("--cache-to=type=registry,ref={cache},mode=max");
    let (taken, own, _) = build(&first, bases, &context, &[&to]);
    let from = format!("--cache-from={cache}");
    let (taken_again, own_again, _) = build(&Workshop::own(), bases, &context, &[&from]);
    assert_eq!((taken_again, own_again), (taken, own));

    let files = [(
        "Dockerfile",
        "FROM busybox\nRUN head -c 16 /dev/urandom | md5sum | tee /own > /taken\n",
    )];
    let context = first.context("one", &files);
    let push = ["-t", &image, "--push", "--cache-to=type=inline"];
    let (taken, _, _) = build(&first, bases, &context, &push);
    let from = format!("--cache-from={image}");
    assert_eq!(build(&Workshop::own(), bases, &context, &[&from]).0, taken);
}

#[test]
fn a_place_that_cannot_be_read_costs_one_line() {
    let Some(bases) = Bases::find() else { return };
    let workshop = Workshop::own();
    let context = workshop.context("context", &FILES);
    let (_, _, said) = build(&workshop, bases, &context, &["--cache-from=type=local,src=nowhere"]);
    assert_eq!(said.matches("warning: no results from").count(), 1, "{said}");
}

#[test]
fn a_place_that_cannot_be_written_fails_the_build_unless_that_is_accepted() {
    let Some(bases) = Bases::find() else { return };
    let workshop = Workshop::own();
    let context = workshop.context("context", &FILES);
    let file: PathBuf = workshop.path("file");
    std::fs::write(&file, "").unwrap();
    let to = format!("--cache-to=type=local,dest={}", file.display());
    let refused = crate::support::ends_with(workshop.build(bases, &context).arg(&to), 1);
    assert!(refused.contains("failed to export the cache"), "{refused}");
    let (_, _, said) = build(&workshop, bases, &context, &[&format!("{to},ignore-error=true")]);
    assert!(said.contains("warning: the cache is not exported"), "{said}");
}

/// Builds and pushes, and tells the digest of what was pushed, and what was said.
fn push(workshop: &Workshop, bases: &Bases, context: &Path, image: &str, flags: &[&str]) -> (String, String) {
    let file = workshop.path("metadata.json");
    let metadata = format!("--metadata-file={}", file.display());
    let said = progress(
        workshop
            .build(bases, context)
            .args(["-t", image, "--push", &metadata])
            .args(flags),
    );
    let told: serde_json::Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    (told["containerimage.digest"].as_str().unwrap().to_owned(), said)
}

#[test]
fn what_is_known_from_a_registry_is_pushed_there_without_being_fetched() {
    let (Some(bases), Some(registry)) = (Bases::find(), Registry::start(Access::Open)) else {
        return;
    };
    let proxy = Proxy::start(registry.address(), Faults::none());
    let name = |image: &str| format!("{}/{image}", proxy.address);
    let first = Workshop::own();
    let context = first.context("context", &FILES);
    let to = format!("--cache-to=type=registry,ref={},mode=max", name("cache:main"));
    let from = format!("--cache-from={}", name("cache:main"));
    let (made, _) = push(&first, bases, &context, &name("app:1"), &[&to]);
    let before = proxy.log().len();

    let second = Workshop::own();
    let (found, said) = push(&second, bases, &context, &name("app:2"), &[&from]);
    assert_eq!(found, made, "{said}");
    let moved: u64 = proxy.log()[before..]
        .iter()
        .map(|exchange| exchange.sent + exchange.received)
        .sum();
    assert!(
        moved < 20_000,
        "{moved} bytes of documents: {:#?}",
        &proxy.log()[before..]
    );
    assert!(said.contains("the image is not kept here"), "{said}");

    // An archive needs the layers, but no trees.
    let archive = second.path("app.tar");
    let output = format!("type=oci,dest={}", archive.display());
    progress(second.build(bases, &context).args(["-o", &output, &from]));
    if crate::support::has("skopeo") {
        let name = format!("oci-archive:{}", archive.display());
        let digest = run(Command::new("skopeo").args(["inspect", "--format={{.Digest}}", &name]));
        assert_eq!(digest.trim(), made);
    }
    let trees = std::fs::read_dir(second.store().join("v1/snapshots")).map_or(0, Iterator::count);
    assert_eq!(trees, 0);
}
