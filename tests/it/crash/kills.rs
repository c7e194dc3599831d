//! rbuild, or a part of it, is killed.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::draw::{Draw, count};
use super::leftovers::{self, processes};
use super::site::{Before, Site, TASKS, Task};
use super::strace::{self, Reach};
use crate::support::{User, text};

/// A task that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// Calls before which rbuild is killed: those that change something, and some that come between. The number is how many of
/// them a thread may do.
const CALLS: [(&str, u64); 24] = [
    ("?rename,?renameat,?renameat2", 16),
    ("?rename,?renameat,?renameat2", 4),
    ("pwrite64", 64),
    ("write", 64),
    ("?unlink,?unlinkat,?rmdir", 32),
    ("?mkdir,?mkdirat", 16),
    ("?link,?linkat", 32),
    ("?symlink,?symlinkat,?mknod,?mknodat", 4),
    ("ftruncate,fallocate", 4),
    ("?open,openat,openat2", 128),
    ("flock", 8),
    ("fcntl", 32),
    ("fsync,fdatasync,syncfs", 2),
    ("fsmount,move_mount,umount2", 4),
    ("clone3,?vfork,?fork,clone", 4),
    ("execve", 2),
    ("fchmod,?chmod,fchmodat", 16),
    ("utimensat", 16),
    ("setxattr,fsetxattr,lsetxattr", 2),
    ("copy_file_range,sendfile", 8),
    ("sendto,sendmsg,recvfrom,recvmsg", 16),
    ("connect", 2),
    ("munmap", 16),
    ("exit_group", 1),
];

/// How something is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kill {
    /// The process that was started.
    Main,
    /// That and all it started, one after the other.
    Everything,
    /// The process that waits for a step, or the step's first.
    Supervisor,
    Step,
    /// Whoever does the n-th call of a kind.
    AtCall,
}

const KILLS: [Kill; 8] = [
    Kill::Main,
    Kill::Main,
    Kill::Everything,
    Kill::Supervisor,
    Kill::Step,
    Kill::AtCall,
    Kill::AtCall,
    Kill::AtCall,
];

#[test]
fn a_build_killed_at_any_instant_leaves_nothing_wrong() {
    let Some(wanted) = count("RBUILD_TEST_KILLS") else {
        return;
    };
    let Some(site) = Site::new(User::Own, None) else { return };
    let kinds: &[Kill] = match strace::is_there() && rustix::process::geteuid().is_root() {
        true => &KILLS,
        false => &KILLS[..5],
    };
    kill_many(site, kinds, wanted);
}

/// Kills until it was done `wanted` times, looks at what is left after each, and fails at the end if anything was wrong.
fn kill_many(mut site: Site, kinds: &[Kill], wanted: usize) {
    let mut draw = Draw::announced("kills");
    let mut rushes = Rushes::default();
    let (mut killed, mut tried) = (BTreeMap::new(), 0);
    let mut failures = Vec::new();
    let begun = Instant::now();
    while killed.values().sum::<usize>() < wanted {
        tried += 1;
        assert!(tried < 20 * wanted + 100, "hardly anything can be killed: {killed:?}");
        let before = site.prepare(&mut draw);
        let (task, kind) = (*draw.one_of(&TASKS), *draw.one_of(kinds));
        let what = format!("{kind:?} in {task:?} after {before:?}");
        let outcome = match kind {
            Kill::AtCall => kill_at_call(&site, task, &mut draw),
            _ => kill_after(&site, task, kind, before, (&mut draw, &mut rushes)),
        };
        match outcome {
            Ok(None) => continue,
            Ok(Some(Killed { told, pids })) => {
                *killed.entry(kind).or_default() += 1;
                let verified = site.verify().and_then(|()| leftovers::verify_groups(&pids));
                if let Err(wrong) = verified {
                    eprintln!("wrong: {wrong}");
                    failures.push(format!("{what} ({told}): {wrong}"));
                }
                eprintln!("{:?} {what} ({told}), {} wrong so far", begun.elapsed(), failures.len());
            }
            Err(wrong) => failures.push(format!("{what}: {wrong}")),
        }
        if failures.len() > 5 {
            break;
        }
    }
    if let Err(wrong) = site.verify_empty() {
        failures.push(wrong);
    }
    eprintln!("killed {killed:?} of {tried} runs in {:?}", begun.elapsed());
    assert!(
        failures.is_empty(),
        "{} failures:\n{}",
        failures.len(),
        failures.join("\n\n")
    );
}

/// What was killed: in words, and the processes that were started.
struct Killed {
    told: String,
    pids: Vec<i32>,
}

/// How long tasks take, by what they are and what there was before.
#[derive(Default)]
struct Rushes(BTreeMap<(Task, Before), Duration>);

impl Rushes {
    fn instant(&self, task: Task, before: Before, draw: &mut Draw) -> Duration {
        let usual = Duration::from_millis(300);
        let whole = self.0.get(&(task, before)).copied().unwrap_or(usual);
        whole.mul_f64(draw.below(1000) as f64 / 1000.0)
    }

