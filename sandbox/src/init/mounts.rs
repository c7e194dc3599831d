//! The file trees a step sees, put together on its root before it becomes `/`.

use std::fs;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{MountAttrFlags, UnmountFlags, unmount};
use rustix::process::{PidfdFlags, fchdir, getpid, pidfd_open, pivot_root};
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};

use super::alike::Share;
use super::filesystem::{self, Depth, INERT, READ_ONLY};
use super::{asked, devices};
use crate::groups::Devices;
use crate::rooted::{self, Found, Kind};
use crate::wire::{During, Failure, Plan};
use crate::{Privileges, Stdio};

const MASKED: [&str; 11] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
const UNWRITABLE: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];
const CONTROL_GROUPS: &str = "/sys/fs/cgroup";
/// The hierarchy of version 2, where there are others.
const UNIFIED: &str = "unified";

/// The root under construction.
pub(super) struct Root {
    mount: OwnedFd,
}

impl Root {
    /// Mounts everything `plan` asks for; gives the caller's end of the terminal if there is one.
    pub(super) fn build(plan: &Plan, share: &Share<'_>) -> Result<(Root, Option<devices::Terminal>), Failure> {
        let devices = plan.membership.devices;
        let root = Root::open(&plan.spec.root, devices).during("open the root", &plan.spec.root)?;
        // Read while the host's own /proc can be.
        let membership = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        // Of what is about the machine and not about the step.
        let kernel = match plan.spec.privileges {
            Privileges::Default => INERT | READ_ONLY,
            Privileges::Insecure => INERT,
        };
        let names = root.name_files(plan)?;
        root.mount_proc()?;
        let with_terminal = plan.spec.stdio == Stdio::Terminal;
        let terminal = devices::mount(&root, plan.spec.shm_size, with_terminal, devices)?;
        if plan.spec.privileges == Privileges::Insecure {
            devices::lend(&root);
        }
        root.mount_sys(kernel)?;
        // Without it a step only cannot ask for its limits.
        let _ = root.mount_control_groups(&membership, kernel, share);
        for (target, mount) in names {
            root.put(mount, target, Kind::File)?;
        }
        for mount in &plan.spec.mounts {
            asked::put(&root, mount, devices)?;
        }
        if plan.spec.privileges == Privileges::Default {
            root.hide(share)?;
        }
        Ok((root, terminal))
    }

    /// A mount of the directory for ourselves, with all that is mounted below it.
    fn open(path: &Path, devices: Devices) -> io::Result<Root> {
        let mount = filesystem::copy(path, Depth::All)?;
        filesystem::keep_from(&mount, devices)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        filesystem::attach(&mount, rustix::fs::openat(CWD, path, flags, Mode::empty())?)?;
        Ok(Root { mount })
    }

    /// Makes it `/`, and lets go of all that was mounted outside.
    pub(super) fn enter(self) -> io::Result<()> {
        // Whoever runs us may have changed our root without a mount namespace: then the true one would stay behind the
        // step's, to be reached by climbing. Entering the namespace that we are in makes the true one ours.
        let ourselves = pidfd_open(getpid(), PidfdFlags::empty())?;
        move_into_thread_name_spaces(ourselves.as_fd(), ThreadNameSpaceType::MOUNT)?;
        fchdir(&self.mount)?;
        // The old root ends up on top of the new one, at the same place: taken away there, the new one is left.
        pivot_root(".", ".")?;
        unmount(".", UnmountFlags::DETACH)?;
        rustix::process::chdir("/")?;
        Ok(())
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.mount.as_fd()
    }

    /// Puts `mount` on `target`, which is made if missing.
    pub(super) fn put(&self, mount: impl AsFd, target: &str, kind: Kind) -> Result<(), Failure> {
        let point =
            rooted::find_or_make(self.as_fd(), Path::new(target), kind).during("make the mount point", target)?;
        filesystem::attach(mount, point).during("mount", target)
    }

