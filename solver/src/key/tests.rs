//! What changes a key, and what does not.

use super::*;
use graph::{
    Access, Attributes, BindMount, CacheMount, Copy, InputIndex, Lent, Mount, MountKind, NetworkMode, Process,
    SecretVariable, Security, Sharing, Unpack,
};

fn run() -> ExecOp {
    ExecOp {
        root: Some(InputIndex(0)),
        process: Process {
            args: vec!["/bin/sh".into(), "-c".into(), "make".into()],
            env: vec!["A=1".into(), "B=2".into()],
            proxy_env: vec![],
            working_directory: "/".into(),
            user: String::new(),
            hostname: None,
        },
        mounts: vec![
            mount("/src", bind(1, "/src", Access::ReadOnly)),
            mount("/var/cache", cache("/var/cache", Sharing::Shared)),
            mount("/other", cache("named", Sharing::Shared)),
            mount(
                "/tmp",
                MountKind::Tmpfs {
                    size: None,
                    access: Access::ReadWrite,
                },
            ),
            mount("/run/secrets/s", secret("s", 0o400)),
        ],
        secret_env: vec![SecretVariable {
            name: "TOKEN".into(),
            secret: lent("token"),
        }],
        security: Security::Sandbox,
        network: NetworkMode::Default,
        extra_hosts: vec![("h".into(), "1.1.1.1".into())],
        shm_size: None,
        ulimits: vec![],
        platform: "linux/amd64".parse().unwrap(),
    }
}

fn mount(target: &str, kind: MountKind) -> Mount {
    let target = target.to_owned();
    Mount { target, kind }
}

fn bind(from: usize, source: &str, access: Access) -> MountKind {
    MountKind::Bind(BindMount {
        from: Some(InputIndex(from)),
        source: source.into(),
        access,
    })
}

fn cache(id: &str, sharing: Sharing) -> MountKind {
    MountKind::Cache(CacheMount {
        id: format!("/{id}"),
        sharing,
        from: None,
        source: "/".into(),
        access: Access::ReadWrite,
    })
}

fn secret(id: &str, mode: u32) -> MountKind {
    let (user, group) = (0, 0);
    MountKind::Secret {
        secret: lent(id),
        attributes: Attributes { user, group, mode },
    }
}

fn lent(id: &str) -> Lent {
    let (id, required) = (id.to_owned(), false);
    Lent { id, required }
}

/// The key when the mounted files are known by content.
fn exec(change: impl FnOnce(&mut ExecOp)) -> CacheKey {
    let mut op = run();
    change(&mut op);
    of_exec(&op, of_nothing(), &[CopySource::Content(Digest::of(b"files"))])
}

type Change = (&'static str, fn(&mut ExecOp));

#[test]
fn what_changes_the_key_of_a_process() {
    let plain = exec(|_| {});
    let changes: [Change; 22] = [
        ("command", |op| op.process.args[2] = "make all".into()),
        ("environment", |op| op.process.env.push("C=3".into())),
        ("order of the environment", |op| op.process.env.reverse()),
        ("directory", |op| op.process.working_directory = "/src".into()),
        ("user", |op| op.process.user = "1".into()),
        ("host name", |op| op.process.hostname = Some("x".into())),
        ("network", |op| op.network = NetworkMode::None),
        ("security", |op| op.security = Security::Insecure),
        ("shm size", |op| op.shm_size = Some(1)),
        ("platform", |op| op.platform = "linux/arm64".parse().unwrap()),
        ("limits", |op| {
            op.ulimits.push(graph::Ulimit {
                name: "nofile".into(),
                soft: 1,
                hard: 1,
            });
        }),
        ("name of an extra host", |op| op.extra_hosts[0].0 = "i".into()),
        ("target of a mount", |op| op.mounts[0].target = "/elsewhere".into()),
        ("kind of a mount", |op| op.mounts[3].kind = cache("x", Sharing::Shared)),
        ("a writable bind", |op| {
            op.mounts[0].kind = bind(1, "/src", Access::ReadWrite);
        }),
        ("id of a cache named after its target", |op| {
            op.mounts[1].kind = cache("mine", Sharing::Shared);
        }),
        ("size of a tmpfs", |op| {
            op.mounts[3].kind = MountKind::Tmpfs {
                size: Some(1),
                access: Access::ReadWrite,
            };
        }),
        ("name of a secret", |op| op.mounts[4].kind = secret("t", 0o400)),
        ("mode of a secret", |op| op.mounts[4].kind = secret("s", 0o440)),
        ("name of a secret variable", |op| op.secret_env[0].name = "T".into()),
        ("whether a secret is required", |op| {
            op.secret_env[0].secret.required = true;
        }),
        ("one mount less", |op| drop(op.mounts.pop())),
    ];
    for (what, change) in changes {
        assert_ne!(exec(change), plain, "{what}");
    }
    let files = |content: &[u8]| of_exec(&run(), of_nothing(), &[CopySource::Content(Digest::of(content))]);
    assert_ne!(files(b"files"), files(b"other files"));
}

#[test]
fn what_does_not() {
    let plain = exec(|_| {});
    let changes: [Change; 6] = [
        ("proxies", |op| op.process.proxy_env.push("HTTP_PROXY=http://p".into())),
        ("address of an extra host", |op| op.extra_hosts[0].1 = "2.2.2.2".into()),
        ("where the files of a mount are", |op| {
            op.mounts[0].kind = bind(2, "/elsewhere", Access::ReadOnly);
        }),
        ("id of a cache with a name of its own", |op| {
            op.mounts[2].kind = cache("renamed", Sharing::Shared);
        }),
        ("sharing of such a cache", |op| {
            op.mounts[2].kind = cache("named", Sharing::Locked);
        }),
        ("place of the root among the inputs", |op| op.root = Some(InputIndex(3))),
    ];
    for (what, change) in changes {
        assert_eq!(exec(change), plain, "{what}");
    }
}

#[test]
fn a_mount_of_unknown_content_is_known_by_its_tree_and_path() {
    let key = |op: &ExecOp| of_exec(op, of_nothing(), &[CopySource::Tree(of_nothing())]);
    let mut other = run();
    other.mounts[0].kind = bind(1, "/elsewhere", Access::ReadOnly);
    assert_ne!(key(&run()), key(&other));
}

#[test]
fn a_cache_is_known_by_its_name_and_by_what_it_begins_as() {
    let keys = [
        of_directory("/a", None),
        of_directory("/b", None),
        of_directory("/a", Some(("tree", "/"))),
        of_directory("/a", Some(("tree", "/cache"))),
        of_directory("/a", Some(("other", "/"))),
    ];
    let different: std::collections::HashSet<_> = keys.iter().map(|key| key.0).collect();
    assert_eq!(different.len(), keys.len());
}

#[test]
fn the_path_of_a_source_matters_only_where_its_content_is_not_known() {
    let copy = |source: &str| FileOp {
        base: None,
        names: None,
        actions: vec![FileAction::Copy(Copy {
            from: InputIndex(0),
            source: source.into(),
            destination: "/x".into(),
            owner: None,
            mode: None,
            include: None,
            excludes: vec![],
            unpack: Unpack::Never,
        })],
    };
    let content = [CopySource::Content(Digest::of(b"x"))];
    let tree = [CopySource::Tree(of_nothing())];
    let key = |source: &str, sources: &[CopySource]| of_file(&copy(source), of_nothing(), None, sources);
    assert_eq!(key("/a/x", &content), key("/b/x", &content));
    assert_ne!(key("/a/x", &tree), key("/b/x", &tree));
}
