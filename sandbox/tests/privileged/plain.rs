//! Steps without namespaces, on a root that is an ordinary directory.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sandbox::{Cancel, Error, Executor, Exit, Limit, Mount, Network, Plain, Privileges, Secret, Spec, Stream};

use super::world;

pub(crate) const TESTS: &[(&str, fn())] = &[
    ("plain_output_and_codes_are_told", output_and_codes_are_told),
    ("plain_a_step_is_who_it_is_to_be", a_step_is_who_it_is_to_be),
    (
        "plain_the_system_is_there_as_far_as_it_can_be",
        the_system_is_there_as_far_as_it_can_be,
    ),
    (
        "plain_what_is_mounted_is_gone_afterwards",
        what_is_mounted_is_gone_afterwards,
    ),
    (
        "plain_what_a_step_leaves_running_ends_with_it",
        what_a_step_leaves_running_ends_with_it,
    ),
    (
        "plain_a_cancelled_step_ends_and_leaves_nothing",
        a_cancelled_step_ends_and_leaves_nothing,
    ),
    (
        "plain_a_supervisor_that_goes_leaves_nothing",
        a_supervisor_that_goes_leaves_nothing,
    ),
    ("plain_who_watches_may_be_killed", who_watches_may_be_killed),
    (
        "plain_a_directory_is_lent_to_one_step_at_a_time",
        a_directory_is_lent_to_one_step_at_a_time,
    ),
    ("plain_a_root_is_not_left", a_root_is_not_left),
    (
        "plain_what_needs_namespaces_is_refused",
        what_needs_namespaces_is_refused,
    ),
    (
        "plain_a_command_that_is_missing_is_told",
        a_command_that_is_missing_is_told,
    ),
];

struct Root(tempfile::TempDir);

