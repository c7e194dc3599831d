//! Nothing of foreign origin steers the terminal: not what a step writes, not a name, not a word of a server.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::symlink;

use super::{ended, steering};
use crate::support::{Bases, Workshop, run, text};

/// A title, a clearing, a link, one of the eight-bit kind, another order of letters.
const EVIL: &str = "\u{1b}]0;evil\u{7}\u{1b}[2J\u{1b}]8;;http://x\u{1b}\\\u{9b}31m\u{202e}gpj\u{8}";

#[test]
fn what_steps_write_and_images_say_is_text() {
    let Some(bases) = Bases::find() else { return };
    let workshop = Workshop::own();
    let dockerfile = format!(
        "FROM busybox AS base\nLABEL evil=\"{EVIL}\" {EVIL}=1\nENV E=\"{EVIL}\"\n\
         RUN printf '\\033[2J\\033]0;x\\007\\r\\302\\2331A\\342\\200\\256ok\\n'; printf 'x\\033[31m' >&2; echo \"$E\"\n\
         RUN echo '{EVIL}' && true # {EVIL}\nCMD [\"{EVIL}\"]\n"
    );
    let context = workshop.context("text", &[("Dockerfile", &dockerfile)]);
    for mode in ["plain", "rawjson", "tty"] {
        let mut build = workshop.build(bases, &context);
        build.args(["--no-cache", "-t", "evil", &format!("--progress={mode}")]);
        let output = ended(&mut build);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let said = text(&output.stderr);
        match mode {
            // The picture moves the cursor itself; what is in it must not.
            "tty" => assert!(!said.contains("evil\u{7}") && !said.contains("\u{9b}31m") && !said.contains('\u{202e}')),
            _ => assert_eq!(steering(&said), None, "{mode}: {said:?}"),
        }
        assert_eq!(steering(&text(&output.stdout)), None);
    }
    for command in [
        &["inspect", "evil"][..],
        &["images"],
        &["images", "--format=json"],
        &["du"],
    ] {
        let said = run(workshop.rbuild().args(command));
        assert_eq!(steering(&said), None, "{command:?}: {said:?}");
    }
    let inspected: serde_json::Value = serde_json::from_str(&run(workshop.rbuild().args(["inspect", "evil"]))).unwrap();
    assert_eq!(
        inspected[0]["Config"]["Labels"]["evil"], EVIL,
        "for programs it is what it was"
    );
}

#[test]
fn errors_quote_without_obeying() {
    let Some(bases) = Bases::find() else { return };
    let workshop = Workshop::own();
    let word = EVIL.replace(' ', "");
    // What can be the name of a file, and a pattern for it: a bracket would open a choice of letters.
    let link = format!("loop{}", word.replace(['/', '\\'], ""));
    let pattern = link.replace('[', "?");
    for (number, dockerfile) in [
        format!("FROM busybox\nCOPY {word} /\n"),
        format!("FROM busybox\nCOPY {pattern} /x\n"),
        format!("FROM {word}\n"),
        format!("FROM busybox AS {word}\n"),
        format!("{word} x\n"),
        format!("FROM busybox\nRUN --mount=type={word} true\n"),
        format!("FROM busybox\nRUN --{word}=1 true\n"),
        format!("FROM busybox\nRUN '{EVIL}'; false\n"),
        format!("FROM busybox\nRUN [\"{word}\"]\n"),
        format!("FROM busybox\nUSER {word}\nRUN true\n"),
        format!("FROM busybox\nWORKDIR /{word}\nRUN false\n"),
        format!("FROM busybox\nADD http://127.0.0.1:1/{word} /x\n"),
        format!("FROM busybox\nADD https://127.0.0.1:1/{word}.git#{word} /x\n"),
        format!("FROM busybox\nCOPY --chown={word} Dockerfile /x\n"),
        format!("FROM busybox\nEXPOSE {word}\n"),
        format!("FROM busybox\nCOPY --from={word} /x /x\n"),
        format!("# syntax={word}\nFROM busybox\nRUN <<{word}\n"),
        format!("FROM --platform={word} busybox\n"),
        format!("FROM busybox\nARG {word}\nHEALTHCHECK --interval={word} CMD x\n"),
        format!("FROM busybox\nRUN --mount=type=secret,id={word},required true\n"),
    ]
    .iter()
    .enumerate()
    {
        let context = workshop.context(&format!("errors{number}"), &[("Dockerfile", dockerfile)]);
        symlink(&link, context.join(&link)).unwrap();
        let output = ended(&mut workshop.build(bases, &context));
        let said = text(&output.stderr);
        assert_eq!(steering(&said), None, "{dockerfile:?}: {said:?}");
        assert!(matches!(output.status.code(), Some(0..=3)), "{dockerfile:?}: {said}");
        if dockerfile.contains(&pattern) {
            assert!(said.contains("too many links"), "{said}");
        }
    }
    let context = workshop.context(
        "ignored",
        &[
            ("Dockerfile", "FROM scratch\nCOPY . /\n"),
            (".dockerignore", "[a-\u{1b}[2J\n"),
        ],
    );
    let said = text(&ended(&mut workshop.build(bases, &context)).stderr);
    assert_eq!(steering(&said), None, "{said:?}");
}

