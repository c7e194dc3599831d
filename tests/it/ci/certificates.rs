//! `--ca-file`: a certificate authority that only this build trusts.

use std::fs;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::{
    Bases, User, Workshop, ends_with, eventually, free_port, has, has_namespaces, progress, run, skipped,
};

/// A server that speaks TLS with a certificate of an authority that nobody knows, and has one file.
struct Server {
    process: Child,
    port: u16,
    authority: PathBuf,
}

impl Server {
    fn start(workshop: &Workshop) -> Option<Server> {
        if !has("openssl") {
            return skipped("openssl");
        }
        let folder = workshop.path("server");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("file"), "from behind TLS\n").unwrap();
        let openssl = |line: &str| {
            run(Command::new("openssl")
                .args(line.split(' '))
                .current_dir(&folder)
                .stderr(Stdio::null()));
        };
        openssl(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=ca",
        );
        openssl(
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -out request.pem -subj /CN=localhost",
        );
        fs::write(folder.join("names"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n").unwrap();
        openssl(
            "x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -out cert.pem -days 2 -extfile names",
        );
        run(Command::new("chmod").args(["-R", "a+rX"]).arg(&folder));
        let port = free_port();
        let process = Command::new("openssl")
            .args([
                "s_server", "-quiet", "-WWW", "-cert", "cert.pem", "-key", "key.pem", "-accept",
            ])
            .arg(format!("127.0.0.1:{port}"))
            .current_dir(&folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Server {
            process,
            port,
            authority: folder.join("ca.pem"),
        };
        let answers = || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
        assert!(
            eventually(Duration::from_secs(10), answers),
            "the server does not start"
        );
        Some(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_file_behind_an_authority_of_ones_own_can_be_added() {
    let Some(bases) = Bases::find() else { return };
    let workshop = Workshop::own();
    let Some(server) = Server::start(&workshop) else { return };
    let dockerfile = format!(
        "FROM busybox\nADD https://127.0.0.1:{}/file /\nRUN grep TLS /file\n",
        server.port
    );
    let context = workshop.context("context", &[("Dockerfile", &dockerfile)]);
    let refused = ends_with(&mut workshop.build(bases, &context), 3);
    assert!(refused.contains("UnknownIssuer"), "{refused}");
    progress(workshop.build(bases, &context).arg("--ca-file").arg(&server.authority));
    let again = Workshop::own();
    progress(again.build(bases, &context).env("RBUILD_CA_FILE", &server.authority));

    let cloning = format!("FROM busybox\nADD https://127.0.0.1:{}/a.git /a\n", server.port);
    let context = workshop.context("cloning", &[("Dockerfile", &cloning)]);
    let said = |build: &mut Command| ends_with(build, 3).to_lowercase();
    let refused = said(&mut workshop.build(bases, &context));
    assert!(refused.contains("certificate"), "{refused}");
    let trusted = said(workshop.build(bases, &context).arg("--ca-file").arg(&server.authority));
    assert!(
        !trusted.contains("certificate verif") && !trusted.contains("self-signed"),
        "{trusted}"
    );
}

#[test]
fn steps_are_lent_the_certificates_and_layers_tell_of_nothing() {
    if !has_namespaces() {
        return;
    }
    let Some(bases) = Bases::find() else { return };
    for user in [Some(User::Own), User::ordinary()].into_iter().flatten() {
        let workshop = Workshop::new(user.clone());
        let file = workshop.path("own.pem");
        let mut own = fs::File::create(&file).unwrap();
        own.write_all(b"-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----\n")
            .unwrap();
        let probe = "FROM busybox\nENV PIP_CERT=/mine\nRUN test -n \"$SSL_CERT_FILE\" && grep abc $SSL_CERT_FILE \
                     && test $PIP_CERT = /mine && ! touch $SSL_CERT_FILE\nRUN test \"$(id -u)\" = 0 && cat $CURL_CA_BUNDLE >/dev/null\n";
        let context = workshop.context("probe", &[("Dockerfile", probe)]);
        progress(workshop.build(bases, &context).arg("--ca-file").arg(&file));

        let dockerfile = "FROM busybox\nRUN mkdir -p /run && touch /run/a -d @1\nRUN echo b > /b\n";
        let id = |flags: &[&str]| {
            let other = Workshop::new(user.clone());
            let context = other.context("context", &[("Dockerfile", dockerfile)]);
            let iid = other.path("iid");
            let mut build = other.build(bases, &context);
            progress(
                build
                    .args([
                        "--build-arg=SOURCE_DATE_EPOCH=1",
                        "-o",
                        "type=image,rewrite-timestamp=true",
                    ])
                    .arg("--iidfile")
                    .arg(&iid)
                    .args(flags),
            );
            let mut text = String::new();
            fs::File::open(iid).unwrap().read_to_string(&mut text).unwrap();
            text
        };
        let trusting = format!("--ca-file={}", file.display());
        assert_eq!(id(&[]), id(&[&trusting]));
    }
}

#[test]
fn what_is_no_list_of_certificates_is_refused() {
    let workshop = Workshop::own();
    fs::write(workshop.path("key.pem"), "no certificate\n").unwrap();
    let context = workshop.context("context", &[("Dockerfile", "FROM scratch\n")]);
    for (name, words) in [("missing.pem", "No such file"), ("key.pem", "has no certificate in it")] {
        let mut build = workshop.rbuild();
        let said = ends_with(build.arg(&context).arg("--ca-file").arg(workshop.path(name)), 2);
        assert!(said.contains(name) && said.contains(words), "{said}");
    }
}
