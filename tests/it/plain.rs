//! Builds without namespaces: asked for on a machine that has them, and in a container that lends none.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use crate::container::{Container, Filter};
use crate::support::{Bases, User, Workshop, ends_with, eventually, progress, run, skipped, text};

fn root() -> Option<Workshop> {
    match rustix::process::geteuid().is_root() {
        true => Some(Workshop::own()),
        false => skipped("root"),
    }
}

fn plain<'a>(command: &'a mut Command, more: &[&str]) -> &'a mut Command {
    command.arg("--isolation=plain").args(more)
}

/// How many processes have this word among their arguments.
fn running(word: &str) -> usize {
    let lines = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| fs::read(entry.ok()?.path().join("cmdline")).ok());
    lines
        .filter(|line| line.split(|byte| *byte == 0).any(|part| part == word.as_bytes()))
        .count()
}

const ALL_KINDS: &str = "\
FROM debian:bookworm-slim AS first
RUN useradd --uid 1234 ann && mkdir /made && chown ann /made && rm -r /usr/share/doc && echo x > /dev/stdout
RUN --mount=type=cache,target=/var/cache/kept echo line >> /var/cache/kept/lines && cp /var/cache/kept/lines /made/
RUN --mount=type=secret,id=s,uid=1234,mode=0400 --mount=type=tmpfs,target=/scratch \\
    cat /run/secrets/s > /scratch/x && [ \"$(wc -c < /scratch/x)\" = 15 ] && [ \"$(stat -c %a%u /run/secrets/s)\" = 4001234 ]
USER ann
RUN id -un > /made/who && (setsid sleep 98765 & ) && test ! -e /scratch
FROM busybox
COPY --from=first /made /made
COPY file /file
RUN --mount=type=bind,from=first,target=/first --mount=type=bind,target=/context,rw \\
    test -e /first/etc/debian_version && cat /context/file > /copied && echo lost > /context/lost
RUN --mount=type=ssh,required=true test -S \"$SSH_AUTH_SOCK\" && rm /file
";

#[test]
fn all_kinds_of_steps_build_without_namespaces() {
    let (Some(bases), Some(workshop)) = (Bases::find(), root()) else {
        return;
    };
    let files = [("Dockerfile", ALL_KINDS), ("file", "content\n")];
    let context = workshop.context("context", &files);
    fs::write(workshop.path("secret"), "jHq7-told-none\n").unwrap();
    let socket = workshop.path("a");
    let _agent = UnixListener::bind(&socket).ok();
    let (secret, ssh) = (
        format!("id=s,src={}", workshop.path("secret").display()),
        format!("default={}", socket.display()),
    );
    let tar = workshop.path("out.tar");
    let output = format!("type=tar,dest={}", tar.display());
    let more = ["--secret", &secret, "--ssh", &ssh, "-o", &output];
    let said = progress(plain(&mut workshop.build(bases, &context), &more));
    assert!(
        said.contains("without namespaces (none were wished for): steps have a root of their own"),
        "{said}"
    );
    assert_eq!(running("98765"), 0);

    let listed = run(Command::new("tar").args(["--numeric-owner", "-tvf"]).arg(&tar));
    let line = |path: &str| listed.lines().find(|line| line.ends_with(&format!(" {path}")));
    assert!(
        line("made/who").is_some_and(|line| line.contains("1234/1234")),
        "{listed}"
    );
    assert!(line("copied").is_some() && line("file").is_none(), "{listed}");
    for trace in [
        "context",
        "first",
        "run/secrets",
        "dev/null",
        "proc/cpuinfo",
        "etc/resolv.conf",
    ] {
        assert!(line(trace).is_none(), "{trace}: {listed}");
    }
    let content = |path: &str| run(Command::new("tar").arg("-xOf").arg(&tar).arg(path));
    assert_eq!(content("made/lines"), "line\n");
    assert_eq!(content("made/who"), "ann\n");
    assert_eq!(content("copied"), "content\n");
    let stored = Command::new("grep")
        .args(["-rl", "jHq7-told-none"])
        .arg(workshop.store())
        .output()
        .unwrap();
    assert_eq!(text(&stored.stdout), "", "the secret stays in the store");

    // The cache was given back, and there is nothing to do again.
    progress(plain(
        &mut workshop.build(bases, &context),
        &[&more[..], &["--no-cache"]].concat(),
    ));
    assert_eq!(content("made/lines"), "line\nline\n");
}

const FIXED: &str = "\
FROM debian:bookworm-slim AS first
RUN mkdir -p /a/b && echo x > /a/b/c && ln -s c /a/b/l && ln /a/b/c /a/hard && chmod 4755 /a/b/c && mkfifo /a/p
RUN rm -r /a/b && mkdir /a/b && echo y > /a/b/d && echo more >> /etc/hostname && rm /etc/debian_version
RUN --mount=type=cache,target=/var/cache/x --mount=type=secret,id=s,required=false true && mv /a /z
FROM busybox
COPY --from=first /z /z
RUN mkdir /new && chown 7:8 /new && rm -r /home && touch /etc/new
WORKDIR /w
RUN echo here > there
";

#[test]
fn the_image_is_the_one_that_is_built_with_namespaces() {
    let (Some(bases), Some(with), Some(without)) = (Bases::find(), root(), root()) else {
        return;
    };
    let image = |workshop: &Workshop, isolation: &str| {
        let context = workshop.context("context", &[("Dockerfile", FIXED)]);
        let image = workshop.path("image.tar");
        let output = format!("type=oci,dest={},rewrite-timestamp=true", image.display());
        let mut build = workshop.build(bases, &context);
        build
            .env("SOURCE_DATE_EPOCH", "1700000000")
            .args([isolation, "-o", &output]);
        progress(&mut build);
        fs::read(image).unwrap()
    };
    let same = image(&with, "--isolation=namespaces") == image(&without, "--isolation=plain");
    assert!(same, "the images differ");
}

#[test]
fn a_step_that_fails_or_is_stopped_leaves_nothing() {
    let (Some(bases), Some(workshop)) = (Bases::find(), root()) else {
        return;
    };
    let dockerfile = "FROM busybox\nRUN --mount=type=cache,target=/c echo x >> /c/x; wc -l < /c/x; exit 3\n";
    let context = workshop.context("fails", &[("Dockerfile", dockerfile)]);
    for times in 1..3 {
        let said = ends_with(plain(&mut workshop.build(bases, &context), &[]), 1);
        assert!(
            said.contains("exit code: 3") && said.contains(&format!(" {times}\n")),
            "{said}"
        );
    }
    let dockerfile = "FROM busybox\nRUN --mount=type=cache,target=/c (setsid sleep 87654 &); echo ready; sleep 87654\n";
    let context = workshop.context("hangs", &[("Dockerfile", dockerfile)]);
    let begun = Instant::now();
    ends_with(plain(&mut workshop.build(bases, &context), &["--step-timeout=2s"]), 124);
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert_eq!(running("87654"), 0);

    // Killed, it can do nothing; what it started ends, and gives back what it had.
    let mut child = plain(&mut workshop.direct(bases, &context), &[]).spawn().unwrap();
    assert!(eventually(Duration::from_secs(20), || running("87654") >= 2));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(eventually(Duration::from_secs(10), || running("87654") == 0));
    let said = ends_with(plain(&mut workshop.build(bases, &workshop.path("fails")), &[]), 1);
    assert!(said.contains(" 3\n"), "{said}");
    let fsck = run(workshop.rbuild().args(["debug", "fsck"]));
    assert!(!fsck.contains("broken"), "{fsck}");
}

#[test]
fn what_takes_namespaces_is_refused_by_name() {
    let (Some(bases), Some(workshop)) = (Bases::find(), root()) else {
        return;
    };
    for (name, dockerfile, more, wish) in [
        (
            "network",
            "FROM busybox\nRUN --network=none true\n",
            &[][..],
            "`--network=none`",
        ),
        (
            "insecure",
            "# syntax=docker/dockerfile:1-labs\nFROM busybox\nRUN --security=insecure true\n",
            &["--allow=security.insecure"],
            "`--security=insecure`",
        ),
    ] {
        let context = workshop.context(name, &[("Dockerfile", dockerfile)]);
        let said = ends_with(plain(&mut workshop.build(bases, &context), more), 4);
        assert!(
            said.contains(&format!("{wish} cannot be had in a container without namespaces")),
            "{said}"
        );
    }
    let context = workshop.context("any", &[("Dockerfile", "FROM busybox\nRUN true\n")]);
    let said = ends_with(workshop.build(bases, &context).env("RBUILD_ISOLATION", "jail"), 2);
    assert!(said.contains("invalid RBUILD_ISOLATION `jail`"), "{said}");
    if let Some(user) = User::ordinary() {
        let workshop = Workshop::new(user);
        let context = workshop.context("any", &[("Dockerfile", "FROM busybox\nRUN true\n")]);
        let said = ends_with(plain(&mut workshop.build(bases, &context), &[]), 4);
        assert!(said.contains("that takes root of the container"), "{said}");
    }
}

#[test]
fn an_image_runs_without_namespaces() {
    let (Some(bases), Some(workshop)) = (Bases::find(), root()) else {
        return;
    };
    let context = workshop.context("any", &[("Dockerfile", "FROM busybox\nCMD [\"echo\", \"ran\"]\n")]);
    progress(plain(&mut workshop.build(bases, &context), &["-t", "im"]));
    let said = run(workshop.rbuild().args(["run", "--isolation=plain", "im"]));
    assert_eq!(said, "ran\n");
    let ended = workshop
        .rbuild()
        .args(["run", "--isolation=plain", "im", "sh", "-c", "exit 9"])
        .status();
    assert_eq!(ended.unwrap().code(), Some(9));
    let lines = run(workshop.rbuild().env("RBUILD_ISOLATION", "plain").arg("doctor"));
    assert!(
        lines.contains("isolation: as root without namespaces, because none were wished for"),
        "{lines}"
    );
    assert!(lines.contains("ok       step: one was run and thrown away"), "{lines}");
}

const IN_A_CONTAINER: &str = "\
FROM debian:bookworm-slim AS first
RUN --mount=type=cache,target=/c useradd ann && mkdir /made && chown ann /made && echo x > /c/x
USER ann
RUN id -un > /made/who
FROM busybox
COPY --from=first /made /made
RUN cat /made/who && mknod /null c 1 3 && echo lost > /null && rm /null
";

fn both(output: &Output) -> String {
    text(&output.stdout) + &text(&output.stderr)
}

#[test]
fn a_container_that_lends_no_namespaces_builds_images() {
    let Some(bases) = Bases::find() else { return };
    let Some(container) = Container::new(bases, Filter::Docker) else {
        return;
    };
    container.context("context", &[("Dockerfile", IN_A_CONTAINER)]);
    let built = container.build("context", &["-o", "type=oci,dest=/image.tar", "-t", "im"]);
    let said = both(&built);
    assert!(built.status.success(), "{said}");
    let rung =
        "running as root without namespaces (cannot create a user namespace: the surrounding container forbids it)";
    assert!(said.contains(rung), "{said}");
    assert!(
        said.contains("for namespaces start the container with `--security-opt seccomp=unconfined"),
        "{said}"
    );
    assert!(said.contains(" ann\n"), "{said}");
    assert!(tar_has(&container.made("image.tar"), "index.json"));

    let run = container.rbuild(&["run", "im", "cat", "/made/who"]);
    assert_eq!(text(&run.stdout), "ann\n", "{}", both(&run));
    let doctor = both(&container.rbuild(&["doctor"]));
    assert!(
        doctor.contains("the last rung of four") && doctor.ends_with("\nBuilds work here.\n"),
        "{doctor}"
    );
    // Whoever wants namespaces or nothing gets nothing.
    let refused = container.build("context", &["--isolation=namespaces"]);
    assert_eq!(refused.status.code(), Some(4), "{}", both(&refused));
    assert!(
        both(&refused).contains("cannot create a user namespace"),
        "{}",
        both(&refused)
    );
}

#[test]
fn a_root_that_may_not_change_its_root_is_told_what_it_may_do() {
    let Some(bases) = Bases::find() else { return };
    let Some(container) = Container::new(bases, Filter::Docker) else {
        return;
    };
    let container = container.without("CAP_SYS_CHROOT");
    container.context("context", &[("Dockerfile", "FROM busybox\nRUN true\n")]);
    let refused = container.build("context", &[]);
    let said = both(&refused);
    assert_eq!(refused.status.code(), Some(4), "{said}");
    assert!(
        said.contains("the surrounding container forbids it") && said.contains("builds do without namespaces"),
        "{said}"
    );
    let said = both(&container.build("context", &["--isolation=plain"]));
    assert!(
        said.contains("start the container with `--cap-add SYS_CHROOT`"),
        "{said}"
    );
}

#[test]
fn a_container_without_a_filter_is_on_a_better_rung() {
    let Some(bases) = Bases::find() else { return };
    let Some(container) = Container::new(bases, Filter::None) else {
        return;
    };
    // In a user namespace no device can be made.
    let dockerfile = IN_A_CONTAINER.replace(
        "mknod /null c 1 3 && echo lost > /null && rm /null",
        "test -d /proc/self",
    );
    container.context("context", &[("Dockerfile", &dockerfile)]);
    // On its own root, which is an overlay and takes no other, trees are copied; on a volume they are mounted.
    let on_its_root = container.build("context", &[]);
    let container = container.on_a_volume();
    for built in [on_its_root, container.build("context", &[])] {
        let said = both(&built);
        assert!(said.contains("running in a user namespace of `root`"), "{said}");
        assert!(built.status.success(), "{said}");
    }
}

fn tar_has(archive: &Path, name: &str) -> bool {
    run(Command::new("tar").arg("-tf").arg(archive))
        .lines()
        .any(|line| line == name)
}
