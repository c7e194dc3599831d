//! What RUN sees besides its tree: and what of that is left afterwards.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};

use crate::progress::Steps;
use crate::support::{self, Bases, User, Workshop, ends_with, has_namespaces, has_other_ids, progress, run, text};

/// The files of the last stage of a Dockerfile.
fn files(workshop: &Workshop, bases: &Bases, context: &Path, arguments: &[&str]) -> std::path::PathBuf {
    let out = context.join("out");
    let dest = format!("--output=type=local,dest={}", out.display());
    progress(workshop.build(bases, context).args(arguments).arg(dest));
    out
}

fn read(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).unwrap()
}

#[test]
fn a_bind_shows_a_context_as_copy_would_and_keeps_nothing() {
    if !has_namespaces() {
        return;
    }
    let Some(bases) = Bases::find() else { return };
    for user in [Some(User::Own), User::ordinary()].into_iter().flatten() {
        let workshop = Workshop::new(user);
        let dockerfile = "FROM busybox\nWORKDIR /w\n\
            RUN --mount=target=ctx,rw stat -c '%u:%g' ctx/file > /owner && ls ctx > /names && touch ctx/new\n\
            RUN --mount=target=/one,source=folder/deep cat /one > /deep && ! touch /one 2>/dev/null\n";
        let context = workshop.context(
            "bind",
            &[
                ("Dockerfile", dockerfile),
                (".dockerignore", "hidden\n"),
                ("file", "f"),
                ("folder/deep", "d"),
                ("hidden", "h"),
            ],
        );
        let tree = files(&workshop, bases, &context, &[]);
        assert_eq!(read(&tree, "owner"), "0:0\n");
        assert_eq!(read(&tree, "names"), "Dockerfile\nfile\nfolder\n");
        assert_eq!(read(&tree, "deep"), "d");
        assert_eq!(fs::read_dir(tree.join("w")).unwrap().count(), 0);
        assert!(!tree.join("one").exists() && !context.join("new").exists());
    }
}

#[test]
fn a_step_runs_again_only_when_the_files_it_is_shown_change() {
    let Some(bases) = Bases::find() else { return };
    let workshop = Workshop::own();
    let dockerfile = "FROM busybox AS made\nARG N\nRUN mkdir /o && echo same > /o/f && echo \"$N\" > /other\n\
        FROM busybox\nRUN --mount=from=made,source=/o,target=/m cat /m/f\n\
        RUN --mount=source=folder,target=/m cat /m/f\n";
    let context = workshop.context("again", &[("Dockerfile", dockerfile), ("folder/f", "1"), ("file", "1")]);
    let again = |argument: &str| {
        let build = progress(workshop.build(bases, &context).args(["--build-arg", argument]));
        let steps = Steps::parse(&build);
        steps
            .not_cached()
            .iter()
            .filter(|step| step.contains("cat /m/f"))
            .count()
    };
    assert_eq!(again("N=1"), 2);
    assert_eq!(again("N=1"), 0);
    // The stage is made again, and has the same files where they are shown.
    assert_eq!(again("N=2"), 0);
    fs::write(context.join("file"), "2").unwrap();
    assert_eq!(again("N=2"), 0);
    fs::write(context.join("folder/f"), "2").unwrap();
    assert_eq!(again("N=2"), 1);
}

#[test]
fn a_cache_stays_until_it_is_pruned() {
    let Some(bases) = Bases::find() else { return };
    for user in [Some(User::Own), User::ordinary()].into_iter().flatten() {
        let workshop = Workshop::new(user);
        let dockerfile = "FROM busybox\nARG N\n\
            RUN --mount=type=cache,target=/root/.cache echo $N >> /root/.cache/log && cp /root/.cache/log /log\n";
        let context = workshop.context("cache", &[("Dockerfile", dockerfile)]);
        let log = |arguments: &[&str]| read(&files(&workshop, bases, &context, arguments), "log");
        assert_eq!(log(&["--build-arg=N=1"]), "1\n");
        assert_eq!(log(&["--build-arg=N=2", "--no-cache"]), "1\n2\n");
        assert_eq!(
            log(&["--build-arg=N=3", "--build-arg=BUILDKIT_CACHE_MOUNT_NS=x"]),
            "3\n"
        );
        assert!(run(workshop.rbuild().arg("du")).contains("cache mount"));
        run(workshop.rbuild().args(["prune", "--all"]));
        assert!(!run(workshop.rbuild().arg("du")).contains("cache mount"));
        assert_eq!(log(&["--build-arg=N=4"]), "4\n");
    }
}

