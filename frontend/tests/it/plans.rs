//! Facts about plans that no golden file shows well.

use frontend::{NamedContext, NoCache};
use futures_util::FutureExt;
use graph::{NetworkMode, Op, Process};

use crate::images::{images, options, plan, plan_with};

fn names(plan: &frontend::Plan) -> Vec<&str> {
    plan.definition
        .iter()
        .map(|(_, vertex)| vertex.metadata.name.as_str())
        .collect()
}

fn process(plan: &frontend::Plan) -> &Process {
    let target = plan.definition.target().unwrap();
    match &plan.definition.vertex(target).op {
        Op::Exec(exec) => &exec.process,
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_images_that_the_target_needs_are_looked_up() {
    let images = images();
    let text = "FROM nowhere AS unused\nRUN x\nFROM busybox AS a\nFROM busybox\nCOPY --from=conf/rich /x /\n";
    frontend::plan(text.as_bytes(), &options(), &images, &frontend::Findings::new())
        .now_or_never()
        .unwrap()
        .unwrap();
    assert_eq!(
        *images.asked.lock().unwrap(),
        [
            "docker.io/conf/rich:latest linux/amd64",
            "docker.io/library/busybox:latest linux/amd64"
        ]
    );
}

#[test]
fn every_layer_of_history_is_a_vertex_of_the_spine() {
    for text in [
        "FROM busybox\nENV a=b\nRUN x\nWORKDIR /\nWORKDIR /w\nCOPY a b c/\nADD d e\nCMD x\n",
        "FROM scratch\nCOPY a /\n",
        "FROM busybox\nCOPY --link a /\nCOPY --link a /\nRUN x\nADD --link b /\n",
        "FROM scratch\nCOPY --link a /\nCOPY --link b /\n",
        "FROM conf/empty AS a\nRUN a\nFROM a\nWORKDIR b\nLABEL x=y\nRUN c\n",
    ] {
        let plan = plan(text);
        let spine = &plan.definition.spines()[0];
        let of_image = |id: &&graph::VertexId| matches!(plan.definition.vertex(**id).op, Op::Image(_));
        let below = spine.iter().filter(of_image).count();
        let layers = plan.images[0]
            .config
            .history
            .iter()
            .filter(|entry| !entry.empty_layer)
            .count();
        assert_eq!(
            spine.len() - below,
            layers - plan.images[0].config.rootfs.diff_ids.len(),
            "{text}"
        );
    }
}

#[test]
fn documents_are_files_to_copy_from() {
    let text = "FROM scratch\nARG who=you\nCOPY a <<one <<-'two' /d/\n\"$who\" \\$x\none\n\t\t$who\n\ttwo\n";
    let plan = plan(text);
    assert_eq!(
        graph::dump::definition(&plan.definition),
        "#0 local context\n\
         #1 file on scratch: make file /one of 9 bytes mode 644\n\
         #2 file on scratch: make file /two of 5 bytes mode 644\n\
         #3 file on scratch: copy #0:/a to /d/; copy #1:/one to /d/; copy #2:/two to /d/\n\
         target #3\n"
    );
    let history = plan.images[0].config.history.last().unwrap().created_by.as_deref();
    assert_eq!(history, Some("COPY a <<one <<two /d/ # buildkit"));
}

#[test]
fn steps_are_numbered_as_buildkit_does() {
    let digest = "sha256:";
    let plan = plan(
        "FROM busybox AS base\nRUN a\nFROM base AS build\nENV X=1\nWORKDIR /w\nRUN  echo \"$X\"  $Y\nCOPY --from=0 $X /\n",
    );
    let names = names(&plan);
    assert!(names[0].starts_with(&format!("[base 1/2] FROM docker.io/library/busybox:latest@{digest}")));
    assert_eq!(
        names[1..],
        [
            "[base 2/2] RUN a",
            "[build 1/3] WORKDIR /w",
            "[build 2/3] RUN  echo \"1\"  $Y",
            "[build 3/3] COPY --from=0 1 /"
        ]
    );
}

#[test]
fn a_single_stage_has_no_name_and_numbers_line_up() {
    let text = format!("FROM scratch\n{}", "RUN x\n".repeat(10));
    let plan = plan(&text);
    assert_eq!(names(&plan)[0], "[ 1/10] RUN x");
    assert_eq!(names(&plan)[9], "[10/10] RUN x");
    assert_eq!(
        names(&self::plan("FROM scratch\nCOPY a /\n")),
        ["[internal] load build context", "[1/1] COPY a /"]
    );
}

#[test]
fn arguments_reach_processes_and_history_but_not_the_image() {
    let mut options = options();
    options.build_args = [("A", "cli"), ("E", "late"), ("HTTP_PROXY", "http://p"), ("UNUSED", "1")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    let text = "ARG G=g\nFROM scratch\nARG A=default B G N\nENV E=env\nARG E\nRUN x\n";
    let plan = plan_with(text, &options).unwrap();
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(process(&plan).env, [path, "A=cli", "G=g", "E=late"]);
    assert_eq!(process(&plan).proxy_env, ["HTTP_PROXY=http://p", "http_proxy=http://p"]);
    assert_eq!(plan.images[0].config.config.env, [path, "E=env"]);
    let history: Vec<&str> = plan.images[0]
        .config
        .history
        .iter()
        .map(|entry| entry.created_by.as_deref().unwrap())
        .collect();
    assert_eq!(
        history,
        [
            "ARG A=cli B G=g N",
            "ENV E=env",
            "ARG E=late",
            "RUN |5 A=cli B= G=g N= E=late /bin/sh -c x # buildkit"
        ]
    );
}

#[test]
fn named_contexts_replace_stages_and_images() {
    let mut options = options();
    let rich = NamedContext::Image(oci::ImageName::Registry("conf/rich".parse().unwrap()));
    let local = NamedContext::Local {
        context: "lent".to_owned(),
        excludes: vec!["x".to_owned()],
    };
    options.contexts = [
        ("base".to_owned(), rich),
        ("docker.io/library/alpine:latest".to_owned(), local),
        ("debian::linux/amd64".to_owned(), NamedContext::Scratch),
    ]
    .into();
    let plan = plan_with(
        "FROM nowhere AS base\nRUN never\nFROM base\nCOPY --from=alpine a /\nCOPY --from=debian b /\n",
        &options,
    )
    .unwrap();
    let dump = graph::dump::definition(&plan.definition);
    let shape: Vec<String> = dump
        .lines()
        .map(|line| {
            line.split(" sha256:")
                .next()
                .unwrap()
                .split('@')
                .next()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(
        shape,
        [
            "#0 local lent without [\"x\"]",
            "#1 image docker.io/conf/rich:latest",
            "#2 file on #1: copy #0:/a to /",
            "#3 file on scratch: ",
            "#4 file on #2: copy #3:/b to /",
            "target #4"
        ]
    );
    let on_context = plan_with("FROM alpine\nRUN x\n", &options).unwrap();
    assert_eq!(
        names(&on_context),
        [
            "[context docker.io/library/alpine:latest] load from client",
            "FROM alpine",
            "[1/2] RUN x"
        ]
    );
}

#[test]
fn networks_are_forced_or_asked_for() {
    let network = |text: &str, forced, allowed| {
        let mut options = options();
        (options.network, options.allow_network_host) = (forced, allowed);
        let plan = plan_with(text, &options).unwrap();
        match &plan.definition.vertex(plan.definition.target().unwrap()).op {
            Op::Exec(exec) => exec.network,
            other => panic!("{other:?}"),
        }
    };
    let host = "FROM scratch\nRUN --network=host x\n";
    let plain = "FROM scratch\nRUN x\n";
    assert_eq!(network(plain, None, false), NetworkMode::Default);
    assert_eq!(network(plain, Some(NetworkMode::None), false), NetworkMode::None);
    assert_eq!(network(host, None, true), NetworkMode::Host);
}

#[test]
fn stages_without_cache_are_chosen_by_name() {
    let text = "FROM scratch AS a\nRUN x\nFROM a AS B\nRUN y\n";
    for (no_cache, ignored) in [
        (NoCache::No, [false, false]),
        (NoCache::All, [true, true]),
        (NoCache::Stages(vec!["b".to_owned()]), [false, true]),
    ] {
        let mut options = options();
        options.no_cache = no_cache;
        let plan = plan_with(text, &options).unwrap();
        let found: Vec<bool> = plan
            .definition
            .iter()
            .map(|(_, vertex)| vertex.metadata.ignore_cache)
            .collect();
        assert_eq!(found, ignored);
    }
}

#[test]
fn a_step_tells_what_its_key_is_made_of() {
    let plan = plan("FROM conf/rich\nARG V=1\nRUN make\n");
    let target = plan.definition.vertex(plan.definition.target().unwrap());
    let components: Vec<(&str, &str)> = target
        .metadata
        .components
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    assert_eq!(
        components,
        [
            ("instruction", "RUN /bin/sh -c make"),
            ("ENV PATH", "/bin"),
            ("ENV BASE", "1"),
            ("ENV FOO", "base"),
            ("ARG V", "1"),
            ("USER", "daemon"),
            ("WORKDIR", "/srv/app")
        ]
    );
}

#[test]
fn an_entrypoint_clears_a_command_from_below_only() {
    let commands = |text: &str| {
        let config = plan(text).images[0].config.config.clone();
        (config.cmd, config.entrypoint)
    };
    let words = |word: &str| Some(vec![word.to_owned()]);
    assert_eq!(commands("FROM conf/rich\nENTRYPOINT [\"x\"]\n"), (None, words("x")));
    assert_eq!(
        commands("FROM busybox\nCMD [\"c\"]\nENTRYPOINT [\"x\"]\n"),
        (words("c"), words("x"))
    );
    assert_eq!(
        commands("FROM conf/rich\nENTRYPOINT []\nCMD [\"z\"]\n"),
        (words("z"), None)
    );
}

#[test]
fn the_platform_asked_for_is_the_one_of_the_image() {
    let mut options = options();
    options.platforms = vec!["linux/arm/v7".parse().unwrap()];
    let plan = plan_with(
        "FROM --platform=$BUILDPLATFORM busybox AS b\nARG TARGETARCH TARGETPLATFORM\nRUN x\nFROM scratch\nCOPY --from=b /a /\n",
        &options,
    )
    .unwrap();
    assert_eq!(plan.images[0].config.platform().to_string(), "linux/arm/v7");
    let run = plan.definition.iter().find_map(|(_, vertex)| match &vertex.op {
        Op::Exec(exec) => Some(exec),
        _ => None,
    });
    let run = run.unwrap();
    assert_eq!(run.platform.to_string(), "linux/amd64");
    assert!(run.process.env.contains(&"TARGETPLATFORM=linux/arm/v7".to_owned()));
}

#[test]
fn the_epoch_is_given_declared_or_absent() {
    assert_eq!(plan("FROM scratch\nWORKDIR /a\n").epoch, None);
    let text = "ARG SOURCE_DATE_EPOCH=5\nFROM scratch\nARG SOURCE_DATE_EPOCH\nWORKDIR /a\n";
    let with = |given: &str| {
        let mut options = options();
        options
            .build_args
            .insert("SOURCE_DATE_EPOCH".to_owned(), given.to_owned());
        plan_with(text, &options)
    };
    for (plan, epoch, history) in [
        (plan(text), Some(5), "ARG SOURCE_DATE_EPOCH=5"),
        (with("7").unwrap(), Some(7), "ARG SOURCE_DATE_EPOCH=7"),
        (with("007").unwrap(), Some(7), "ARG SOURCE_DATE_EPOCH=7"),
        (with("-1").unwrap(), Some(-1), "ARG SOURCE_DATE_EPOCH=-1"),
        // Given as nothing it is not set, whatever the Dockerfile says; nor is it by a folder, which has no time.
        (with("").unwrap(), None, "ARG SOURCE_DATE_EPOCH"),
        (with("context").unwrap(), None, "ARG SOURCE_DATE_EPOCH"),
    ] {
        assert_eq!(plan.epoch, epoch);
        assert_eq!(plan.images[0].config.history[0].created_by.as_deref(), Some(history));
    }
    let message = with("today").unwrap_err().to_string();
    assert_eq!(message, "invalid SOURCE_DATE_EPOCH: today");
}

#[test]
fn labels_of_the_user_win() {
    let mut options = options();
    options.labels.insert("a".to_owned(), "cli".to_owned());
    let plan = plan_with("FROM scratch\nLABEL a=df b=df\n", &options).unwrap();
    let labels: Vec<(&str, &str)> = plan.images[0]
        .config
        .config
        .labels
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    assert_eq!(labels, [("a", "cli"), ("b", "df")]);
    assert_eq!(plan.images[0].config.history.len(), 1);
    assert_eq!(plan.definition.target(), None);
}

#[test]
fn a_document_alone_is_the_command_and_otherwise_the_shells() {
    for (text, name, last) in [
        ("RUN <<EOF\na $B\n\tc\nEOF", "RUN <<EOF (a $B...)", "a $B\n\tc\n"),
        ("RUN <<-EOF\n\ta\n\tEOF", "RUN <<-EOF (a)", "a\n"),
        ("RUN <<'E F' \na\nE F", "RUN <<'E F' (a)", "a\n"),
        ("RUN <<EOF sh\na\nEOF", "RUN <<EOF sh", "<<EOF sh\na\nEOF"),
        ("RUN <<-EOF cat\n\ta\n\tEOF", "RUN <<-EOF cat", "<<-EOF cat\n\ta\nEOF"),
        (
            "RUN cat <<A 3<<B\na\nA\nb\nB",
            "RUN cat <<A 3<<B",
            "cat <<A 3<<B\na\nA\nb\nB",
        ),
    ] {
        let plan = plan(&format!("FROM scratch\n{text}\n"));
        assert_eq!(process(&plan).args, ["/bin/sh", "-c", last], "{text}");
        assert_eq!(names(&plan), [format!("[1/1] {name}")], "{text}");
    }
}

#[test]
fn parents_are_kept_from_the_pivot_on() {
    for (source, selected) in [
        ("a/b", "/ only \"a/b\""),
        ("./a/../b/", "/ only \"b\""),
        ("/a/./b/./c", "/a only \"b/c\""),
        ("a/b*/./c/**/d", "/a/b* only \"c/**/d\""),
        ("/./a", "/ only \"a\""),
        ("a/./", "/a"),
        (".", "/"),
    ] {
        let plan = plan(&format!("FROM scratch\nCOPY --parents --exclude=x {source} /o/\n"));
        let text = graph::dump::definition(&plan.definition);
        let (path, only) = selected.split_once(' ').unwrap_or((selected, ""));
        let expected = format!("copy #0:{path} to /o/ {only} without [\"x\"]").replace("  ", " ");
        assert!(text.contains(&expected), "{source}: {text}");
    }
}

#[test]
fn linked_files_are_a_tree_of_their_own() {
    let text = "FROM busybox\nWORKDIR /w\nCOPY --link a .\nCOPY --link --chown=u:1 a b\nADD --link --chmod=600 a c\n";
    let plan = plan(text);
    let text = graph::dump::definition(&plan.definition);
    let (_, steps) = text.split_once('\n').unwrap();
    assert_eq!(
        steps,
        "#1 file on #0: make directory /w mode 755\n\
         #2 local context\n\
         #3 file on scratch: copy #2:/a to /w/\n\
         #4 merge #1, #3\n\
         #5 file on scratch names of #4: copy #2:/a to /w/b owner u:1\n\
         #6 merge #4, #5\n\
         #7 file on #6: copy or unpack #2:/a to /w/c mode 600\n\
         target #7\n"
    );
    let names = names(&plan);
    assert_eq!(names[3], "[3/5] COPY --link a .");
    assert_eq!(names[4], "[3/5] LINK COPY --link a .");
}

#[test]
fn mounts_are_what_they_say_after_variables_are_replaced() {
    for (flags, expected) in [
        ("--mount=target=m", "bind #0:/ at /w/m read-only"),
        ("--mount=target=$D/m,source=../a/./b,rw", "bind #0:/a/b at /d/m"),
        ("--mount=from=scratch,target=/m", "bind at /m read-only"),
        ("--mount=type=bind,from=S,target=/m", "bind #0:/ at /m read-only"),
        ("--mount=type=$T,target=/m,size=1k", "tmpfs of 1024 at /m"),
        ("--mount=type=tmpfs,target=/m,ro", "tmpfs at /m read-only"),
        ("--mount=type=cache,target=m/", "shared cache \"/m\" at /w/m"),
        (
            "--mount=type=cache,target=/m,id=i,sharing=locked",
            "locked cache \"/i\" at /m",
        ),
        (
            "--mount=type=cache,target=/m,mode=700",
            "shared cache \"//m\" #0:/cache at /m",
        ),
        (
            "--mount=type=cache,from=s,src=/x,target=/m,ro",
            "shared cache \"//m\" #0:/x at /m read-only",
        ),
        (
            "--mount=type=secret,id=a/b",
            "secret \"a/b\" owner 0:0 mode 400 at /run/secrets/b",
        ),
        (
            "--mount=type=secret,target=/x/y,uid=1,required",
            "secret \"y\" required owner 1:0 mode 400 at /x/y",
        ),
        ("--mount=type=secret,id=s,env=V", "$V from secret \"s\""),
        (
            "--mount=type=ssh",
            "ssh \"default\" owner 0:0 mode 600 at /run/buildkit/ssh_agent.0",
        ),
        (
            "--mount=type=ssh,id=k,target=s,mode=666",
            "ssh \"k\" owner 0:0 mode 666 at /w/s",
        ),
    ] {
        let text = format!("FROM busybox AS s\nRUN s\nFROM scratch\nARG D=/d T=tmpfs\nWORKDIR /w\nRUN {flags} x\n");
        let dump = graph::dump::definition(&plan(&text).definition);
        let mounted = dump.lines().rev().nth(1).unwrap().split("; ").nth(1).unwrap();
        // Which number a vertex has is no part of the fact.
        let mounted: String = mounted
            .split(' ')
            .map(|word| match word.strip_prefix('#') {
                Some(number) => format!("#0{}", number.trim_start_matches(|c: char| c.is_ascii_digit())),
                None => word.to_owned(),
            })
            .collect::<Vec<_>>()
            .join(" ");
        assert_eq!(mounted, expected, "{flags}");
    }
}

#[test]
fn the_first_agent_is_the_one_processes_find() {
    let agents = "RUN --mount=type=ssh,id=a,target=/a --mount=type=ssh,id=b x";
    for (before, socket) in [("", "/a"), ("ENV SSH_AUTH_SOCK=/mine\n", "/mine")] {
        let plan = plan(&format!("FROM scratch\n{before}{agents}\n"));
        let line = format!("SSH_AUTH_SOCK={socket}");
        assert!(process(&plan).env.contains(&line), "{:?}", process(&plan).env);
    }
}

#[test]
fn secrets_are_stars_in_names_and_absent_from_history() {
    let plan = plan("FROM scratch\nENV V=old\nRUN --mount=type=secret,id=s,env=V echo $V\n");
    assert_eq!(
        names(&plan),
        ["[stage-0 1/1] RUN --mount=type=secret,id=s,env=V echo ****"]
    );
    let history = plan.images[0].config.history.last().unwrap().created_by.as_deref();
    assert_eq!(history, Some("RUN /bin/sh -c echo $V # buildkit"));
}
