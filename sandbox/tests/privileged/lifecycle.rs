//! How processes start and end.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use sandbox::{Cancel, Error, Executor, Exit, Namespaces, Stdio, Stream};

use crate::Test;
use crate::world::{Root, run, says};

pub(crate) const TESTS: &[Test] = &[
    ("codes_and_signals_are_told_apart", codes_and_signals_are_told_apart),
    (
        "output_is_told_apart_and_input_is_empty",
        output_is_told_apart_and_input_is_empty,
    ),
    (
        "a_program_that_is_not_there_is_named",
        a_program_that_is_not_there_is_named,
    ),
    ("what_cannot_be_run_is_said_before", what_cannot_be_run_is_said_before),
    ("cancelling_kills_everything", cancelling_kills_everything),
    ("leftover_processes_die", leftover_processes_die),
    ("runs_do_not_disturb_each_other", runs_do_not_disturb_each_other),
    ("all_runs_share_one_supervisor", all_runs_share_one_supervisor),
    (
        "a_killed_supervisor_is_told_and_replaced",
        a_killed_supervisor_is_told_and_replaced,
    ),
    ("signals_have_their_default_effect", signals_have_their_default_effect),
    ("much_output_arrives_whole", much_output_arrives_whole),
    ("want_of_memory_is_told", want_of_memory_is_told),
    ("programs_for_32_bits_run", programs_for_32_bits_run),
    ("a_terminal_is_a_terminal", a_terminal_is_a_terminal),
];

fn codes_and_signals_are_told_apart() {
    let root = Root::new();
    let cases = [
        ("true", Exit::Code(0)),
        ("exit 7", Exit::Code(7)),
        // Not killed for want of memory, whatever it looks like.
        ("sh -c 'kill -9 $$'; exit $?", Exit::Code(137)),
    ];
    for (script, expected) in cases {
        assert_eq!(run(&root.script(script)).unwrap().exit, expected, "{script}");
    }
}

fn output_is_told_apart_and_input_is_empty() {
    let root = Root::new();
    let ran = run(&root.script("echo out; echo err >&2; wc -c")).unwrap();
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("out\n0\n", "err\n"));
}

fn a_program_that_is_not_there_is_named() {
    let root = Root::new();
    let cases = [
        ("foo", "exec: \"foo\": executable file not found in $PATH"),
        (
            "/bin/foo",
            "exec: \"/bin/foo\": stat /bin/foo: no such file or directory",
        ),
        ("/etc/passwd", "exec: \"/etc/passwd\": permission denied"),
        ("/etc", "exec: \"/etc\": is a directory"),
    ];
    for (program, expected) in cases {
        let mut spec = root.script("");
        spec.args = vec![program.to_owned()];
        assert_eq!(run(&spec).unwrap_err().to_string(), expected);
    }
    assert_eq!(
        root.says("echo '#!/missing' > /bin/script; chmod +x /bin/script; echo"),
        ""
    );
    let mut spec = root.script("");
    spec.args = vec!["script".to_owned()];
    assert_eq!(
        run(&spec).unwrap_err().to_string(),
        "exec /bin/script: no such file or directory"
    );
}

fn what_cannot_be_run_is_said_before() {
    let root = Root::new();
    let mut spec = root.script("true");
    spec.args.clear();
    assert!(matches!(run(&spec), Err(Error::NoCommand)));
    let spec = root.script("a\0b");
    assert!(matches!(run(&spec), Err(Error::NulByte { text }) if text == "a"));
    let mut spec = root.script("true");
    spec.root = "/no/such/root".into();
    assert!(run(&spec).is_err());
}

