//! Steps that want to outlive themselves, to end their builder, or to be more than it can hold.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::{Bases, User, Workshop, binary, ends_with, eventually, has_namespaces, progress, run};

fn for_everybody(attack: impl Fn(&Workshop, &Bases)) {
    let Some(bases) = Bases::find() else { return };
    for workshop in Workshop::of_everybody() {
        attack(&workshop, bases);
    }
}

/// Whether any process of the machine was started with this word among its arguments.
fn is_running(word: &str) -> bool {
    let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    processes
        .filter_map(|process| fs::read(process.path().join("cmdline")).ok())
        .any(|arguments| {
            arguments
                .split(|byte| *byte == 0)
                .any(|argument| argument == word.as_bytes())
        })
}

#[test]
fn signals_to_everybody_reach_nobody_outside() {
    let Some(bases) = Bases::find() else { return };
    // Without namespaces it is tried where it can do no harm: `plain.rs`.
    if !has_namespaces() {
        return;
    }
    for user in [Some(User::Own), User::ordinary()].into_iter().flatten() {
        let workshop = Workshop::new(user);
        let dockerfile = "FROM busybox\n\
            RUN trap '' TERM HUP INT; kill -TERM -1; kill -HUP 0; kill -INT -1; echo survived\n\
            RUN (sleep 1; true) & kill -9 -1; kill -9 1; kill -STOP 1; echo also\n";
        let context = workshop.context("signals", &[("Dockerfile", dockerfile)]);
        let said = progress(&mut workshop.build(bases, &context));
        assert!(said.contains("survived") && said.contains("also"), "{said}");
    }
}

#[test]
fn what_a_step_leaves_running_ends_with_it() {
    for_everybody(|workshop, bases| {
        let word = format!("{}", 7_000_000 + std::process::id());
        let dockerfile = format!(
            "FROM busybox\n\
             RUN (trap '' HUP TERM; setsid nohup sh -c 'setsid sleep {word} & sleep {word}' >/dev/null 2>&1 </dev/null &) ; \
             sleep 0.2; echo started\n\
             RUN ! ps | grep '[s]leep {word}'\n"
        );
        let context = workshop.context("daemon", &[("Dockerfile", &dockerfile)]);
        progress(&mut workshop.build(bases, &context));
        assert!(!is_running(&word));
    });
}

#[test]
fn a_step_dies_with_a_builder_that_is_killed() {
    let Some(bases) = Bases::find() else { return };
    for workshop in [Some(Workshop::own()), Workshop::plain()].into_iter().flatten() {
        let word = format!("{}", 8_000_000 + std::process::id());
        let dockerfile = format!("FROM busybox\nRUN trap '' TERM HUP INT; setsid sleep {word} & sleep {word}\n");
        let context = workshop.context("killed", &[("Dockerfile", &dockerfile)]);
        let mut build = workshop.direct(bases, &context).stderr(Stdio::null()).spawn().unwrap();
        assert!(eventually(Duration::from_secs(60), || is_running(&word)));
        build.kill().unwrap();
        build.wait().unwrap();
        assert!(eventually(Duration::from_secs(20), || !is_running(&word)));
    }
}

#[test]
fn an_interpreter_that_is_the_builder_cannot_be_written_to() {
    for_everybody(|workshop, bases| {
        let before = fs::read(binary()).unwrap();
        let dockerfile = "FROM busybox\n\
            RUN printf '#!/proc/self/exe\\n' > /self && chmod 755 /self && printf '#!/self\\n' > /twice && chmod 755 /twice\n\
            RUN [\"/self\"]\n";
        let context = workshop.context("self", &[("Dockerfile", dockerfile)]);
        let said = ends_with(&mut workshop.build(bases, &context), 1);
        assert!(said.contains("/self"), "{said}");
        assert!(before == fs::read(binary()).unwrap());
    });
}

#[test]
fn arguments_and_variables_that_are_too_much_are_told() {
    for_everybody(|workshop, bases| {
        let long = "x".repeat(140_000);
        let many: String = (0..40)
            .map(|number| format!("ENV V{number}={}\n", "y".repeat(100_000)))
            .collect();
        for dockerfile in [
            format!("FROM busybox\nRUN [\"echo\", \"{long}\"]\n"),
            format!("FROM busybox\nENV V={long}\nRUN true\n"),
            format!("FROM busybox\n{many}RUN true\n"),
        ] {
            let context = workshop.context("much", &[("Dockerfile", &dockerfile)]);
            let said = ends_with(&mut workshop.build(bases, &context), 1);
            assert!(
                said.contains("argument list too long"),
                "{}",
                &said[..said.len().min(2000)]
            );
        }
    });
}

/// Files of root's in a store are files of root's: who can reach them can become root.
#[test]
fn other_users_cannot_reach_the_files_of_a_store() {
    let Some(bases) = Bases::find() else { return };
    let Some(User::Other(name)) = User::ordinary() else {
        return;
    };
    let workshop = Workshop::own();
    let dockerfile = "FROM busybox\nRUN cp /bin/busybox /as-root && chmod 4755 /as-root\n";
    let context = workshop.context("setuid", &[("Dockerfile", dockerfile)]);
    progress(workshop.build(bases, &context).arg("-t").arg("setuid"));
    let found = run(Command::new("find")
        .arg(workshop.store())
        .args(["-name", "as-root", "-perm", "-4000"]));
    let file = found.lines().next().expect("the store keeps the program");
    let mode = fs::metadata(file).unwrap().permissions().mode();
    assert_eq!(mode & 0o4000, 0o4000);
    let reached = Command::new("runuser")
        .args(["-u", &name, "--", "test", "-e", file])
        .status()
        .unwrap();
    assert!(!reached.success(), "{name} reaches {file}");
    assert!(Path::new(file).exists());
}
