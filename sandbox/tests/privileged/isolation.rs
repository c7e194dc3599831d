//! What a process can see and do.

use std::fs;
use std::os::unix::fs::OpenOptionsExt;

use sandbox::{Cancel, Executor, Exit, Namespaces, Network, Stream};

use crate::Test;
use crate::world::{Root, run, says};

pub(crate) const TESTS: &[Test] = &[
    ("the_command_is_pid_1_and_alone", the_command_is_pid_1_and_alone),
    ("root_has_dockers_capabilities", root_has_dockers_capabilities),
    ("other_users_have_no_capabilities", other_users_have_no_capabilities),
    ("a_filter_of_system_calls_is_on", a_filter_of_system_calls_is_on),
    ("namespaces_and_mounts_are_refused", namespaces_and_mounts_are_refused),
    ("devices_are_the_usual_ones", devices_are_the_usual_ones),
    ("mounts_are_the_usual_ones", mounts_are_the_usual_ones),
    (
        "kernel_files_are_hidden_or_read_only",
        kernel_files_are_hidden_or_read_only,
    ),
    ("later_steps_see_what_the_first_saw", later_steps_see_what_the_first_saw),
    (
        "without_network_there_is_only_loopback",
        without_network_there_is_only_loopback,
    ),
    ("our_program_cannot_be_written_to", our_program_cannot_be_written_to),
    ("nothing_of_ours_is_inherited", nothing_of_ours_is_inherited),
];

fn the_command_is_pid_1_and_alone() {
    let root = Root::new();
    assert_eq!(root.says("echo $$ /proc/[0-9]*"), "1 /proc/1");
}

fn root_has_dockers_capabilities() {
    let root = Root::new();
    let expected = "CapInh:\t0000000000000000\nCapPrm:\t00000000a80425fb\nCapEff:\t00000000a80425fb\n\
        CapBnd:\t00000000a80425fb\nCapAmb:\t0000000000000000\nNoNewPrivs:\t0";
    assert_eq!(root.says("grep -E 'Cap|NoNewPrivs' /proc/self/status"), expected);
}

fn other_users_have_no_capabilities() {
    let root = Root::new();
    let mut spec = root.script("grep -E 'Cap(Prm|Eff|Bnd)' /proc/self/status");
    spec.user = "ann".to_owned();
    let expected = "CapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nCapBnd:\t00000000a80425fb";
    assert_eq!(says(&spec), expected);
}

fn a_filter_of_system_calls_is_on() {
    let root = Root::new();
    assert_eq!(root.says("grep Seccomp: /proc/self/status"), "Seccomp:\t2");
}

fn namespaces_and_mounts_are_refused() {
    let root = Root::new();
    for command in [
        "unshare -m true",
        "unshare -r true",
        "mount -t tmpfs none /etc",
        "umount /proc",
    ] {
        let ran = run(&root.script(command)).unwrap();
        assert_ne!(ran.exit, Exit::Code(0), "{command}");
        assert!(
            ran.stderr.contains("not permitted") || ran.stderr.contains("denied"),
            "{command}: {ran:?}"
        );
    }
    assert_eq!(root.says("mkdir /jail && chroot / true && echo yes"), "yes");
}

fn devices_are_the_usual_ones() {
    let root = Root::new();
    let expected = "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero";
    assert_eq!(root.says("echo $(ls /dev)"), expected);
    assert_eq!(
        root.says("head -c 4 /dev/zero | wc -c; echo gone > /dev/null; head -c 8 /dev/urandom | wc -c"),
        "4\n8"
    );
    assert_eq!(
        root.says("echo out > /dev/stdout; readlink /dev/fd"),
        "out\n/proc/self/fd"
    );
    let mut spec = root.script("echo out > /dev/stdout");
    spec.user = "ann".to_owned();
    assert_eq!(says(&spec), "out");
}

