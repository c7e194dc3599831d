//! Against a real registry on the loopback: Debian's docker-registry, skopeo as the second opinion.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::support::{Bases, Workshop, ends_with, eventually, free_port, has, progress, run, skipped};

const DOCKERFILE: &str = "FROM busybox\nRUN echo pushed > /file\nCMD [\"cat\", \"/file\"]\n";

#[test]
fn what_is_pushed_is_what_is_pulled() {
    let (Some(bases), Some(registry)) = (Bases::find(), Registry::start(Access::Open)) else {
        return;
    };
    let workshop = Workshop::own();
    let name = registry.name("app:1");
    let metadata = push(&workshop, bases, &name);
    let digest = metadata["containerimage.digest"].as_str().unwrap();

    assert_eq!(
        registry
            .digest_seen_by_skopeo("app:1")
            .unwrap_or_else(|| digest.to_owned()),
        digest
    );

    let elsewhere = Workshop::own();
    run(elsewhere.rbuild().args(["pull", &name]));
    assert!(
        run(elsewhere.rbuild().args(["inspect", &name])).contains(digest),
        "the pulled image has another digest"
    );
    assert_eq!(run(elsewhere.rbuild().args(["run", &name])), "pushed\n");
}

#[test]
fn an_image_pushed_after_it_was_built_is_the_one_that_is_pushed_at_once() {
    let (Some(bases), Some(registry)) = (Bases::find(), Registry::start(Access::Open)) else {
        return;
    };
    let workshop = Workshop::own();
    let context = workshop.context("later", &[("Dockerfile", DOCKERFILE)]);
    let name = registry.name("later:2");
    progress(workshop.build(bases, &context).args(["-t", "later"]));
    run(workshop.rbuild().args(["tag", "later", &name]));
    let pushed = run(workshop.rbuild().args(["push", &name]));
    let elsewhere = Workshop::own();
    run(elsewhere.rbuild().args(["pull", &name]));
    assert_eq!(run(elsewhere.rbuild().args(["run", &name])), "pushed\n");

    let metadata = workshop.path("at-once.json");
    let mut at_once = workshop.build(bases, &context);
    at_once.args(["--push", "-t", &registry.name("later:3"), "--metadata-file"]);
    progress(at_once.arg(&metadata));
    let metadata: Value = serde_json::from_slice(&fs::read(metadata).unwrap()).unwrap();
    let digest = metadata["containerimage.digest"].as_str().unwrap();
    assert_eq!(pushed, format!("{}@{digest}\n", name.trim_end_matches(":2")));
    assert_eq!(
        run(workshop.rbuild().args(["images", "--quiet", "later"])),
        run(workshop.rbuild().args(["images", "--quiet", &registry.name("later:3")])),
        "the ID is the same everywhere"
    );
}

#[test]
fn a_base_comes_from_a_registry_by_tag_and_by_digest() {
    let (Some(bases), Some(registry)) = (Bases::find(), Registry::start(Access::Open)) else {
        return;
    };
    let metadata = push(&Workshop::own(), bases, &registry.name("base:1"));
    let digest = metadata["containerimage.digest"].as_str().unwrap();
    for base in [registry.name("base:1"), registry.name(&format!("base@{digest}"))] {
        let workshop = Workshop::own();
        let dockerfile = format!("FROM {base}\nRUN cat /file > /copy\nCMD [\"cat\", \"/copy\"]\n");
        let context = workshop.context("upon", &[("Dockerfile", &dockerfile)]);
        progress(workshop.build(bases, &context).args(["-t", "upon"]));
        assert_eq!(run(workshop.rbuild().args(["run", "upon"])), "pushed\n", "FROM {base}");
    }
}

