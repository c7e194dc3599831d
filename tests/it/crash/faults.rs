//! Calls fail that usually do not, and disks are full.
//!
//! Either rbuild fails, with one error that says so, or it succeeds and gives what it should. Afterwards all is well.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use super::draw::{Draw, count};
use super::kills::wait;
use super::leftovers;
use super::site::{Site, TASKS};
use super::strace::{self, Reach};
use crate::support::{User, Workshop, has, run, skipped};

/// Calls, what they may fail with, and how many of them a thread may do.
const FAULTS: [(&str, &[&str], u64); 20] = [
    (
        "?open,openat,openat2",
        &["EIO", "EMFILE", "EINTR", "EACCES", "ENOSPC"],
        128,
    ),
    ("write", &["EIO", "ENOSPC", "EINTR", "EDQUOT"], 64),
    ("pwrite64", &["EIO", "ENOSPC", "EINTR"], 64),
    ("read", &["EIO", "EINTR"], 128),
    ("pread64", &["EIO", "EINTR"], 64),
    ("getdents64", &["EIO"], 16),
    ("?rename,?renameat,?renameat2", &["EIO", "ENOSPC", "EROFS"], 16),
    ("?mkdir,?mkdirat", &["EIO", "ENOSPC", "EMLINK"], 16),
    ("?unlink,?unlinkat,?rmdir", &["EIO", "EBUSY", "EACCES"], 16),
    ("?link,?linkat", &["EIO", "EMLINK", "EPERM"], 32),
    ("?symlink,?symlinkat,?mknod,?mknodat", &["EIO", "ENOSPC"], 4),
    ("ftruncate,fallocate", &["EIO", "ENOSPC"], 4),
    ("fsync,fdatasync,syncfs", &["EIO", "ENOSPC"], 2),
    ("flock,fcntl", &["EINTR", "ENOLCK"], 16),
    ("statx,newfstatat", &["EIO", "ENOMEM"], 128),
    (
        "?chmod,fchmod,fchmodat,?chown,fchown,fchownat,utimensat",
        &["EIO", "EPERM"],
        32,
    ),
    ("setxattr,fsetxattr,lgetxattr,fgetxattr", &["EIO"], 32),
    ("copy_file_range,sendfile,splice", &["EIO", "ENOSPC", "EINTR"], 4),
    ("fsmount,move_mount,mount,umount2", &["EPERM", "ENOMEM"], 4),
    (
        "sendto,sendmsg,recvfrom,recvmsg,connect",
        &["ECONNRESET", "EINTR", "ETIMEDOUT"],
        16,
    ),
];

#[test]
fn calls_that_fail_are_told_and_leave_nothing_wrong() {
    let Some(wanted) = count("RBUILD_TEST_FAULTS") else {
        return;
    };
    if !rustix::process::geteuid().is_root() || !strace::is_there() {
        return;
    }
    let Some(mut site) = Site::new(User::Own, None) else {
        return;
    };
    let mut draw = Draw::announced("faults");
    let mut tally = Tally::default();
    for _ in 0..wanted {
        let before = site.prepare(&mut draw);
        let task = *draw.one_of(&TASKS);
        let (call, errors, most) = draw.one_of(&FAULTS);
        let error = *draw.one_of(errors);
        let when = match draw.below(8) {
            // From then on, for ever. What is interrupted is tried again, for ever too.
            0 if error != "EINTR" => format!("{}+", draw.small(*most)),
            _ => draw.small(*most).to_string(),
        };
        let reach = *draw.one_of(&[Reach::Rbuild, Reach::Rbuild, Reach::Rbuild, Reach::Everything]);
        let what = format!("{error} at {call} {when} of {reach:?} in {task:?} after {before:?}");
        let command = strace::command(&site, task, (call, &format!("error={error}"), &when), reach);
        tally.try_it(&site, task, (&format!("{error} at {call}"), &what), command);
        if tally.failures.len() > 5 {
            break;
        }
    }
    tally.end(&site);
}

#[test]
fn a_full_disk_at_any_byte_leaves_nothing_wrong() {
    let Some(wanted) = count("RBUILD_TEST_FAULTS") else {
        return;
    };
    if !rustix::process::geteuid().is_root() {
        return skipped("root, to mount a small file system").unwrap_or_default();
    }
    let keeper = Workshop::own();
    for disk in [Disk::memory(&keeper), Disk::ext4(&keeper)].into_iter().flatten() {
        let Some(mut site) = Site::new(User::Own, Some(&disk.path)) else {
            return;
        };
        let mut draw = Draw::announced("full disks");
        let mut tally = Tally::default();
        for _ in 0..wanted.div_ceil(4) {
            let before = site.prepare(&mut draw);
            let task = *draw.one_of(&TASKS);
            let left = draw.small(4096);
            let what = format!("{left} KiB left in {task:?} after {before:?}");
            disk.fill(left);
            tally.try_full(&site, task, &what, &disk);
            if tally.failures.len() > 5 {
                break;
            }
        }
        tally.end(&site);
    }
}

