//! Addresses that are options or commands, servers that lead elsewhere, repositories that are traps.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use super::{ended, refusal};
use crate::support::{Workshop, has, run, skipped, text};

#[test]
fn an_address_is_never_an_option_nor_a_command() {
    if !has("git") {
        return skipped::<()>("the program git").unwrap_or_default();
    }
    let workshop = Workshop::own();
    let mark = workshop.path("mark");
    let touch = format!("touch${{IFS}}{}", mark.display());
    let addresses = [
        format!("ext::sh -c touch% {}", mark.display()),
        format!("--upload-pack={touch}"),
        format!("-u{touch}@host:x.git"),
        format!("ssh://-oProxyCommand={touch}/x.git"),
        format!("ssh://-oProxyCommand={touch}@127.0.0.1/x.git"),
        format!("git@-oProxyCommand={touch}:x.git"),
        format!("a@-oProxyCommand:{touch}"),
        format!("ssh://127.0.0.1:-oProxyCommand={touch}/x.git"),
        format!("git://127.0.0.1:1/x.git#--upload-pack={touch}"),
        format!("git://127.0.0.1:1/x.git?ref=--upload-pack={touch}"),
        format!("git://127.0.0.1:1/x.git#%0a--upload-pack={touch}"),
        format!("git://127.0.0.1:1/x.git#a:../../../../{}", mark.display()),
        "git://127.0.0.1:1/$(id)`id`;id|id&id.git".to_owned(),
        "https://127.0.0.1:1/%2e%2e/%00/x.git".to_owned(),
        "file:///etc/.git".to_owned(),
        "http://127.0.0.1:1/x.git#refs/heads/*:refs/heads/*".to_owned(),
        format!("git@127.0.0.1:--upload-pack={touch}"),
    ];
    for address in &addresses {
        let said = refusal(workshop.rbuild().args(["build", "--", address]));
        assert!(!mark.exists(), "{address}: {said}");
        let dockerfile = format!("FROM scratch\nADD {address} /x\n");
        let context = workshop.context("app", &[("Dockerfile", &dockerfile)]);
        let _ = ended(workshop.rbuild().args(["-o", "type=cacheonly"]).arg(&context));
        assert!(!mark.exists(), "ADD {address}");
    }
    eprintln!("{} addresses tried", 2 * addresses.len());
}

/// Answers each request by its path; keeps the heads of all.
fn server(answer: impl Fn(&str) -> String + Send + 'static) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let heads = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&heads);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut head = String::new();
            while reader.read_line(&mut head).is_ok_and(|count| count > 2) {}
            let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
            kept.lock().unwrap().push(head);
            let _ = stream.write_all(answer(&path).as_bytes());
        }
    });
    (address, heads)
}