#[test]
fn a_name_with_line_ends_makes_no_lines_of_ours() {
    let Some(bases) = Bases::find() else { return };
    let workshop = Workshop::own();
    let context = workshop.context("lines", &[("Dockerfile", "FROM busybox\nCOPY d/x* /y\n")]);
    fs::create_dir(context.join("d")).unwrap();
    let name = "x\nERROR: failed\nhint: run this";
    symlink(name, context.join("d").join(name)).unwrap();
    let said = text(&ended(&mut workshop.build(bases, &context)).stderr);
    assert!(said.contains("too many links"), "{said}");
    assert!(
        !said
            .lines()
            .any(|line| line.starts_with("hint: run") || line == "ERROR: failed"),
        "{said}"
    );
}

/// A server whose every answer is this.
fn server(answer: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|count| count > 2) {
                line.clear();
            }
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    address
}

#[test]
fn words_of_servers_are_text() {
    let Some(bases) = Bases::find() else { return };
    let workshop = Workshop::own();
    let document = serde_json::json!({ "errors": [{ "code": EVIL, "message": EVIL }] }).to_string();
    let challenge = "Bearer realm=\"x\u{1b}[2J\"";
    let platform = format!(r#"{{"os":"{}","architecture":"x"}}"#, "\\u001b[2J\\u009b1A\\u202e");
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:{}","size":1,"platform":{platform}}}]}}"#,
        "0".repeat(64)
    );
    let answers = [
        format!(
            "HTTP/1.1 400 {EVIL}\r\nContent-Length: {}\r\n\r\n{document}",
            document.len()
        ),
        format!("HTTP/1.1 500 X\r\nContent-Length: {}\r\n\r\n{EVIL}", EVIL.len()),
        format!("HTTP/1.1 401 X\r\nWWW-Authenticate: {challenge}\r\nContent-Length: 0\r\n\r\n"),
        "HTTP/1.1 307 X\r\nLocation: http://127.0.0.1:1/\u{1b}[2J\r\nContent-Length: 0\r\n\r\n".to_owned(),
        format!(
            "HTTP/1.1 200 X\r\nContent-Type: application/vnd.oci.image.index.v1+json\r\nContent-Length: {}\r\n\r\n{index}",
            index.len()
        ),
        format!("HTTP/1.1 200 X\r\nContent-Type: text/{EVIL}\r\nContent-Length: 2\r\n\r\n{{}}"),
        format!("HTTP/1.1 404 X\r\nContent-Length: {}\r\n\r\n{EVIL}", EVIL.len()),
    ];
    // All at once: where a registry seems to be broken, each build asks again for seconds.
    std::thread::scope(|scope| {
        for (number, answer) in answers.iter().enumerate() {
            let workshop = &workshop;
            scope.spawn(move || {
                let host = server(answer.clone());
                for dockerfile in [
                    format!("FROM {host}/app:1\n"),
                    format!("FROM busybox\nADD http://{host}/x /x\n"),
                    format!("FROM busybox\nADD http://{host}/x.git /x\n"),
                ] {
                    let context = workshop.context(&format!("served{number}"), &[("Dockerfile", &dockerfile)]);
                    let said = text(&ended(&mut workshop.build(bases, &context)).stderr);
                    assert_eq!(steering(&said), None, "{answer:?}: {said:?}");
                }
            });
        }
    });
}
