//! Credential helpers: `docker-credential-<name> get` is told a host on its standard input and answers with JSON.
//!
//! A helper is a program of somebody else's that may wait for a keyring, for a network or for an answer that nobody gives.
//! So it has a process group of its own and a time to answer in; when that is over, or the user wants to stop, it ends with
//! everything it started. What a helper that answered leaves running (an agent that keeps a key) is left alone, and is not
//! waited for either: its output goes to memory files, not to pipes that an agent could hold open.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde::Deserialize;

use crate::credentials::Credentials;

/// A helper that has not answered by then will not.
const PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 3 } else { 60 });
/// How often a helper is looked at.
const BEAT: Duration = Duration::from_millis(5);
/// What was killed is gone by then, unless the kernel waits for a disk.
const BURIAL: Duration = Duration::from_secs(1);
/// No answer is longer.
const ANSWER_LIMIT: u64 = 1 << 20;
/// The user name of an answer whose secret is an identity token.
const TOKEN_USER: &str = "<token>";

/// The helpers that run, for whoever has to end them. Clones are of the same.
#[derive(Clone, Debug, Default)]
pub struct Helpers(Arc<Mutex<Running>>);

#[derive(Debug, Default)]
struct Running {
    /// The leaders of their groups. None of them is reaped yet, so that each id still means what it meant.
    leaders: Vec<Pid>,
    is_closed: bool,
}

/// A question to one helper.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question<'a> {
    /// The program: a name to be found in `PATH`.
    pub(crate) program: &'a str,
    /// What it is asked about, as the file has it.
    pub(crate) server: &'a str,
}

/// What a helper came to.
#[derive(Debug)]
struct Ended {
    status: ExitStatus,
    stdout: String,
    stderr: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

impl Helpers {
    /// Ends those that run, with everything they started.
    pub fn end(&self) {
        self.running().leaders.iter().for_each(|leader| end(*leader));
    }

    /// The same, and from now on none starts.
    pub fn close(&self) {
        self.running().is_closed = true;
        self.end();
    }

    /// Asks a helper. Blocks. `None` if it knows nothing; the error is the reason, in words for the user.
    pub(crate) fn ask(&self, question: Question<'_>) -> Result<Option<Credentials>, String> {
        let Question { program, server } = question;
        let Some(answer) = self.run(question)? else {
            let seconds = PATIENCE.as_secs();
            return Err(format!(
                "the credential helper `{program}` did not answer in {seconds} seconds and was ended; see what it waits \
                 for by `echo {server} | {program} get`, or take it out of the file and log in anew"
            ));
        };
        if !answer.status.success() {
            return answer.refusal(program);
        }
        let answer: Answer = serde_json::from_str(&answer.stdout)
            .map_err(|_| format!("the credential helper `{program}` answered with something else than credentials"))?;
        Ok(match (answer.username.as_str(), answer.secret.as_str()) {
            ("", "") => None,
            (TOKEN_USER, token) => Some(Credentials::IdentityToken(token.to_owned())),
            _ => Some(Credentials::Password {
                user: answer.username,
                password: answer.secret,
            }),
        })
    }

