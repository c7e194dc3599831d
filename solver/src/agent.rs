//! The user's SSH agent, lent to a step: a socket of the step's own, behind which requests are passed on.
//!
//! A step may ask which keys there are and have something signed; whatever would change the agent is refused. Requests and
//! answers are those of the [agent protocol](https://www.rfc-editor.org/rfc/rfc9987): a length, a byte that says what it
//! is, and the rest. Keys in files are handed to an `ssh-agent` of our own, so no key is ever read into this process for
//! longer than that takes.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use cache::Scratch;
use graph::Attributes;

use crate::session::Agent;

/// Requests for the list of keys, and for a signature.
const PASSED_ON: [u8; 2] = [11, 13];
/// The answer that says no.
const FAILURE: [u8; 5] = [0, 0, 0, 1, 5];
/// The most that ssh-agent itself takes.
const LONGEST: u32 = 256 * 1024;
/// The socket of an agent of ours: a name that no other folder has, because the agent deletes it at its end.
const KEYS: &str = ".rbuild-ssh-agent";
/// How often, and with what pauses, a new agent is looked for.
const TRIES: u32 = 500;
const PAUSE: Duration = Duration::from_millis(10);

/// The socket of one step. Gone when dropped.
pub(crate) struct AgentSocket {
    path: PathBuf,
    over: Arc<AtomicBool>,
    listening: Option<JoinHandle<()>>,
    _keys: Option<KeyAgent>,
    _folder: Scratch,
}

/// Where requests go.
#[derive(Clone, Debug)]
struct Upstream {
    path: PathBuf,
    /// Whether it understands something else than the agent protocol.
    is_raw: bool,
}

impl AgentSocket {
    /// Opens a socket in `folder` that leads to `agent`.
    pub(crate) fn open(agent: &Agent, folder: Scratch, attributes: &Attributes) -> io::Result<AgentSocket> {
        let (upstream, keys) = match agent {
            Agent::Socket { path, is_raw } => {
                let (path, is_raw) = (path.clone(), *is_raw);
                (Upstream { path, is_raw }, None)
            }
            Agent::Keys(files) => {
                let keys = KeyAgent::start(files, folder.path())?;
                let path = keys.path.clone();
                (Upstream { path, is_raw: false }, Some(keys))
            }
        };
        let path = folder.path().join("socket");
        let listener = listen(folder.path())?;
        match std::os::unix::fs::lchown(&path, Some(attributes.user), Some(attributes.group)) {
            // An id that nobody can be here: the socket stays root's.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
            given => given?,
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(attributes.mode & 0o777))?;
        let over = Arc::new(AtomicBool::new(false));
        let listening = std::thread::spawn({
            let over = over.clone();
            move || serve(&listener, &upstream, &over)
        });
        Ok(AgentSocket {
            path,
            over,
            listening: Some(listening),
            _keys: keys,
            _folder: folder,
        })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for AgentSocket {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        // Whoever waits for a visitor gets one. The owner of the socket need not be us, but we may open it all the same.
        if in_short(&self.path, |path| UnixStream::connect(path)).is_ok()
            && let Some(listening) = self.listening.take()
        {
            let _ = listening.join();
        }
    }
}

fn listen(folder: &Path) -> io::Result<UnixListener> {
    in_short(&folder.join("socket"), |path| UnixListener::bind(path))
}

/// Does `work` with a short name of the path: that of a socket may have 107 bytes only.
fn in_short<T>(path: &Path, work: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return work(path);
    };
    let folder = File::open(folder)?;
    work(
        &Path::new("/proc/self/fd")
            .join(folder.as_raw_fd().to_string())
            .join(name),
    )
}

fn serve(listener: &UnixListener, upstream: &Upstream, over: &AtomicBool) {
    while let Ok((step, _)) = listener.accept() {
        if over.load(Ordering::SeqCst) {
            return;
        }
        let upstream = upstream.clone();
        std::thread::spawn(move || {
            // What goes wrong here the step sees as an agent that hangs up.
            let Ok(agent) = in_short(&upstream.path, |path| UnixStream::connect(path)) else {
                return;
            };
            let _ = match upstream.is_raw {
                true => join(&step, &agent),
                false => pass_on(&step, &agent),
            };
        });
    }
}

/// Passes on requests and answers until one side hangs up.
fn pass_on(mut step: &UnixStream, mut agent: &UnixStream) -> io::Result<()> {
    loop {
        let request = message(step)?;
        if request.get(4).is_some_and(|kind| PASSED_ON.contains(kind)) {
            agent.write_all(&request)?;
            step.write_all(&message(agent)?)?;
        } else {
            step.write_all(&FAILURE)?;
        }
    }
}

