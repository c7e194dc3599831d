//! What a process finds where, and what it leaves behind.

use std::fs;

use sandbox::{Cancel, Executor, Limit, Mount, Namespaces, Secret};

use crate::Test;
use crate::world::{Root, run, says};

pub(crate) const TESTS: &[Test] = &[
    ("names_of_the_machine", names_of_the_machine),
    ("users_are_looked_up_in_the_root", users_are_looked_up_in_the_root),
    ("home_comes_from_passwd", home_comes_from_passwd),
    ("ids_that_are_not_there_are_refused", ids_that_are_not_there_are_refused),
    (
        "the_working_directory_is_made_for_the_user",
        the_working_directory_is_made_for_the_user,
    ),
    ("variables_keep_their_order", variables_keep_their_order),
    (
        "shared_memory_has_the_size_asked_for",
        shared_memory_has_the_size_asked_for,
    ),
    ("limits_are_set", limits_are_set),
    ("mount_points_do_not_stay", mount_points_do_not_stay),
    ("binds_are_mounted", binds_are_mounted),
    (
        "a_part_of_a_tree_is_found_inside_of_it_only",
        a_part_of_a_tree_is_found_inside_of_it_only,
    ),
    ("secrets_are_files_of_their_own", secrets_are_files_of_their_own),
    ("an_insecure_step_may_what_we_may", an_insecure_step_may_what_we_may),
    ("links_do_not_lead_mounts_astray", links_do_not_lead_mounts_astray),
    ("files_written_are_in_the_root", files_written_are_in_the_root),
];

fn names_of_the_machine() {
    let root = Root::new();
    let mut spec = root.script("hostname; cat /etc/hosts");
    spec.hostname = "builder".to_owned();
    spec.hosts = vec![("db".to_owned(), "10.0.0.2".to_owned())];
    let expected = "builder\n127.0.0.1\tlocalhost builder\n::1\tlocalhost ip6-localhost ip6-loopback\n10.0.0.2\tdb";
    assert_eq!(says(&spec), expected);
    let host = fs::read_to_string("/etc/resolv.conf").unwrap();
    assert_eq!(root.says("cat /etc/resolv.conf"), host.trim_end());
}

fn users_are_looked_up_in_the_root() {
    let root = Root::new();
    let cases = [
        ("", "0 0 0"),
        ("ann", "1000 1001 1001 50"),
        ("1000", "1000 1001 1001 50"),
        ("ann:staff", "1000 50 50"),
        ("4242", "4242 0 0"),
        ("7:8", "7 8 8"),
    ];
    for (user, expected) in cases {
        let mut spec = root.script("echo $(id -u) $(id -g) $(id -G)");
        spec.user = user.to_owned();
        assert_eq!(says(&spec), expected, "{user}");
    }
    let mut spec = root.script("id");
    spec.user = "carol".to_owned();
    let error = run(&spec).unwrap_err();
    assert_eq!(
        error.to_string(),
        "unable to find user carol: no matching entries in passwd file"
    );
}

fn ids_that_are_not_there_are_refused() {
    let root = Root::new();
    let mut spec = root.script("id -u");
    spec.user = "2000000000".to_owned();
    let map = fs::read_to_string("/proc/self/uid_map").unwrap();
    match run(&spec) {
        Ok(ran) => assert_eq!(
            (map.contains("4294967295"), ran.stdout.trim()),
            (true, "2000000000"),
            "{map}"
        ),
        Err(error) => assert_eq!(
            error.to_string(),
            "no process can run as 2000000000:0 here: the user namespace has no such id"
        ),
    }
}

fn home_comes_from_passwd() {
    let root = Root::new();
    for (user, home) in [("", "/root"), ("ann", "/home/ann"), ("4242", "/")] {
        let mut spec = root.script("echo $HOME");
        spec.user = user.to_owned();
        assert_eq!(says(&spec), home);
    }
    let mut spec = root.script("echo $HOME");
    spec.env.push("HOME=/elsewhere".to_owned());
    assert_eq!(says(&spec), "/elsewhere");
}

fn the_working_directory_is_made_for_the_user() {
    let root = Root::new();
    let mut spec = root.script("pwd; stat -c '%a %u:%g' . ..; touch mine");
    spec.user = "ann".to_owned();
    spec.working_directory = "/srv/app".to_owned();
    assert_eq!(says(&spec), "/srv/app\n755 1000:1001\n755 1000:1001");
}

fn variables_keep_their_order() {
    let root = Root::new();
    let mut spec = root.script("");
    spec.args = vec!["env".to_owned()];
    spec.env = ["Z=1", "PATH=/bin", "A=2"].map(str::to_owned).to_vec();
    assert_eq!(says(&spec), "Z=1\nPATH=/bin\nA=2\nHOME=/root");
}

fn shared_memory_has_the_size_asked_for() {
    let root = Root::new();
    let mut spec = root.script("df -k /dev/shm | tail -1 | awk '{print $2}'; stat -c %a /dev/shm");
    assert_eq!(says(&spec), "65536\n1777");
    spec.shm_size = 1 << 20;
    assert_eq!(says(&spec), "1024\n1777");
}

