//! Secrets are in the steps that ask for them and nowhere else: every byte that a build leaves behind is looked at, with
//! everything decompressed.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::ended;
use crate::support::{Bases, User, Workshop, text};

const VALUE: &str = "plaintiff-hamster-0815/quay+x";

/// What tells of the value: itself, and the middle of what base64 makes of it.
fn traces() -> Vec<String> {
    let mut traces = vec![VALUE.to_owned(), VALUE[..20].to_owned()];
    for before in ["", "x", "xy"] {
        let encoded = STANDARD.encode(format!("{before}{VALUE}"));
        traces.push(encoded[8..32].to_owned());
    }
    traces
}

/// Where below `folder` one of the traces stands, in files as they are or decompressed. A file of many names, as all the
/// programs of busybox are one, is read once and told by one of them.
fn holding(folder: &Path, traces: &[String]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut read = HashSet::new();
    let mut open = vec![folder.to_owned()];
    while let Some(path) = open.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        if metadata.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if metadata.is_file() && read.insert((metadata.dev(), metadata.ino())) {
            let bytes = fs::read(&path).unwrap();
            let mut plain = Vec::new();
            let _ = flate2::read::MultiGzDecoder::new(bytes.as_slice()).read_to_end(&mut plain);
            let (bytes, plain) = (text(&bytes), text(&plain));
            if traces
                .iter()
                .any(|trace| bytes.contains(trace) || plain.contains(trace))
            {
                found.push(path);
            }
        }
    }
    found
}

