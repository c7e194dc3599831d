//! Steps of one build that run at once: one has something, the other wants it. They meet on the network, which they share.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::attacks::program;
use super::table::{Verdict, verdicts};
use crate::container::{Container, Filter};
use crate::support::{Bases, Workshop, free_port, progress, text};

const DOCKERFILE: &str = "FROM scratch AS waits\n\
    ARG HOST_PORT\nARG HOST_PATIENCE\n\
    COPY attack /attack\n\
    USER WHO\n\
    RUN [\"/attack\", \"wait\"]\n\
    FROM scratch\n\
    ARG HOST_FILE\nARG HOST_PORT\nARG HOST_PATIENCE\n\
    COPY attack /attack\n\
    COPY --chown=WHO made /made/\n\
    USER WHO\n\
    RUN [\"/attack\", \"/made/verdicts\", \"neighbours\"]\n\
    COPY --from=waits /attack /waits\n";

/// Fills the folder of a context.
fn fill(context: &Path, program: &Path, user: &str) {
    fs::write(context.join("Dockerfile"), DOCKERFILE.replace("WHO", user)).unwrap();
    fs::copy(program, context.join("attack")).unwrap();
    fs::set_permissions(context.join("attack"), fs::Permissions::from_mode(0o755)).unwrap();
}

fn arguments(file: &Path, patience: u32) -> Vec<String> {
    vec![
        format!("--build-arg=HOST_FILE={}", file.display()),
        format!("--build-arg=HOST_PORT={}", free_port()),
        format!("--build-arg=HOST_PATIENCE={patience}"),
        "--max-parallelism=4".to_owned(),
        "--no-cache".to_owned(),
    ]
}

fn assert_all_stopped(who: &str, found: &BTreeMap<String, Verdict>) {
    assert_eq!(found.len(), 4, "{who}: {found:#?}");
    assert!(
        found.values().all(|verdict| verdict.word == "stopped"),
        "{who}: {found:#?}"
    );
}

#[test]
fn a_step_gets_nothing_of_one_beside_it() {
    let Some(program) = program() else { return };
    for workshop in Workshop::of_everybody() {
        let context = workshop.context("context", &[("made/file", ""), ("host-file", "of the host")]);
        for user in ["0:0", "1000:1000"] {
            fill(&context, &program, user);
            let mut build = workshop.rbuild();
            build
                .arg("--progress=plain")
                .args(arguments(&context.join("host-file"), 60));
            let out = context.join("out");
            build
                .arg(format!("--output=type=local,dest={}", out.display()))
                .arg(&context);
            progress(&mut build);
            let found = verdicts(&fs::read_to_string(out.join("made/verdicts")).unwrap());
            assert_all_stopped(&format!("{workshop:?} {user}"), &found);
            fs::remove_dir_all(&out).unwrap();
        }
    }
}

/// In a container without namespaces a step of root's is kept from others, and one that cannot be runs alone.
#[test]
fn without_namespaces_a_step_gets_nothing_of_one_beside_it_either() {
    let (Some(program), Some(bases)) = (program(), Bases::find()) else {
        return;
    };
    let Some(container) = Container::new(bases, Filter::Docker) else {
        return;
    };
    container.context("context", &[("made/file", ""), ("host-file", "of the host")]);
    let build = |container: &Container, user: &str, patience: u32| {
        fill(&container.at("context"), &program, user);
        let arguments = arguments(Path::new("/context/host-file"), patience);
        let mut words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let out = format!("--output=type=local,dest=/out-{user}");
        words.push(&out);
        let built = container.build("context", &words);
        let said = text(&built.stderr);
        let found = fs::read_to_string(container.made(&format!("out-{user}/made/verdicts")));
        (built.status.success(), said, verdicts(&found.unwrap_or_default()))
    };
    let (is_built, said, found) = build(&container, "0:0", 60);
    assert!(is_built, "{said}");
    assert_all_stopped("root", &found);

    let (is_built, said, _) = build(&container, "1000:1000", 2);
    assert!(!is_built, "they met: {said}");
    assert!(
        said.contains("waiting for the other steps: where there are no namespaces"),
        "{said}"
    );

    let container = container.without_new_powers();
    let (is_built, said, found) = build(&container, "1000:1000", 60);
    assert!(is_built, "{said}");
    assert_all_stopped("without new powers", &found);
}
