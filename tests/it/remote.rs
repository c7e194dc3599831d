//! Files from elsewhere: standard input, a web server, a git repository behind one.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::{User, Workshop, ends_with, has, run, skipped, text};

/// Serves the files of a folder, all of them as old as 1994.
fn serve(folder: PathBuf) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).unwrap();
            let path = line.split([' ', '?']).nth(1).unwrap().trim_start_matches('/');
            let (status, body) = match fs::read(folder.join(path)) {
                Ok(body) => ("200 OK", body),
                Err(_) => ("404 Not Found", Vec::new()),
            };
            let date = "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT";
            let head = format!("HTTP/1.0 {status}\r\n{date}\r\nContent-Length: {}\r\n\r\n", body.len());
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
        }
    });
    address
}

/// A workshop for each kind of user, a folder in it and the address at which that is served.
fn workshops() -> Vec<(Workshop, PathBuf, String)> {
    let users = [Some(User::Own), User::ordinary()].into_iter().flatten();
    let workshop = |user| {
        let workshop = Workshop::new(user);
        let folder = workshop.context(
            "served",
            &[("Dockerfile", "FROM scratch\nCOPY . /all\n"), ("a", "one\n")],
        );
        let address = serve(folder.clone());
        (workshop, folder, address)
    };
    users.map(workshop).collect()
}

/// What a build of `context` makes, as `tar` lists it.
fn listed(workshop: &Workshop, context: &str, input: &[u8]) -> String {
    let mut command = workshop.rbuild();
    command.args(["build", "-o", "type=tar,dest=-", context]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A build that fails before it has read everything says why.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let tar = workshop.path("result.tar");
    fs::write(&tar, output.stdout).unwrap();
    run(Command::new("tar")
        .env("TZ", "UTC")
        .args(["--full-time", "-tvf"])
        .arg(tar))
}

fn packed(folder: &Path) -> Vec<u8> {
    let output = Command::new("tar").arg("-cz").arg("-C").arg(folder).arg(".").output();
    output.unwrap().stdout
}

#[test]
fn a_context_can_come_through_standard_input() {
    for (workshop, folder, _) in workshops() {
        assert!(listed(&workshop, "-", &packed(&folder)).contains(" all/a\n"));
        let error = ends_with(workshop.rbuild().args(["build", "-f", "-", "-"]), 2);
        assert!(
            error.contains("can't use stdin for both build context and dockerfile"),
            "{error}"
        );
    }
}

#[test]
fn what_a_server_has_is_added_with_its_name_and_time() {
    for (workshop, folder, address) in workshops() {
        fs::write(folder.join("p.tgz"), packed(&folder)).unwrap();
        let dockerfile = format!("FROM scratch\nADD {address}/a /x/\nADD --unpack {address}/p.tgz /y/\n");
        let list = listed(&workshop, "-", dockerfile.as_bytes());
        let file = list.lines().find(|line| line.ends_with(" x/a")).unwrap();
        assert!(
            file.starts_with("-rw------- ") && file.contains("1994-11-06 08:49:37"),
            "{list}"
        );
        assert!(list.contains(" y/a\n"), "{list}");
        assert!(listed(&workshop, &format!("{address}/p.tgz"), b"").contains(" all/a\n"));
    }
}

#[test]
fn a_repository_is_a_context_and_can_be_added() {
    if !has("git") {
        return skipped::<()>("the program git").unwrap_or_default();
    }
    for (workshop, folder, address) in workshops() {
        for arguments in [
            &["init", "-q", "-b", "main"][..],
            &["add", "."],
            &["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "one"],
            &["update-server-info"],
        ] {
            let mut git = Command::new("git");
            git.env("GIT_COMMITTER_DATE", "1000000000 +0000").current_dir(&folder);
            git.args(["-c", "safe.directory=*"]);
            run(git.args(arguments));
        }
        let list = listed(&workshop, &format!("{address}/.git#main"), b"");
        let file = list.lines().find(|line| line.ends_with(" all/a")).unwrap();
        assert!(
            file.starts_with("-rw-r--r-- ") && file.contains("2001-09-09 01:46:40"),
            "{list}"
        );
        assert!(!list.contains(".git"), "{list}");
        let dockerfile = format!("FROM scratch\nADD --keep-git-dir {address}/.git /r\n");
        assert!(listed(&workshop, "-", dockerfile.as_bytes()).contains(" r/.git/HEAD\n"));
    }
}

#[test]
fn no_link_in_a_context_from_elsewhere_leads_out() {
    for (workshop, folder, _) in workshops() {
        fs::remove_file(folder.join("Dockerfile")).unwrap();
        fs::write(workshop.path("secret"), "FROM scratch\n").unwrap();
        std::os::unix::fs::symlink(workshop.path("secret"), folder.join("Dockerfile")).unwrap();
        let archive = workshop.path("context.tgz");
        fs::write(&archive, packed(&folder)).unwrap();
        let mut command = workshop.rbuild();
        command.args(["build", "-"]).stdin(fs::File::open(archive).unwrap());
        let error = ends_with(&mut command, 1);
        assert!(error.contains("failed to read dockerfile: open Dockerfile"), "{error}");
    }
}

#[test]
fn a_file_that_is_not_what_its_checksum_says_is_refused() {
    for (workshop, folder, address) in workshops() {
        let added = |checksum: &str| {
            let dockerfile = format!("FROM scratch\nADD --checksum={checksum} {address}/a /a\n");
            fs::write(folder.join("Dockerfile"), dockerfile).unwrap();
            let mut command = workshop.rbuild();
            command.args(["build", "-o=type=cacheonly"]).arg(&folder);
            command
        };
        let right = run(Command::new("sha256sum").arg(folder.join("a")));
        let right = format!("sha256:{}", right.split(' ').next().unwrap());
        run(&mut added(&right));
        let wrong = format!("sha256:{}", "0".repeat(64));
        let error = ends_with(&mut added(&wrong), 1);
        assert!(error.contains("digest mismatch") && error.contains(&right), "{error}");
    }
}

#[test]
fn a_dockerfile_and_named_contexts_can_be_on_a_server() {
    for (workshop, folder, address) in workshops() {
        fs::write(folder.join("p.tgz"), packed(&folder)).unwrap();
        fs::write(
            folder.join("far.dockerfile"),
            "FROM scratch\nCOPY a /near\nCOPY --from=far / /far\n",
        )
        .unwrap();
        let out = workshop.path("out");
        let mut command = workshop.rbuild();
        command.arg("build").arg("-f").arg(format!("{address}/far.dockerfile"));
        command.arg(format!("--build-context=far={address}/p.tgz"));
        run(command.arg("-o").arg(&out).arg(&folder));
        assert!(out.join("near").exists());
        let far = fs::read_dir(out.join("far")).unwrap().count();
        assert!(far > 0, "nothing came from the named context");
    }
}