fn redirect(to: &str) -> String {
    format!("HTTP/1.1 302 X\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
}

fn added(workshop: &Workshop, address: &str, arguments: &[&str]) -> (bool, String) {
    let context = workshop.context(
        "added",
        &[("Dockerfile", &format!("FROM scratch\nADD {address} /x/\n"))],
    );
    let out = workshop.path("out");
    let _ = fs::remove_dir_all(&out);
    let mut build = workshop.rbuild();
    build
        .env("HUSH", "hush-hush-token")
        .args(arguments)
        .arg("-o")
        .arg(&out)
        .arg(&context);
    let output = ended(&mut build);
    (output.status.success(), text(&output.stderr))
}

#[test]
fn a_web_server_sends_nobody_to_files_and_learns_no_secret_of_others() {
    let workshop = Workshop::own();
    let (other, heard) = server(|_| "HTTP/1.1 200 X\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok".to_owned());
    let to = other.clone();
    let (host, first) = server(move |path| match path {
        "/file" => redirect("file:///etc/passwd"),
        "/socket" => redirect("unix:///var/run/docker.sock"),
        "/loop" => redirect("/loop"),
        "/data" => redirect("data:text/plain,evil"),
        "/user" => redirect("http://ada:pass@127.0.0.1:1/"),
        _ => redirect(&format!("http://{to}/there")),
    });
    for path in ["file", "socket", "loop", "data", "user"] {
        let (succeeded, said) = added(&workshop, &format!("http://{host}/{path}"), &[]);
        assert!(!succeeded && said.contains("ERROR"), "{path}: {said}");
        assert!(!said.contains("pass@"), "{path}: {said}");
        assert!(!workshop.path("out/x").exists(), "{path}");
    }
    let secret = "--secret=id=HTTP_AUTH_TOKEN_127.0.0.1,env=HUSH";
    let (succeeded, said) = added(&workshop, &format!("http://{host}/elsewhere?key=hidden"), &[secret]);
    assert!(succeeded, "{said}");
    let told = |heads: &Mutex<Vec<String>>| heads.lock().unwrap().concat().to_lowercase();
    assert!(told(&first).contains("authorization: bearer hush-hush-token"));
    assert!(
        !told(&heard).contains("hush-hush-token") && !told(&heard).contains("hidden"),
        "{}",
        told(&heard)
    );
    assert!(!said.contains("hush-hush"), "{said}");
}

#[test]
fn a_login_for_a_repository_goes_to_no_other_host() {
    if !has("git") {
        return skipped::<()>("the program git").unwrap_or_default();
    }
    let workshop = Workshop::own();
    let body = "001e# service=git-upload-pack\n0000004895dcfa3633004da0049d3d0fa03f80589cbcaf31 refs/heads/main\0 agent=xxx\n0000";
    let kind = "Content-Type: application/x-git-upload-pack-advertisement";
    let (other, heard) = server(move |_| {
        format!(
            "HTTP/1.1 200 X\r\n{kind}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    });
    let (host, first) = server(move |path| redirect(&format!("http://{other}{path}")));
    for secret in ["GIT_AUTH_TOKEN", "GIT_AUTH_HEADER"] {
        let secret = format!("--secret=id={secret},env=HUSH");
        let (succeeded, said) = added(&workshop, &format!("http://{host}/x.git#main"), &[&secret]);
        assert!(!succeeded && said.contains("no redirect is followed"), "{said}");
        assert!(!said.contains("hush-hush"), "{said}");
    }
    assert!(first.lock().unwrap().concat().contains("Authorization: "));
    assert_eq!(*heard.lock().unwrap(), [""; 0]);
}

#[test]
fn the_name_a_server_gives_a_file_is_a_name() {
    let workshop = Workshop::own();
    for name in [
        "../../evil",
        "/etc/evil",
        "..",
        "a/../../evil",
        "\\..\\evil",
        &"n".repeat(300),
    ] {
        let disposition = format!("Content-Disposition: attachment; filename=\"{name}\"");
        let (host, _) = server(move |_| {
            format!("HTTP/1.1 200 X\r\n{disposition}\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
        });
        let (succeeded, said) = added(&workshop, &format!("http://{host}/dir/"), &[]);
        assert!(succeeded || said.contains("ERROR"), "{name}: {said}");
        assert!(
            !workshop.path("evil").exists() && !workshop.path("out/evil").exists(),
            "{name}"
        );
        assert!(!Path::new("/etc/evil").exists(), "{name}");
    }
}

/// Runs git in a folder, with an identity and nothing of the user's.
fn git(folder: &Path, arguments: &[&str]) {
    let mut git = Command::new("git");
    git.current_dir(folder).env("GIT_CONFIG_GLOBAL", "/dev/null");
    git.args([
        "-c",
        "user.name=a",
        "-c",
        "user.email=a@b",
        "-c",
        "safe.directory=*",
        "-c",
        "protocol.file.allow=always",
    ]);
    run(git.args(arguments));
}

/// Serves the files of a folder.
fn serve(folder: &Path) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let folder = folder.to_owned();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut line = String::new();
            let _ = BufReader::new(&stream).read_line(&mut line);
            let path = line
                .split([' ', '?'])
                .nth(1)
                .unwrap_or_default()
                .trim_start_matches('/')
                .to_owned();
            let mut body = Vec::new();
            let file = fs::File::open(folder.join(&path))
                .ok()
                .filter(|file| file.metadata().is_ok_and(|found| found.is_file()));
            let status = match file.map(|mut file| file.read_to_end(&mut body)) {
                Some(Ok(_)) => "200 OK",
                _ => "404 X",
            };
            let head = format!("HTTP/1.0 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
        }
    });
    address
}

#[test]
fn a_repository_brings_files_and_runs_nothing() {
    if !has("git") {
        return skipped::<()>("the program git").unwrap_or_default();
    }
    let workshop = Workshop::own();
    let secret = workshop.context("secret", &[("f", "top secret")]);
    git(&secret, &["init", "-q", "-b", "main"]);
    git(&secret, &["add", "."]);
    git(&secret, &["commit", "-qm", "x"]);
    let commit = run(Command::new("git")
        .args(["-c", "safe.directory=*", "-C"])
        .arg(&secret)
        .args(["rev-parse", "HEAD"]));
    let mark = workshop.path("mark");
    for (number, (url, path)) in [
        (format!("file://{}", secret.display()), "sub"),
        (secret.display().to_string(), "sub"),
        (format!("ext::sh -c touch% {}", mark.display()), "sub"),
        (format!("-u./{}", mark.display()), "sub"),
        (format!("ssh://-oProxyCommand=touch${{IFS}}{}/x", mark.display()), "sub"),
        ("../../secret".to_owned(), "sub"),
    ]
    .into_iter()
    .enumerate()
    {
        let modules = format!(
            "[submodule \"s\"]\n\tpath = {path}\n\turl = {url}\n\tupdate = !touch {}\n",
            mark.display()
        );
        let repository = workshop.context(
            &format!("r{number}"),
            &[("Dockerfile", "FROM scratch\nCOPY . /\n"), (".gitmodules", &modules)],
        );
        git(&repository, &["init", "-q", "-b", "main"]);
        git(&repository, &["add", "."]);
        git(
            &repository,
            &[
                "update-index",
                "--add",
                "--cacheinfo",
                &format!("160000,{},{path}", commit.trim()),
            ],
        );
        git(&repository, &["commit", "-qm", "x"]);
        git(&repository, &["update-server-info"]);
        let host = serve(&repository);
        let out = workshop.path("made");
        let _ = fs::remove_dir_all(&out);
        let said = refusal(
            workshop
                .rbuild()
                .arg("-o")
                .arg(&out)
                .arg(format!("http://{host}/.git#main")),
        );
        assert!(!mark.exists() && !out.join("sub/f").exists(), "{url}: {said}");
    }
}