    /// What came of a helper; `None` if its time was over before it ended.
    fn run(&self, question: Question<'_>) -> Result<Option<Ended>, String> {
        let program = question.program;
        let failed = |error: io::Error| format!("the credential helper `{program}` cannot be run: {error}");
        let [stdout, stderr] = [memory().map_err(failed)?, memory().map_err(failed)?];
        let (mut child, leader) = self
            .start(question, [&stdout, &stderr])
            .map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => {
                    format!("the credential helper it names cannot be run; is `{program}` in PATH?")
                }
                _ => failed(error),
            })?;
        // What it does not want to hear it is not told; a host fits into the pipe.
        if let Some(mut stdin) = child.stdin.take() {
            let _ = stdin.write_all(question.server.as_bytes());
        }
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.status(&mut child, leader).map_err(failed)? {
                let [stdout, stderr] = [text(stdout).map_err(failed)?, text(stderr).map_err(failed)?];
                return Ok(Some(Ended { status, stdout, stderr }));
            }
            if Instant::now() >= end {
                self.bury(&mut child, leader);
                return Ok(None);
            }
            if length(&stdout) > ANSWER_LIMIT || length(&stderr) > ANSWER_LIMIT {
                self.bury(&mut child, leader);
                return Err(format!(
                    "the credential helper `{program}` wrote more than {ANSWER_LIMIT} bytes and was ended"
                ));
            }
            thread::sleep(BEAT);
        }
    }

    fn start(&self, question: Question<'_>, outputs: [&File; 2]) -> io::Result<(Child, Pid)> {
        let [stdout, stderr] = outputs;
        let mut running = self.running();
        if running.is_closed {
            return Err(io::Error::new(
                io::ErrorKind::Interrupted,
                "no helper is started any more",
            ));
        }
        let child = Command::new(question.program)
            .arg("get")
            .stdin(Stdio::piped())
            .stdout(stdout.try_clone()?)
            .stderr(stderr.try_clone()?)
            .process_group(0)
            .spawn()?;
        let leader = Pid::from_child(&child);
        running.leaders.push(leader);
        Ok((child, leader))
    }

    /// How the helper ended, if it did.
    fn status(&self, child: &mut Child, leader: Pid) -> io::Result<Option<ExitStatus>> {
        let mut running = self.running();
        let status = child.try_wait();
        if !matches!(status, Ok(None)) {
            running.leaders.retain(|one| *one != leader);
        }
        status
    }

    fn bury(&self, child: &mut Child, leader: Pid) {
        end(leader);
        let until = Instant::now() + BURIAL;
        while Instant::now() < until && matches!(self.status(child, leader), Ok(None)) {
            thread::sleep(BEAT);
        }
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ended {
    /// Helpers say that they know nothing by a text.
    fn refusal(&self, program: &str) -> Result<Option<Credentials>, String> {
        let is_absence = [&self.stdout, &self.stderr]
            .iter()
            .any(|text| text.contains("credentials not found") || text.contains("no credentials server URL"));
        if is_absence {
            return Ok(None);
        }
        let words: Vec<&str> = self
            .stdout
            .split_whitespace()
            .chain(self.stderr.split_whitespace())
            .collect();
        let status = self.status;
        Err(match words.is_empty() {
            true => format!("`{program} get` failed: {status}"),
            false => format!("`{program} get` failed: {}", words.join(" ")),
        })
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Answer of {:?}", self.username)
    }
}

fn memory() -> io::Result<File> {
    Ok(File::from(memfd_create("credential helper", MemfdFlags::CLOEXEC)?))
}

fn length(file: &File) -> u64 {
    file.metadata().map_or(0, |metadata| metadata.len())
}

/// What was written to a memory file. Its position is the writer's, too, so it is not moved.
fn text(file: File) -> io::Result<String> {
    struct At(File, u64);
    impl Read for At {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = std::os::unix::fs::FileExt::read_at(&self.0, buffer, self.1)?;
            self.1 += count as u64;
            Ok(count)
        }
    }
    let mut bytes = Vec::new();
    At(file, 0).take(ANSWER_LIMIT).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Kills the group of `leader`, and what descends from it in groups of their own.
fn end(leader: Pid) {
    let descendants = descendants(leader);
    // Who is gone already cannot be killed.
    let _ = kill_process_group(leader, Signal::KILL);
    for process in descendants {
        let _ = kill_process(process, Signal::KILL);
    }
}

fn descendants(root: Pid) -> Vec<Pid> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for entry in entries {
        let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
        if let Some(number) = number
            && let Ok(stat) = std::fs::read_to_string(entry.path().join("stat"))
            && let Some(parent) = parent(&stat)
        {
            children.entry(parent).or_default().push(number);
        }
    }
    let mut found = Vec::new();
    let mut next = vec![root.as_raw_nonzero().get()];
    while let Some(process) = next.pop() {
        let below = children.remove(&process).unwrap_or_default();
        found.extend(below.iter().filter_map(|number| Pid::from_raw(*number)));
        next.extend(below);
    }
    found
}