impl Root {
    fn new() -> Root {
        let root = Root(tempfile::tempdir().unwrap());
        for name in ["root/bin", "root/etc", "root/data", "outside/content"] {
            fs::create_dir_all(root.at(name)).unwrap();
        }
        fs::set_permissions(root.0.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::copy(world::busybox().unwrap(), root.at("root/bin/busybox")).unwrap();
        for applet in world::APPLETS
            .split_whitespace()
            .chain(["mv", "setsid", "nohup", "mkfifo"])
        {
            symlink("busybox", root.at("root/bin").join(applet)).unwrap();
        }
        let passwd = "root:x:0:0:root:/root:/bin/sh\nann:x:1000:1001:Ann:/home/ann:/bin/sh\n";
        fs::write(root.at("root/etc/passwd"), passwd).unwrap();
        fs::write(root.at("root/etc/group"), "root:x:0:\nann:x:1001:\nstaff:x:50:ann\n").unwrap();
        fs::write(root.at("root/data/own"), "").unwrap();
        fs::write(root.at("outside/content/file"), "from outside\n").unwrap();
        root
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn script(&self, text: &str) -> Spec {
        let mut spec = Spec::new(self.at("root"), ["/bin/sh", "-c", text].map(str::to_owned).to_vec());
        spec.env = vec!["PATH=/bin".to_owned()];
        spec
    }

    fn says(&self, text: &str) -> String {
        says(&self.script(text))
    }

    /// Everything below the root, with kind, mode and time; and nothing is beside it.
    fn listing(&self) -> Vec<String> {
        fn walk(path: &Path, list: &mut Vec<String>) {
            let data = fs::symlink_metadata(path).unwrap();
            list.push(format!(
                "{} {:o} {}.{}",
                path.display(),
                data.mode(),
                data.mtime(),
                data.mtime_nsec()
            ));
            if data.is_dir() {
                fs::read_dir(path)
                    .unwrap()
                    .for_each(|entry| walk(&entry.unwrap().path(), list));
            }
        }
        let mut list = Vec::new();
        walk(&self.at("root"), &mut list);
        list.sort();
        let beside: Vec<_> = fs::read_dir(self.0.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(beside.len(), 2, "{beside:?}");
        list
    }
}

fn run(spec: &Spec, cancel: &Cancel) -> Result<(Exit, String, String), Error> {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let mut output = |stream, bytes: &[u8]| match stream {
        Stream::Stdout => stdout.extend_from_slice(bytes),
        Stream::Stderr => stderr.extend_from_slice(bytes),
        Stream::Note => panic!("{}", String::from_utf8_lossy(bytes)),
    };
    let exit = Plain::new().run(spec, &mut output, cancel)?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok((exit, text(stdout), text(stderr)))
}

fn says(spec: &Spec) -> String {
    let (exit, stdout, stderr) = run(spec, &Cancel::new()).unwrap();
    assert_eq!(exit, Exit::Code(0), "{stdout}{stderr}");
    stdout.trim_end().to_owned()
}

fn bind(source: PathBuf, target: &str, read_only: bool) -> Mount {
    Mount::Bind {
        source,
        inside: String::new(),
        target: target.to_owned(),
        read_only,
    }
}

/// How many processes of this machine have such a word among their arguments.
fn running(word: &str) -> usize {
    let lines = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| fs::read(entry.ok()?.path().join("cmdline")).ok());
    lines
        .filter(|line| line.split(|byte| *byte == 0).any(|part| part == word.as_bytes()))
        .count()
}

fn eventually(holds: impl Fn() -> bool) -> bool {
    let end = Instant::now() + Duration::from_secs(10);
    while Instant::now() < end && !holds() {
        std::thread::sleep(Duration::from_millis(20));
    }
    holds()
}

fn output_and_codes_are_told() {
    let root = Root::new();
    let (exit, stdout, stderr) = run(&root.script("echo out; echo err >&2; exit 7"), &Cancel::new()).unwrap();
    assert_eq!((exit, &stdout[..], &stderr[..]), (Exit::Code(7), "out\n", "err\n"));
    let killed = run(&root.script("kill -9 $$"), &Cancel::new()).unwrap().0;
    assert_eq!(killed, Exit::Signal(9));
    let script = "echo a > /dev/stdout; echo b > /dev/stderr; cat < /dev/null; cat /dev/stdin; echo c";
    let (_, stdout, stderr) = run(&root.script(script), &Cancel::new()).unwrap();
    assert!(stdout.contains("a\n") && stdout.contains("c\n"), "{stdout}");
    assert_eq!(stderr, "b\n");
}

fn a_step_is_who_it_is_to_be() {
    let root = Root::new();
    let mut spec = root.script("id; pwd; echo $HOME; umask; ulimit -n; touch here");
    spec.user = "ann".to_owned();
    spec.working_directory = "/jobs/here".to_owned();
    let resource = "nofile".to_owned();
    spec.limits.push(Limit {
        resource,
        soft: 77,
        hard: 88,
    });
    let said = says(&spec);
    let expected = "uid=1000(ann) gid=1001(ann) groups=50(staff),1001(ann)\n/jobs/here\n/home/ann\n0022\n77";
    assert_eq!(said, expected);
    let made = fs::metadata(root.at("root/jobs/here/here")).unwrap();
    assert_eq!((made.uid(), made.gid()), (1000, 1001));
}

fn the_system_is_there_as_far_as_it_can_be() {
    let root = Root::new();
    fs::create_dir_all(root.at("root/dev/odd")).unwrap();
    fs::create_dir_all(root.at("root/proc")).unwrap();
    fs::create_dir_all(root.at("root/sys")).unwrap();
    let before = root.listing();
    let said = root.says(
        "test -s /proc/cpuinfo && test -s /proc/meminfo && test ! -e /proc/self && test ! -e /dev/odd && test ! -e /dev/sda \
         && head -c 3 /dev/zero | wc -c && echo x > /dev/null && touch /dev/shm/x && ls /sys && cat /etc/hosts && \
         test -e /etc/resolv.conf && echo 1.2.3.4 >> /etc/hosts",
    );
    assert!(said.starts_with("3\n127.0.0.1\tlocalhost buildkitsandbox "), "{said}");
    assert_eq!(root.listing(), before);
}

fn what_is_mounted_is_gone_afterwards() {
    let root = Root::new();
    for folder in ["proc", "dev", "sys"] {
        fs::create_dir(root.at("root").join(folder)).unwrap();
    }
    let before = root.listing();
    let mut spec = root.script(
        "cat /read/file && echo lost >> /read/file && echo kept > /data/new && test ! -e /data/own && touch /data/t/x && \
         stat -c '%a %u:%g' /run/secrets/s && cat /run/secrets/s && cat /single",
    );
    spec.mounts = vec![
        bind(root.at("outside/content"), "/read", true),
        bind(root.at("outside/content/file"), "/single", true),
        Mount::Secret {
            target: "/run/secrets/s".to_owned(),
            content: Secret(b"hidden\n".to_vec()),
            user: 1000,
            group: 50,
            mode: 0o440,
        },
    ];
    let written = root.at("written");
    // Beside the root there is to be nothing else.
    let elsewhere = tempfile::tempdir_in(root.0.path().parent().unwrap()).unwrap();
    fs::create_dir(elsewhere.path().join("content")).unwrap();
    drop(written);
    spec.mounts.push(Mount::Bind {
        source: elsewhere.path().to_owned(),
        inside: "/content".to_owned(),
        target: "/data".to_owned(),
        read_only: false,
    });
    spec.mounts.push(Mount::Tmpfs {
        target: "/data/t".to_owned(),
        size: None,
        read_only: false,
    });
    assert_eq!(says(&spec), "from outside\n440 1000:50\nhidden\nfrom outside");
    assert_eq!(root.listing(), before);
    assert_eq!(
        fs::read_to_string(root.at("outside/content/file")).unwrap(),
        "from outside\n"
    );
    assert_eq!(
        fs::read_to_string(elsewhere.path().join("content/new")).unwrap(),
        "kept\n"
    );
    // The mount point in it stays, as with a mount.
    assert!(
        fs::read_dir(elsewhere.path().join("content/t"))
            .unwrap()
            .next()
            .is_none()
    );
}

fn what_a_step_leaves_running_ends_with_it() {
    let root = Root::new();
    let script =
        "sleep 4321 & (setsid sleep 4321 &) ; (setsid sh -c 'setsid sleep 4321 & sleep 4321' &); sleep 0.2; echo done";
    assert_eq!(root.says(script), "done");
    assert_eq!(running("4321"), 0);
    // One that never stands still.
    let script = "cat > /run.sh <<'X'\nsetsid sh /run.sh 54321 &\nX\nsetsid sh /run.sh 54321 & sleep 0.2; echo done";
    assert_eq!(root.says(script), "done");
    assert_eq!(running("54321"), 0);
}

fn a_cancelled_step_ends_and_leaves_nothing() {
    let root = Root::new();
    for folder in ["proc", "dev", "sys"] {
        fs::create_dir(root.at("root").join(folder)).unwrap();
    }
    let before = root.listing();
    let mut spec = root.script("(setsid sleep 5432 &); echo ready; sleep 5432");
    spec.mounts.push(Mount::Tmpfs {
        target: "/data".to_owned(),
        size: None,
        read_only: false,
    });
    let cancel = Cancel::new();
    let begun = Instant::now();
    let ended = Plain::new().run(&spec, &mut |_, _| cancel.cancel(), &cancel);
    assert!(matches!(ended, Err(Error::Cancelled)), "{ended:?}");
    assert!(begun.elapsed() < Duration::from_secs(4));
    assert_eq!(running("5432"), 0);
    assert_eq!(root.listing(), before);
}

/// The number of the process that has this name, and of the one that it started.
fn watcher() -> i32 {
    let own = std::process::id();
    let children = |pid: u32| -> Vec<u32> {
        let tasks = fs::read_dir(format!("/proc/{pid}/task"))
            .into_iter()
            .flatten()
            .flatten();
        let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
        lists
            .flat_map(|list| {
                list.split_whitespace()
                    .map(|pid| pid.parse().unwrap())
                    .collect::<Vec<_>>()
            })
            .collect()
    };
    let supervisor = children(own)[0];
    i32::try_from(children(supervisor)[0]).unwrap()
}

fn a_supervisor_that_goes_leaves_nothing() {
    let root = Root::new();
    for folder in ["proc", "dev", "sys"] {
        fs::create_dir(root.at("root").join(folder)).unwrap();
    }
    let before = root.listing();
    let supervisor = |pid: i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.rsplit_once(')')
            .unwrap()
            .1
            .split_whitespace()
            .nth(1)
            .unwrap()
            .parse()
            .unwrap()
    };
    let spec = root.script("(setsid sleep 6543 &); echo ready; sleep 6543");
    let mut kill = |_, _: &[u8]| {
        let pid = nix::unistd::Pid::from_raw(supervisor(watcher()));
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    };
    let ended = Plain::new().run(&spec, &mut kill, &Cancel::new());
    assert!(!matches!(ended, Ok(Exit::Code(0))), "{ended:?}");
    assert!(eventually(|| running("6543") == 0));
    assert_eq!(root.listing(), before);
}

fn who_watches_may_be_killed() {
    let root = Root::new();
    let spec = root.script("(setsid sleep 7654 &); echo ready; sleep 7654");
    let mut kill = |_, _: &[u8]| {
        let pid = nix::unistd::Pid::from_raw(watcher());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    };
    let ended = Plain::new().run(&spec, &mut kill, &Cancel::new());
    // The root is not in order, so this is no way for a step to end.
    assert!(matches!(ended, Err(Error::Setup { .. })), "{ended:?}");
    assert!(eventually(|| running("7654") == 0));
}

fn a_directory_is_lent_to_one_step_at_a_time() {
    let roots = [Root::new(), Root::new()];
    let shared = tempfile::tempdir().unwrap();
    fs::create_dir(shared.path().join("content")).unwrap();
    let (log, notes) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for root in &roots {
            let mut spec = root.script("echo in; sleep 0.3; echo x >> /data/file; echo out");
            spec.mounts.push(Mount::Bind {
                source: shared.path().to_owned(),
                inside: "content".to_owned(),
                target: "/data".to_owned(),
                read_only: false,
            });
            let (log, notes) = (&log, &notes);
            scope.spawn(move || {
                let mut note = |stream, bytes: &[u8]| {
                    let text = String::from_utf8_lossy(bytes).trim().to_owned();
                    let list = if stream == Stream::Note { notes } else { log };
                    list.lock().unwrap_or_else(PoisonError::into_inner).push(text);
                };
                let exit = Plain::new().run(&spec, &mut note, &Cancel::new()).unwrap();
                assert_eq!(exit, Exit::Code(0));
            });
        }
    });
    assert_eq!(log.into_inner().unwrap(), ["in", "out", "in", "out"]);
    let waits = "waiting for another step, which has what is to be mounted at /data";
    assert_eq!(notes.into_inner().unwrap(), [waits]);
    assert_eq!(
        fs::read_to_string(shared.path().join("content/file")).unwrap(),
        "x\nx\n"
    );
}

