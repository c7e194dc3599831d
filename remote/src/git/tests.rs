use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;
use std::sync::Arc;

use super::*;

/// A repository behind a web server that only has files.
struct World {
    folder: tempfile::TempDir,
    url: String,
}

impl World {
    fn new(format: &str) -> Option<World> {
        if Command::new("git").arg("version").output().is_err() {
            eprintln!("skipped: needs the program git");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/.git", listener.local_addr().unwrap());
        let world = World { folder, url };
        let served = world.repository();
        fs::create_dir(&served).unwrap();
        world.git(&["init", "-q", "-b", "main", &format!("--object-format={format}")]);
        world.commit("one", "1000000000");
        world.git(&["tag", "v1"]);
        world.commit("two", "1000000100");
        world.git(&["tag", "-a", "-m", "second", "v2"]);
        world.git(&["update-server-info"]);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut line = String::new();
                BufReader::new(&stream).read_line(&mut line).unwrap();
                let path = line
                    .split(' ')
                    .nth(1)
                    .unwrap()
                    .split('?')
                    .next()
                    .unwrap()
                    .trim_start_matches('/');
                let (status, body) = match fs::read(served.join(path)) {
                    Ok(body) => ("200 OK", body),
                    Err(_) => ("404 Not Found", Vec::new()),
                };
                let head = format!("HTTP/1.0 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
                let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
            }
        });
        Some(world)
    }

    fn repository(&self) -> PathBuf {
        self.folder.path().join("served")
    }

    fn git(&self, arguments: &[&str]) -> String {
        let output = Command::new("git")
            .args(["-c", "user.name=a", "-c", "user.email=a@b"])
            .args(arguments)
            .current_dir(self.repository())
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn commit(&self, content: &str, seconds: &str) {
        let below = self.repository().join("sub");
        fs::create_dir_all(&below).unwrap();
        fs::write(self.repository().join("foo"), content).unwrap();
        fs::write(below.join("run.sh"), content).unwrap();
        fs::set_permissions(below.join("run.sh"), fs::Permissions::from_mode(0o775)).unwrap();
        self.git(&["add", "."]);
        let output = Command::new("git")
            .args(["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", content])
            .env("GIT_COMMITTER_DATE", format!("{seconds} +0000"))
            .current_dir(self.repository())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    fn source(&self, reference: Option<&str>) -> Source {
        Source {
            remote: self.url.clone(),
            reference: reference.map(str::to_owned),
            submodules: true,
            ..Source::default()
        }
    }

    fn get(&self, source: &Source) -> Result<tempfile::TempDir, Error> {
        let (scratch, asking, target) = (
            tempfile::tempdir().unwrap(),
            tempfile::tempdir().unwrap(),
            tempfile::tempdir().unwrap(),
        );
        let found = find(&program(), source, asking.path())?;
        let places = Places {
            files: target.path(),
            scratch: scratch.path(),
        };
        check_out(&program(), source, &found, places)?;
        Ok(target)
    }
}

fn program() -> Program {
    Program {
        variables: std::env::vars_os().filter(|(name, _)| name == "PATH").collect(),
        known_hosts: None,
        cancelled: Arc::new(|| false),
    }
}

#[test]
fn a_reference_leads_to_files_of_its_commit() {
    for format in ["sha1", "sha256"] {
        let Some(world) = World::new(format) else { return };
        let first = world.git(&["rev-parse", "v1"]);
        for (reference, content, seconds) in [
            (None, "two", 1_000_000_100),
            (Some("main"), "two", 1_000_000_100),
            (Some("v1"), "one", 1_000_000_000),
            (Some("v2"), "two", 1_000_000_100),
            (Some("refs/tags/v1"), "one", 1_000_000_000),
            (Some(first.as_str()), "one", 1_000_000_000),
        ] {
            let got = world.get(&world.source(reference)).unwrap();
            let file = |name: &str| fs::metadata(got.path().join(name)).unwrap();
            assert_eq!(
                fs::read_to_string(got.path().join("foo")).unwrap(),
                content,
                "{reference:?}"
            );
            assert_eq!(file("foo").mtime(), seconds, "{reference:?}");
            assert_eq!(file("sub").mtime(), seconds, "{reference:?}");
            assert_eq!(file("foo").mode() & 0o7777, 0o644);
            assert_eq!(file("sub/run.sh").mode() & 0o7777, 0o755);
            assert!(!got.path().join(".git").exists());
        }
    }
}

#[test]
fn a_tag_with_a_message_is_its_commit() {
    let Some(world) = World::new("sha1") else { return };
    let scratch = tempfile::tempdir().unwrap();
    let found = find(&program(), &world.source(Some("v2")), scratch.path()).unwrap();
    assert_eq!(found.commit(), world.git(&["rev-parse", "v2^{commit}"]));
    assert_eq!(found.object, world.git(&["rev-parse", "v2"]));
    assert_eq!(found.reference, "refs/tags/v2");
    let source = world.source(Some("v2"));
    assert_eq!(
        commit_time(&program(), &source, &found, scratch.path()).unwrap(),
        1_000_000_100
    );
}

#[test]
fn a_repository_that_is_kept_is_clean() {
    let Some(world) = World::new("sha1") else { return };
    let source = Source {
        keep_git_dir: true,
        ..world.source(Some("v1"))
    };
    let got = world.get(&source).unwrap();
    let status = Command::new("git")
        .args(["status", "-s"])
        .current_dir(got.path())
        .output()
        .unwrap();
    assert!(status.status.success() && status.stdout.is_empty(), "{status:?}");
    let config = fs::read_to_string(got.path().join(".git/config")).unwrap();
    assert!(config.contains(&world.url), "{config}");
}

#[test]
fn a_directory_alone_is_not_reached_through_a_link() {
    let Some(world) = World::new("sha1") else { return };
    std::os::unix::fs::symlink("/etc", world.repository().join("link")).unwrap();
    world.git(&["add", "."]);
    world.git(&["commit", "-qm", "link"]);
    world.git(&["update-server-info"]);
    let source = |subdirectory: &str| Source {
        subdirectory: subdirectory.to_owned(),
        ..world.source(None)
    };
    let got = world.get(&source("sub")).unwrap();
    let names: Vec<_> = fs::read_dir(got.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["run.sh"]);
    for missing in ["link", "nothing", "foo"] {
        let error = world.get(&source(missing)).unwrap_err();
        assert!(matches!(error, Error::Subdirectory(..)), "{missing}: {error}");
    }
}

#[test]
fn a_checksum_is_the_beginning_of_the_commit() {
    let Some(world) = World::new("sha1") else { return };
    let (first, second) = (world.git(&["rev-parse", "v1"]), world.git(&["rev-parse", "main"]));
    let get = |reference: &str, checksum: &str| {
        world.get(&Source {
            checksum: Some(checksum.to_owned()),
            ..world.source(Some(reference))
        })
    };
    get("v1", &first).unwrap();
    get("v1", &first[..10]).unwrap();
    get("v2", &second).unwrap();
    for (checksum, message) in [
        (
            second.as_str(),
            format!("expected checksum to match {second}, got {first}"),
        ),
        (
            "v1",
            "invalid checksum v1 for Git URL, expected hex commit hash".to_owned(),
        ),
    ] {
        assert_eq!(get("v1", checksum).unwrap_err().to_string(), message);
    }
}

#[test]
fn what_is_not_there_is_said() {
    let Some(world) = World::new("sha1") else { return };
    let error = world.get(&world.source(Some("nope"))).unwrap_err();
    assert_eq!(error.to_string(), "repository does not contain ref nope");
    let source = Source {
        remote: "ext::sh -c touch% /tmp/owned".to_owned(),
        ..world.source(None)
    };
    assert!(matches!(world.get(&source), Err(Error::Failed { .. })));
}

#[test]
fn passwords_are_not_shown() {
    for (remote, shown) in [
        ("https://me:secret@h/x.git", "https://me:xxxxx@h/x.git"),
        ("https://token@h/x.git", "https://token@h/x.git"),
        ("git@h:x.git", "git@h:x.git"),
    ] {
        assert_eq!(redacted(remote), shown);
    }
}

#[test]
fn a_token_is_for_a_host() {
    for (remote, host_of_it) in [
        ("https://me:secret@h:8080/x.git", Some("h:8080")),
        ("http://h?x", Some("h")),
        ("git@h.example:x.git", Some("h.example")),
        ("x", None),
    ] {
        assert_eq!(host(remote), host_of_it, "{remote}");
    }
    for (token, authorization) in [
        ("a", "basic eC1hY2Nlc3MtdG9rZW46YQ=="),
        ("ab", "basic eC1hY2Nlc3MtdG9rZW46YWI="),
        ("abc", "basic eC1hY2Nlc3MtdG9rZW46YWJj"),
    ] {
        assert_eq!(authorization_of_token(token), authorization);
    }
}
