//! Bytes to and from a real registry behind a proxy that misbehaves. The proxy's journal is the judge: which requests were
//! made, and how many bytes passed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::proxy::{Answer, Exchange, Fault, Faults, Proxy};
use crate::registry::{Access, Registry};
use crate::support::{Bases, Workshop, ends_with, has, progress, run, skipped};
use crate::token_server::TokenServer;

/// A file that no compression makes smaller, and a process that says when it runs.
const DOCKERFILE: &str =
    "FROM busybox\nCOPY noise /\nRUN echo it-runs-$((1+1)) && echo done > /done\nCMD [\"cat\", \"/done\"]\n";
const NOISE: usize = 2_000_000;

struct Site {
    bases: &'static Bases,
    proxy: Proxy,
    _registry: Registry,
}

impl Site {
    fn start(faults: Faults) -> Option<Site> {
        let (bases, registry) = (Bases::find()?, Registry::start(Access::Open)?);
        let proxy = Proxy::start(registry.address(), faults);
        Some(Site {
            bases,
            proxy,
            _registry: registry,
        })
    }

    fn name(&self, rest: &str) -> String {
        format!("{}/{rest}", self.proxy.address)
    }

    fn context(&self, workshop: &Workshop, dockerfile: &str) -> PathBuf {
        let context = workshop.context("context", &[("Dockerfile", dockerfile)]);
        fs::write(context.join("noise"), noise()).unwrap();
        context
    }

    fn build(&self, workshop: &Workshop, context: &Path, name: &str) -> Command {
        let mut command = workshop.build(self.bases, context);
        command.args(["--push", "-t", &self.name(name), "--metadata-file"]);
        command.arg(workshop.path("metadata.json"));
        command
    }

    /// Pulls into an empty store, and tells what the image's process says.
    fn taste(&self, name: &str) -> String {
        let elsewhere = Workshop::own();
        run(elsewhere.rbuild().args(["pull", &self.name(name)]));
        run(elsewhere.rbuild().args(["run", &self.name(name)]))
    }
}

/// The same bytes each time, and no pattern in them.
fn noise() -> Vec<u8> {
    let mut state = 7_u64;
    let next = |_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..NOISE).map(next).collect()
}

fn sent(exchanges: &[Exchange]) -> u64 {
    exchanges.iter().map(|exchange| exchange.sent).sum()
}

fn digest(workshop: &Workshop) -> String {
    let metadata: Value = serde_json::from_slice(&fs::read(workshop.path("metadata.json")).unwrap()).unwrap();
    metadata["containerimage.digest"].as_str().unwrap().to_owned()
}

#[test]
fn what_is_there_is_not_sent_and_what_is_next_door_is_mounted() {
    let Some(site) = Site::start(Faults::none()) else {
        return;
    };
    let first = Workshop::own();
    let context = site.context(&first, DOCKERFILE);
    progress(&mut site.build(&first, &context, "base:1"));
    assert!(sent(&site.proxy.log()) > NOISE as u64);

    site.proxy.again(Faults::none());
    progress(&mut site.build(&first, &context, "base:2"));
    assert_eq!(site.proxy.exchanges("PUT", "/blobs/"), [], "all of it is there");

    // Another store, which has the layers from the one repository and takes them to the other.
    site.proxy.again(Faults::none());
    let second = Workshop::own();
    let upon = second.context(
        "upon",
        &[(
            "Dockerfile",
            &format!("FROM {}\nCOPY Dockerfile /\n", site.name("base:1")),
        )],
    );
    progress(&mut site.build(&second, &upon, "team/app:1"));
    let log = site.proxy.log();
    assert!(sent(&log) < 20_000, "{} bytes were sent", sent(&log));
    let mounted = log
        .iter()
        .filter(|seen| seen.query.contains("mount=") && seen.status == 201);
    assert_eq!(mounted.count(), 3, "the layers of the base: {log:#?}");
    assert_eq!(site.taste("team/app:1"), "done\n");
}

