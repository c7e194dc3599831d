//! Credential helpers: programs of the user's that rbuild asks for credentials, and that hang, change their mind and lie.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::proxy::{Exchange, Fault, Faults, Proxy};
use crate::registry::{Access, Registry};
use crate::support::{Bases, OF_THE_DEVELOPER, Workshop, binary, ends_with, eventually, progress, run};
use crate::token_server::TokenServer;

/// A helper in a folder of its own, and a configuration that names it.
struct Helper {
    folder: PathBuf,
}

impl Helper {
    fn of(workshop: &Workshop, script: &str) -> Helper {
        let program = "docker-credential-of-a-test";
        let config = r#"{"credsStore":"of-a-test"}"#;
        let script = format!("#!/bin/sh\n{script}\n");
        let folder = workshop.context("helper", &[(program, &script), ("config.json", config)]);
        // By another program: a file that this one has open for writing cannot be run.
        let copy = folder.join("copy");
        run(Command::new("cp").arg(folder.join(program)).arg(&copy));
        run(Command::new("chmod").arg("755").arg(&copy));
        fs::rename(copy, folder.join(program)).unwrap();
        Helper { folder }
    }

    fn lend<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let path = std::env::var("PATH").unwrap();
        command
            .env("PATH", format!("{}:{path}", self.folder.display()))
            .env("DOCKER_CONFIG", &self.folder)
    }

    /// One that says the passwords `p1`, `p2`, … of `ada` in their order.
    fn of_changing_passwords(workshop: &Workshop) -> Helper {
        let script = r#"cd "$(dirname "$0")" && cat > /dev/null && echo . >> asked
            printf '{"Username":"ada","Secret":"p%d"}' $(wc -l < asked)"#;
        Helper::of(workshop, script)
    }

    /// How often it was asked for a password.
    fn asked(&self) -> usize {
        fs::read_to_string(self.folder.join("asked")).map_or(0, |text| text.lines().count())
    }
}

/// `rbuild` without another program in between, for signals.
fn rbuild(workshop: &Workshop) -> Command {
    let mut command = Command::new(binary());
    for name in OF_THE_DEVELOPER {
        command.env_remove(name);
    }
    command.arg("--root").arg(workshop.store());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// The processes that sleep so unusually long.
fn sleepers(seconds: &str) -> usize {
    let wanted = format!("sleep\0{seconds}\0");
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|entry| fs::read(entry.path().join("cmdline")).ok())
        .filter(|line| line.ends_with(wanted.as_bytes()))
        .count()
}

#[test]
fn a_helper_that_hangs_ends_with_rbuild() {
    let Some(registry) = Registry::start(Access::Password) else {
        return;
    };
    let workshop = Workshop::own();
    let helper = Helper::of(&workshop, "(sleep 8811 &)\nsetsid sleep 8811 &\nsleep 8811");
    let name = registry.name("app:1");
    let context = workshop.context("from", &[("Dockerfile", &format!("FROM {name}\n"))]);
    let context = context.to_str().unwrap();
    let commands: [(&[&str], Signal, i32); 4] = [
        (&["pull", &name], Signal::INT, 130),
        (&["build", context], Signal::INT, 130),
        (&["build", "--push", "-t", &name, context], Signal::TERM, 143),
        (&["registry", "explain", &name], Signal::TERM, 143),
    ];
    for (arguments, signal, code) in commands {
        let mut running = helper.lend(rbuild(&workshop).args(arguments)).spawn().unwrap();
        assert!(
            eventually(Duration::from_secs(20), || sleepers("8811") >= 3),
            "{arguments:?}"
        );
        let began = Instant::now();
        kill_process(Pid::from_child(&running), signal).unwrap();
        assert_eq!(running.wait().unwrap().code(), Some(code), "{arguments:?}");
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "{arguments:?}: {:?}",
            began.elapsed()
        );
        assert!(
            eventually(Duration::from_secs(2), || sleepers("8811") == 0),
            "{arguments:?}"
        );
    }
}

/// `ada:p1`, `ada:p2` as they go over the wire.
const PASSWORDS: [&str; 2] = ["Basic YWRhOnAx", "Basic YWRhOnAy"];

