//! How registries are reached: mirrors, and what `rbuild registry explain` says of them.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::proxy::{Exchange, Fault, Faults, Proxy};

use crate::registry::{Access, Registry};
use crate::support::{Bases, Workshop, free_port, progress, run};
use crate::token_server::TokenServer;

const DOCKERFILE: &str = "FROM busybox\nRUN echo reached > /file\nCMD [\"cat\", \"/file\"]\n";

#[test]
fn a_base_comes_from_the_mirror_that_has_it_and_the_others_are_told_of() {
    let (Some(bases), Some(upstream)) = (Bases::find(), Registry::start(Access::Open)) else {
        return;
    };
    let Some(mirror) = Registry::start(Access::Open) else {
        return;
    };
    let workshop = Workshop::own();
    let context = workshop.context("mirrored", &[("Dockerfile", DOCKERFILE)]);
    progress(
        workshop
            .build(bases, &context)
            .args(["--push", "-t", &mirror.name("base:1")]),
    );

    let upon = format!("FROM {}\nRUN cat /file > /copy\n", upstream.name("base:1"));
    let upon = workshop.context("upon", &[("Dockerfile", &upon)]);
    let gone = format!("127.0.0.1:{}", free_port());
    let elsewhere = Workshop::own();
    let mut build = elsewhere.build(bases, &upon);
    for mirror in [&gone, &mirror.host()] {
        build
            .arg("--registry-mirror")
            .arg(format!("{}={mirror}", upstream.host()));
    }
    let output = build.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let word = format!("mirror `{gone}` is passed over for `base`");
    assert_eq!(said.matches(&word).count(), 1, "{said}");
}