fn limits_are_set() {
    let root = Root::new();
    let mut spec = root.script("ulimit -Sn; ulimit -Hn; ulimit -c");
    let limit = |resource: &str, soft, hard| Limit {
        resource: resource.to_owned(),
        soft,
        hard,
    };
    spec.limits = vec![limit("nofile", 100, 200), limit("core", 0, 0)];
    assert_eq!(says(&spec), "100\n200\n0");
    spec.limits = vec![limit("nofile", 1 << 19, 1 << 19)];
    let ceiling: u64 = says(&spec).lines().nth(1).unwrap().parse().unwrap();
    assert!(ceiling <= 1 << 19, "{ceiling}");
}

fn mount_points_do_not_stay() {
    let root = Root::new();
    let etc = root.path().join("etc");
    let before = fs::metadata(&etc).unwrap().modified().unwrap();
    let top = || {
        let mut names: Vec<String> = fs::read_dir(root.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    };
    assert_eq!(top(), ["bin", "etc"]);
    let mut spec = root.script("true");
    spec.mounts = vec![Mount::Tmpfs {
        target: "/made/for/this".to_owned(),
        size: None,
        read_only: false,
    }];
    says(&spec);
    assert_eq!(top(), ["bin", "dev", "etc", "proc", "sys"]);
    assert!(!etc.join("hosts").exists() && !etc.join("resolv.conf").exists());
    assert_eq!(fs::metadata(&etc).unwrap().modified().unwrap(), before);
}

fn binds_are_mounted() {
    let root = Root::new();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("file"), "content\n").unwrap();
    let bind = |source: std::path::PathBuf, target: &str, read_only| Mount::Bind {
        source,
        inside: String::new(),
        target: target.to_owned(),
        read_only,
    };
    let mut spec = root.script("cat /a/file /b; echo x 2>&- > /a/new && echo wrote; echo x 2>&- > /b || echo refused");
    spec.mounts = vec![
        bind(outside.path().into(), "/a", false),
        bind(outside.path().join("file"), "/b", true),
    ];
    assert_eq!(says(&spec), "content\ncontent\nwrote\nrefused");
    assert!(outside.path().join("new").exists());
    assert!(!root.path().join("a").exists() && !root.path().join("b").exists());
}

fn a_part_of_a_tree_is_found_inside_of_it_only() {
    let root = Root::new();
    let outside = tempfile::tempdir().unwrap();
    fs::create_dir(outside.path().join("etc")).unwrap();
    fs::write(outside.path().join("etc/hostname"), "inside\n").unwrap();
    std::os::unix::fs::symlink("/etc/hostname", outside.path().join("link")).unwrap();
    let part = |inside: &str| {
        let mut spec = root.script("cat /m");
        spec.mounts = vec![Mount::Bind {
            source: outside.path().into(),
            inside: inside.to_owned(),
            target: "/m".to_owned(),
            read_only: true,
        }];
        spec
    };
    for inside in ["/etc/hostname", "/link", "../../../link"] {
        assert_eq!(says(&part(inside)), "inside", "{inside}");
    }
    assert!(
        Namespaces::new()
            .run(&part("/nope"), &mut |_, _| {}, &Cancel::new())
            .is_err()
    );
}

fn secrets_are_files_of_their_own() {
    let root = Root::new();
    let secret = |target: &str, mode| Mount::Secret {
        target: target.to_owned(),
        content: Secret(b"hush\n".to_vec()),
        user: 0,
        group: 0,
        mode,
    };
    let mut spec = root.script(
        "cat /run/secrets/s; stat -c '%u %g %a' /run/secrets/s /x; echo 2>&- > /x || echo refused; ls /dev/null",
    );
    spec.mounts = vec![secret("/run/secrets/s", 0o400), secret("/x", 0o755)];
    assert_eq!(says(&spec), "hush\n0 0 400\n0 0 755\nrefused\n/dev/null");
    assert!(!format!("{spec:?}").contains("104, 117"), "a secret must not be shown");
    assert!(!root.path().join("run").exists() && !root.path().join("x").exists());
}

fn an_insecure_step_may_what_we_may() {
    let root = Root::new();
    let mut spec =
        root.script("grep CapBnd /proc/self/status; grep CapEff /proc/self/status; grep Seccomp: /proc/self/status");
    let words = |spec: &sandbox::Spec| -> Vec<String> { says(spec).split_whitespace().map(str::to_owned).collect() };
    let ordinary = words(&spec);
    assert_eq!([&ordinary[1], &ordinary[5]], ["00000000a80425fb", "2"]);
    spec.privileges = sandbox::Privileges::Insecure;
    spec.user = "7".to_owned();
    let insecure = words(&spec);
    assert_eq!(insecure[1], insecure[3]);
    assert!(
        u64::from_str_radix(&insecure[1], 16).unwrap() & (1 << 21) != 0,
        "{insecure:?}"
    );
    assert_eq!(insecure[5], "0");
}

fn links_do_not_lead_mounts_astray() {
    let root = Root::new();
    let outside = tempfile::tempdir().unwrap();
    for (link, target) in [
        ("etc/hosts", "hosts"),
        ("dev", "devices"),
        ("sys", "../../../../../../system"),
    ] {
        std::os::unix::fs::symlink(outside.path().join(target), root.path().join(link)).unwrap();
    }
    assert_eq!(root.says("cat /dev/null; echo fine"), "fine");
    assert!(fs::read_dir(outside.path()).unwrap().next().is_none());
}

fn files_written_are_in_the_root() {
    let root = Root::new();
    root.says("echo made > /file; mkdir -m 700 /folder");
    assert_eq!(fs::read_to_string(root.path().join("file")).unwrap(), "made\n");
    assert_eq!(root.says("cat /file; stat -c %a /folder /file"), "made\n700\n644");
}