#[test]
fn files_that_may_not_grow_leave_nothing_wrong() {
    let Some(wanted) = count("RBUILD_TEST_FAULTS") else {
        return;
    };
    if !rustix::process::geteuid().is_root() || !has("prlimit") {
        return skipped("root and prlimit").unwrap_or_default();
    }
    let Some(mut site) = Site::new(User::Own, None) else {
        return;
    };
    let mut draw = Draw::announced("short writes");
    let mut tally = Tally::default();
    for _ in 0..wanted.div_ceil(4) {
        let before = site.prepare(&mut draw);
        let task = *draw.one_of(&TASKS);
        let most = draw.small(2 << 20);
        let what = format!("files of {most} bytes in {task:?} after {before:?}");
        // A write goes as far as it may, and the next one fails.
        let mut command = Command::new("env");
        command
            .args(["--ignore-signal=XFSZ", "prlimit", &format!("--fsize={most}")])
            .arg(site.binary())
            .args(site.arguments(task));
        site.dress(&mut command);
        tally.try_it(&site, task, ("EFBIG", &what), command);
        if tally.failures.len() > 5 {
            break;
        }
    }
    tally.end(&site);
}

/// What came of many faults.
#[derive(Default)]
struct Tally {
    failed: BTreeMap<String, usize>,
    survived: usize,
    failures: Vec<String>,
    begun: Option<Instant>,
}

impl Tally {
    fn try_it(&mut self, site: &Site, task: super::site::Task, (kind, what): (&str, &str), command: Command) {
        let outcome = self.outcome(site, task, kind, command).and_then(|()| site.verify());
        self.note(what, outcome);
    }

    fn try_full(&mut self, site: &Site, task: super::site::Task, what: &str, disk: &Disk) {
        let outcome = self.outcome(site, task, "ENOSPC", site.command(task));
        disk.clear();
        let outcome = outcome.and_then(|()| site.verify());
        self.note(what, outcome);
    }

    fn note(&mut self, what: &str, outcome: Result<(), String>) {
        if let Err(wrong) = outcome {
            eprintln!("{what}: {wrong}");
            self.failures.push(format!("{what}: {wrong}"));
        }
    }

    fn outcome(
        &mut self,
        site: &Site,
        task: super::site::Task,
        kind: &str,
        mut command: Command,
    ) -> Result<(), String> {
        self.begun.get_or_insert_with(Instant::now);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        // Writing to an event counter, by which threads wake each other, cannot fail but here.
        let is_impossible = |words: &str| words.contains("failed to wake I/O driver");
        let said = match wait(site, &mut child) {
            Err(hangs) if is_impossible(&hangs) => return Ok(()),
            said => said?,
        };
        leftovers::verify(site, &BTreeSet::new())?;
        // What could not be written may be the words.
        let is_mute = kind.ends_with(" write") && !said.succeeded && !said.words.contains("panicked");
        if !is_impossible(&said.words) && !is_mute {
            said.is_clear()?;
        }
        if said.succeeded {
            self.survived += 1;
            return site.verify_result(task);
        }
        *self.failed.entry(kind.to_owned()).or_default() += 1;
        Ok(())
    }

    fn end(mut self, site: &Site) {
        self.failures.extend(site.verify_empty().err());
        eprintln!(
            "failed of {:?}, succeeded in spite of {} in {:?}",
            self.failed,
            self.survived,
            self.begun.map(|begun| begun.elapsed()).unwrap_or_default()
        );
        let failures = self.failures;
        assert!(
            failures.is_empty(),
            "{} failures:\n{}",
            failures.len(),
            failures.join("\n\n")
        );
    }
}

/// A small file system of which all but a little can be taken.
struct Disk {
    path: PathBuf,
}

impl Disk {
    fn memory(workshop: &Workshop) -> Option<Disk> {
        let path = workshop.path("memory");
        fs::create_dir(&path).unwrap();
        run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=48m", "tmpfs"])
            .arg(&path));
        Some(Disk { path })
    }

    fn ext4(workshop: &Workshop) -> Option<Disk> {
        let (path, image) = (workshop.path("ext4"), workshop.path("ext4.img"));
        fs::create_dir(&path).unwrap();
        fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
        let made = has("mkfs.ext4") && {
            run(Command::new("mkfs.ext4").args(["-q", "-m", "0"]).arg(&image));
            let mut mount = Command::new("mount");
            mount.args(["-o", "loop"]).arg(&image).arg(&path);
            mount.output().is_ok_and(|output| output.status.success())
        };
        match made {
            true => Some(Disk { path }),
            false => skipped("mkfs.ext4 and loop devices"),
        }
    }

    fn filler(&self) -> PathBuf {
        self.path.join("filler")
    }

    /// Leaves so many KiB free.
    fn fill(&self, left: u64) {
        let space = rustix::fs::statvfs(&self.path).unwrap();
        let free = space.f_bavail * space.f_frsize;
        let taken = free.saturating_sub(left << 10);
        run(Command::new("fallocate")
            .args(["-l", &taken.max(1).to_string()])
            .arg(self.filler()));
    }

    fn clear(&self) {
        fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}