#[test]
fn a_policy_says_which_image_is_used_where_another_is_named() {
    let (Some(bases), Some(registry)) = (Bases::find(), Registry::start(Access::Open)) else {
        return;
    };
    push(&Workshop::own(), bases, &registry.name("base:1"));
    let workshop = Workshop::own();
    let dockerfile = format!("FROM {}\nCOPY Dockerfile /\n", registry.name("nowhere:9"));
    let context = workshop.context("policed", &[("Dockerfile", &dockerfile)]);
    let policy = |name: &str, rule: &str| {
        let path = workshop.path(name);
        fs::write(&path, format!(r#"{{"version":1,"rules":[{rule}]}}"#)).unwrap();
        path
    };
    let selector = format!(
        r#""selector":{{"identifier":"docker-image://{}/nowhere:*"}}"#,
        registry.host()
    );
    let convert = format!(
        r#"{{"action":"CONVERT",{selector},"updates":{{"identifier":"docker-image://{}"}}}}"#,
        registry.name("base:1")
    );
    let convert = policy("convert", &convert);
    progress(
        workshop
            .build(bases, &context)
            .args(["-t", "policed", "--source-policy-file"])
            .arg(convert),
    );
    assert_eq!(run(workshop.rbuild().args(["run", "policed"])), "pushed\n");

    let deny = policy("deny", &format!(r#"{{"action":"DENY",{selector}}}"#));
    let mut refused = workshop.build(bases, &context);
    let said = ends_with(refused.env("EXPERIMENTAL_BUILDKIT_SOURCE_POLICY", deny), 5);
    assert!(said.contains("denied by policy"), "{said}");
}

#[test]
fn skopeo_and_rbuild_write_layouts_of_the_same_digest() {
    let (Some(bases), Some(registry)) = (Bases::find(), Registry::start(Access::Open)) else {
        return;
    };
    if !has("skopeo") {
        return skipped("skopeo").unwrap_or_default();
    }
    let workshop = Workshop::own();
    let name = registry.name("layout:1");
    let metadata = push(&workshop, bases, &name);
    let folder = workshop.path("layout");
    let target = format!("oci:{}:1", folder.display());
    run(Command::new("skopeo").args(["copy", "--src-tls-verify=false", &format!("docker://{name}"), &target]));
    let index: Value = serde_json::from_slice(&fs::read(folder.join("index.json")).unwrap()).unwrap();
    assert_eq!(index["manifests"][0]["digest"], metadata["containerimage.digest"]);
}

#[test]
fn what_a_registry_lacks_is_named() {
    let (Some(bases), Some(registry)) = (Bases::find(), Registry::start(Access::Open)) else {
        return;
    };
    let workshop = Workshop::own();
    let name = registry.name("not/there:9");
    let context = workshop.context("lacking", &[("Dockerfile", &format!("FROM {name}\n"))]);
    let stderr = ends_with(&mut workshop.build(bases, &context), 3);
    assert!(stderr.contains(&name) && stderr.contains("not found"), "{stderr}");
    let stderr = ends_with(workshop.rbuild().args(["pull", &name]), 3);
    assert!(stderr.contains(&name) && stderr.contains("not found"), "{stderr}");
}

#[test]
fn a_registry_that_is_not_there_is_named() {
    let workshop = Workshop::own();
    let host = format!("127.0.0.1:{}", free_port());
    let stderr = ends_with(workshop.rbuild().args(["pull", &format!("{host}/app:1")]), 3);
    assert!(
        stderr.contains(&host) && stderr.to_lowercase().contains("connection refused"),
        "{stderr}"
    );
}

#[test]
fn a_registry_that_asks_who_we_are_gets_the_credentials_of_the_docker_config() {
    let (Some(bases), Some(registry)) = (Bases::find(), Registry::start(Access::Password)) else {
        return;
    };
    let workshop = Workshop::own();
    let context = workshop.context("secret", &[("Dockerfile", DOCKERFILE)]);
    let name = registry.name("secret:1");
    let push = || {
        let mut command = workshop.build(bases, &context);
        command.args(["--push", "-t", &name]);
        command
    };
    let stderr = ends_with(&mut push(), 3).to_lowercase();
    assert!(
        stderr.contains("access denied") && stderr.contains(&registry.host()),
        "{stderr}"
    );

    let login = format!(
        "{{\"auths\":{{\"{}\":{{\"auth\":\"YWRhOnNlY3JldA==\"}}}}}}",
        registry.host()
    );
    let config = workshop.context("docker", &[("config.json", &login)]);
    progress(push().env("DOCKER_CONFIG", config));
}

/// Builds and pushes; gives what `--metadata-file` says.
fn push(workshop: &Workshop, bases: &Bases, name: &str) -> Value {
    let context = workshop.context("pushed", &[("Dockerfile", DOCKERFILE)]);
    let metadata = workshop.path("metadata.json");
    progress(
        workshop
            .build(bases, &context)
            .args(["--push", "-t", name, "--metadata-file"])
            .arg(&metadata),
    );
    serde_json::from_slice(&fs::read(metadata).unwrap()).unwrap()
}

/// Who may use a registry.
#[derive(Clone, Copy)]
pub(crate) enum Access {
    Open,
    /// `ada` with the password `secret`.
    Password,
}

/// A docker-registry process with a folder of its own, ended when dropped.
pub(crate) struct Registry {
    server: Child,
    port: u16,
    folder: tempfile::TempDir,
}

impl Registry {
    pub(crate) fn start(access: Access) -> Option<Registry> {
        Registry::start_with(access, "")
    }

    /// The same, with more lines in the section `http` of its configuration.
    pub(crate) fn start_with(access: Access, http: &str) -> Option<Registry> {
        let program = ["/usr/bin/docker-registry", "/usr/local/bin/docker-registry"].map(PathBuf::from);
        let Some(program) = program.into_iter().find(|path| path.exists()) else {
            return skipped("docker-registry");
        };
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let users = folder.path().join("users");
        fs::write(
            &users,
            "ada:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n",
        )
        .unwrap();
        let mut configuration = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
             http:\n  addr: '127.0.0.1:{port}'\n{http}",
            folder.path().join("blobs").display()
        );
        if let Access::Password = access {
            configuration += &format!("auth: {{htpasswd: {{realm: tests, path: {}}}}}\n", users.display());
        }
        let file = folder.path().join("config.yml");
        fs::write(&file, configuration).unwrap();
        let quiet = || Stdio::null();
        let server = Command::new(program)
            .arg("serve")
            .arg(file)
            .stdout(fs::File::create(folder.path().join("access.log")).unwrap())
            .stderr(quiet())
            .spawn()
            .unwrap();
        let registry = Registry { server, port, folder };
        let listens = || TcpStream::connect(("127.0.0.1", port)).is_ok();
        assert!(
            eventually(Duration::from_secs(20), listens),
            "docker-registry does not start"
        );
        Some(registry)
    }

    /// A line for each request that it answered.
    pub(crate) fn access_log(&self) -> String {
        fs::read_to_string(self.folder.path().join("access.log")).unwrap()
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn name(&self, image: &str) -> String {
        format!("{}/{image}", self.host())
    }

    /// The digest another program finds; nothing when that program is not installed.
    fn digest_seen_by_skopeo(&self, image: &str) -> Option<String> {
        if !has("skopeo") {
            return skipped("skopeo");
        }
        let mut command = Command::new("skopeo");
        command.args(["inspect", "--tls-verify=false", "--format={{.Digest}}"]);
        Some(
            run(command.arg(format!("docker://{}", self.name(image))))
                .trim()
                .to_owned(),
        )
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
