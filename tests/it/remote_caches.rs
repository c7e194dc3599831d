//! Caches at a distance: what travels, and what is not sent twice.
//!
//! Between rbuild and the place stands a proxy that counts and misbehaves.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::proxy::{Answer, Fault, Faults, Proxy};
use crate::registry::{Access, Registry};
use crate::support::{Bases, Workshop, progress, run};

const DOCKERFILE: &str = "FROM busybox AS maker\n\
    RUN head -c 16 /dev/urandom | md5sum > /made && head -c 900000 /dev/urandom > /large\n\
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

    pub(crate) fn cache(&self) -> String {
        format!("{}/app:cache", self.proxy.address)
    }

    pub(crate) fn to(&self) -> String {
        format!("--cache-to=type=registry,ref={},mode=max", self.cache())
    }

    pub(crate) fn from(&self) -> String {
        format!("--cache-from={}", self.cache())
    }

    /// The manifest of the cache as it is now, and how many bytes it has.
    fn manifest(&self) -> (serde_json::Value, u64) {
        let url = format!("http://{}/v2/app/manifests/cache", self.proxy.address);
        let accept = "Accept: application/vnd.oci.image.manifest.v1+json";
        let text = run(std::process::Command::new("curl").args(["-sS", "-H", accept, &url]));
        (serde_json::from_str(&text).unwrap(), text.len() as u64)
    }
}

/// The sizes of the blobs that a manifest names as layers, by digest.
fn layers(manifest: &serde_json::Value) -> BTreeMap<String, u64> {
    let layers = manifest["layers"].as_array().unwrap().iter();
    let size = |layer: &serde_json::Value| {
        (
            layer["digest"].as_str().unwrap().to_owned(),
            layer["size"].as_u64().unwrap(),
        )
    };
    layers.map(size).collect()
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
    let (before, _) = behind.manifest();
    let list = before["config"]["digest"].as_str().unwrap();

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
    assert_eq!(behind.proxy.exchanges("GET", list).len(), 1, "the list is read once");
    assert_eq!(behind.proxy.exchanges("GET", "/app/manifests/").len(), 1);

    // One file is edited: its layer, that of the step after it, and the list.
    std::fs::write(context.join("edited"), "two\n").unwrap();
    behind.proxy.again(Faults::none());
    let (edited, said) = build(&second, bases, &context, &[&behind.from(), &behind.to()]);
    assert_ne!(edited, digest);
    let puts = behind.proxy.exchanges("PUT", "/blobs/uploads/");
    assert_eq!(puts.len(), 3, "{puts:?}\n{said}");
    assert_eq!(behind.proxy.exchanges("PUT", "/manifests/").len(), 1);
    let sent: u64 = behind.proxy.log().iter().map(|exchange| exchange.sent).sum();
    let (after, length) = behind.manifest();
    let known = layers(&before);
    let new = layers(&after)
        .into_iter()
        .filter(|(digest, _)| !known.contains_key(digest));
    let (count, new) = new.fold((0, 0), |(count, sum), (_, size)| (count + 1, sum + size));
    let list = after["config"]["size"].as_u64().unwrap();
    assert_eq!(count, 2, "the layer of the file and that of the step after it");
    assert_eq!(sent, new + list + length, "nothing else is sent");
    assert!(list < 3_300, "six results and seven layers take {list} bytes");
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
fn the_manifest_of_a_cache_is_told_with_the_result() {
    let (Some(bases), Some(behind)) = (Bases::find(), Behind::start()) else {
        return;
    };
    let workshop = Workshop::own();
    let (context, file) = (context(&workshop), workshop.path("told.json"));
    let told = |flags: &[&str]| {
        let mut command = workshop.build(bases, &context);
        command.args(["-o", "type=cacheonly", "--metadata-file"]).arg(&file);
        progress(command.args(flags));
        let told: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        told["cache.manifest"].clone()
    };
    assert!(told(&[]).is_null(), "no cache was exported");
    // The second time nothing is written.
    for _ in 0..2 {
        let manifest = told(&[&behind.to()]);
        assert_eq!(manifest["mediaType"], "application/vnd.oci.image.manifest.v1+json");
        let url = format!("http://{}/v2/app/manifests/cache", behind.proxy.address);
        let head = run(std::process::Command::new("curl").args([
            "-sSI",
            "-H",
            "Accept: application/vnd.oci.image.manifest.v1+json",
            &url,
        ]));
        assert!(head.contains(manifest["digest"].as_str().unwrap()), "{manifest} {head}");
        assert!(
            head.contains(&format!("Content-Length: {}", manifest["size"])),
            "{manifest} {head}"
        );
    }
    let folder = workshop.path("cache");
    let local = format!("--cache-to=type=local,dest={}", folder.display());
    let manifest = told(&[&behind.to(), &local]);
    let index: serde_json::Value = serde_json::from_slice(&std::fs::read(folder.join("index.json")).unwrap()).unwrap();
    assert_eq!(
        index["manifests"][0]["digest"], manifest["digest"],
        "that of the last counts"
    );
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
fn a_list_that_is_still_being_read_is_not_read_again() {
    let (Some(bases), Some(behind)) = (Bases::find(), Behind::start()) else {
        return;
    };
    let workshop = Workshop::own();
    let context = context(&workshop);
    build(&workshop, bases, &context, &[&behind.to()]);
    let slow = Fault::Wait(Duration::from_secs(3));
    behind.proxy.again(Faults::none().on("GET", "/app/", slow));
    let (_, said) = build(&workshop, bases, &context, &[&behind.from(), &behind.to()]);
    let read = behind.proxy.exchanges("GET", "/app/");
    assert_eq!(read.len(), 2, "the manifest and the list: {read:?}\n{said}");
}

#[test]
fn a_long_list_says_nothing_twice() {
    let (Some(bases), Some(behind)) = (Bases::find(), Behind::start()) else {
        return;
    };
    let workshop = Workshop::own();
    let names: Vec<String> = (0..200).map(|number| format!("source/part-{number}.c")).collect();
    let text = "FROM busybox\nCOPY source /source\nRUN cat /source/* > /all\n";
    let mut files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "int main;")).collect();
    files.push(("Dockerfile", text));
    let context = workshop.context("context", &files);
    let mut sizes = Vec::new();
    for state in ["one", "two", "three"] {
        std::fs::write(context.join(&names[7]), state).unwrap();
        build(&workshop, bases, &context, &[&behind.to()]);
        sizes.push(behind.manifest().0["config"]["size"].as_u64().unwrap());
    }
    let (second, third) = (sizes[1] - sizes[0], sizes[2] - sizes[1]);
    assert!(second < 1_600 && third < 1_600, "two more results each: {sizes:?}");
    // Another machine is still told which of the two hundred it was.
    std::fs::write(context.join(&names[8]), "other").unwrap();
    let (_, said) = build(&Workshop::own(), bases, &context, &[&behind.from()]);
    assert!(
        said.contains("runs again: ") && said.contains("part-8.c changed"),
        "{said}"
    );
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