#[test]
fn a_source_in_a_cache_is_a_folder_that_was_made_there() {
    let Some(bases) = Bases::find() else { return };
    let workshop = Workshop::own();
    let dockerfile = "FROM busybox\nARG N\n\
        RUN --mount=type=cache,id=w$N,target=/d mkdir -p /d/sub/deep && echo in > /d/sub/deep/y && ln -s /etc /d/out\n\
        RUN --mount=type=cache,id=w$N,source=sub/deep,target=/d cat /d/y > /seen && echo more > /d/z\n\
        RUN --mount=type=cache,id=w$N,target=/d ls /d/sub/deep > /names\n";
    let context = workshop.context("part", &[("Dockerfile", dockerfile)]);
    // Without namespaces only root builds.
    let isolations = match rustix::process::geteuid().is_root() {
        true => &["auto", "plain"][..],
        false => &["auto"],
    };
    for isolation in isolations {
        let (isolation, number) = (format!("--isolation={isolation}"), format!("--build-arg=N={isolation}"));
        let tree = files(&workshop, bases, &context, &[&isolation, &number]);
        assert_eq!(
            (read(&tree, "seen"), read(&tree, "names")),
            ("in\n".to_owned(), "y\nz\n".to_owned())
        );
        for (source, said) in [
            ("none", "failed to mount \"/none\" of the cache mount `w"),
            // The link leads nowhere in the cache, whose root is the root of all there.
            ("out", "find the source of a mount"),
        ] {
            let text = format!("FROM busybox\nARG N\nRUN --mount=type=cache,id=w$N,source={source},target=/d ls /d\n");
            let other = workshop.context(source, &[("Dockerfile", &text)]);
            let failed = ends_with(workshop.build(bases, &other).args([&isolation, &number]), 1);
            assert!(failed.contains(said), "{failed}");
        }
    }
}

#[test]
fn caches_are_shared_as_asked() {
    if !has_namespaces() {
        return;
    }
    let Some(bases) = Bases::find() else { return };
    let workshop = Workshop::own();
    // The two meet in a shared cache; in the others, neither ever sees the other.
    let meet = "touch /c/$N; i=0; until [ -e /c/1 ] && [ -e /c/2 ]; do i=$((i+1)); [ $i -lt 600 ] && sleep 0.1 || exit 1; done";
    let alone = "! [ -e /c/busy ] && touch /c/busy && sleep 0.5 && rm /c/busy";
    for (sharing, command) in [("shared", meet), ("private", alone), ("locked", alone)] {
        let dockerfile =
            format!("FROM busybox\nARG N\nRUN --mount=type=cache,target=/c,id={sharing},sharing={sharing} {command}\n");
        let context = workshop.context(sharing, &[("Dockerfile", &dockerfile)]);
        let start = |number: u32| -> Child {
            let mut build = workshop.build(bases, &context);
            build.arg(format!("--build-arg=N={number}"));
            build.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
        };
        for build in [start(1), start(2)] {
            let output = build.wait_with_output().unwrap();
            assert!(output.status.success(), "{sharing}: {}", text(&output.stderr));
        }
    }
}

