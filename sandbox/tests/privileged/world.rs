//! What the tests run on: a root made of busybox, under an overlay as builds have it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use sandbox::{Cancel, Error, Executor, Exit, Namespaces, Spec, Stream};

pub(crate) const BUSYBOX: [&str; 3] = ["/bin/busybox", "/usr/bin/busybox", "/bin/busybox-static"];
pub(crate) const APPLETS: &str = "awk cat chmod chown chroot cut dd df env false find grep head hostname id ifconfig kill ls mkdir mknod \
    mount nproc ps pwd readlink rm seq sh sleep sort stat stty tail tee test touch true tty umount uname unshare wc which";

pub(crate) fn busybox() -> Option<&'static str> {
    BUSYBOX.into_iter().find(|path| Path::new(path).exists())
}

/// A user who has been lent ids, if we may become one.
pub(crate) fn ordinary_user() -> Option<String> {
    if !nix::unistd::geteuid().is_root() || Command::new("runuser").arg("--version").output().is_err() {
        return None;
    }
    let lent = fs::read_to_string("/etc/subuid").ok()?;
    let passwd = fs::read_to_string("/etc/passwd").ok()?;
    lent.lines()
        .filter_map(|line| line.split(':').next())
        .find(|name| *name != "root" && passwd.lines().any(|line| line.split(':').next() == Some(name)))
        .map(str::to_owned)
}

/// A user to whom no ids are lent, if we may become one: hardly any machine lends some to nobody.
pub(crate) fn user_without_range() -> Option<String> {
    if !nix::unistd::geteuid().is_root() || Command::new("runuser").arg("--version").output().is_err() {
        return None;
    }
    let lent = fs::read_to_string("/etc/subuid").unwrap_or_default();
    let passwd = fs::read_to_string("/etc/passwd").ok()?;
    let is_alone = passwd.contains("\nnobody:") && !lent.lines().any(|line| line.starts_with("nobody:"));
    is_alone.then(|| "nobody".to_owned())
}

/// Another user may not be able to reach the directory we were built in.
pub(crate) fn with_readable_copy<T>(with: impl FnOnce(&Path) -> T) -> T {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = directory.path().join("privileged");
    fs::copy("/proc/self/exe", &copy).unwrap();
    with(&copy)
}

/// A root on an overlay.
pub(crate) struct Root {
    directory: tempfile::TempDir,
}

impl Root {
    /// With busybox, a few users, and mount points for `/proc` and so on only if `complete`.
    pub(crate) fn new() -> Root {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        for name in ["lower/bin", "lower/etc", "upper", "work", "merged"] {
            fs::create_dir_all(path.join(name)).unwrap();
        }
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        let lower = path.join("lower");
        fs::copy(busybox().unwrap(), lower.join("bin/busybox")).unwrap();
        for applet in APPLETS.split_whitespace() {
            symlink("busybox", lower.join("bin").join(applet)).unwrap();
        }
        fs::write(
            lower.join("etc/passwd"),
            "root:x:0:0:root:/root:/bin/sh\nann:x:1000:1001:Ann:/home/ann:/bin/sh\n",
        )
        .unwrap();
        fs::write(lower.join("etc/group"), "root:x:0:\nann:x:1001:\nstaff:x:50:ann\n").unwrap();
        let options = format!(
            "lowerdir={lower},upperdir={path}/upper,workdir={path}/work",
            lower = lower.display(),
            path = path.display()
        );
        let none: Option<&str> = None;
        mount(
            none,
            &path.join("merged"),
            Some("overlay"),
            MsFlags::empty(),
            Some(options.as_str()),
        )
        .unwrap();
        Root { directory }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("merged")
    }

    /// A shell script, as an ordinary step.
    pub(crate) fn script(&self, text: &str) -> Spec {
        let args = ["/bin/sh", "-c", text].map(str::to_owned).to_vec();
        let mut spec = Spec::new(self.path(), args);
        spec.env = vec!["PATH=/bin".to_owned()];
        spec
    }

    /// What a script writes, without the last line end; it must succeed.
    pub(crate) fn says(&self, text: &str) -> String {
        says(&self.script(text))
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        umount2(&self.path(), MntFlags::MNT_DETACH).unwrap();
        // Made by the overlay, without any permission.
        let _ = fs::set_permissions(
            self.directory.path().join("work/work"),
            fs::Permissions::from_mode(0o700),
        );
    }
}

#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) exit: Exit,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

pub(crate) fn run(spec: &Spec) -> Result<Ran, Error> {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let mut output = |stream, bytes: &[u8]| match stream {
        Stream::Stdout => stdout.extend_from_slice(bytes),
        Stream::Stderr => stderr.extend_from_slice(bytes),
        Stream::Note => panic!("{}", String::from_utf8_lossy(bytes)),
    };
    let exit = Namespaces::new().run(spec, &mut output, &Cancel::new())?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Ran {
        exit,
        stdout: text(stdout),
        stderr: text(stderr),
    })
}

pub(crate) fn says(spec: &Spec) -> String {
    let ran = run(spec).unwrap();
    assert_eq!(ran.exit, Exit::Code(0), "{ran:?}");
    ran.stdout.trim_end().to_owned()
}
