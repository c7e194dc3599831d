//! The Dockerfile language as its user meets it: each Dockerfile checks itself with `test` in RUN, and a build that fails
//! fails the test. As root and as an ordinary user.

use std::process::Command;

use crate::support::{Bases, User, Workshop, ends_with, has_namespaces, has_other_ids, progress, run};

/// Builds a context of these files on busybox, as every kind of user.
fn builds(files: &[(&str, &str)], flags: &[&str]) {
    let Some(bases) = Bases::find() else { return };
    for user in [Some(User::Own), User::ordinary()].into_iter().flatten() {
        let workshop = Workshop::new(user);
        let context = workshop.context("context", files);
        run(Command::new("chmod").args(["-R", "u=rwX,go=rX"]).arg(&context));
        progress(workshop.build(bases, &context).args(["-t", "it"]).args(flags));
    }
}

fn dockerfile(text: &str) {
    builds(&[("Dockerfile", text)], &[]);
}

#[test]
fn documents_are_commands_programs_and_files() {
    dockerfile(
        r#"FROM busybox
ARG WHO=world
RUN <<EOF
echo one > /one
echo "$WHO" > /two
EOF
RUN <<PROGRAM
#!/bin/sh
echo "$0" | grep -q /dev/pipes/ && echo program > /three
PROGRAM
RUN cat > /four <<A && cat > /five <<"B"
four $WHO
A
five $WHO
B
RUN <<-EOF
	echo six > /six
EOF
COPY <<plain <<"quoted" /documents/
hello ${WHO} "as is" \$WHO
plain
hello $WHO
quoted
RUN test "$(cat /one /two /three /four /five /six | tr '\n' ,)" = 'one,world,program,four world,five $WHO,six,'
RUN test "$(cat /documents/plain)" = 'hello world "as is" $WHO' && test "$(cat /documents/quoted)" = 'hello $WHO'
RUN test "$(stat -c %a:%u:%g /documents/plain)" = 644:0:0
"#,
    );
}