/// One request or answer, with its length.
fn message(mut from: &UnixStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let expected = u32::from_be_bytes(length);
    if expected == 0 || expected > LONGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = length.to_vec();
    from.take(expected.into()).read_to_end(&mut bytes)?;
    if bytes.len() as u64 != 4 + u64::from(expected) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes)
}

/// Passes on whatever comes, both ways.
fn join(step: &UnixStream, agent: &UnixStream) -> io::Result<()> {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _ = io::copy(&mut { agent }, &mut { step });
            let _ = step.shutdown(Shutdown::Write);
        });
        io::copy(&mut { step }, &mut { agent })?;
        agent.shutdown(Shutdown::Write)
    })
}

/// An `ssh-agent` with some keys. It ends when we do, however we do, because it waits for the end of its own input.
struct KeyAgent {
    path: PathBuf,
    process: Child,
    input: Option<ChildStdin>,
}

impl KeyAgent {
    fn start(files: &[PathBuf], folder: &Path) -> io::Result<KeyAgent> {
        let opened = File::open(folder)?;
        let short = format!("/proc/{}/fd/{}/{KEYS}", std::process::id(), opened.as_raw_fd());
        let mut process = Command::new("ssh-agent")
            .args(["-a", &short, "sh", "-c", "cat; kill $SSH_AGENT_PID"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| missing("ssh-agent", error))?;
        let agent = KeyAgent {
            path: folder.join(KEYS),
            input: process.stdin.take(),
            process,
        };
        for file in files {
            agent.add(file, &short)?;
        }
        Ok(agent)
    }

    fn add(&self, file: &Path, socket: &str) -> io::Result<()> {
        for _ in 0..TRIES {
            if self.path.exists() {
                break;
            }
            std::thread::sleep(PAUSE);
        }
        // By its standard input, because it refuses files that others may read, and so that it never asks for a passphrase.
        let added = Command::new("ssh-add")
            .args(["-q", "-"])
            .env("SSH_AUTH_SOCK", socket)
            .env_remove("DISPLAY")
            .env("SSH_ASKPASS_REQUIRE", "never")
            .stdin(File::open(file)?)
            .output()
            .map_err(|error| missing("ssh-add", error))?;
        if added.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&added.stderr);
        let file = file.display();
        Err(io::Error::other(match said.contains("passphrase") {
            true => format!("the key {file} is protected by a passphrase; lend an agent that knows it instead"),
            false => format!("failed to parse the key {file}: {}", said.trim()),
        }))
    }
}

impl Drop for KeyAgent {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.process.wait();
    }
}

fn missing(program: &str, error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::NotFound => io::Error::other(format!(
            "`{program}` is needed to serve keys and is not installed; lend the socket of a running agent instead"
        )),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An agent that answers every request with what it was asked.
    fn echo(path: &Path) {
        let listener = UnixListener::bind(path).unwrap();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.unwrap();
                std::thread::spawn(move || {
                    while let Ok(request) = message(&client) {
                        (&client).write_all(&request).unwrap();
                    }
                });
            }
        });
    }

    fn request(kind: u8) -> Vec<u8> {
        vec![0, 0, 0, 3, kind, 1, 2]
    }

    #[test]
    fn a_step_may_list_and_sign_and_nothing_else() {
        let outside = tempfile::tempdir().unwrap();
        let path = outside.path().join("agent");
        echo(&path);
        let store = cache::Store::open(&outside.path().join("store")).unwrap();
        let lent = Agent::Socket { path, is_raw: false };
        let owner = rustix::process::geteuid().as_raw();
        let attributes = Attributes {
            user: owner,
            group: rustix::process::getegid().as_raw(),
            mode: 0o600,
        };
        let socket = AgentSocket::open(&lent, store.scratch().unwrap(), &attributes).unwrap();
        let mut client = in_short(socket.path(), |path| UnixStream::connect(path)).unwrap();
        // List, sign; then add, remove, remove all, lock, extension.
        for (kind, passes) in [
            (11, true),
            (13, true),
            (17, false),
            (18, false),
            (19, false),
            (22, false),
            (27, false),
            (13, true),
        ] {
            client.write_all(&request(kind)).unwrap();
            let answer = message(&client).unwrap();
            let expected = if passes { request(kind) } else { FAILURE.to_vec() };
            assert_eq!(answer, expected, "{kind}");
        }
        let folder = socket.path().parent().unwrap().to_owned();
        drop(socket);
        assert!(!folder.exists());
    }

    #[test]
    fn requests_without_measure_end_the_connection() {
        for bytes in [&[0, 0, 0, 0][..], &[255, 255, 255, 255, 11], &[0, 0, 0, 9, 11]] {
            let (mut step, ours) = UnixStream::pair().unwrap();
            step.write_all(bytes).unwrap();
            step.shutdown(Shutdown::Write).unwrap();
            assert!(message(&ours).is_err(), "{bytes:?}");
        }
    }
}