#[test]
fn what_a_cache_needs_of_another_repository_is_mounted() {
    let Some(site) = Site::start(Faults::none()) else {
        return;
    };
    let first = Workshop::own();
    let context = site.context(&first, DOCKERFILE);
    progress(&mut site.build(&first, &context, "base:1"));

    let from = |name: &str| format!("--cache-from=type=registry,ref={}", site.name(name));
    let to = |name: &str| format!("--cache-to=type=registry,mode=max,ref={}", site.name(name));
    let mounts = || {
        let log = site.proxy.log();
        let mounted = log
            .iter()
            .filter(|seen| seen.query.contains("mount=") && seen.status == 201);
        (mounted.count(), sent(&log))
    };
    // What the build pushed is known to be there when its results are kept.
    site.proxy.again(Faults::none());
    progress(first.build(site.bases, &context).arg(to("cache:1")));
    let (mounted, sent_to_cache) = mounts();
    assert!(
        mounted >= 2 && sent_to_cache < 30_000,
        "{mounted} {sent_to_cache}: {:#?}",
        site.proxy.log()
    );

    // Another machine has it all from the one list, keeps it in another, and no layer passes through it.
    site.proxy.again(Faults::none());
    let second = Workshop::own();
    let mut build = second.build(site.bases, &context);
    build.args([from("cache:1"), to("other/cache:1")]);
    progress(build.args(["--push", "-t", &site.name("app:1")]));
    let (mounted, sent_to_other) = mounts();
    assert!(
        mounted >= 4 && sent_to_other < 60_000,
        "{mounted} {sent_to_other}: {:#?}",
        site.proxy.log()
    );
    let fetched: u64 = site
        .proxy
        .exchanges("GET", "/blobs/")
        .iter()
        .map(|seen| seen.received)
        .sum();
    assert!(fetched < 60_000, "{fetched} bytes were fetched");

    // The list is good: a third machine runs nothing.
    let third = Workshop::own();
    let said = progress(
        third
            .build(site.bases, &context)
            .arg(from("other/cache:1"))
            .args(["-t", "x"]),
    );
    assert!(!said.contains("it-runs-2"), "{said}");
    assert_eq!(site.taste("app:1"), "done\n");
}

#[test]
fn a_push_costs_no_more_requests_and_bytes_than_with_skopeo() {
    let Some(site) = Site::start(Faults::none()) else {
        return;
    };
    if !has("skopeo") {
        return skipped("skopeo").unwrap_or_default();
    }
    let workshop = Workshop::own();
    let context = site.context(&workshop, DOCKERFILE);
    progress(&mut site.build(&workshop, &context, "ours:1"));
    let ours = site.proxy.log();
    let layout = workshop.path("layout");
    let output = format!("type=oci,tar=false,dest={}", layout.display());
    progress(workshop.build(site.bases, &context).args(["-o", &output]));
    site.proxy.again(Faults::none());
    let (from, to) = (
        format!("oci:{}", layout.display()),
        format!("docker://{}", site.name("theirs:1")),
    );
    run(Command::new("skopeo").args(["copy", "--preserve-digests", "--dest-tls-verify=false", &from, &to]));
    let theirs = site.proxy.log();
    assert!(
        ours.len() <= theirs.len(),
        "{} requests, {} of skopeo",
        ours.len(),
        theirs.len()
    );
    // Heads of requests are not always of the same length.
    assert!(
        sent(&ours) <= sent(&theirs) + 4096,
        "{} bytes, {} of skopeo",
        sent(&ours),
        sent(&theirs)
    );
}

