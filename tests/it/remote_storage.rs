//! Caches in storage that is no registry: buckets, as Debian's or PyPI's `moto_server` has them, and GitHub's cache service.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::github_cache::{Service, token};
use crate::proxy::{Fault, Faults, Proxy};
use crate::remote_caches::{build, cached, context, warnings};
use crate::support::{Bases, Workshop, ends_with, eventually, free_port, has, progress, skipped};

/// A bucket `cache` of a server that is ended when dropped.
struct Bucket {
    server: Child,
    proxy: Proxy,
}

impl Bucket {
    fn start() -> Option<Bucket> {
        if !has("moto_server") {
            return skipped("moto_server");
        }
        let port = free_port();
        let mut command = Command::new("moto_server");
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        let server = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let bucket = Bucket {
            server,
            proxy: Proxy::start(address, Faults::none()),
        };
        let make = || put(address, "/cache");
        if !eventually(Duration::from_secs(60), make) {
            // What is installed under the name cannot be run: a shim of no version.
            return skipped("a moto_server that starts");
        }
        Some(bucket)
    }

    fn attributes(&self) -> String {
        format!(
            "type=s3,bucket=cache,region=us-east-1,endpoint_url=http://{},use_path_style=true,access_key_id=id,\
             secret_access_key=secret",
            self.proxy.address
        )
    }

    fn to(&self) -> String {
        format!("--cache-to={},mode=max", self.attributes())
    }

