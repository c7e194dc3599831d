//! rbuild in a container as docker and Kubernetes start one: root inside, fourteen capabilities, a filter of system calls.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::support::{Bases, Workshop, binary, has, run, skipped};

const CAPABILITIES: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];
/// The system calls that docker lets a container make, by the table that steps are held to.
const CALLS: &str = include_str!("../../sandbox/src/seccomp/calls.rs");
/// `CLONE_NEWNS`, `CLONE_NEWCGROUP`, `CLONE_NEWUTS`, `CLONE_NEWIPC`, `CLONE_NEWUSER`, `CLONE_NEWPID`, `CLONE_NEWNET`.
const NEW_NAMESPACES: u64 = 0x7E02_0000;
const MASKED: [&str; 8] = [
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
];

/// Whether system calls are filtered as docker does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filter {
    Docker,
    None,
}

/// A container with rbuild, the base images, and a context in it.
#[derive(Debug)]
pub(crate) struct Container {
    workshop: Workshop,
    folder: PathBuf,
    capabilities: Vec<&'static str>,
    filter: Filter,
    has_volume: bool,
    no_new_powers: bool,
    rules_devices: bool,
}

impl Container {
    /// Nothing (and a word on stderr) where root or runc is missing.
    pub(crate) fn new(bases: &Bases, filter: Filter) -> Option<Container> {
        if !rustix::process::geteuid().is_root() || !has("runc") || !has("unshare") {
            return skipped("root, runc and unshare");
        }
        let workshop = Workshop::own();
        let folder = workshop.path("bundle");
        for path in ["proc", "sys", "dev", "tmp", "etc", "root", "bases", "store"] {
            fs::create_dir_all(folder.join("image").join(path)).unwrap();
        }
        for path in ["rootfs", "changes", "work"] {
            fs::create_dir(folder.join(path)).unwrap();
        }
        let container = Container {
            workshop,
            folder,
            capabilities: CAPABILITIES.to_vec(),
            filter,
            has_volume: false,
            no_new_powers: false,
            rules_devices: true,
        };
        fs::copy(binary(), container.at("rbuild")).unwrap();
        fs::write(container.at("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n").unwrap();
        for base in ["busybox", "debian"] {
            let from = bases.folder().join(base);
            run(Command::new("cp").arg("-r").arg(from).arg(container.at("bases")));
        }
        Some(container)
    }

    /// A path in its image, as it is outside.
    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.folder.join("image").join(path)
    }

    /// What it made at this path.
    pub(crate) fn made(&self, path: &str) -> PathBuf {
        self.folder.join("changes").join(path)
    }

    /// Without this capability.
    pub(crate) fn without(mut self, capability: &str) -> Container {
        self.capabilities.retain(|known| *known != capability);
        self
    }

    /// In which setuid programs give nothing (`no-new-privileges`).
    pub(crate) fn without_new_powers(mut self) -> Container {
        self.no_new_powers = true;
        self
    }

    /// In which every device may be opened.
    pub(crate) fn without_device_rules(mut self) -> Container {
        self.rules_devices = false;
        self
    }

    /// With its store on a volume: on its own root, which is an overlay, there can be no other.
    pub(crate) fn on_a_volume(mut self) -> Container {
        fs::create_dir(self.folder.join("volume")).unwrap();
        self.has_volume = true;
        self
    }