fn mounts_are_the_usual_ones() {
    let root = Root::new();
    let mounts = root.says("cut -d' ' -f2,3,4 /proc/mounts");
    let of = |target: &str| {
        let prefix = format!("{target} ");
        mounts
            .lines()
            .find(|line| line.starts_with(&prefix))
            .unwrap_or_else(|| panic!("{target} in {mounts}"))
            .to_owned()
    };
    assert!(of("/").starts_with("/ overlay rw"), "{}", of("/"));
    for target in [
        "/proc",
        "/sys",
        "/dev/shm",
        "/dev/mqueue",
        "/etc/hosts",
        "/etc/resolv.conf",
    ] {
        for option in ["nosuid", "nodev", "noexec"] {
            assert!(of(target).contains(option), "{}", of(target));
        }
    }
    for target in ["/sys", "/etc/hosts", "/etc/resolv.conf", "/proc/sys"] {
        assert!(
            of(target).split(' ').nth(2).unwrap().starts_with("ro,"),
            "{}",
            of(target)
        );
    }
    assert!(of("/dev").contains("size=65536k"), "{}", of("/dev"));
    assert!(of("/dev/pts").contains("mode=620,ptmxmode=666"), "{}", of("/dev/pts"));
}

/// The first step of a supervisor makes what the others copy.
fn later_steps_see_what_the_first_saw() {
    let executor = Namespaces::new();
    let look = "awk '{ for (i = 7; i <= NF; i++) if ($i == \"-\") print $5, $6, $(i + 1) }' /proc/self/mountinfo; \
                ls /proc/acpi /sys/firmware /sys/fs/cgroup /sys/fs/cgroup/memory 2>&1";
    let change = "for place in /sys/fs/cgroup /sys/fs/cgroup/memory /proc/acpi /sys/firmware; do \
                  [ ! -d $place ] || ! mkdir $place/mine 2>/dev/null || echo made $place/mine; done";
    let mut seen = Vec::new();
    for script in [look, change, look, change, look] {
        let root = Root::new();
        let mut said = String::new();
        let mut hear = |_: Stream, bytes: &[u8]| said.push_str(&String::from_utf8_lossy(bytes));
        executor.run(&root.script(script), &mut hear, &Cancel::new()).unwrap();
        match script == look {
            true => seen.push(said),
            false => assert_eq!(said, ""),
        }
    }
    assert!(seen[0].contains("/proc/sys ro,"), "{}", seen[0]);
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0], seen[2]);
}

fn kernel_files_are_hidden_or_read_only() {
    let root = Root::new();
    assert_eq!(root.says("wc -c < /proc/keys; ls /sys/firmware | wc -l"), "0\n0");
    for path in [
        "/proc/sys/kernel/hostname",
        "/proc/sysrq-trigger",
        "/sys/kernel/uevent_helper",
        "/etc/hosts",
    ] {
        let ran = run(&root.script(&format!("echo x >> {path}"))).unwrap();
        assert_ne!(ran.exit, Exit::Code(0), "{path}");
    }
}

fn without_network_there_is_only_loopback() {
    let root = Root::new();
    let mut spec = root.script("ls /sys/class/net; ifconfig lo | grep -c UP");
    spec.network = Network::None;
    assert_eq!(says(&spec), "lo\n1");
}

fn nothing_of_ours_is_inherited() {
    let root = Root::new();
    let _open = std::fs::File::open("/etc/passwd").unwrap();
    assert_eq!(
        root.says("for n in $(seq 0 50); do test -e /proc/1/fd/$n && echo -n $n; done; true"),
        "012"
    );
    assert_eq!(root.says("env | sort | cut -d= -f1"), "HOME\nPATH\nPWD\nSHLVL");
}

fn our_program_cannot_be_written_to() {
    let root = Root::new();
    let mut found = Vec::new();
    let mut output = |_: Stream, _: &[u8]| {
        let ours = format!("PPid:\t{}\n", std::process::id());
        for process in fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path()) {
            if fs::read_to_string(process.join("status")).is_ok_and(|status| status.contains(&ours)) {
                let path = fs::OpenOptions::new()
                    .read(true)
                    .custom_flags(nix::libc::O_PATH)
                    .open(process.join("exe"));
                found.push(path.unwrap());
            }
        }
    };
    Namespaces::new()
        .run(&root.script("echo ready; sleep 1"), &mut output, &Cancel::new())
        .unwrap();
    assert_eq!(found.len(), 1);
    // Trying to write would tell nothing: a file cannot be written to while it runs, and we run.
    let flags = rustix::fs::fstatvfs(&found[0]).unwrap().f_flag;
    assert!(flags.contains(rustix::fs::StatVfsMountFlags::RDONLY), "{flags:?}");
}