#[test]
fn variables_have_all_their_forms_and_their_precedence() {
    let text = r#"ARG GLOBAL=from-above
FROM busybox
ARG GLOBAL
ARG TARGETOS TARGETPLATFORM
ARG given=default
ENV file=archive.tar.gz empty= given2=env
ENV all=${file%.*}:${file%%.*}:${file#*.}:${file##*.}:${file/a/o}:${file//a/o}:${empty:-none}:${empty-kept}:${empty:+some}:${empty+set}:${file:+${GLOBAL}}
ENV same=1
ENV same=2 copy=$same
RUN test "$all" = archive.tar:archive:tar.gz:gz:orchive.tar.gz:orchive.tor.gz:none:::set:from-above || { echo "$all"; false; }
RUN test "$copy" = 1 && test "$same" = 2 && test "$given" = argument && test "$TARGETOS" = linux
ARG given2
RUN test "$given2" = late
ARG given2=other
ENV given2=env
RUN test "$given2" = env
"#;
    builds(
        &[("Dockerfile", text)],
        &["--build-arg=given=argument", "--build-arg=given2=late"],
    );
}

#[test]
fn proxies_are_given_to_processes_and_to_nobody_else() {
    let Some(bases) = Bases::find() else { return };
    let text = "FROM busybox\nRUN test -n \"$HTTP_PROXY\" && test \"$HTTP_PROXY\" = \"$http_proxy\"\n";
    let workshop = Workshop::own();
    let context = workshop.context("context", &[("Dockerfile", text)]);
    let build = |proxy: &str| {
        let proxy = format!("HTTP_PROXY={proxy}");
        progress(
            workshop
                .build(bases, &context)
                .args(["-t", "it", "--build-arg", &proxy]),
        )
    };
    build("http://p:1");
    let again = build("http://q:2");
    assert!(again.contains("CACHED"), "a proxy is in the key:\n{again}");
    assert!(!run(workshop.rbuild().args(["inspect", "it"])).contains("http://"));
}

#[test]
fn owners_and_modes_are_those_of_buildkit() {
    if !has_other_ids() {
        return;
    }
    let text = r#"FROM busybox AS other
RUN mkdir /made && echo x > /made/x && chown -R 7:8 /made && chmod 4755 /made/x
FROM busybox
RUN echo ada:x:1234:99::/:/bin/sh >> /etc/passwd && echo team:x:4321: >> /etc/group
COPY tool /plain
COPY --chown=ada tool /of-ada
COPY --chown=ada:team --chmod=u=rwx,g=rX,o= tool /of-team
COPY --chown=5 tool /of-5
COPY --from=other /made /made
ADD --chmod=0711 tool /added/
USER ada
WORKDIR /home/of/ada
RUN check() { test "$(stat -c %a:%u:%g "$1")" = "$2" || { stat "$1"; exit 1; }; }; \
    check /plain 644:0:0 && check /of-ada 644:1234:99 && check /of-team 740:1234:4321 && check /of-5 644:5:5 && \
    check /made/x 4755:7:8 && check /added/tool 711:0:0 && check /home/of 755:1234:99 && test "$(pwd)" = /home/of/ada
"#;
    builds(&[("tool", "#!/bin/sh\n"), ("Dockerfile", text)], &[]);
}

#[test]
fn ignored_files_are_not_there_and_the_dockerfiles_own_list_comes_first() {
    let Some(bases) = Bases::find() else { return };
    let finds = |names: &str| {
        format!(
            "FROM busybox\nCOPY . /all/\nRUN test \"$(cd /all && find . -type f | sort | tr '\\n' ' ')\" = '{names} '\n"
        )
    };
    let common = finds("./.dockerignore ./Dockerfile ./keep/me ./other.dockerfile ./other.dockerfile.dockerignore");
    let other = finds("./a.log ./keep/me ./keep/not");
    let workshop = Workshop::own();
    let context = workshop.context(
        "context",
        &[
            ("Dockerfile", &common),
            (".dockerignore", "keep/*\n!keep/me\n**/*.log\n"),
            ("keep/me", ""),
            ("keep/not", ""),
            ("a.log", ""),
            ("deep/er/b.log", ""),
            ("other.dockerfile", &other),
            ("other.dockerfile.dockerignore", "*\n!keep\n!a.log\n"),
        ],
    );
    progress(workshop.build(bases, &context).arg("-o=type=cacheonly"));
    let other = context.join("other.dockerfile");
    progress(
        workshop
            .build(bases, &context)
            .arg("-o=type=cacheonly")
            .arg("-f")
            .arg(other),
    );
}

#[test]
fn triggers_are_run_where_their_image_is_used() {
    dockerfile(
        r#"FROM busybox AS files
RUN echo source > /source
FROM busybox AS base
ONBUILD RUN echo triggered > /trace
ONBUILD COPY --from=files /source /copied
FROM base AS child
RUN test "$(cat /trace /copied | tr '\n' ,)" = triggered,source,
FROM child
RUN echo own > /own
"#,
    );
}

#[test]
fn a_step_has_the_network_hosts_limits_and_memory_it_is_given() {
    if !has_namespaces() {
        return;
    }
    let text = r#"FROM busybox
RUN --network=none test "$(ls /sys/class/net)" = lo && ! ip route | grep -q default
RUN grep -q '10.1.2.3.*friend' /etc/hosts
RUN test "$(ulimit -n)" = 512 && df -k /dev/shm | grep -q 131072
RUN test "$(hostname)" = buildkitsandbox
"#;
    builds(
        &[("Dockerfile", text)],
        &[
            "--add-host=friend:10.1.2.3",
            "--ulimit=nofile=512:512",
            "--shm-size=128m",
        ],
    );
}

#[test]
fn a_file_system_in_memory_is_as_large_as_asked_and_leaves_nothing() {
    if !has_namespaces() {
        return;
    }
    dockerfile(
        r#"FROM busybox
RUN --mount=type=tmpfs,target=/memory,size=2m df -k /memory | grep -q ' 2048 ' && echo x > /memory/file
RUN test ! -e /memory
"#,
    );
}

#[test]
fn times_of_new_layers_are_rewritten_on_demand() {
    let Some(bases) = Bases::find() else { return };
    let workshop = Workshop::own();
    let context = workshop.context("context", &[("Dockerfile", "FROM busybox\nRUN echo x > /new\n")]);
    let times = |attribute: &str| {
        let layout = workshop.path(&format!("layout-{}", attribute.len()));
        let output = format!("-o=type=oci,tar=false,dest={}{attribute}", layout.display());
        progress(
            workshop
                .build(bases, &context)
                .arg(output)
                .arg("--build-arg=SOURCE_DATE_EPOCH=1000000000"),
        );
        let read = |name: &str| -> serde_json::Value {
            serde_json::from_slice(&std::fs::read(layout.join(name)).unwrap()).unwrap()
        };
        let blob = |digest: &serde_json::Value| format!("blobs/{}", digest.as_str().unwrap().replace(':', "/"));
        let manifest = read(&blob(&read("index.json")["manifests"][0]["digest"]));
        let layers = manifest["layers"].as_array().unwrap();
        run(Command::new("tar")
            .arg("-tvzf")
            .arg(layout.join(blob(&layers.last().unwrap()["digest"]))))
    };
    assert!(times(",rewrite-timestamp=true").contains("2001-09-09"));
    assert!(!times("").contains("2001-09-09"));
}

#[test]
fn a_step_without_limits_must_be_allowed() {
    if !has_namespaces() {
        return;
    }
    let Some(bases) = Bases::find() else { return };
    let workshop = Workshop::own();
    // Of the bounding set the last of many; ordinary steps have fourteen capabilities.
    let text = "FROM busybox\nRUN ! grep -q 'CapBnd.*f$' /proc/self/status || exit 1\nRUN --security=insecure grep 'CapEff.*ff' /proc/self/status\n";
    let context = workshop.context("context", &[("Dockerfile", text)]);
    let said = ends_with(workshop.build(bases, &context).arg("-o=type=cacheonly"), 2);
    assert!(said.contains("security.insecure is not allowed"), "{said}");
    let allowed = ["-o=type=cacheonly", "--allow=security.insecure"];
    progress(workshop.build(bases, &context).args(allowed));
}

#[test]
fn a_foreign_frontend_is_refused_by_name_and_the_own_one_is_built_in() {
    dockerfile("# syntax=docker/dockerfile:1\nFROM busybox\nRUN true\n");
    let Some(bases) = Bases::find() else { return };
    let workshop = Workshop::own();
    let context = workshop.context(
        "context",
        &[("Dockerfile", "# syntax=example.com/frontend:1\nFROM busybox\n")],
    );
    let said = ends_with(&mut workshop.build(bases, &context), 2);
    assert!(said.contains("example.com/frontend:1"), "{said}");
}

#[test]
fn hints_name_what_was_meant() {
    let Some(bases) = Bases::find() else { return };
    let workshop = Workshop::own();
    for (text, code, hint) in [
        ("FROM busybox\nRUNN true\n", 2, "did you mean run?"),
        ("FROM busybox AS build\nFROM biuld\n", 3, "did you mean build?"),
        ("FROM busybox\nCOPY --form=x a b\n", 2, "did you mean from?"),
        (
            "FROM busybox\nRUN --mount=type=cahce,target=/c true\n",
            2,
            "did you mean cache?",
        ),
        ("FROM busybox\nCOPY reamde /\n", 1, "did you mean"),
    ] {
        let context = workshop.context("context", &[("Dockerfile", text), ("readme", "")]);
        let said = ends_with(&mut workshop.build(bases, &context), code);
        assert!(said.to_lowercase().contains(hint), "{text}\n{said}");
    }
}