fn cancelling_kills_everything() {
    let root = Root::new();
    let cancel = Cancel::new();
    let begun = Instant::now();
    let mut output = |_: Stream, _: &[u8]| cancel.cancel();
    let spec =
        root.script("trap '' TERM INT; (while true; do echo x >> /alive; sleep 0.01; done) & echo ready; sleep 100");
    assert!(matches!(
        Namespaces::new().run(&spec, &mut output, &cancel),
        Err(Error::Cancelled)
    ));
    assert!(begun.elapsed() < Duration::from_secs(20));
    let size = || std::fs::metadata(root.path().join("alive")).map_or(0, |file| file.len());
    let before = size();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(size(), before);
    assert!(matches!(
        Namespaces::new().run(&spec, &mut |_, _| {}, &cancel),
        Err(Error::Cancelled)
    ));
}

fn leftover_processes_die() {
    let root = Root::new();
    let begun = Instant::now();
    assert_eq!(root.says("sleep 100 & echo done"), "done");
    assert!(begun.elapsed() < Duration::from_secs(20));
}

fn runs_do_not_disturb_each_other() {
    let roots: Vec<Root> = (0..8).map(|_| Root::new()).collect();
    std::thread::scope(|scope| {
        for (number, root) in roots.iter().enumerate() {
            scope.spawn(move || {
                for _ in 0..5 {
                    let text = root.says(&format!("echo {number} /proc/[0-9]*"));
                    assert_eq!(text, format!("{number} /proc/1"));
                }
            });
        }
    });
}

fn all_runs_share_one_supervisor() {
    let executor = Namespaces::new();
    let roots: Vec<Root> = (0..4).map(|_| Root::new()).collect();
    std::thread::scope(|scope| {
        for root in &roots {
            scope.spawn(|| {
                let mut supervisors = Vec::new();
                let mut look = |_: Stream, _: &[u8]| supervisors = children_of(std::process::id(), "rbuild-init");
                let script = root.script("echo ready; sleep 0.3");
                executor.run(&script, &mut look, &Cancel::new()).unwrap();
                assert_eq!(supervisors.len(), 1);
            });
        }
    });
    drop(executor);
    assert!(children_of(std::process::id(), "rbuild-init").is_empty());
}

fn a_killed_supervisor_is_told_and_replaced() {
    let root = Root::new();
    let executor = Namespaces::new();
    let mut killed = false;
    let mut kill = |_: Stream, _: &[u8]| {
        let killing = children_of(std::process::id(), "rbuild-init").into_iter();
        for supervisor in killing.filter(|child| children_of(*child, "").len() == 1) {
            let pid = nix::unistd::Pid::from_raw(supervisor.cast_signed());
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
            killed = true;
        }
    };
    let spec = root.script("echo ready; while sleep 0.01; do echo x >> /alive; done");
    let outcome = executor.run(&spec, &mut kill, &Cancel::new());
    assert!(matches!(outcome, Err(Error::SupervisorDied)), "{outcome:?}");
    assert!(killed);
    let size = || fs::metadata(root.path().join("alive")).map_or(0, |file| file.len());
    std::thread::sleep(Duration::from_millis(100));
    let before = size();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(size(), before);
    let again = executor.run(&root.script("true"), &mut |_, _| {}, &Cancel::new());
    assert_eq!(again.unwrap(), Exit::Code(0));
}

/// The numbers of the processes that `parent` has started and that go by `name`, or by any if that is empty.
fn children_of(parent: u32, name: &str) -> Vec<u32> {
    let is_child = |status: &str| status.contains(&format!("\nPPid:\t{parent}\n"));
    let numbers = fs::read_dir("/proc").unwrap();
    let numbers = numbers.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse::<u32>().ok());
    numbers
        .filter(|number| {
            let read = |file| fs::read_to_string(format!("/proc/{number}/{file}")).unwrap_or_default();
            is_child(&read("status")) && read("cmdline").starts_with(name)
        })
        .collect()
}

fn signals_have_their_default_effect() {
    let root = Root::new();
    let mut spec = root.script("");
    spec.args = ["grep", "-E", "Sig(Blk|Ign)", "/proc/self/status"]
        .map(str::to_owned)
        .to_vec();
    assert_eq!(says(&spec), "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000");
    assert_eq!(root.says("umask"), "0022");
}