fn a_root_is_not_left() {
    let root = Root::new();
    // Without the capability no second root can be had, by which a first is left; and it cannot come back.
    let said = root.says("chroot /data /bin/true 2>&1; echo $?");
    assert!(said.contains("not permitted") && said.ends_with('1'), "{said}");
    assert_eq!(
        root.says("ls -d /../../../outside 2>/dev/null; ls /.. | grep -c outside; true"),
        "0"
    );
}

fn what_needs_namespaces_is_refused() {
    let root = Root::new();
    let mut alone = root.script("true");
    alone.network = Network::None;
    let mut insecure = root.script("true");
    insecure.privileges = Privileges::Insecure;
    for (spec, wish) in [(alone, "--network=none"), (insecure, "--security=insecure")] {
        let error = run(&spec, &Cancel::new()).unwrap_err().to_string();
        assert!(
            error.contains(&format!("`{wish}` cannot be had in a container without namespaces")),
            "{error}"
        );
    }
}

fn a_command_that_is_missing_is_told() {
    let root = Root::new();
    let spec = Spec::new(root.at("root"), vec!["missing".to_owned()]);
    let error = run(&spec, &Cancel::new()).unwrap_err();
    assert!(
        matches!(&error, Error::Program { message } if message.contains("not found in $PATH")),
        "{error:?}"
    );
    let mut spec = root.script("true");
    spec.mounts.push(bind(root.at("missing"), "/data", true));
    let error = run(&spec, &Cancel::new()).unwrap_err().to_string();
    assert!(error.contains("find the source of a mount"), "{error}");
    assert!(root.at("root/data/own").exists());
}