    /// `/etc/resolv.conf` and `/etc/hosts`, on a file system that can be reached by nothing else.
    fn name_files(&self, plan: &Plan) -> Result<[(&'static str, OwnedFd); 2], Failure> {
        let scratch =
            filesystem::new("tmpfs", &[("mode", "755")], INERT).during("make a file system for", "/etc/hosts")?;
        let [resolver, hosts] = ["resolv.conf", "hosts"];
        write_file(scratch.as_fd(), resolver, &plan.resolver).during("write", "/etc/resolv.conf")?;
        write_file(scratch.as_fd(), hosts, &plan.hosts).during("write", "/etc/hosts")?;
        let [resolver, hosts] = self.lift(&scratch, [resolver, hosts])?;
        Ok([("/etc/resolv.conf", resolver), ("/etc/hosts", hosts)])
    }

    /// Read-only mounts of the files `names` of a file system that is mounted nowhere.
    pub(super) fn lift<const N: usize>(&self, scratch: &OwnedFd, names: [&str; N]) -> Result<[OwnedFd; N], Failure> {
        let copy_all = || {
            let copies = names.map(|name| filesystem::copy_at(scratch.as_fd(), name));
            let copies: Vec<OwnedFd> = copies.into_iter().collect::<io::Result<_>>()?;
            for copy in &copies {
                filesystem::restrict(copy, READ_ONLY, Depth::One)?;
            }
            Ok::<_, io::Error>(copies)
        };
        let copies = match copy_all() {
            Ok(copies) => copies,
            // Before Linux 6.15 it has to be mounted for that: for a moment, where the devices are. It cannot be mounted
            // a second time.
            Err(_) => {
                self.put(scratch, "/dev", Kind::Directory)?;
                let copies = copy_all().during("copy the mounts of", names.join(", "))?;
                fchdir(scratch)
                    .and_then(|()| unmount(".", UnmountFlags::DETACH))
                    .during("unmount", "/dev")?;
                copies
            }
        };
        Ok(copies.try_into().expect("as many as there are names"))
    }

    fn mount_proc(&self) -> Result<(), Failure> {
        let proc = filesystem::new("proc", &[], INERT)
            // In a container that hides parts of /proc, only what is shown there may be shown again.
            .or_else(|_| filesystem::copy(Path::new("/proc"), Depth::All))
            .during("mount", "/proc")?;
        self.put(proc, "/proc", Kind::Directory)
    }

    fn mount_sys(&self, attributes: MountAttrFlags) -> Result<(), Failure> {
        let sys = filesystem::new("sysfs", &[], attributes)
            // A user namespace gets a new one only together with a network namespace.
            .or_else(|_| {
                let copy = filesystem::copy(Path::new("/sys"), Depth::All)?;
                filesystem::restrict(&copy, attributes, Depth::All)?;
                Ok::<_, io::Error>(copy)
            })
            .during("mount", "/sys")?;
        self.put(sys, "/sys", Kind::Directory)
    }

    /// The control groups of the step, by the text of `/proc/self/cgroup`: one hierarchy, or a folder of them.
    fn mount_control_groups(
        &self,
        membership: &str,
        attributes: MountAttrFlags,
        share: &Share<'_>,
    ) -> Result<(), Failure> {
        let hierarchies: Vec<&str> = membership.lines().filter_map(|line| line.split(':').nth(1)).collect();
        if hierarchies == [""] {
            share.offer(None);
            let unified = filesystem::new("cgroup2", &[], attributes).during("mount", CONTROL_GROUPS)?;
            return self.put(unified, CONTROL_GROUPS, Kind::Directory);
        }
        let folder = match share.hierarchies() {
            Some(copy) => {
                self.put(&copy, CONTROL_GROUPS, Kind::Directory)?;
                copy
            }
            None => self.mount_hierarchies(&hierarchies, attributes, share)?,
        };
        // The group of a step there may be another one than the supervisor's.
        if hierarchies.contains(&"")
            && let Ok(unified) = filesystem::new("cgroup2", &[], attributes)
        {
            put_in(&folder, UNIFIED, unified).during("mount", Path::new(CONTROL_GROUPS).join(UNIFIED))?;
        }
        Ok(())
    }

    /// The folder of hierarchies, with all old ones, where it belongs.
    fn mount_hierarchies(
        &self,
        hierarchies: &[&str],
        attributes: MountAttrFlags,
        share: &Share<'_>,
    ) -> Result<OwnedFd, Failure> {
        let folder = filesystem::new("tmpfs", &[("mode", "755")], INERT).during("mount", CONTROL_GROUPS)?;
        let close = |folder: &OwnedFd| {
            filesystem::restrict(folder, attributes, Depth::One).during("make read-only", CONTROL_GROUPS)
        };
        if let Share::Offers(_) = share
            && filesystem::copy_of(&folder, Depth::One).is_ok()
            && mount_old_hierarchies(&folder, hierarchies, attributes).is_ok()
        {
            close(&folder)?;
            let copy = filesystem::copy_of(&folder, Depth::All).during("copy", CONTROL_GROUPS)?;
            self.put(&copy, CONTROL_GROUPS, Kind::Directory)?;
            share.offer(Some(&folder));
            return Ok(copy);
        }
        self.put(&folder, CONTROL_GROUPS, Kind::Directory)?;
        mount_old_hierarchies(&folder, hierarchies, attributes).during("mount in", CONTROL_GROUPS)?;
        close(&folder)?;
        Ok(folder)
    }

    /// Hides, or makes read-only, what of `/proc` and `/sys` is about the whole machine.
    fn hide(&self, share: &Share<'_>) -> Result<(), Failure> {
        for path in UNWRITABLE {
            if let Some(place) = self.find(path).during("find", path)? {
                filesystem::copy_of(&place, Depth::All)
                    .and_then(|copy| filesystem::restrict(&copy, READ_ONLY, Depth::All).map(|()| copy))
                    .and_then(|copy| filesystem::attach(copy, place))
                    .during("make read-only", path)?;
            }
        }
        for path in MASKED {
            if let Some(place) = self.find(path).during("find", path)? {
                match Kind::of(&place).during("look at", path)? {
                    Kind::Directory => share.cover(),
                    Kind::File => filesystem::copy(Path::new("/dev/null"), Depth::One),
                }
                .and_then(|cover| filesystem::attach(cover, place))
                .during("hide", path)?;
            }
        }
        Ok(())
    }

    pub(super) fn find(&self, path: &str) -> io::Result<Option<OwnedFd>> {
        match rooted::find(self.as_fd(), Path::new(path)) {
            Ok(Found::Here(place)) => Ok(Some(place)),
            Ok(Found::Missing { .. }) => Ok(None),
            // Hidden already by whoever runs us.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Puts `mount` on the directory `name` in a file system that is ours alone: nobody can have put a link there.
pub(super) fn put_in(file_system: impl AsFd, name: &str, mount: impl AsFd) -> io::Result<()> {
    filesystem::attach(mount, rooted::make_directory(file_system, name.as_ref())?)
}

/// Mounts the hierarchies of version 1 in `folder`, as far as they are there, and makes a place for the other.
fn mount_old_hierarchies(folder: &OwnedFd, hierarchies: &[&str], attributes: MountAttrFlags) -> io::Result<()> {
    for hierarchy in hierarchies {
        let (name, mount) = match hierarchy.strip_prefix("name=") {
            Some(name) => (
                name,
                filesystem::new("cgroup", &[("name", name), ("none", "")], attributes),
            ),
            None if hierarchy.is_empty() => {
                rooted::make_directory(folder, UNIFIED.as_ref())?;
                continue;
            }
            None => {
                let controllers: Vec<(&str, &str)> = hierarchy.split(',').map(|name| (name, "")).collect();
                (*hierarchy, filesystem::new("cgroup", &controllers, attributes))
            }
        };
        if let Ok(mount) = mount {
            put_in(folder, name, mount)?;
        }
    }
    Ok(())
}

fn write_file(directory: BorrowedFd<'_>, name: &str, text: &str) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = rustix::fs::openat(directory, name, flags, Mode::from_raw_mode(0o644))?;
    fs::File::from(file).write_all(text.as_bytes())
}