/// The parent in a line of `/proc/<pid>/stat`. The name before it, in brackets, may hold anything.
fn parent(stat: &str) -> Option<i32> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn script(folder: &Path, text: &str) -> String {
        let path = folder.join("docker-credential-of-a-test");
        // By another process: a file that this one has open for writing, be it in a thread, cannot be run.
        let writing = r#"printf '#!/bin/sh\n%s\n' "$1" > "$2" && chmod 755 "$2""#;
        let mut writer = Command::new("sh");
        assert!(
            writer
                .args(["-c", writing, "sh", text])
                .arg(&path)
                .status()
                .unwrap()
                .success()
        );
        path.to_str().unwrap().to_owned()
    }

    fn ask(helpers: &Helpers, text: &str) -> Result<Option<Credentials>, String> {
        let folder = tempfile::tempdir().unwrap();
        let program = &script(folder.path(), text);
        let server = "h.example";
        helpers.ask(Question { program, server })
    }

    /// The processes with that unusual command line.
    fn sleepers(seconds: &str) -> Vec<Pid> {
        let wanted = format!("sleep\0{seconds}\0");
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        entries
            .filter(|entry| std::fs::read(entry.path().join("cmdline")).is_ok_and(|line| line == wanted.as_bytes()))
            .filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?))
            .collect()
    }

    fn soon(holds: impl Fn() -> bool) -> bool {
        let holds_now = |_| {
            thread::sleep(Duration::from_millis(10));
            holds()
        };
        (0..300).any(holds_now)
    }

    #[test]
    fn a_helper_is_told_the_host_and_answers() {
        let helpers = Helpers::default();
        let answer = ask(
            &helpers,
            r#"printf '{"ServerURL":"x","Username":"%s","Secret":"s"}' "$1-$(cat)""#,
        );
        let expected = Credentials::Password {
            user: "get-h.example".to_owned(),
            password: "s".to_owned(),
        };
        assert_eq!(answer, Ok(Some(expected)));
        let answer = ask(&helpers, r#"echo '{"Username":"<token>","Secret":"t"}'"#);
        assert_eq!(answer, Ok(Some(Credentials::IdentityToken("t".to_owned()))));
        let answer = ask(&helpers, "echo credentials not found in native keychain; exit 1");
        assert_eq!(answer, Ok(None));
        let error = ask(&helpers, "echo the keyring is locked >&2; exit 3").unwrap_err();
        assert!(error.ends_with("get` failed: the keyring is locked"), "{error}");
        assert!(
            ask(&helpers, "echo secret")
                .unwrap_err()
                .ends_with("something else than credentials")
        );
    }

    #[test]
    fn a_helper_that_hangs_ends_with_everything_it_started() {
        // In its group, in a session of its own, and left by its parent.
        let text = "setsid sleep 7771 & sleep 7772 & (sleep 7773 &) ; sleep 7774";
        let error = ask(&Helpers::default(), text).unwrap_err();
        assert!(
            error.contains("docker-credential-of-a-test` did not answer in 3 seconds"),
            "{error}"
        );
        assert!(error.contains("`echo h.example | "), "what to do next: {error}");
        for seconds in ["7771", "7772", "7773", "7774"] {
            assert!(soon(|| sleepers(seconds).is_empty()), "sleep {seconds} goes on");
        }
    }

    #[test]
    fn what_a_helper_that_answered_leaves_running_is_neither_ended_nor_waited_for() {
        // Waited for, it would be too late.
        let answer = ask(
            &Helpers::default(),
            r#"sleep 7776 & echo '{"Username":"u","Secret":"s"}'"#,
        );
        assert!(matches!(answer, Ok(Some(_))), "{answer:?}");
        let left = sleepers("7776");
        assert_eq!(left.len(), 1);
        kill_process(left[0], Signal::KILL).unwrap();
    }

    #[test]
    fn helpers_are_ended_when_the_user_wants_to_stop_and_none_starts_afterwards() {
        let helpers = Helpers::default();
        let ending = helpers.clone();
        let waiting = thread::spawn(move || {
            assert!(soon(|| sleepers("7775").len() == 1));
            ending.close();
        });
        let error = ask(&helpers, "sleep 7775").unwrap_err();
        assert!(!error.contains("did not answer"), "{error}");
        waiting.join().unwrap();
        assert!(soon(|| sleepers("7775").is_empty()));
        let error = ask(&helpers, "sleep 7775").unwrap_err();
        assert!(error.contains("no helper is started any more"), "{error}");
    }

    #[test]
    fn a_helper_that_talks_without_end_is_ended() {
        let error = ask(&Helpers::default(), "yes").unwrap_err();
        assert!(error.contains("wrote more than 1048576 bytes"), "{error}");
    }

    #[test]
    fn the_parent_is_found_behind_any_name() {
        assert_eq!(parent("12 (a) b) S 7 12 12"), Some(7));
        assert_eq!(parent("12 (sh"), None);
    }
}