#[test]
fn explain_says_where_an_image_would_come_from_and_with_whose_credentials() {
    let Some(registry) = Registry::start(Access::Password) else {
        return;
    };
    let workshop = Workshop::own();
    let login = format!(r#"{{"auths":{{"{}":{{"auth":"YWRhOnNlY3JldA=="}}}}}}"#, registry.host());
    let gone = format!("127.0.0.1:{}", free_port());
    let mirror = format!("{}={gone}", registry.host());
    let explain = |more: &[&str]| {
        let mut command = workshop.rbuild();
        command
            .args(["registry", "explain", "--registry-mirror", &mirror])
            .args(more);
        command.arg(registry.name("app:1")).env("DOCKER_AUTH_CONFIG", &login);
        command
    };
    let told: Value = serde_json::from_str(&run(&mut explain(&["--offline", "--format=json"]))).unwrap();
    let endpoints = told["endpoints"].as_array().unwrap();
    assert_eq!(endpoints[0]["because"], format!("`--registry-mirror {mirror}`"));
    assert_eq!(endpoints[0]["purposes"], serde_json::json!(["pull", "resolve"]));
    assert_eq!(endpoints[0]["credentials"], format!("none for `{gone}`"));
    assert_eq!(endpoints[1]["url"], format!("http://{}/v2/app", registry.host()));
    assert_eq!(
        endpoints[1]["credentials"],
        "the credentials of user `ada` from `DOCKER_AUTH_CONFIG`"
    );

    let output = explain(&["--format=json"]).output().unwrap();
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let [mirror_wants, wants] = [0, 1].map(|place| &told["endpoints"][place]["wants"]);
    assert_eq!((mirror_wants, wants), (&Value::Null, &json!([{ "scheme": "basic" }])));

    let output = explain(&[]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "nobody has the image: {said}");
    assert!(
        said.contains("connection refused") && said.contains("not found"),
        "{said}"
    );
    assert!(said.contains("wants        unknown: connection refused"), "{said}");
    assert!(said.contains("wants        user and password (basic)"), "{said}");
    assert!(!said.contains("secret") && !said.contains("YWRh"), "{said}");
}

#[test]
fn explain_names_the_token_service_and_waits_for_nobody() {
    let Some(registry) = Registry::start(Access::Open) else {
        return;
    };
    let tokens = TokenServer::start();
    let challenge = Fault::Answer(tokens.challenge());
    let guarded = Faults::none()
        .on("", "/v2/", challenge)
        .without_header("authorization: bearer t");
    let guarded = Proxy::start(registry.address(), guarded);
    let dead = Proxy::start(
        registry.address(),
        Faults::none().on("", "", Fault::Wait(Duration::from_secs(60))),
    );
    let workshop = Workshop::own();
    let name = format!("{}/app:1", guarded.address);
    let mut explain = workshop.rbuild();
    explain.args(["registry", "explain", &name, "--registry-mirror"]);
    explain.arg(format!("{}={}", guarded.address, dead.address));
    let began = Instant::now();
    let said = String::from_utf8(explain.output().unwrap().stdout).unwrap();
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    let nobody = format!("unknown: no answer from `{}` in 5 seconds", dead.address);
    assert!(said.contains(&nobody), "{said}");
    let token = format!(
        "a token (bearer) of `http://{}/token` for the service `tests`",
        tokens.address
    );
    assert!(said.contains(&token) && said.contains("not found"), "{said}");

    let open = run(Workshop::own()
        .rbuild()
        .args(["registry", "explain", "--offline", &registry.name("app:1")]));
    assert!(!open.contains("wants"), "nobody was asked: {open}");
    let output = workshop
        .rbuild()
        .args(["registry", "explain", &registry.name("app:1")])
        .output();
    let said = String::from_utf8(output.unwrap().stdout).unwrap();
    assert!(said.contains("wants        nothing (anonymous)"), "{said}");
}

/// An image with a layer of two megabytes in two registries, each behind a proxy: the one of the name, and its mirror.
struct Mirrored {
    upstream: Proxy,
    mirror: Proxy,
    _registries: [Registry; 2],
}

impl Mirrored {
    fn with(faults_of_mirror: Faults) -> Option<Mirrored> {
        let bases = Bases::find()?;
        let registries = [Registry::start(Access::Open)?, Registry::start(Access::Open)?];
        let workshop = Workshop::own();
        let dockerfile = "FROM busybox\nCOPY noise /\nCMD [\"sha256sum\", \"/noise\"]\n";
        let context = workshop.context("image", &[("Dockerfile", dockerfile)]);
        let mut state = 9_u64;
        let next = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        fs::write(context.join("noise"), (0..NOISE).map(next).collect::<Vec<u8>>()).unwrap();
        for registry in &registries {
            let name = registry.name("base:1");
            progress(workshop.build(bases, &context).args(["--push", "-t", &name]));
        }
        let upstream = Proxy::start(registries[0].address(), Faults::none());
        let mirror = Proxy::start(registries[1].address(), faults_of_mirror);
        Some(Mirrored {
            upstream,
            mirror,
            _registries: registries,
        })
    }

    /// Pulls into an empty store, and runs what came: what was said, and what the process says.
    fn pull(&self) -> (String, String) {
        let workshop = Workshop::own();
        let name = format!("{}/base:1", self.upstream.address);
        let mirror = format!("{}={}", self.upstream.address, self.mirror.address);
        let mut pull = workshop.rbuild();
        pull.args(["pull", "--registry-mirror", &mirror, &name]);
        let said = progress(&mut pull);
        (said, run(workshop.rbuild().args(["run", &name])))
    }
}

const NOISE: usize = 2_000_000;

/// The answers with a part of the large layer.
fn large(proxy: &Proxy) -> Vec<Exchange> {
    let mut seen = proxy.exchanges("GET", "/blobs/");
    seen.retain(|seen| seen.received > 100_000 && seen.status != 404);
    seen
}

#[test]
fn what_a_mirror_breaks_off_or_sends_wrongly_comes_from_the_registry_and_is_right() {
    let Some(site) = Mirrored::with(Faults::none()) else {
        return;
    };
    let (said, expected) = site.pull();
    assert!(!said.contains("mirror") && large(&site.upstream).is_empty(), "{said}");

    // It gives the largest blob first, and no more than 300 000 bytes of anything.
    site.mirror
        .again(Faults::none().on("GET", "/blobs/", Fault::CutAnswer(300_000)));
    site.upstream.again(Faults::none());
    let (said, tasted) = site.pull();
    assert_eq!(tasted, expected);
    let left = format!("mirror `{}` is left for `base`", site.mirror.address);
    assert_eq!(said.matches(&left).count(), 1, "{said}");
    let rest = large(&site.upstream);
    assert!(
        rest.iter().any(|seen| seen.status == 206),
        "it goes on where the mirror was: {rest:#?}"
    );

    site.mirror.again(Faults::none().on("GET", "/blobs/", Fault::Corrupt));
    site.upstream.again(Faults::none());
    let (said, tasted) = site.pull();
    assert_eq!(tasted, expected);
    assert!(
        said.contains(&left) && said.contains("what it sent is not `sha256:"),
        "{said}"
    );
}

#[test]
fn a_mirror_that_is_slow_and_works_is_kept() {
    let Some(site) = Mirrored::with(Faults::none()) else {
        return;
    };
    let (_, expected) = site.pull();
    site.mirror
        .again(Faults::none().on("GET", "/blobs/", Fault::Throttle(700_000)));
    site.upstream.again(Faults::none());
    let began = Instant::now();
    let (said, tasted) = site.pull();
    assert_eq!(tasted, expected);
    assert!(began.elapsed() > Duration::from_secs(2), "two megabytes at that speed");
    assert!(!said.contains("is left") && !said.contains("trying again"), "{said}");
    assert_eq!(site.upstream.exchanges("GET", ""), [], "{said}");
}