fn much_output_arrives_whole() {
    let root = Root::new();
    let text = root.says("seq 1 200000");
    assert_eq!(text.lines().count(), 200_000);
    assert!(text.ends_with("\n200000"));
}

fn a_terminal_is_a_terminal() {
    let root = Root::new();
    let mut spec = root
        .script("tty > /seen; test -c /dev/console && echo console >> /seen; stty > /dev/null && echo size >> /seen");
    spec.stdio = Stdio::Terminal;
    assert_eq!(run(&spec).unwrap().exit, Exit::Code(0));
    assert_eq!(says(&root.script("cat /seen")), "/dev/pts/0\nconsole\nsize");
}

fn want_of_memory_is_told() {
    let Some(_limited) = LimitedMemory::enter(96 << 20) else {
        eprintln!("skipped: needs a memory control group that may be written to");
        return;
    };
    let root = Root::new();
    let hungry = "awk 'BEGIN { s = \"x\"; while (1) s = s s }'";
    assert_eq!(
        run(&root.script(&format!("exec {hungry}"))).unwrap().exit,
        Exit::OutOfMemory { limit: None }
    );
    assert_eq!(
        run(&root.script(&format!("{hungry}; exit $?"))).unwrap().exit,
        Exit::OutOfMemory { limit: None }
    );
    assert_eq!(run(&root.script("exit 137")).unwrap().exit, Exit::Code(137));
}

/// A control group of the old kind with little memory, and us in it as long as it lives.
struct LimitedMemory {
    before: PathBuf,
    group: PathBuf,
}

impl LimitedMemory {
    fn enter(bytes: u64) -> Option<LimitedMemory> {
        let membership = fs::read_to_string("/proc/self/cgroup").ok()?;
        let path = membership.lines().find_map(|line| line.split_once(":memory:/"))?.1;
        let before = Path::new("/sys/fs/cgroup/memory").join(path);
        let group = before.join(format!("limited-{}", std::process::id()));
        fs::create_dir(&group).ok()?;
        let limited = LimitedMemory { before, group };
        fs::write(limited.group.join("memory.limit_in_bytes"), bytes.to_string()).ok()?;
        fs::write(limited.group.join("cgroup.procs"), std::process::id().to_string()).ok()?;
        Some(limited)
    }
}

impl Drop for LimitedMemory {
    fn drop(&mut self) {
        fs::write(self.before.join("cgroup.procs"), std::process::id().to_string()).unwrap();
        fs::remove_dir(&self.group).unwrap();
    }
}

fn programs_for_32_bits_run() {
    // An ELF file for i386: its header, one segment at 0x8048000, and `exit(7)` by `int 0x80`.
    let mut program = b"\x7fELF\x01\x01\x01".to_vec();
    program.resize(16, 0);
    for half in [2_u16, 3] {
        program.extend(half.to_le_bytes());
    }
    for word in [1_u32, 0x0804_8054, 52, 0, 0] {
        program.extend(word.to_le_bytes());
    }
    for half in [52_u16, 32, 1, 0, 0, 0] {
        program.extend(half.to_le_bytes());
    }
    for word in [1_u32, 0, 0x0804_8000, 0x0804_8000, 0x60, 0x60, 5, 0x1000] {
        program.extend(word.to_le_bytes());
    }
    program.extend(b"\xb8\x01\0\0\0\xbb\x07\0\0\0\xcd\x80");
    let outside = tempfile::tempdir().unwrap();
    let file = outside.path().join("exit-7");
    fs::write(&file, &program).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    if Command::new(&file).status().is_err() {
        eprintln!("skipped: needs a kernel that runs programs for i386");
        return;
    }
    let root = Root::new();
    fs::copy(&file, root.path().join("exit-7")).unwrap();
    assert_eq!(run(&root.script("exec /exit-7")).unwrap().exit, Exit::Code(7));
}
