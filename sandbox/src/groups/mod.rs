//! Control groups: which devices steps may open, and how much of the machine a step may take.
//!
//! ```text
//! .../our own group/
//!     rbuild-PID-0        all steps without limits of their own: device rules only
//!     rbuild-PID-N        a step with limits; in each hierarchy that enforces one of them
//! ```
//!
//! The first process of a step is born in the group of the new hierarchy, because moving a process into one takes the
//! kernel longer than all else a step costs; into groups of the old kind it has to move. Groups are removed when their
//! steps have ended. A killed process cannot remove its own: the next one does that runs a step, or hears that there was a
//! killed one, by the number in the name.
//!
//! Device rules are needed only by true root: in a user namespace nobody can make a device, and none can be opened from a
//! file system that was mounted there. Where root finds no hierarchy that it may write to, every file system that the step
//! can write is mounted without devices instead. A container without namespaces has rules of its own, or steps there may make
//! no devices.

mod devices;
mod directory;
mod place;
mod settings;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustix::fs::{CWD, Mode, OFlags};
use serde::{Deserialize, Serialize};

use crate::wire::World;
use crate::{Error, Privileges, Resources, Spec};
use directory::Directory;
use place::{Hierarchy, Kind};

pub(crate) use settings::Overrun;

/// How a step is kept from the machine's devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Devices {
    /// By the rules of its group or its container, by being in a user namespace, or not at all because it may all.
    AsTheyAre,
    /// By mounting all that it can write without devices; without mounts, by not letting it make any.
    Unopenable,
}

/// What the first process of a step has to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Membership {
    /// The groups of old hierarchies that it moves to.
    pub(crate) moved: Vec<PathBuf>,
    /// What keeps it from devices.
    pub(crate) devices: Devices,
}

/// The groups of one step, as long as it runs.
#[derive(Debug)]
pub(crate) struct Groups {
    directories: Vec<Arc<Directory>>,
    /// How many of these, the first, are of this step alone.
    own: usize,
    /// The group of the new hierarchy that it is born in.
    born: Option<OwnedFd>,
    membership: Membership,
    overrun: Option<Overrun>,
}

impl Groups {
    /// Makes those that `spec` needs, or finds those it shares with other steps.
    pub(crate) fn of(spec: &Spec, world: World, shared: &Shared) -> Result<Groups, Error> {
        let mut groups = Groups {
            directories: Vec::new(),
            own: 0,
            born: None,
            membership: Membership {
                moved: Vec::new(),
                devices: Devices::AsTheyAre,
            },
            overrun: None,
        };
        if spec.resources != Resources::default() {
            groups.limit(&spec.resources)?;
            groups.own = groups.directories.len();
        }
        match world {
            _ if spec.privileges == Privileges::Insecure => {}
            _ if crate::userns::is_true_root() => groups.filter_devices(shared),
            World::Ours if !shared.container_rules_devices(&spec.root) => {
                groups.membership.devices = Devices::Unopenable;
            }
            World::Ours | World::OfItsOwn => {}
        }
        Ok(groups)
    }

    /// Where its first process is to be born.
    pub(crate) fn birth(&self) -> Option<BorrowedFd<'_>> {
        self.born.as_ref().map(AsFd::as_fd)
    }

    /// What its first process has to know.
    pub(crate) fn membership(&self) -> &Membership {
        &self.membership
    }

    /// Where it can be seen afterwards whether the step wanted more memory than it may have.
    pub(crate) fn overrun(&self) -> Option<&Overrun> {
        self.overrun.as_ref()
    }

    /// The groups that no other step is in.
    pub(crate) fn own(&self) -> Vec<PathBuf> {
        let own = self.directories.iter().take(self.own);
        own.map(|directory| directory.path().to_owned()).collect()
    }

    fn limit(&mut self, resources: &Resources) -> Result<(), Error> {
        let name = new_name();
        for place in settings::places(&place::find(), resources)? {
            let made = Directory::make(&place.parent, &name).and_then(|directory| {
                let directory = Arc::new(directory);
                self.enter(directory.clone(), place.kind)?;
                Ok(directory)
            });
            let directory = made.map_err(|source| place.refused(source))?;
            place.write_to(directory.path(), &mut self.overrun)?;
        }
        Ok(())
    }

    /// The rules go to the group that the step has anyway, or to one that it shares with all steps that have none.
    fn filter_devices(&mut self, shared: &Shared) {
        let done = match &self.born {
            Some(own) => devices::attach(own).is_ok(),
            None => shared
                .get()
                .is_some_and(|(kind, directory)| self.enter(directory, kind).is_ok()),
        };
        if !done {
            self.membership.devices = Devices::Unopenable;
        }
    }

    fn enter(&mut self, directory: Arc<Directory>, kind: Kind) -> io::Result<()> {
        match kind {
            Kind::Unified => self.born = Some(open(directory.path())?),
            Kind::Old => self.membership.moved.push(directory.path().to_owned()),
        }
        self.directories.push(directory);
        Ok(())
    }
}

/// A group that has been made, or could not be.
type Made = Option<(Kind, Arc<Directory>)>;

/// What all steps without limits have in common.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// Their group, once one of them needed it. It is removed when this is dropped.
    group: Mutex<Option<Made>>,
    /// Whether the container has rules for devices, once somebody asked.
    has_rules: OnceLock<bool>,
}

impl Shared {
    fn get(&self) -> Made {
        let mut known = self.group.lock().unwrap_or_else(PoisonError::into_inner);
        known.get_or_insert_with(|| make_shared(&place::find())).clone()
    }

    /// Whether the surrounding container keeps devices from us, as it does from a step with this root.
    fn container_rules_devices(&self, root: &Path) -> bool {
        let folder = root.parent().unwrap_or(root);
        *self.has_rules.get_or_init(|| devices::are_ruled(folder))
    }
}

/// In the new hierarchy, because a process can be born there; else in the old one; else not at all.
fn make_shared(hierarchies: &[Hierarchy]) -> Made {
    let make = |hierarchy: &Hierarchy, rules: fn(&Path) -> io::Result<()>| {
        let directory = Directory::make(&hierarchy.own, &new_name()).ok()?;
        rules(directory.path()).ok()?;
        Some((hierarchy.kind, Arc::new(directory)))
    };
    let unified = hierarchies.iter().find(|hierarchy| hierarchy.kind == Kind::Unified);
    let old = hierarchies.iter().find(|hierarchy| hierarchy.has("devices"));
    unified
        .and_then(|unified| make(unified, |path| devices::attach(&open(path)?)))
        .or_else(|| old.and_then(|old| make(old, devices::write)))
}

/// Removes the groups that killed processes left where ours are.
pub fn remove_those_of_the_dead() {
    for hierarchy in place::find() {
        directory::sweep(&hierarchy.own, &directory::is_alive);
    }
}

fn new_name() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{}{}-{number}", directory::PREFIX, std::process::id())
}

fn open(group: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(CWD, group, flags, Mode::empty())?)
}