#[test]
fn a_build_that_may_not_push_ends_before_its_first_process() {
    let refuse = || Answer::of(403).saying(r#"{"errors":[{"code":"DENIED","message":"not for you"}]}"#);
    let Some(site) = Site::start(Faults::none().on("POST", "/uploads/", Fault::Answer(refuse()))) else {
        return;
    };
    let workshop = Workshop::own();
    let context = site.context(&workshop, DOCKERFILE);
    let said = ends_with(&mut site.build(&workshop, &context, "app:1"), 3);
    assert!(!said.contains("it-runs-2"), "{said}");
    let error = format!("cannot push to `{}`", site.name("app"));
    assert!(said.contains(&error) && said.contains("not for you"), "{said}");
    assert!(said.contains("docker login"), "the next step: {said}");
    assert_eq!(site.proxy.log().len(), 1);

    let said = ends_with(site.build(&workshop, &context, "app:1").arg("--no-push-probe"), 3);
    assert!(said.contains("it-runs-2") && said.contains("failed to push"), "{said}");

    let cache = format!("--cache-to=type=registry,ref={}", site.name("cache:1"));
    let fresh = workshop.context(
        "fresh",
        &[("Dockerfile", "FROM busybox\nRUN echo it-runs-$((1+1)) # cache\n")],
    );
    let said = ends_with(workshop.build(site.bases, &fresh).arg(&cache), 3);
    assert!(!said.contains("it-runs-2"), "{said}");
    let forgiven = progress(workshop.build(site.bases, &fresh).arg(cache + ",ignore-error=true"));
    assert_eq!(forgiven.matches("warning").count(), 1, "{forgiven}");
}

#[test]
fn what_pushes_nothing_asks_nothing() {
    let Some(site) = Site::start(Faults::none()) else {
        return;
    };
    let workshop = Workshop::own();
    let context = site.context(&workshop, DOCKERFILE);
    progress(workshop.build(site.bases, &context).args(["-t", &site.name("app:1")]));
    assert_eq!(site.proxy.log(), []);
}

#[test]
fn layers_leave_while_later_steps_run_and_are_the_same() {
    let Some(site) = Site::start(Faults::none()) else {
        return;
    };
    let workshop = Workshop::own();
    let dockerfile =
        "FROM busybox AS slow\nRUN sleep 1.2\nFROM scratch\nCOPY noise /\nCOPY --from=slow /bin/busybox /\n";
    let context = site.context(&workshop, dockerfile);
    progress(&mut site.build(&workshop, &context, "app:1"));
    let named = site.proxy.exchanges("PUT", "/manifests/")[0].from;
    let puts = site.proxy.exchanges("PUT", "/blobs/");
    let large = puts.iter().find(|put| put.sent > NOISE as u64).unwrap();
    assert!(named - large.until > Duration::from_millis(700), "{large:?} {named:?}");
    // Each blob was sent once, whoever sent it; the question began one upload more.
    assert_eq!(site.proxy.exchanges("POST", "/uploads/").len(), puts.len() + 1);

    let afterwards = Workshop::own();
    progress(
        afterwards
            .build(site.bases, &context)
            .args(["-t", &site.name("other:1")]),
    );
    let pushed = run(afterwards.rbuild().args(["push", &site.name("other:1")]));
    assert_eq!(pushed, format!("{}@{}\n", site.name("other"), digest(&workshop)));
}

/// A layer that takes a while to compress and is large even so: 24 MiB in each of 32.
const SLOW: usize = 32 << 20;
const SLOWLY: &str = "type=image,push=true,compression=gzip,compression-level=9";

fn slow_to_compress(site: &Site, workshop: &Workshop) -> PathBuf {
    let context = site.context(workshop, "FROM scratch\nCOPY slow /\nCOPY noise /\n");
    let slow: Vec<u8> = noise().iter().cycle().take(SLOW).enumerate().map(unlike).collect();
    fs::write(context.join("slow"), slow).unwrap();
    context
}

/// Six bits that are another sequence in each round.
fn unlike((place, byte): (usize, &u8)) -> u8 {
    let round = (place / NOISE) as u8;
    (byte.rotate_left(u32::from(round % 8)) ^ round.wrapping_mul(37)) & 63
}

#[test]
fn a_large_layer_leaves_while_it_is_compressed() {
    let Some(site) = Site::start(Faults::none()) else {
        return;
    };
    let workshop = Workshop::own();
    let context = slow_to_compress(&site, &workshop);
    let mut build = workshop.build(site.bases, &context);
    let quoted = format!("{SLOWLY},\"name={},{}\"", site.name("app:1"), site.name("beside:1"));
    progress(
        build
            .args(["-o", &quoted, "--metadata-file"])
            .arg(workshop.path("metadata.json")),
    );
    let early = site.proxy.exchanges("PATCH", "/uploads/");
    assert_eq!(early.len(), 1, "{early:#?}");
    let size = early[0].sent;
    assert!(size > SLOW as u64 / 2, "{size}");
    let all = sent(&site.proxy.log());
    assert!(
        all < size + 2 * NOISE as u64 + 100_000,
        "{all} bytes for a layer of {size}: it went once"
    );
    let mounted = site.proxy.log();
    let mounted = mounted
        .iter()
        .filter(|seen| seen.query.contains("mount=") && seen.status == 201);
    assert!(mounted.count() >= 2, "the other repository is given it");

    // The same, from the store.
    let afterwards = Workshop::own();
    progress(
        afterwards
            .build(site.bases, &context)
            .args(["-t", &site.name("later:1")]),
    );
    site.proxy.again(Faults::none());
    let mut push = afterwards.rbuild();
    push.args(["push", "--compression-level", "9", &site.name("later:1")]);
    assert_eq!(
        run(&mut push),
        format!("{}@{}\n", site.name("later"), digest(&workshop))
    );
    assert_eq!(site.proxy.exchanges("PATCH", "/uploads/").len(), 1);
    let pulled = Workshop::own();
    run(pulled.rbuild().args(["pull", &site.name("beside:1")]));
}

#[test]
fn a_large_layer_on_a_slow_way_is_told_of() {
    let slow = Faults::none().on("PATCH", "/uploads/", Fault::Throttle(8 << 20));
    let Some(site) = Site::start(slow) else { return };
    let workshop = Workshop::own();
    let context = slow_to_compress(&site, &workshop);
    let output = format!("{SLOWLY},name={}", site.name("app:1"));
    let mut build = workshop.build(site.bases, &context);
    let said = progress(build.args(["-o", &output, "--progress=rawjson"]));
    let told = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let statuses: Vec<Value> = told
        .flat_map(|told| told["statuses"].as_array().cloned().unwrap_or_default())
        .collect();
    let is_part = |status: &&Value| {
        let is_layer = status["id"]
            .as_str()
            .is_some_and(|id| id.starts_with("pushing sha256:"));
        let current = status["current"].as_u64().unwrap_or_default();
        is_layer && current > 0 && status["total"].as_u64().is_some_and(|total| current < total)
    };
    assert!(statuses.iter().filter(is_part).count() > 1, "{statuses:#?}");
}

#[test]
fn a_large_layer_that_breaks_on_its_way_is_pushed_all_the_same() {
    let faults = [
        ("PATCH", Fault::CutRequest(9 << 20)),
        ("PATCH", Fault::LoseAnswer),
        ("PATCH", Fault::Answer(Answer::of(411))),
        ("PATCH", Fault::Answer(Answer::of(413))),
        ("PUT", Fault::Answer(Answer::of(502))),
    ];
    for (method, fault) in faults {
        let shown = format!("{method} {fault:?}");
        let faults = Faults::none().on(method, "/uploads/", fault).times(1);
        let Some(site) = Site::start(faults) else { return };
        let workshop = Workshop::own();
        let context = slow_to_compress(&site, &workshop);
        let output = format!("{SLOWLY},name={}", site.name("app:1"));
        let said = progress(workshop.build(site.bases, &context).args(["-o", &output]));
        assert!(!said.contains("ERROR"), "{shown}: {said}");
        site.proxy.again(Faults::none());
        let pulled = Workshop::own();
        run(pulled.rbuild().args(["pull", &site.name("app:1")]));
    }
}

#[test]
fn faults_that_pass_do_no_harm() {
    let faults = Faults::none()
        .on("PUT", "/uploads/", Fault::CutRequest(500_000))
        .times(1)
        .on("PUT", "/uploads/", Fault::Answer(Answer::of(500)))
        .times(1)
        .on(
            "PUT",
            "/manifests/",
            Fault::Answer(Answer::of(429).with("Retry-After", "1")),
        )
        .times(1)
        .on("HEAD", "/blobs/", Fault::Answer(Answer::of(502)))
        .times(1);
    let Some(site) = Site::start(faults) else { return };
    let workshop = Workshop::own();
    let context = site.context(&workshop, DOCKERFILE);
    let said = progress(&mut site.build(&workshop, &context, "app:1"));
    for (status, again) in [("500 Internal", "trying again"), ("429 Too Many", "trying again in 1.")] {
        let line = said.lines().find(|line| line.contains(status));
        assert!(line.is_some_and(|line| line.contains(again)), "{status}: {said}");
    }
    assert_eq!(site.taste("app:1"), "done\n");
}

#[test]
fn a_registry_that_fails_for_ever_is_one_error_and_no_name() {
    let body = r#"{"errors":[{"code":"UNKNOWN","message":"disk on fire"}]}"#;
    let fault = Fault::Answer(Answer::of(500).with("Retry-After", "0").saying(body));
    let Some(site) = Site::start(Faults::none().on("PUT", "/uploads/", fault)) else {
        return;
    };
    let workshop = Workshop::own();
    let dockerfile = "FROM scratch\nCOPY noise /\n";
    let context = site.context(&workshop, dockerfile);
    let said = ends_with(&mut site.build(&workshop, &context, "app:1"), 3);
    let errors: Vec<&str> = said.lines().filter(|line| line.starts_with("ERROR:")).collect();
    assert!(errors.len() == 1 && errors[0].contains("disk on fire"), "{said}");
    assert_eq!(site.proxy.exchanges("", "/manifests/"), []);
}

#[test]
fn a_token_that_is_over_in_the_middle_is_replaced() {
    let tokens = TokenServer::start();
    let challenge = || Fault::Answer(tokens.challenge());
    let faults = Faults::none()
        .on("", "/v2/", challenge())
        .without_header("authorization: bearer t")
        .on("", "/v2/", challenge())
        .with_header("authorization: bearer t1")
        .skipping(4);
    let Some(site) = Site::start(faults) else { return };
    let workshop = Workshop::own();
    let context = site.context(&workshop, DOCKERFILE);
    progress(&mut site.build(&workshop, &context, "app:1"));
    let questions = tokens.questions();
    assert!(questions.len() >= 2, "{questions:?}");
    assert!(
        questions
            .iter()
            .all(|asked| asked.query.contains("scope=repository%3Aapp%3Apull%2Cpush")),
        "{questions:?}"
    );
    site.proxy.again(Faults::none());
    assert_eq!(site.taste("app:1"), "done\n");
}

#[test]
fn a_proxy_that_limits_bodies_gets_chunks_where_the_user_says_so() {
    let Some(site) = Site::start(Faults::none()) else {
        return;
    };
    let workshop = Workshop::own();
    let context = site.context(&workshop, DOCKERFILE);
    progress(
        site.build(&workshop, &context, "app:1")
            .args(["--push-chunk-size", "1m"]),
    );
    let largest = site.proxy.log().iter().map(|seen| seen.sent).max();
    assert_eq!(largest, Some(1 << 20));
    assert_eq!(site.taste("app:1"), "done\n");
}

#[test]
fn a_download_that_breaks_goes_on_where_it_was() {
    let Some(site) = Site::start(Faults::none()) else {
        return;
    };
    let workshop = Workshop::own();
    let context = site.context(&workshop, "FROM scratch\nCOPY noise /\n");
    progress(&mut site.build(&workshop, &context, "app:1"));
    let layer = |seen: &Exchange| seen.received > 10_000;
    site.proxy.again(
        Faults::none()
            .on("GET", "/blobs/", Fault::Answer(Answer::of(416)))
            .with_header("range: bytes=600000-")
            .times(1)
            .on("GET", "/blobs/", Fault::CutAnswer(300_000))
            .skipping(1)
            .times(2),
    );
    let elsewhere = Workshop::own();
    run(elsewhere.rbuild().args(["pull", &site.name("app:1")]));
    let arrived: Vec<Exchange> = site
        .proxy
        .exchanges("GET", "/blobs/")
        .into_iter()
        .filter(layer)
        .collect();
    // Two pieces, and then all of it, since the rest could not be had alone.
    let received: u64 = arrived.iter().map(|seen| seen.received).sum();
    assert_eq!(arrived.len(), 3, "{arrived:#?}");
    assert!(received < 600_000 + NOISE as u64 + 10_000, "{received}");
}

#[test]
fn what_points_at_an_image_is_listed() {
    let list = |kind: &str| {
        let digest = format!("sha256:{}", "a".repeat(64));
        format!(
            r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json",
            "digest":"{digest}","size":7,"artifactType":"{kind}"}}]}}"#
        )
    };
    let answer = Answer::of(200).saying(&list("application/spdx+json"));
    let Some(site) = Site::start(Faults::none().on("GET", "/referrers/", Fault::Answer(answer))) else {
        return;
    };
    let workshop = Workshop::own();
    let context = site.context(&workshop, "FROM scratch\nCOPY noise /\n");
    progress(&mut site.build(&workshop, &context, "app:1"));
    let ask = |flags: &[&str]| {
        let mut command = workshop.rbuild();
        run(command.args(["registry", "referrers", &site.name("app:1")]).args(flags))
    };
    assert!(ask(&[]).contains("application/spdx+json   7\n"));
    let listed: Value = serde_json::from_str(&ask(&["--format", "json"])).unwrap();
    assert_eq!(listed[0]["artifactType"], "application/spdx+json");
    assert_eq!(ask(&["--type", "other", "--format=json"]), "[]\n");
    let asked = site.proxy.exchanges("GET", "/referrers/");
    assert!(asked[0].path.ends_with(&digest(&workshop)), "{asked:?}");

    // What the registry itself answers: it has no list, and nothing under the tag of the digest.
    site.proxy.again(Faults::none());
    assert_eq!(ask(&["--format", "json"]), "[]\n");
    let error = ends_with(
        workshop.rbuild().args(["registry", "referrers", &site.name("none:1")]),
        3,
    );
    assert!(error.contains("not found"), "{error}");
}
