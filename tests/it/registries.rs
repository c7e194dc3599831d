//! How registries are reached: certificates, mirrors, and what `rbuild registry explain` says of them.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::registry::{Access, Registry};
use crate::support::{Bases, Workshop, ends_with, free_port, has, progress, run, skipped};

const DOCKERFILE: &str = "FROM busybox\nRUN echo reached > /file\nCMD [\"cat\", \"/file\"]\n";

/// A registry with TLS, and the folder with the authority that vouches for it.
fn with_tls(folder: &std::path::Path) -> Option<(Registry, PathBuf)> {
    if !has("openssl") {
        return skipped("openssl");
    }
    let [authority, authority_key] = ["ca.crt", "ca.key"].map(|name| folder.join(name));
    let [certificate, key, request] = ["server.crt", "server.key", "server.csr"].map(|name| folder.join(name));
    let extension = folder.join("extension");
    fs::write(&extension, "subjectAltName=IP:127.0.0.1\n").unwrap();
    let elliptic = [
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-subj",
    ];
    let mut making = Command::new("openssl");
    making
        .args(["req", "-x509", "-days", "9"])
        .args(elliptic)
        .arg("/CN=authority of a test");
    run(making.arg("-out").arg(&authority).arg("-keyout").arg(&authority_key));
    let mut asking = Command::new("openssl");
    asking.arg("req").args(elliptic).arg("/CN=registry");
    run(asking.arg("-out").arg(&request).arg("-keyout").arg(&key));
    let mut signing = Command::new("openssl");
    signing
        .args(["x509", "-req", "-days", "9", "-CAcreateserial", "-in"])
        .arg(&request);
    signing.arg("-CA").arg(&authority).arg("-CAkey").arg(&authority_key);
    run(signing.arg("-extfile").arg(&extension).arg("-out").arg(&certificate));
    let http = format!(
        "  tls: {{certificate: '{}', key: '{}'}}\n",
        certificate.display(),
        key.display()
    );
    let registry = Registry::start_with(Access::Open, &http)?;
    Some((registry, authority))
}

#[test]
fn a_registry_under_an_own_authority_is_pushed_to_and_pulled_from() {
    let workshop = Workshop::own();
    let Some(bases) = Bases::find() else { return };
    let Some((registry, authority)) = with_tls(&workshop.path("..")) else {
        return;
    };
    let context = workshop.context("tls", &[("Dockerfile", DOCKERFILE)]);
    let name = registry.name("tls:1");

    let said = ends_with(workshop.build(bases, &context).args(["--push", "-t", &name]), 3);
    assert!(
        said.contains("certificate") && said.contains("--registry-certs"),
        "{said}"
    );

    let certs = workshop.path("certs.d");
    let of_host = certs.join(registry.host());
    fs::create_dir_all(&of_host).unwrap();
    fs::copy(authority, of_host.join("ca.crt")).unwrap();
    let mut push = workshop.build(bases, &context);
    progress(push.args(["--push", "-t", &name, "--registry-certs"]).arg(&certs));

    let elsewhere = Workshop::own();
    run(elsewhere
        .rbuild()
        .args(["pull", "--insecure-registry", &registry.host(), &name]));
    assert_eq!(run(elsewhere.rbuild().args(["run", &name])), "reached\n");

    let output = format!(
        "type=image,name={},push=true,registry.insecure=true",
        registry.name("tls:2")
    );
    progress(workshop.build(bases, &context).args(["-o", &output]));
}

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

    let output = explain(&[]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "nobody has the image: {said}");
    assert!(
        said.contains("connection refused") && said.contains("not found"),
        "{said}"
    );
    assert!(!said.contains("secret") && !said.contains("YWRh"), "{said}");
}
