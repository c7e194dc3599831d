//! Caches at a distance: what travels, what is not sent twice, what happens when the other side fails.
//!
//! Between rbuild and the place stands a proxy that counts and misbehaves.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::proxy::{Answer, Fault, Faults, Proxy};
use crate::registry::{Access, Registry};
use crate::support::{Bases, Workshop, ends_with, progress, run};

const DOCKERFILE: &str = "FROM busybox AS maker\n\
    RUN cat /proc/sys/kernel/random/uuid > /made && head -c 900000 /dev/urandom > /large\n\
    FROM busybox\nCOPY --from=maker /made /made\nCOPY edited /edited\nRUN cat /edited > /last\n";

/// A registry behind a proxy.
pub(crate) struct Behind {
    pub(crate) proxy: Proxy,
    _registry: Registry,
}

impl Behind {
    pub(crate) fn start() -> Option<Behind> {
        let registry = Registry::start(Access::Open)?;
        let address: SocketAddr = registry.name("").trim_end_matches('/').parse().unwrap();
        Some(Behind {
            proxy: Proxy::start(address, Faults::none()),
            _registry: registry,
        })
    }

    fn cache(&self) -> String {
        format!("{}/app:cache", self.proxy.address)
    }

    fn to(&self) -> String {
        format!("--cache-to=type=registry,ref={},mode=max", self.cache())
    }

    fn from(&self) -> String {
        format!("--cache-from={}", self.cache())
    }
}

pub(crate) fn context(workshop: &Workshop) -> PathBuf {
    workshop.context("context", &[("Dockerfile", DOCKERFILE), ("edited", "one\n")])
}

/// Builds an archive; gives its image's digest and what was said.
pub(crate) fn build(workshop: &Workshop, bases: &Bases, context: &Path, flags: &[&str]) -> (String, String) {
    let (archive, metadata) = (workshop.path("image.tar"), workshop.path("metadata.json"));
    let output = format!("type=oci,dest={}", archive.display());
    let mut command = workshop.build(bases, context);
    command
        .args(["-o", &output, "--metadata-file"])
        .arg(&metadata)
        .args(flags);
    let said = progress(&mut command);
    let metadata: serde_json::Value = serde_json::from_slice(&std::fs::read(metadata).unwrap()).unwrap();
    let digest = metadata["containerimage.digest"].as_str().unwrap().to_owned();
    (digest, said)
}

/// What the steps that were done again would show: their number.
pub(crate) fn cached(said: &str) -> usize {
    said.matches(" CACHED").count()
}

pub(crate) fn warnings(said: &str) -> usize {
    said.matches("warning: ").count()
}

/// Bytes of blobs that came, and that were sent.
fn moved(proxy: &Proxy) -> (u64, u64) {
    let blobs = proxy.exchanges("", "/blobs/");
    let sum = |of: fn(&crate::proxy::Exchange) -> u64| blobs.iter().map(of).sum();
    (sum(|blob| blob.received), sum(|blob| blob.sent))
}

#[test]
fn another_job_finds_everything_and_only_what_it_reads_moves() {
    let (Some(bases), Some(behind)) = (Bases::find(), Behind::start()) else {
        return;
    };
    let (first, second) = (Workshop::own(), Workshop::own());
    let context = context(&first);
    let (digest, _) = build(&first, bases, &context, &[&behind.to()]);

    behind.proxy.again(Faults::none());
    let (again, said) = build(&second, bases, &context, &[&behind.from(), &behind.to()]);
    assert_eq!(again, digest, "{said}");
    assert_eq!(cached(&said), 4, "{said}");
    let (received, sent) = moved(&behind.proxy);
    // The layers of the image, of which the base is the largest: 1.04 MB.
    assert!(
        received < 1_200_000,
        "{received} bytes came: the large layer is of no image\n{said}"
    );
    assert_eq!(sent, 0, "all is there already");
    assert!(behind.proxy.exchanges("PUT", "").is_empty(), "nothing new is written");

    // One file is edited: its layer, that of the step after it, and the list.
    std::fs::write(context.join("edited"), "two\n").unwrap();
    behind.proxy.again(Faults::none());
    let (edited, said) = build(&second, bases, &context, &[&behind.from(), &behind.to()]);
    assert_ne!(edited, digest);
    let puts = behind.proxy.exchanges("PUT", "/blobs/uploads/");
    assert_eq!(puts.len(), 3, "{puts:?}\n{said}");
    assert_eq!(behind.proxy.exchanges("PUT", "/manifests/").len(), 1);
    let (_, sent) = moved(&behind.proxy);
    assert!(sent < 20_000, "{sent} bytes were sent");
    assert!(
        behind.proxy.exchanges("HEAD", "/blobs/").len() <= 3,
        "what the list has is not asked for"
    );

    // Both states are in the list now.
    let third = Workshop::own();
    assert_eq!(build(&third, bases, &context, &[&behind.from()]).0, edited);
    std::fs::write(context.join("edited"), "one\n").unwrap();
    assert_eq!(build(&Workshop::own(), bases, &context, &[&behind.from()]).0, digest);
}

