//! Each source alone, and which one counts.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::*;

/// A folder with files of all kinds.
struct Files(TempDir);

impl Files {
    fn new(files: &[(&str, &str)]) -> Files {
        let folder = TempDir::new().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Files(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn sources(&self) -> Sources {
        Sources {
            mirrors: Vec::new(),
            folders: vec![self.path("certs.d")],
            registries_conf: vec![self.path("absent.conf"), self.path("registries.conf")],
            registries_conf_d: vec![self.path("registries.conf.d")],
            buildkitd: vec![self.path("buildkitd.toml")],
        }
    }

    fn hosts(&self) -> Hosts {
        Hosts::new(self.sources(), Vec::new())
    }

    fn urls(&self, name: &str) -> Vec<String> {
        urls(&self.hosts(), name)
    }
}

fn urls(hosts: &Hosts, name: &str) -> Vec<String> {
    let all = hosts.all(&name.parse().unwrap()).unwrap();
    all.iter().map(|one| one.url("x").to_string()).collect()
}

#[test]
fn hosts_toml_gives_mirrors_in_its_own_order_and_the_server_last() {
    let files = Files::new(&[(
        "certs.d/h.example/hosts.toml",
        r#"
server = "https://real.example"
unknown = 1
ca = "own.crt"
[host."https://z.example"]
  capabilities = ["pull"]
  client = [["c.cert", "c.key"]]
[host."http://a.example:5000/deep"]
  skip_verify = true
[host."https://m.example/v2/cache"]
  override_path = true
  capabilities = ["pull", "resolve", "push"]
  [host."https://m.example/v2/cache".header]
    x-team = "builds"
"#,
    )]);
    assert_eq!(
        files.urls("h.example/a/b"),
        [
            "https://z.example/v2/a/b/x?ns=h.example",
            "http://a.example:5000/deep/v2/a/b/x?ns=h.example",
            "https://m.example/v2/cache/a/b/x?ns=h.example",
            "https://real.example/v2/a/b/x?ns=h.example",
        ]
    );
    let all = files.hosts().all(&"h.example/a/b".parse().unwrap()).unwrap();
    let purposes: Vec<_> = all.iter().map(|one| one.endpoint().purposes).collect();
    let purpose = |pull, resolve, push| Purposes { pull, resolve, push };
    assert_eq!(
        purposes,
        [
            purpose(true, false, false),
            purpose(true, true, false),
            purpose(true, true, true),
            purpose(true, true, true)
        ]
    );
    let folder = files.path("certs.d/h.example");
    let identity = all[0].endpoint().trust.identity.clone().unwrap();
    assert_eq!(
        (identity.certificate, identity.key),
        (folder.join("c.cert"), folder.join("c.key"))
    );
    assert!(all[1].endpoint().trust.is_blind && !all[0].endpoint().trust.is_blind);
    assert_eq!(all[2].path, "cache/a/b", "a token is for the repository as it is there");
    assert_eq!(all[2].endpoint().headers[0].1, "builds");
    assert_eq!(all[3].endpoint().trust.authorities, [folder.join("own.crt")]);
    assert!(!format!("{all:?}").contains("builds"), "headers may be secrets");
    assert_eq!(
        all[0].endpoint().place,
        format!("`{}` line 5", folder.join("hosts.toml").display())
    );
}

#[test]
fn a_mirror_is_not_pushed_to_unless_it_is_said_to_take() {
    let mirror = "[host.\"https://m.example\"]\n";
    let files = Files::new(&[
        ("certs.d/h.example/hosts.toml", mirror),
        (
            "certs.d/g.example/hosts.toml",
            &format!("{mirror}capabilities = [\"push\"]\n"),
        ),
    ]);
    for (name, expected) in [
        ("h.example/a", "https://h.example/v2/a/x"),
        ("g.example/a", "https://m.example/v2/a/x?ns=g.example"),
    ] {
        let push = files.hosts().to_push(&name.parse().unwrap()).unwrap();
        assert_eq!(push.url("x").as_str(), expected);
    }
}

#[test]
fn the_folder_of_a_host_comes_before_the_default_one() {
    let files = Files::new(&[
        ("certs.d/_default/hosts.toml", "[host.\"https://all.example\"]\n"),
        ("certs.d/h.example_5000_/hosts.toml", "[host.\"https://one.example\"]\n"),
    ]);
    assert_eq!(
        files.urls("h.example:5000/a"),
        [
            "https://one.example/v2/a/x?ns=h.example%3A5000",
            "https://h.example:5000/v2/a/x"
        ]
    );
    assert_eq!(
        files.urls("debian"),
        [
            "https://all.example/v2/library/debian/x?ns=docker.io",
            "https://registry-1.docker.io/v2/library/debian/x"
        ]
    );
}

#[test]
fn registries_conf_rewrites_names_by_the_longest_prefix() {
    let files = Files::new(&[
        (
            "registries.conf",
            r#"
unqualified-search-registries = ["elsewhere.example"]
[[registry]]
prefix = "docker.io"
location = "mirror.example:5000/hub"
[[registry.mirror]]
location = "near.example"
pull-from-mirror = "digest-only"
[[registry]]
location = "h.example"
[[registry]]
prefix = "h.example/team"
location = "team.example/images"
insecure = true
[[registry]]
prefix = "*.wild.example"
blocked = true
"#,
        ),
        (
            "registries.conf.d/10.conf",
            "[[registry]]\nprefix = \"late.example\"\nlocation = \"early.example\"\n",
        ),
        (
            "registries.conf.d/20.conf",
            "[[registry]]\nprefix = \"late.example\"\nlocation = \"last.example\"\n",
        ),
        ("registries.conf.d/other.txt", "= broken"),
    ]);
    for (name, expected) in [
        (
            "debian",
            &[
                "https://near.example/v2/library/debian/x",
                "https://mirror.example:5000/v2/hub/library/debian/x",
            ][..],
        ),
        ("h.example/a", &["https://h.example/v2/a/x"]),
        ("h.example/team/a", &["https://team.example/v2/images/a/x"]),
        ("h.example/teams/a", &["https://h.example/v2/teams/a/x"]),
        ("late.example/a", &["https://last.example/v2/a/x"]),
    ] {
        assert_eq!(files.urls(name), expected, "{name}");
    }
    let all = files.hosts().all(&"debian".parse().unwrap()).unwrap();
    assert!(!all[0].endpoint().purposes.resolve, "it is asked by digest only");
    let error = files.hosts().all(&"a.wild.example/x".parse().unwrap()).unwrap_err();
    assert!(
        error.to_string().starts_with("`a.wild.example/x` is blocked by `"),
        "{error}"
    );
}

#[test]
fn buildkitd_toml_has_mirrors_with_tables_of_their_own() {
    let files = Files::new(&[(
        "buildkitd.toml",
        r#"
debug = true
[registry."docker.io"]
  mirrors = ["m.example:5000", "harbor.example/hub"]
[registry."m.example:5000"]
  http = true
[registry."h.example"]
  ca = ["/etc/ca.pem"]
  [[registry."h.example".keypair]]
    key = "/etc/key.pem"
    cert = "/etc/cert.pem"
"#,
    )]);
    assert_eq!(
        files.urls("debian"),
        [
            "http://m.example:5000/v2/library/debian/x?ns=docker.io",
            "https://harbor.example/v2/hub/library/debian/x?ns=docker.io",
            "https://registry-1.docker.io/v2/library/debian/x"
        ]
    );
    let own = files.hosts().all(&"h.example/a".parse().unwrap()).unwrap();
    assert_eq!(own[0].endpoint().trust.authorities, [Path::new("/etc/ca.pem")]);
    assert_eq!(
        own[0].endpoint().trust.identity.as_ref().unwrap().key,
        Path::new("/etc/key.pem")
    );
}

#[test]
fn flags_come_first_and_of_the_files_the_strongest_alone_counts() {
    let files = Files::new(&[
        ("certs.d/docker.io/hosts.toml", "[host.\"https://toml.example\"]\n"),
        (
            "registries.conf",
            "[[registry]]\nlocation = \"docker.io\"\n[[registry.mirror]]\nlocation = \"conf.example\"\n",
        ),
    ]);
    let mut sources = files.sources();
    sources.mirrors = [
        "flag.example",
        "other.example=elsewhere.example",
        "http://two.example/x",
    ]
    .map(|text| text.parse().unwrap())
    .to_vec();
    assert_eq!(
        urls(&Hosts::new(sources, Vec::new()), "debian"),
        [
            "https://flag.example/v2/library/debian/x?ns=docker.io",
            "http://two.example/v2/x/library/debian/x?ns=docker.io",
            "https://toml.example/v2/library/debian/x?ns=docker.io",
            "https://registry-1.docker.io/v2/library/debian/x",
        ]
    );
}

#[test]
fn certificates_lie_in_the_folder_of_the_host_and_make_this_machine_speak_tls() {
    let files = Files::new(&[
        ("certs.d/localhost:5000/ca.crt", ""),
        ("certs.d/m.example/client.cert", ""),
        ("certs.d/m.example/client.key", ""),
        ("certs.d/m.example/lonely.cert", ""),
        ("certs.d/h.example/hosts.toml", "[host.\"https://m.example\"]\n"),
    ]);
    assert_eq!(files.urls("localhost:5000/a"), ["https://localhost:5000/v2/a/x"]);
    assert_eq!(files.urls("localhost:5001/a"), ["http://localhost:5001/v2/a/x"]);
    let all = files.hosts().all(&"h.example/a".parse().unwrap()).unwrap();
    let identity = all[0].endpoint().trust.identity.as_ref().unwrap();
    assert_eq!(identity.key, files.path("certs.d/m.example/client.key"));
    assert_eq!(
        all[1].endpoint().trust,
        Trust::default(),
        "they are for the mirror alone"
    );
}

#[test]
fn a_broken_file_is_named_with_the_line() {
    for (name, text, expected) in [
        ("registries.conf", "\n[[registry]\n", "registries.conf` line 2: "),
        (
            "registries.conf",
            "[[registry]]\nlocation = 1\n",
            "registries.conf` line 2: `location` is not a string",
        ),
        (
            "certs.d/h.example/hosts.toml",
            "[host.\"ftp://m\"]\n",
            "hosts.toml` line 1: `ftp://m`: `ftp` is neither http nor https",
        ),
        (
            "buildkitd.toml",
            "[registry.\"h.example\"]\nhttp = \"yes\"\n",
            "buildkitd.toml` line 2: `http` is not true or false",
        ),
    ] {
        let files = Files::new(&[(name, text)]);
        let error = files
            .hosts()
            .all(&"h.example/a".parse().unwrap())
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn only_hosts_have_mirrors() {
    for text in [
        "https://h.example=m.example",
        "h.example/team=m.example",
        "h.example=",
        "",
    ] {
        assert!(text.parse::<Mirror>().is_err(), "{text}");
    }
}