#[test]
fn a_secret_is_nowhere_but_in_its_step() {
    const VALUE: &str = "plaintiff-hamster";
    let Some(bases) = Bases::find() else { return };
    for user in [Some(User::Own), User::ordinary()].into_iter().flatten() {
        let workshop = Workshop::new(user);
        // The steps know it by its sum, so that it stands in no command either.
        let sum = "1c5be959d9fb57e3";
        let dockerfile = format!(
            "FROM busybox\n\
            RUN --mount=type=secret,id=file,required sha256sum /run/secrets/file | grep -q ^{sum}\n\
            RUN --mount=type=secret,id=variable,env=TOKEN printf %s \"$TOKEN\" | sha256sum | grep -q ^{sum}\n\
            RUN ! test -e /run/secrets && test -z \"$TOKEN\"\n"
        );
        let context = workshop.context("secret", &[("Dockerfile", &dockerfile)]);
        let secret = workshop.context("secrets", &[("s", VALUE)]).join("s");
        let mut build = workshop.build(bases, &context);
        build
            .env("HAMSTER", VALUE)
            .arg(format!("--secret=id=file,src={}", secret.display()))
            .args(["--secret=id=variable,env=HAMSTER", "-t", "secret"]);
        let said = progress(&mut build);
        assert!(!said.contains(VALUE), "{said}");
        assert!(said.contains("printf %s \"****\""), "{said}");
        assert_eq!(holding(&workshop.store(), VALUE), [""; 0]);
        // Another value is no reason to run again.
        fs::write(&secret, "changed").unwrap();
        assert_eq!(Steps::parse(&progress(&mut build)).not_cached(), [""; 0]);
    }
}

/// Files below `folder` in which `word` stands.
fn holding(folder: &Path, word: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                open.push(path);
            } else if kind.is_file() && fs::read(&path).is_ok_and(|content| text(&content).contains(word)) {
                found.push(path.display().to_string());
            }
        }
    }
    found
}

#[test]
fn what_is_not_lent_is_said_with_the_remedy() {
    let Some(bases) = Bases::find() else { return };
    let workshop = Workshop::own();
    for (mount, said) in [
        ("type=secret,id=s", "secret s: not found"),
        ("type=ssh", "no SSH key \"default\" forwarded from the client"),
    ] {
        let dockerfile = format!("FROM busybox\nRUN --mount={mount},required true\n");
        let context = workshop.context("required", &[("Dockerfile", &dockerfile)]);
        let stderr = ends_with(&mut workshop.build(bases, &context), 1);
        assert!(stderr.contains(said) && stderr.contains("hint: "), "{stderr}");
        // Nothing is there that need not be.
        let dockerfile = format!("FROM busybox\nRUN --mount={mount} ! ls /run/secrets /run/buildkit\n");
        let context = workshop.context("optional", &[("Dockerfile", &dockerfile)]);
        progress(&mut workshop.build(bases, &context));
    }
}

#[test]
fn an_agent_is_a_socket_of_the_step() {
    let Some(bases) = Bases::find().filter(|_| has_other_ids()) else {
        return;
    };
    let workshop = Workshop::own();
    let dockerfile = "FROM busybox\nRUN --mount=type=ssh,uid=3,gid=4,mode=640 \
        test -S $SSH_AUTH_SOCK && stat -c '%u:%g %a' /run/buildkit/ssh_agent.0 > /socket\n";
    let context = workshop.context("agent", &[("Dockerfile", dockerfile)]);
    let socket = workshop.path("agent.sock");
    let _listener = support::socket(&socket);
    let lend = format!("--ssh=default={}", socket.display());
    let tree = files(&workshop, bases, &context, &[&lend]);
    assert_eq!(read(&tree, "socket"), "3:4 640\n");
    assert!(!tree.join("run").exists());
}

#[test]
fn documents_are_run_by_the_shell_or_by_the_program_they_name() {
    let Some(bases) = Bases::find() else { return };
    for user in [Some(User::Own), User::ordinary()].into_iter().flatten() {
        let workshop = Workshop::new(user);
        let dockerfile = "FROM busybox\nENV V=env\n\
            RUN <<EOF\necho one $V > /shell\nfalse\necho two >> /shell\nEOF\n\
            RUN <<EOF\n#!/bin/awk -f\nBEGIN { print \"awk\" > \"/file\" }\nEOF\n\
            RUN <<-A cat > /both && cat <<'B' >> /both\n\t$V\n\tA\n$V\nB\n";
        let context = workshop.context("documents", &[("Dockerfile", dockerfile)]);
        let tree = files(&workshop, bases, &context, &[]);
        assert_eq!(read(&tree, "shell"), "one env\ntwo\n");
        assert_eq!(read(&tree, "file"), "awk\n");
        assert_eq!(read(&tree, "both"), "env\n$V\n");
    }
}