#[test]
fn a_build_that_lacks_nothing_waits_for_no_list() {
    let (Some(bases), Some(behind)) = (Bases::find(), Behind::start()) else {
        return;
    };
    let workshop = Workshop::own();
    let context = context(&workshop);
    build(&workshop, bases, &context, &[&behind.to()]);
    let slow = Fault::Wait(Duration::from_secs(200));
    behind.proxy.again(Faults::none().on("", "", slow));
    let began = Instant::now();
    let (_, said) = build(&workshop, bases, &context, &[&behind.from()]);
    assert!(began.elapsed() < Duration::from_secs(100), "{said}");
    assert!(!said.contains("importing cache"), "{said}");
}

#[test]
fn a_place_that_fails_costs_one_line() {
    let (Some(bases), Some(behind)) = (Bases::find(), Behind::start()) else {
        return;
    };
    let workshop = Workshop::own();
    let context = context(&workshop);
    build(&workshop, bases, &context, &[&behind.to()]);
    let garbage = |kind: &str, body: &str| Fault::Answer(Answer::of(200).with("Content-Type", kind).saying(body));
    let manifest = "application/vnd.oci.image.manifest.v1+json";
    for (what, faults) in [
        (
            "refused",
            Faults::none().on("", "/manifests/", Fault::Answer(Answer::of(401))),
        ),
        (
            "no document",
            Faults::none().on("GET", "/manifests/", garbage(manifest, "{")),
        ),
        (
            "another list",
            Faults::none().on("GET", "/blobs/", garbage("text/plain", "[]")),
        ),
        ("cut", Faults::none().on("GET", "/manifests/", Fault::CutAnswer(20))),
    ] {
        behind.proxy.again(faults);
        let (_, said) = build(&Workshop::own(), bases, &context, &[&behind.from()]);
        assert_eq!(warnings(&said), 1, "{what}: {said}");
        assert_eq!(cached(&said), 0, "{what}: {said}");
    }
}

#[test]
fn blobs_that_are_gone_are_made_again_and_come_back() {
    let (Some(bases), Some(behind)) = (Bases::find(), Behind::start()) else {
        return;
    };
    let first = Workshop::own();
    let context = context(&first);
    build(&first, bases, &context, &[&behind.to()]);
    // The list still comes, being the first blob that is asked for; all others are said to be gone.
    let gone = || Fault::Answer(Answer::of(404));
    behind
        .proxy
        .again(Faults::none().on("GET", "/blobs/", gone()).skipping(1));
    let second = Workshop::own();
    let (_, said) = build(&second, bases, &context, &[&behind.from(), &behind.to()]);
    assert!(said.contains("done again here"), "{said}");
    behind.proxy.again(Faults::none());
    let (_, said) = build(&Workshop::own(), bases, &context, &[&behind.from()]);
    assert_eq!(cached(&said), 4, "{said}");
}

#[test]
fn a_list_that_another_overwrote_is_written_again() {
    let (Some(bases), Some(behind)) = (Bases::find(), Behind::start()) else {
        return;
    };
    let workshop = Workshop::own();
    let context = context(&workshop);
    let lost = Fault::Answer(Answer::of(201));
    behind
        .proxy
        .again(Faults::none().on("PUT", "/manifests/", lost).times(1));
    build(&workshop, bases, &context, &[&behind.to()]);
    assert_eq!(behind.proxy.exchanges("PUT", "/manifests/").len(), 2);
    let (_, said) = build(&Workshop::own(), bases, &context, &[&behind.from()]);
    assert_eq!(cached(&said), 4, "{said}");
}

#[test]
fn writers_at_once_lose_nothing() {
    let (Some(bases), Some(behind)) = (Bases::find(), Behind::start()) else {
        return;
    };
    let folder = Workshop::own();
    let local = folder.path("cache");
    let places = [
        (behind.to(), behind.from()),
        (
            format!("--cache-to=type=local,dest={},mode=max", local.display()),
            format!("--cache-from=type=local,src={}", local.display()),
        ),
    ];
    let workshop = Workshop::own();
    for (place, (to, from)) in places.iter().enumerate() {
        let contexts: Vec<PathBuf> = (0..8)
            .map(|writer| {
                let text = format!("FROM busybox\nRUN echo {place} {writer} > /made\n");
                workshop.context(&format!("{place}-{writer}"), &[("Dockerfile", &text)])
            })
            .collect();
        std::thread::scope(|scope| {
            for context in &contexts {
                scope.spawn(|| progress(workshop.build(bases, context).args(["-o", "type=cacheonly", to])));
            }
        });
        let other = Workshop::own();
        for context in &contexts {
            let said = progress(other.build(bases, context).args(["-o", "type=cacheonly", from]));
            let step = said.lines().skip_while(|line| !line.contains("RUN echo")).nth(1);
            assert!(step.is_some_and(|line| line.ends_with(" CACHED")), "{said}");
        }
    }
}