/// A registry behind a proxy that wants tokens of that service, and of which it is said with `faults` when the first is over.
fn guarded(tokens: &TokenServer, faults: impl FnOnce(Faults, Fault) -> Faults) -> Option<(Registry, Proxy)> {
    let registry = Registry::start(Access::Open)?;
    let challenge = || Fault::Answer(tokens.challenge());
    let strangers = Faults::none()
        .on("", "/v2/", challenge())
        .without_header("authorization: bearer t");
    let proxy = Proxy::start(registry.address(), faults(strangers, challenge()));
    Some((registry, proxy))
}

/// A context of several layers that no compression makes smaller.
fn layers(workshop: &Workshop) -> PathBuf {
    let dockerfile = "FROM scratch\nCOPY one /\nCOPY two /\nCOPY three /\n";
    let context = workshop.context("layers", &[("Dockerfile", dockerfile)]);
    for (name, seed) in [("one", 1), ("two", 2), ("three", 3)] {
        let mut state: u64 = seed;
        let next = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        fs::write(context.join(name), (0..700_000).map(next).collect::<Vec<u8>>()).unwrap();
    }
    context
}

#[test]
fn a_token_that_is_over_while_layers_are_sent_is_replaced_with_new_credentials_of_the_helper() {
    let Some(bases) = Bases::find() else { return };
    let tokens = TokenServer::giving(|question| PASSWORDS.contains(&question.authorization.as_str()));
    // Two of the layers get through with the first token.
    let over = |faults: Faults, challenge| {
        let first = "authorization: bearer t1";
        faults.on("PUT", "/uploads/", challenge).with_header(first).skipping(2)
    };
    let Some((_registry, proxy)) = guarded(&tokens, over) else {
        return;
    };
    let workshop = Workshop::own();
    let (helper, context) = (Helper::of_changing_passwords(&workshop), layers(&workshop));
    let name = format!("{}/app:1", proxy.address);
    progress(helper.lend(workshop.build(bases, &context).args(["--push", "-t", &name])));

    let asked: Vec<String> = tokens
        .questions()
        .into_iter()
        .map(|asked| asked.authorization)
        .collect();
    assert_eq!(asked, PASSWORDS, "each password once");
    assert_eq!(helper.asked(), 2);
    let puts = proxy.exchanges("PUT", "/uploads/");
    let stored: Vec<&Exchange> = puts.iter().filter(|put| put.status == 201).collect();
    let refused = puts.iter().filter(|put| put.status == 401).count();
    assert!((1..=2).contains(&refused), "{puts:#?}");
    let digest = |put: &&Exchange| put.query.rsplit("digest=").next().map(str::to_owned);
    let digests: BTreeSet<_> = stored.iter().map(digest).collect();
    assert_eq!(
        (stored.len(), digests.len()),
        (4, 4),
        "three layers and a configuration, each once: {puts:#?}"
    );
    // One for each blob and one to ask whether we may: what was refused goes on where it had begun.
    assert_eq!(
        proxy
            .exchanges("POST", "/uploads/")
            .iter()
            .filter(|post| post.status == 202)
            .count(),
        5
    );
}

#[test]
fn a_helper_whose_new_password_is_refused_too_is_one_error() {
    let Some(bases) = Bases::find() else { return };
    let tokens = TokenServer::giving(|question| question.authorization == PASSWORDS[0]);
    let over = |faults: Faults, challenge| {
        let first = "authorization: bearer t1";
        faults.on("PUT", "/uploads/", challenge).with_header(first)
    };
    let Some((_registry, proxy)) = guarded(&tokens, over) else {
        return;
    };
    let workshop = Workshop::own();
    let (helper, context) = (Helper::of_changing_passwords(&workshop), layers(&workshop));
    let name = format!("{}/app:1", proxy.address);
    let mut build = workshop.build(bases, &context);
    let said = ends_with(helper.lend(build.args(["--push", "-t", &name])), 3);
    let errors: Vec<&str> = said.lines().filter(|line| line.starts_with("ERROR:")).collect();
    assert_eq!(errors.len(), 1, "{said}");
    for part in [
        "user `ada` from `docker-credential-of-a-test`",
        "were refused",
        "incorrect username or password",
        "docker login",
    ] {
        assert!(errors[0].contains(part), "{part}: {said}");
    }
    assert_eq!(
        helper.asked(),
        2,
        "several layers were refused, and one password was tried"
    );
    assert_eq!(proxy.exchanges("PUT", "/manifests/"), []);
}