    /// It ended before it was killed.
    fn ended(&mut self, task: Task, before: Before, after: Duration) {
        self.0.insert((task, before), after);
    }

    fn was_killed(&mut self, task: Task, before: Before, at: Duration) {
        let known = self.0.entry((task, before)).or_insert(at * 2);
        *known = (*known).max(at + at / 8);
    }
}

/// Kills after a while; gives when, or nothing if there was nothing to kill any more.
fn kill_after(
    site: &Site,
    task: Task,
    kind: Kill,
    before: Before,
    (draw, rushes): (&mut Draw, &mut Rushes),
) -> Result<Option<Killed>, String> {
    let instant = rushes.instant(task, before, draw);
    let begun = Instant::now();
    let mut command = site.command(task);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(instant);
    if child.try_wait().unwrap().is_some() {
        rushes.ended(task, before, begun.elapsed());
        return Ok(None);
    }
    let main = Pid::from_child(&child).as_raw_nonzero().get();
    let seen = leftovers::namespaces(main);
    let victims = victims(site, kind, main);
    for victim in &victims {
        // It may have ended.
        let _ = Pid::from_raw(*victim).map(|pid| kill_process(pid, Signal::KILL));
    }
    let said = wait(site, &mut child)?;
    if victims.is_empty() {
        return Ok(None);
    }
    rushes.was_killed(task, before, instant);
    leftovers::verify(site, &seen)?;
    if matches!(kind, Kill::Supervisor | Kill::Step) {
        said.is_clear()?;
        if said.succeeded {
            // The step was over.
            return Ok(None);
        }
    }
    Ok(Some(Killed {
        told: format!("after {instant:?}"),
        pids: vec![main],
    }))
}

fn victims(site: &Site, kind: Kill, main: i32) -> Vec<i32> {
    let all = || processes(site);
    match kind {
        Kill::Main | Kill::AtCall => vec![main],
        Kill::Everything => {
            let mut pids: Vec<i32> = all().iter().map(|process| process.pid).collect();
            pids.sort_unstable();
            pids
        }
        Kill::Supervisor => {
            let children = all().into_iter().filter(|process| process.parent == main);
            children.map(|process| process.pid).take(1).collect()
        }
        Kill::Step => {
            let all = all();
            let is_supervisor = |pid: i32| {
                all.iter()
                    .any(|process| process.pid == pid && process.parent == main && process.is_rbuild)
            };
            let steps = all.iter().filter(|process| is_supervisor(process.parent));
            steps.map(|process| process.pid).take(1).collect()
        }
    }
}

fn kill_at_call(site: &Site, task: Task, draw: &mut Draw) -> Result<Option<Killed>, String> {
    let (call, most) = *draw.one_of(&CALLS);
    let when = draw.small(most);
    let reach = *draw.one_of(&[Reach::Rbuild, Reach::Rbuild, Reach::Everything]);
    let mut command = strace::command(site, task, (call, "signal=KILL", &when.to_string()), reach);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let said = wait(site, &mut child)?;
    if said.succeeded {
        return Ok(None);
    }
    leftovers::verify(site, &BTreeSet::new())?;
    if !said.was_killed {
        // What was killed is a part: rbuild went on and says so.
        said.is_clear()?;
    }
    Ok(Some(Killed {
        told: format!("{call} {when} {reach:?}"),
        pids: Vec::new(),
    }))
}

/// How a command ended, and what it said.
pub(super) struct Said {
    pub(super) succeeded: bool,
    pub(super) was_killed: bool,
    pub(super) words: String,
    /// How it ended.
    status: ExitStatus,
}

impl Said {
    /// A failure must say what it is about, once, and be none of the program's own mistakes.
    pub(super) fn is_clear(&self) -> Result<(), String> {
        let errors = self.words.lines().filter(|line| line.starts_with("ERROR: ")).count();
        if self.words.contains("panicked") || (!self.succeeded && errors != 1) {
            return Err(format!(
                "it ends with {} and says {errors} errors:\n{}",
                self.status, self.words
            ));
        }
        Ok(())
    }
}

/// Waits for the end; what takes too long is killed with all that it started, and is an error that has its words.
pub(super) fn wait(site: &Site, child: &mut Child) -> Result<Said, String> {
    let mut stderr = child.stderr.take().unwrap();
    let words = std::thread::spawn(move || {
        let mut words = Vec::new();
        let _ = std::io::Read::read_to_end(&mut stderr, &mut words);
        text(&words)
    });
    let end = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > end {
            let _ = child.kill();
            let _ = child.wait();
            for process in processes(site) {
                let _ = Pid::from_raw(process.pid).map(|pid| kill_process(pid, Signal::KILL));
            }
            return Err(format!("it hangs:\n{}", words.join().unwrap()));
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let killed = std::os::unix::process::ExitStatusExt::signal(&status).is_some() || status.code() == Some(137);
    Ok(Said {
        succeeded: status.success(),
        was_killed: killed,
        words: words.join().unwrap(),
        status,
    })
}