/// Ends the watch when it is dropped, be it by a failure.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// The command lines of all processes, as long as `runs`.
fn command_lines(runs: &AtomicBool) -> String {
    let mut seen = Vec::new();
    while runs.load(Ordering::Relaxed) {
        for process in fs::read_dir("/proc").unwrap().flatten() {
            if process.file_name().to_string_lossy().parse::<u32>().is_ok() {
                seen.extend(fs::read(process.path().join("cmdline")).unwrap_or_default());
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    text(&seen)
}

#[test]
fn a_secret_that_a_step_prints_is_masked_and_kept_nowhere() {
    let Some(bases) = Bases::find() else { return };
    for user in [Some(User::Own), User::ordinary()].into_iter().flatten() {
        let workshop = Workshop::new(user);
        let mount = "--mount=type=secret,id=file --mount=type=secret,id=variable,env=TOKEN";
        let dockerfile = format!(
            "FROM busybox\n\
             RUN {mount} cat /run/secrets/file; echo; echo \"t=$TOKEN;\" >&2; env | grep TOKEN; base64 < /run/secrets/file; printf 'u:%s' \"$TOKEN\" | base64 -w0\n\
             RUN {mount} for i in $(seq 1 ${{#TOKEN}}); do printf %s \"$TOKEN\" | cut -c$i | tr -d '\\n'; done; echo; sleep 0.3; echo done > /done\n\
             RUN {mount} sh -c 'exec sleep 0.3 # no argument'; cp /done /copied\n"
        );
        let context = workshop.context("secret", &[("Dockerfile", &dockerfile)]);
        let secret = workshop.context("lent", &[("s", &format!("{VALUE}\n"))]).join("s");
        let out = workshop.path("out");
        fs::create_dir(&out).unwrap();
        fs::set_permissions(&out, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        let runs = AtomicBool::new(true);
        let (said, seen) = std::thread::scope(|scope| {
            let watcher = scope.spawn(|| command_lines(&runs));
            let ends = Ends(&runs);
            let mut said = String::new();
            for (output, mode) in [
                ("type=oci,dest=OUT/a.tar", "plain"),
                ("type=local,dest=OUT/tree", "rawjson"),
                ("type=image", "tty"),
            ] {
                let mut build = workshop.build(bases, &context);
                build.env("HAMSTER", VALUE);
                build.args(["--no-cache", "-t", "leaky", &format!("--progress={mode}")]);
                build.arg(format!("--secret=id=file,src={}", secret.display()));
                build.args([
                    "--secret=id=variable,env=HAMSTER",
                    "-o",
                    &output.replace("OUT", &out.display().to_string()),
                ]);
                build.arg(format!("--metadata-file={}", out.join("metadata").display()));
                build.arg(format!("--trace={}", out.join("trace").display()));
                let ended = ended(&mut build);
                said += &text(&ended.stderr);
                said += &text(&ended.stdout);
                assert!(ended.status.success(), "{said}");
            }
            drop(ends);
            (said, watcher.join().unwrap())
        });
        for trace in traces() {
            assert!(!said.contains(&trace), "{trace} is in what was said: {said}");
            assert!(!seen.contains(&trace), "a command line has it");
        }
        for data in said
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        {
            let data = data["logs"][0]["data"]
                .as_str()
                .and_then(|data| STANDARD.decode(data).ok());
            assert!(!text(&data.unwrap_or_default()).contains(VALUE));
        }
        assert!(said.contains("t=***;") && said.contains("TOKEN=***"), "{said}");
        assert!(!said.contains("wrote the value"), "{said}");
        for place in [workshop.store(), out] {
            assert_eq!(holding(&place, &traces()), Vec::<PathBuf>::new());
        }
    }
}

#[test]
fn a_step_that_fails_tells_no_secret_either() {
    let Some(bases) = Bases::find() else { return };
    let workshop = Workshop::own();
    let dockerfile = "FROM busybox\nRUN --mount=type=secret,id=s,env=S echo \"failed with $S\"; exit 3\n";
    let context = workshop.context("failing", &[("Dockerfile", dockerfile)]);
    let mut build = workshop.build(bases, &context);
    build
        .env("HAMSTER", VALUE)
        .args(["--secret=id=s,env=HAMSTER", "--debug"]);
    let said = text(&ended(&mut build).stderr);
    assert!(said.contains("failed with ***") && !said.contains(VALUE), "{said}");
    assert_eq!(holding(&workshop.store(), &traces()), Vec::<PathBuf>::new());
}

#[test]
fn a_step_that_writes_a_secret_into_its_layer_is_told_of() {
    let Some(bases) = Bases::find() else { return };
    let workshop = Workshop::own();
    let dockerfile = "FROM busybox\n\
        RUN --mount=type=secret,id=npm mkdir -p /root/app && echo \"token=$(cat /run/secrets/npm)\" > /root/.npmrc\n\
        RUN --mount=type=secret,id=npm cat /run/secrets/npm > /tmp/x && rm /tmp/x && echo clean > /tmp/y\n";
    let context = workshop.context("writing", &[("Dockerfile", dockerfile)]);
    let mut build = workshop.build(bases, &context);
    build.env("HAMSTER", VALUE).args(["--secret=id=npm,env=HAMSTER"]);
    let said = text(&ended(&mut build).stderr);
    assert!(
        said.contains("the step wrote the value of secret `npm` to /root/.npmrc"),
        "{said}"
    );
    assert_eq!(said.matches("wrote the value").count(), 1, "{said}");
    assert!(!said.contains(VALUE), "{said}");
}

#[test]
fn logins_are_kept_nowhere() {
    let workshop = Workshop::own();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 4096];
            let count = stream.read(&mut request).unwrap_or(0);
            // It says again what it was told.
            let said = text(&request[..count]);
            let answer = format!(
                "HTTP/1.1 401 X\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: {}\r\n\r\n{said}",
                said.len()
            );
            let _ = std::io::Write::write_all(&mut stream, answer.as_bytes());
        }
    });
    let login = STANDARD.encode(format!("ada:{VALUE}"));
    let config = format!("{{\"auths\":{{\"{host}\":{{\"auth\":\"{login}\"}}}}}}");
    let folder = workshop.context("docker", &[("config.json", &config)]);
    let context = workshop.context("app", &[("Dockerfile", &format!("FROM {host}/app:1\n"))]);
    let trace = workshop.path("trace");
    let mut build = workshop.rbuild();
    build
        .env("DOCKER_CONFIG", folder)
        .arg("--debug")
        .arg(format!("--trace={}", trace.display()))
        .arg(context);
    let output = ended(build.stdout(Stdio::piped()));
    let said = text(&output.stderr);
    assert!(!output.status.success() && !said.contains(VALUE), "{said}");
    assert!(File::open(&trace).is_ok());
    assert_eq!(holding(&workshop.store(), &[VALUE.to_owned()]), Vec::<PathBuf>::new());
    assert_eq!(holding(&trace, &[VALUE.to_owned()]), Vec::<PathBuf>::new());
}