    fn from(&self) -> String {
        format!("--cache-from={}", self.attributes())
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn put(address: SocketAddr, path: &str) -> bool {
    let Ok(mut stream) = TcpStream::connect(address) else {
        return false;
    };
    let request = format!(
        "PUT {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\nConnection: close\r\n\
         Authorization: AWS4-HMAC-SHA256 Credential=id/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0\r\n\r\n"
    );
    let mut answer = String::new();
    stream.write_all(request.as_bytes()).is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.starts_with("HTTP/1.1 200")
}

/// Jobs that each write one step of their own, all at once; then another that must find all of them.
fn writers_lose_nothing(bases: &Bases, to: &str, from: &str) {
    let workshop = Workshop::own();
    let contexts: Vec<PathBuf> = (0..4)
        .map(|writer| {
            let text = format!("FROM busybox\nRUN echo {writer} > /made\n");
            workshop.context(&writer.to_string(), &[("Dockerfile", &text)])
        })
        .collect();
    let cache_only = |workshop: &Workshop, context: &Path, flag: &str| {
        progress(workshop.build(bases, context).args(["-o", "type=cacheonly", flag]))
    };
    std::thread::scope(|scope| {
        for context in &contexts {
            let workshop = &workshop;
            scope.spawn(move || cache_only(workshop, context, to));
        }
    });
    let other = Workshop::own();
    for context in &contexts {
        let said = cache_only(&other, context, from);
        let step = said.lines().skip_while(|line| !line.contains("RUN echo")).nth(1);
        assert!(step.is_some_and(|line| line.ends_with(" CACHED")), "{said}");
    }
}

/// A step with a layer that is sent in several parts arrives whole.
fn large_layers_arrive(bases: &Bases, to: &str, from: &str) {
    let workshop = Workshop::own();
    let text = "FROM busybox\nRUN head -c 35000000 /dev/urandom > /large\nRUN sha256sum /large > /sum\n";
    let context = workshop.context("large", &[("Dockerfile", text)]);
    let (digest, _) = build(&workshop, bases, &context, &[to]);
    assert_eq!(build(&Workshop::own(), bases, &context, &[from]).0, digest);
}

#[test]
fn a_bucket_keeps_results() {
    let (Some(bases), Some(bucket)) = (Bases::find(), Bucket::start()) else {
        return;
    };
    let (first, second) = (Workshop::own(), Workshop::own());
    let context = context(&first);
    let (digest, _) = build(&first, bases, &context, &[&bucket.to()]);
    bucket.proxy.again(Faults::none());
    let (again, said) = build(&second, bases, &context, &[&bucket.from(), &bucket.to()]);
    assert_eq!(again, digest, "{said}");
    assert_eq!(cached(&said), 4, "{said}");
    assert!(bucket.proxy.exchanges("PUT", "").is_empty(), "nothing is new");
    assert!(
        bucket.proxy.exchanges("HEAD", "/blobs/").is_empty(),
        "what is listed is not asked for"
    );

    std::fs::write(context.join("edited"), "two\n").unwrap();
    bucket.proxy.again(Faults::none());
    build(&second, bases, &context, &[&bucket.from(), &bucket.to()]);
    assert_eq!(
        bucket.proxy.exchanges("PUT", "/blobs/").len(),
        2,
        "the layers that are new"
    );
    assert_eq!(bucket.proxy.exchanges("PUT", "/manifests/buildkit").len(), 1);
    let log = bucket.proxy.log();
    assert!(log.iter().all(|exchange| !exchange.query.contains("secret")));

    // A connection that breaks is taken up again; blobs in use are dated anew when that is asked for.
    let cut = Faults::none().on("GET", "/blobs/", Fault::CutAnswer(300)).times(1);
    bucket.proxy.again(cut);
    let touching = format!("{},touch_refresh=0s", bucket.to());
    let (_, said) = build(&Workshop::own(), bases, &context, &[&bucket.from(), &touching]);
    assert_eq!(warnings(&said), 0, "{said}");
    assert!(!said.contains("done again here"), "{said}");

    large_layers_arrive(bases, &bucket.to(), &bucket.from());
    writers_lose_nothing(bases, &bucket.to(), &bucket.from());
}

#[test]
fn a_bucket_that_is_not_there_costs_one_line_and_writing_there_fails() {
    let Some(bases) = Bases::find() else { return };
    let workshop = Workshop::own();
    let context = context(&workshop);
    let place = format!(
        "type=s3,bucket=cache,region=r,endpoint_url=http://127.0.0.1:{},use_path_style=true",
        free_port()
    );
    let with_key = |command: &mut Command| {
        command
            .env("AWS_ACCESS_KEY_ID", "id")
            .env("AWS_SECRET_ACCESS_KEY", "hidden");
    };
    let mut reading = workshop.build(bases, &context);
    with_key(reading.args([
        "-o",
        "type=cacheonly",
        &format!("--cache-from={place}"),
        "--cache-budget=5s",
    ]));
    let said = progress(&mut reading);
    assert_eq!(warnings(&said), 1, "{said}");
    let mut writing = workshop.build(bases, &context);
    with_key(writing.args(["-o", "type=cacheonly", &format!("--cache-to={place}")]));
    let said = ends_with(&mut writing, 3);
    assert!(
        said.contains("failed to export the cache") && !said.contains("hidden"),
        "{said}"
    );
    let mut unnamed = workshop.build(bases, &context);
    let refused = ends_with(
        unnamed
            .arg("--cache-to=type=s3,bucket=b,region=r")
            .env_remove("AWS_ACCESS_KEY_ID"),
        2,
    );
    assert!(refused.contains("AWS_ACCESS_KEY_ID"), "{refused}");
}

fn github(service: &Service, token: &str, flag: &str) -> String {
    let mode = if flag == "--cache-to" { ",mode=max" } else { "" };
    format!("{flag}=type=gha,url_v2={},token={token}{mode}", service.url())
}

#[test]
fn the_cache_service_of_github_keeps_results() {
    let Some(bases) = Bases::find() else { return };
    let service = Service::start();
    let main = token(&[("refs/heads/main", 3)]);
    let (to, from) = (
        github(&service, &main, "--cache-to"),
        github(&service, &main, "--cache-from"),
    );
    let (first, second) = (Workshop::own(), Workshop::own());
    let context = context(&first);
    service.throttle(2);
    let (digest, _) = build(&first, bases, &context, &[&to]);
    let keys = service.keys();
    let (again, said) = build(&second, bases, &context, &[&from, &to]);
    assert_eq!(again, digest, "{said}");
    assert_eq!(cached(&said), 4, "{said}");
    assert_eq!(service.keys(), keys, "nothing is new");

    std::fs::write(context.join("edited"), "two\n").unwrap();
    build(&second, bases, &context, &[&from, &to]);
    let new = service.keys().split_off(keys.len());
    assert_eq!(
        new.iter().filter(|key| key.starts_with("rbuild-blob-")).count(),
        2,
        "{new:?}"
    );
    assert!(new.last().is_some_and(|key| key.ends_with("#2")), "{new:?}");

    large_layers_arrive(bases, &to, &from);
    writers_lose_nothing(bases, &to, &from);
}

#[test]
fn a_branch_reads_what_the_default_branch_has_and_writes_its_own() {
    let Some(bases) = Bases::find() else { return };
    let service = Service::start();
    let main = token(&[("refs/heads/main", 3)]);
    let topic = token(&[("refs/heads/topic", 3), ("refs/heads/main", 1)]);
    let workshop = Workshop::own();
    let context = context(&workshop);
    build(&workshop, bases, &context, &[&github(&service, &main, "--cache-to")]);
    std::fs::write(context.join("edited"), "two\n").unwrap();
    let of_topic = [
        github(&service, &topic, "--cache-from"),
        github(&service, &topic, "--cache-to"),
    ];
    let flags = [of_topic[0].as_str(), of_topic[1].as_str()];
    let (digest, said) = build(&Workshop::own(), bases, &context, &flags);
    assert!(cached(&said) >= 2, "{said}");
    let (again, said) = build(&Workshop::own(), bases, &context, &flags[..1]);
    assert_eq!((again, cached(&said)), (digest, 4), "{said}");

    // The default branch does not see what a branch wrote.
    let (_, said) = build(
        &Workshop::own(),
        bases,
        &context,
        &[&github(&service, &main, "--cache-from")],
    );
    assert!(cached(&said) < 4, "{said}");
}

#[test]
fn entries_that_were_evicted_are_made_again() {
    let Some(bases) = Bases::find() else { return };
    let service = Service::start();
    let main = token(&[("refs/heads/main", 3)]);
    let (to, from) = (
        github(&service, &main, "--cache-to"),
        github(&service, &main, "--cache-from"),
    );
    let workshop = Workshop::own();
    let context = context(&workshop);
    build(&workshop, bases, &context, &[&to]);
    service.evict("rbuild-blob-");
    let (_, said) = build(&Workshop::own(), bases, &context, &[&from, &to]);
    assert!(said.contains("done again here"), "{said}");
    let (_, said) = build(&Workshop::own(), bases, &context, &[&from]);
    assert_eq!(cached(&said), 4, "{said}");
    assert!(!said.contains("done again here"), "{said}");
}

#[test]
fn a_job_without_a_token_is_told_which() {
    let Some(bases) = Bases::find() else { return };
    let workshop = Workshop::own();
    let context = context(&workshop);
    let refused = |flag: &str, variable: &str| {
        let mut command = workshop.build(bases, &context);
        command
            .arg(flag)
            .env_remove("ACTIONS_RESULTS_URL")
            .env_remove("ACTIONS_RUNTIME_TOKEN");
        command.env_remove("ACTIONS_CACHE_URL");
        let said = ends_with(&mut command, 2);
        assert!(said.contains(variable), "{said}");
    };
    refused("--cache-to=type=gha", "ACTIONS_RESULTS_URL");
    refused(
        "--cache-to=type=gha,url_v2=http://127.0.0.1:1/",
        "ACTIONS_RUNTIME_TOKEN",
    );
    refused("--cache-from=type=gha,url=http://127.0.0.1:1/,token=x", "version 1");
}