#[test]
fn a_budget_ends_the_wait_with_one_line() {
    let (Some(bases), Some(behind)) = (Bases::find(), Behind::start()) else {
        return;
    };
    let workshop = Workshop::own();
    let context = context(&workshop);
    let slow = || Faults::none().on("", "", Fault::Wait(Duration::from_secs(200)));
    behind.proxy.again(slow());
    let began = Instant::now();
    let (_, said) = build(&workshop, bases, &context, &[&behind.from(), "--cache-budget=1s"]);
    assert_eq!(warnings(&said), 1, "{said}");
    assert!(said.contains("--cache-budget"), "{said}");
    let (_, said) = build(&workshop, bases, &context, &[&behind.to(), "--cache-budget=1s"]);
    assert_eq!(warnings(&said), 1, "{said}");
    // A slow machine takes its time for the builds, but waits for nobody.
    assert!(began.elapsed() < Duration::from_secs(100));
    let refused = ends_with(workshop.build(bases, &context).env("RBUILD_CACHE_BUDGET", "soon"), 2);
    assert!(refused.contains("RBUILD_CACHE_BUDGET"), "{refused}");
}

#[test]
fn a_layer_that_does_not_leave_in_time_is_not_listed() {
    let (Some(bases), Some(behind)) = (Bases::find(), Behind::start()) else {
        return;
    };
    let workshop = Workshop::own();
    let context = context(&workshop);
    // The large layer is one of those that take too long; small ones pass.
    behind
        .proxy
        .again(Faults::none().on("PUT", "/blobs/uploads/", Fault::Throttle(30_000)));
    let (_, said) = build(&workshop, bases, &context, &[&behind.to(), "--cache-budget=4s"]);
    assert_eq!(warnings(&said), 1, "{said}");
    behind.proxy.again(Faults::none());
    let (_, said) = build(&Workshop::own(), bases, &context, &[&behind.from()]);
    assert!(!said.contains("done again here"), "{said}");
}

#[test]
fn another_machine_is_told_why_a_step_runs_again() {
    let (Some(bases), Some(behind)) = (Bases::find(), Behind::start()) else {
        return;
    };
    let first = Workshop::own();
    let text = "FROM busybox\nARG TOKEN\nRUN --mount=type=bind,source=.,target=/src cat /src/a.c > /a\n";
    let context = first.context("here", &[("Dockerfile", text), ("a.c", "one"), ("b.c", "b")]);
    let secret = "--build-arg=TOKEN=opensesame";
    progress(
        first
            .build(bases, &context)
            .args(["-o", "type=cacheonly", secret, &behind.to()]),
    );
    let second = Workshop::own();
    let elsewhere = second.context("there", &[("Dockerfile", text), ("a.c", "two"), ("b.c", "b")]);
    let mut command = second.build(bases, &elsewhere);
    let said = progress(command.args(["-o", "type=cacheonly", secret, &behind.from()]));
    let expected = format!("a.c changed, since the cached result of {}", behind.cache());
    assert!(said.contains("runs again: ") && said.contains(&expected), "{said}");
    let listed = behind.proxy.exchanges("GET", "/blobs/");
    assert!(!listed.is_empty());
    // No value of an input is in the list.
    let document =
        run(std::process::Command::new("curl")
            .args(["-s", &format!("http://{}{}", behind.proxy.address, listed[0].path)]));
    assert!(
        document.contains("\"step\"") && !document.contains("opensesame"),
        "{document}"
    );
}

#[test]
fn every_form_of_a_list_is_found_again() {
    let (Some(bases), Some(behind)) = (Bases::find(), Behind::start()) else {
        return;
    };
    let workshop = Workshop::own();
    let context = context(&workshop);
    let folder = workshop.path("cache").display().to_string();
    for form in [
        "oci-mediatypes=false",
        "image-manifest=false",
        "compression=zstd,force-compression=true",
    ] {
        let name = form.replace(['=', ',', '-'], "");
        let registry = format!("type=registry,ref={}-{name}", behind.cache());
        let places = [
            (format!("{registry},mode=max,{form}"), registry),
            (
                format!("type=local,dest={folder},tag={name},mode=max,{form}"),
                format!("type=local,src={folder},tag={name}"),
            ),
        ];
        for (to, from) in places {
            progress(
                workshop
                    .build(bases, &context)
                    .args(["-o", "type=cacheonly", "--cache-to", &to]),
            );
            let (_, said) = build(&Workshop::own(), bases, &context, &[&format!("--cache-from={from}")]);
            assert_eq!((cached(&said), warnings(&said)), (4, 0), "{from}: {said}");
            assert!(!said.contains("done again here"), "{from}: {said}");
        }
    }
    // What was listed there is forgotten.
    let other = workshop.context("other", &[("Dockerfile", "FROM busybox\nRUN echo > /other\n")]);
    let to = format!("--cache-to=type=local,dest={folder},tag=imagemanifestfalse,mode=max,reset=true");
    progress(workshop.build(bases, &other).args(["-o", "type=cacheonly", &to]));
    let from = format!("--cache-from=type=local,src={folder},tag=imagemanifestfalse");
    let (_, said) = build(&Workshop::own(), bases, &context, &[&from]);
    assert_eq!(cached(&said), 0, "{said}");
}
