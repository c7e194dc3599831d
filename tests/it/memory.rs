//! Memory is bounded by construction: what is big streams, and of a file of a context little is kept. Builds run in a
//! control group with less memory than their content has; what the kernel keeps of files there, it can give up.
//!
//! An eighth of the sizes that are promised, unless `RBUILD_TEST_MEMORY=full`.

use std::fs;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::{Workshop, skipped, text};

const MIB: u64 = 1 << 20;
/// Promised for every build.
const MOST_RESIDENT: u64 = 100_000_000;
/// Needed by a build of a context of few files, most of it for the program itself, and for each file that there is more.
const RESIDENT: u64 = if cfg!(debug_assertions) { 44_000_000 } else { 28_000_000 };
const RESIDENT_FOR_A_FILE: u64 = 110;

/// How much there is of everything.
struct Sizes {
    /// Of the files that are exported.
    content: u64,
    /// Of the context of small files.
    files: usize,
    /// That the control group allows the export.
    memory: u64,
    /// And the context: what the kernel has of new files it cannot give up before they are written, some seconds later.
    memory_with_files: u64,
}

fn sizes() -> Sizes {
    match std::env::var("RBUILD_TEST_MEMORY").as_deref() {
        Ok("full") => Sizes {
            content: 1024 * MIB,
            files: 500_000,
            memory: 256 * MIB,
            memory_with_files: 256 * MIB,
        },
        _ => Sizes {
            content: 128 * MIB,
            files: 62_500,
            memory: 96 * MIB,
            memory_with_files: 192 * MIB,
        },
    }
}

#[test]
fn an_export_needs_less_memory_than_the_image_has_bytes() {
    let sizes = sizes();
    let Some(group) = Group::with(sizes.memory) else { return };
    let workshop = Workshop::own();
    let context = workshop.context("app", &[("Dockerfile", "FROM scratch\nCOPY data /data\n")]);
    half_text_half_noise(&context.join("data"), sizes.content);
    for compression in ["gzip", "zstd"] {
        let archive = workshop.path("out.tar");
        let output = format!("type=oci,dest={},compression={compression}", archive.display());
        let build = build(&workshop, &context, &["-o", &output]);
        let resident = group.run(build);
        assert!(resident <= MOST_RESIDENT, "{compression}: {resident} bytes");
        let written = fs::metadata(&archive).unwrap().len();
        assert!(written > sizes.content / 2, "{written} bytes were written");
    }
}

#[test]
fn a_context_of_many_files_needs_little_memory_for_each() {
    let sizes = sizes();
    let Some(group) = Group::with(sizes.memory_with_files) else {
        return;
    };
    let workshop = Workshop::own();
    let context = workshop.context("app", &[("Dockerfile", "FROM scratch\nCOPY files /files\n")]);
    for folder in 0..sizes.files / 500 {
        let path = context.join(format!("files/{folder:04}"));
        fs::create_dir_all(&path).unwrap();
        for file in 0..500 {
            fs::write(path.join(format!("number-{file:06}.txt")), format!("{folder} {file}")).unwrap();
        }
    }
    let most = RESIDENT + sizes.files as u64 * RESIDENT_FOR_A_FILE;
    for when in ["first", "again"] {
        let resident = group.run(build(&workshop, &context, &["-t", "many"]));
        assert!(resident <= most.min(MOST_RESIDENT), "{when}: {resident} bytes");
    }
}

/// A build of a context that needs no base image.
fn build(workshop: &Workshop, context: &Path, arguments: &[&str]) -> Command {
    let mut build = Command::new(crate::support::binary());
    build.arg("--root").arg(workshop.store());
    build.arg("--progress=plain").args(arguments).arg(context);
    build
}

/// Files of 8 MiB each, every other of which cannot be compressed.
fn half_text_half_noise(folder: &Path, size: u64) {
    const FILE: u64 = 8 * MIB;
    fs::create_dir_all(folder).unwrap();
    let mut state = 1_u64;
    for number in 0..size / FILE {
        let mut bytes = Vec::with_capacity(FILE as usize);
        while bytes.len() < FILE as usize {
            if number % 2 == 0 {
                writeln!(
                    bytes,
                    "{number} is the file, and this is what stands at {}",
                    bytes.len()
                )
                .unwrap();
            } else {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                bytes.extend(state.to_le_bytes());
            }
        }
        fs::write(folder.join(format!("{number:03}")), bytes).unwrap();
    }
}

/// A control group that limits memory; gone when it is dropped.
pub(crate) struct Group(PathBuf);

impl Group {
    /// Where the kernel lets this process make one.
    pub(crate) fn with(memory: u64) -> Option<Group> {
        let name = format!("rbuild-test-{}-{:?}", std::process::id(), std::thread::current().id());
        let forms = [
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            ("/sys/fs/cgroup", "memory.max"),
        ];
        for (hierarchy, limit) in forms {
            let path = Path::new(hierarchy).join(&name);
            if fs::create_dir(&path).is_err() {
                continue;
            }
            let group = Group(path);
            if fs::write(group.0.join(limit), memory.to_string()).is_ok() {
                return Some(group);
            }
        }
        skipped("a control group for memory that can be written to")
    }

    /// Runs a command in the group, which must succeed; gives how much of its own it had in memory at most.
    pub(crate) fn run(&self, mut command: Command) -> u64 {
        let mut inside = Command::new("sh");
        inside.args(["-c", "echo $$ > \"$0\" && exec \"$@\""]);
        inside.arg(self.0.join("cgroup.procs"));
        inside.arg(command.get_program()).args(command.get_args());
        command = inside;
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = child.stderr.take().unwrap();
        let reader = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut said, &mut bytes).unwrap();
            text(&bytes)
        });
        let mut most = 0;
        let status = loop {
            most = most.max(resident(child.id()));
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let said = reader.join().unwrap();
        assert!(status.success(), "{status}, signal {:?}: {said}", status.signal());
        most
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// The most that a process has had in memory so far.
fn resident(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    number.unwrap_or_default() * 1024
}