    /// Writes the files of a context, `Dockerfile` among them.
    pub(crate) fn context(&self, name: &str, files: &[(&str, &str)]) {
        for (file, text) in files {
            let path = self.at(name).join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    /// A build of the context in it.
    pub(crate) fn build(&self, context: &str, more: &[&str]) -> Output {
        let base =
            |name: &str, layout: &str, tag: &str| format!("--build-context={name}=oci-layout:///bases/{layout}:{tag}");
        let bases = [
            base("debian:bookworm-slim", "debian", "bookworm-slim"),
            base("busybox", "busybox", "latest"),
        ];
        let context = format!("/{context}");
        let mut arguments = vec!["build", "--progress=plain", &bases[0], &bases[1]];
        arguments.extend(more);
        arguments.push(&context);
        self.rbuild(&arguments)
    }

    /// `rbuild`, on a store in it.
    pub(crate) fn rbuild(&self, arguments: &[&str]) -> Output {
        let words: Vec<&str> = ["/rbuild", "--root", "/store"]
            .iter()
            .chain(arguments)
            .copied()
            .collect();
        fs::write(self.folder.join("config.json"), self.configuration(&words).to_string()).unwrap();
        let name = format!("rbuild-it-{}-{}", std::process::id(), self.folder.display()).replace('/', "-");
        // Its root is an overlay, as everywhere; the mount is gone with the shell.
        let script =
            "mount -t overlay overlay -o lowerdir=image,upperdir=changes,workdir=work rootfs && exec runc \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script, "sh", "--root"]);
        command.arg(self.workshop.path("state")).args(["run", "--bundle"]);
        command.arg(&self.folder).arg(name).current_dir(&self.folder);
        command.output().unwrap()
    }

    fn configuration(&self, words: &[&str]) -> Value {
        let capabilities = json!(self.capabilities);
        let allowed = |kind: &str, major: u32, minor: u32| json!({ "allow": true, "type": kind, "major": major, "minor": minor, "access": "rwm" });
        let mut devices = vec![
            json!({ "allow": false, "access": "rwm" }),
            json!({ "allow": true, "type": "c", "access": "m" }),
            json!({ "allow": true, "type": "b", "access": "m" }),
        ];
        devices.extend([3, 5, 7, 8, 9].map(|minor| allowed("c", 1, minor)));
        devices.extend([allowed("c", 5, 0), allowed("c", 5, 2)]);
        if !self.rules_devices {
            devices = vec![json!({ "allow": true, "access": "rwm" })];
        }
        let system = |place: &str, kind: &str, options: &[&str]| json!({ "destination": place, "type": kind, "source": kind, "options": options });
        let namespaces = ["pid", "mount", "ipc", "uts"].map(|kind| json!({ "type": kind }));
        let mut linux = json!({
            "namespaces": namespaces,
            "maskedPaths": MASKED,
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
            "resources": { "devices": devices },
        });
        let mut mounts = vec![
            system("/proc", "proc", &[]),
            system("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            system(
                "/dev/pts",
                "devpts",
                &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
            ),
            system("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777"]),
            system("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        ];
        if self.has_volume {
            let source = self.folder.join("volume");
            mounts.push(json!({ "destination": "/store", "type": "bind", "source": source, "options": ["bind"] }));
        }
        if self.filter == Filter::Docker {
            linux["seccomp"] = seccomp();
        }
        json!({
            "ociVersion": "1.0.2",
            "hostname": "job",
            "root": { "path": "rootfs", "readonly": false },
            "process": {
                "args": words,
                "cwd": "/",
                "env": ["PATH=/usr/bin:/bin", "HOME=/root"],
                "user": { "uid": 0, "gid": 0 },
                "noNewPrivileges": self.no_new_powers,
                "capabilities": {
                    "bounding": capabilities, "effective": capabilities, "permitted": capabilities,
                },
            },
            "mounts": mounts,
            "linux": linux,
        })
    }
}

fn seccomp() -> Value {
    let named = |line: &'static str| line.trim().strip_prefix("allow(\"")?.split('"').next();
    let mut allowed: Vec<&str> = CALLS.lines().filter_map(named).collect();
    assert!(
        allowed.contains(&"execve") && !allowed.contains(&"mount"),
        "{allowed:?}"
    );
    allowed.extend(["personality", "socket"]);
    let clone = json!([{ "index": 0, "value": NEW_NAMESPACES, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ" }]);
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "syscalls": [
            { "names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38 },
            { "names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": clone },
            { "names": allowed, "action": "SCMP_ACT_ALLOW" },
        ],
    })
}
