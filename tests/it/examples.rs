//! Each folder of `examples/` is built cold, built again, edited and built once more; what it made is run and asked.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::progress::{Ending, Steps};
use crate::runc;
use crate::support::{Bases, User, Workshop, eventually, free_port, progress, run};

/// A folder of `examples/` and what is to be expected of it.
struct Example {
    folder: &'static str,
    /// Variables that name the bundle of certificates to the tool that needs the network.
    certificate_arguments: &'static [&'static str],
    question: Question,
    answer: &'static str,
    edit: Edit,
    /// What another runtime runs to get the answer; nothing for the image's own command.
    elsewhere: &'static [&'static str],
}

/// How the result is asked.
enum Question {
    /// Its command is run; the answer is its output.
    Run,
    /// It serves on the port of `PORT`; the answer is the page at this path.
    Get(&'static str),
}

/// A change of one file, and what it means for the next build. Steps are named by words of their line in the progress.
struct Edit {
    file: &'static str,
    from: &'static str,
    to: &'static str,
    answer: &'static str,
    run_again: &'static [&'static [&'static str]],
    still_cached: &'static [&'static [&'static str]],
}

const C_PROGRAM: Example = Example {
    folder: "c-program",
    certificate_arguments: &[],
    question: Question::Run,
    answer: "2 lines, 19 words\n",
    edit: Edit {
        file: "src/main.c",
        from: "%lu lines, %lu words",
        to: "%lu lines, %lu words in \" VERSION \"",
        answer: "2 lines, 19 words in dev\n",
        run_again: &[&["build", "COPY src"], &["build", "RUN make VERSION"]],
        still_cached: &[
            &["compiler", "apt-get"],
            &["build", "COPY Makefile"],
            &["COPY poem.txt"],
        ],
    },
    elsewhere: &[],
};

const PYTHON_WEB: Example = Example {
    folder: "python-web",
    certificate_arguments: &["PIP_CERT"],
    question: Question::Get("/names/ada"),
    answer: "{\"letters\":3,\"name\":\"ada\"}\n",
    edit: Edit {
        file: "app.py",
        from: "letters=len(name)",
        to: "letters=len(name) + 1",
        answer: "{\"letters\":4,\"name\":\"ada\"}\n",
        run_again: &[&["COPY app.py"]],
        still_cached: &[&["pip install"], &["COPY --from=build"], &["python3-venv"]],
    },
    elsewhere: &[
        "/app/venv/bin/python3",
        "-c",
        "import app; print(app.app.test_client().get('/names/ada').text, end='')",
    ],
};

const NODE_APP: Example = Example {
    folder: "node-app",
    certificate_arguments: &["NODE_EXTRA_CA_CERTS"],
    question: Question::Get("/sum/2/3"),
    answer: "{\"sum\":5}",
    edit: Edit {
        file: "server.js",
        from: "json({ sum:",
        to: "json({ total:",
        answer: "{\"total\":5}",
        run_again: &[&["COPY package.json server.js"]],
        still_cached: &[&["npm ci"], &["COPY --from=dependencies"]],
    },
    elsewhere: &[
        "/usr/bin/node",
        "-e",
        "require('./server.js'); setTimeout(() => fetch('http://127.0.0.1:3000/sum/2/3').then(a => a.text()) \
         .then(text => { process.stdout.write(text); process.exit(); }), 300)",
    ],
};

const RUST_PROGRAM: Example = Example {
    folder: "rust-program",
    certificate_arguments: &["CARGO_HTTP_CAINFO"],
    question: Question::Run,
    answer: "north: 42\nsouth: 5\n",
    edit: Edit {
        file: "src/main.rs",
        from: "{region}: {total}",
        to: "{region} = {total}",
        answer: "north = 42\nsouth = 5\n",
        run_again: &[&["COPY src src"], &["cargo build"], &["COPY --from=build"]],
        still_cached: &[&["apt-get"], &["cargo fetch"]],
    },
    elsewhere: &[],
};

const MONOREPO: Example = Example {
    folder: "monorepo",
    certificate_arguments: &[],
    question: Question::Run,
    answer: "orders: 3 kinds of items\nstock: 7 pieces\ninvoices: 318.00 in all\nchecks: 3 passed\n",
    edit: Edit {
        file: "docs/2-stock.md",
        from: "Counts the pieces",
        to: "Counts all the pieces",
        answer: "orders: 3 kinds of items\nstock: 7 pieces\ninvoices: 318.00 in all\nchecks: 3 passed\n",
        run_again: &[
            &["docs", "COPY docs"],
            &["docs", "RUN sh docs/render"],
            &["COPY --from=docs"],
        ],
        still_cached: &[
            &["RUN make -C orders"],
            &["RUN make -C stock"],
            &["RUN make -C invoices"],
            &["RUN sh checks/run"],
            &["shop", "COPY --from=orders"],
        ],
    },
    elsewhere: &[],
};

#[test]
fn a_c_program() {
    walk(&C_PROGRAM, User::Own);
}

#[test]
fn a_python_web_app() {
    walk(&PYTHON_WEB, User::Own);
}

#[test]
fn a_node_app() {
    walk(&NODE_APP, User::Own);
}

#[test]
fn a_rust_program() {
    walk(&RUST_PROGRAM, User::Own);
}

#[test]
fn a_monorepo() {
    walk(&MONOREPO, User::Own);
}

#[test]
fn a_c_program_as_an_ordinary_user() {
    User::ordinary().into_iter().for_each(|user| walk(&C_PROGRAM, user));
}

#[test]
fn a_python_web_app_as_an_ordinary_user() {
    User::ordinary().into_iter().for_each(|user| walk(&PYTHON_WEB, user));
}

#[test]
fn a_node_app_as_an_ordinary_user() {
    User::ordinary().into_iter().for_each(|user| walk(&NODE_APP, user));
}

#[test]
fn a_rust_program_as_an_ordinary_user() {
    User::ordinary().into_iter().for_each(|user| walk(&RUST_PROGRAM, user));
}

#[test]
fn a_monorepo_as_an_ordinary_user() {
    User::ordinary().into_iter().for_each(|user| walk(&MONOREPO, user));
}

#[test]
fn a_target_builds_only_what_it_needs() {
    let Some(bases) = Bases::find() else { return };
    let workshop = Workshop::own();
    let context = workshop.context(
        "stages",
        &[(
            "Dockerfile",
            "FROM busybox AS a\nRUN echo a\nFROM busybox AS b\nRUN exit 1\nFROM b\nRUN echo c\n",
        )],
    );
    let steps = Steps::parse(&progress(workshop.build(bases, &context).args(["--target", "a"])));
    let ran = steps.not_cached();
    assert!(matches!(ran[..], [step] if step.ends_with("RUN echo a")), "{ran:?}");
}

/// The life of an example: cold, unchanged, edited; asked after the first and the last.
fn walk(example: &Example, user: User) {
    let Some(bases) = Bases::find() else { return };
    // Two at a time would measure each other: an unchanged build has to be fast.
    static ONE_AT_A_TIME: OnceLock<Mutex<()>> = OnceLock::new();
    let _turn = ONE_AT_A_TIME
        .get_or_init(Mutex::default)
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let workshop = Workshop::new(user);
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("examples")
        .join(example.folder);
    let context = workshop.copy(&source, example.folder);
    let build_tagged = || {
        Steps::parse(&progress(
            build(example, &workshop, bases, &context).args(["-t", example.folder]),
        ))
    };

    build_tagged();
    assert_eq!(ask(example, &workshop), example.answer);

    let again = build_tagged();
    assert_eq!(again.not_cached(), [""; 0], "a second build runs nothing");

    apply(&example.edit, &context);
    let edited = build_tagged();
    for step in example.edit.run_again {
        assert_eq!(
            edited.ending(step),
            Ending::Ran,
            "{step:?} after the edit of {}",
            example.edit.file
        );
    }
    for step in example.edit.still_cached {
        assert_eq!(
            edited.ending(step),
            Ending::Cached,
            "{step:?} after the edit of {}",
            example.edit.file
        );
    }
    assert_eq!(ask(example, &workshop), example.edit.answer);

    let archive = workshop.path("image.tar");
    let output = format!("--output=type=oci,dest={}", archive.display());
    progress(build(example, &workshop, bases, &context).args(["-t", example.folder, &output]));
    if let Some(bundle) = runc::Bundle::unpack(&archive, &workshop.path("elsewhere")) {
        assert_eq!(
            bundle.run(example.elsewhere),
            example.edit.answer,
            "{} under runc",
            example.folder
        );
    }
}

fn build(example: &Example, workshop: &Workshop, bases: &Bases, context: &Path) -> Command {
    let mut command = workshop.build(bases, context);
    if let Some(certificates) = bases.certificates() {
        command.arg(format!("--build-context=certs={}", certificates.display()));
        for name in example.certificate_arguments {
            command.arg(format!(
                "--build-arg={name}=/usr/local/share/extra-ca/ca-certificates.crt"
            ));
        }
    }
    command
}

fn apply(edit: &Edit, context: &Path) {
    let file = context.join(edit.file);
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains(edit.from), "{} has no `{}`", edit.file, edit.from);
    fs::write(&file, text.replacen(edit.from, edit.to, 1)).unwrap();
}

fn ask(example: &Example, workshop: &Workshop) -> String {
    match example.question {
        Question::Run => run(workshop.rbuild().args(["run", example.folder])),
        Question::Get(path) => serve_and_get(example, workshop, path),
    }
}

/// Serves with `rbuild run`, gets one page, ends the server as Ctrl-C would.
fn serve_and_get(example: &Example, workshop: &Workshop, path: &str) -> String {
    let port = free_port();
    let mut server = workshop
        .rbuild()
        .args(["run", "--network=host", "-e", &format!("PORT={port}"), example.folder])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut page = None;
    eventually(Duration::from_secs(60), || {
        page = get(port, path);
        page.is_some() || server.try_wait().unwrap().is_some()
    });
    let _ = kill_process(Pid::from_child(&server), Signal::TERM);
    assert!(
        eventually(Duration::from_secs(20), || server.try_wait().unwrap().is_some()),
        "the server does not end when it is asked to"
    );
    page.expect("the server answers")
}

/// The body of an HTTP answer; nothing while nobody listens.
fn get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned())
}
