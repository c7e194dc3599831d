//! Who a name is, by the `/etc/passwd` and `/etc/group` of a root directory.
//!
//! The files are an image's, so they are hostile: links in them are followed inside the root only, devices and pipes are
//! refused, and so is what is larger than any true one. A field that is missing counts as empty.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use serde::{Deserialize, Serialize};

use crate::Error;

/// The highest number means "leave as it is" to the kernel.
const NOBODY: u32 = u32::MAX;
const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";
const LARGEST_FILE: u64 = 10 << 20;
const LARGEST_ID: u32 = i32::MAX as u32;

/// Whom a process runs as.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The user.
    pub uid: u32,
    /// The primary group.
    pub gid: u32,
    /// The supplementary groups.
    pub groups: Vec<u32>,
    /// The home directory; `/` where the user has none, and `/root` for a root without an entry.
    pub home: String,
}

/// A user or a group, as one is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserRef {
    /// By number.
    Id(u32),
    /// By name.
    Name(String),
}

/// Whom `user` (`user[:group]`, names or numbers) means inside `root`; an empty one is root.
///
/// `uid:gid` is taken as it is, without supplementary groups; `root` counts as a number there, and only there. A number alone has the primary group of its entry, and
/// group 0 where there is no entry. A user with a group named has no other groups.
///
/// # Errors
///
/// When a name has no entry, a number is out of range, or a file cannot be read.
pub fn resolve(root: &Path, user: &str) -> Result<Identity, Error> {
    let (user, group) = match user.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (user, None),
    };
    let wanted = if user.is_empty() { "0" } else { user };
    let passwd = read(root, PASSWD)?;
    if let Some((uid, gid)) = numbers(wanted, group)? {
        return Ok(Identity {
            uid,
            gid,
            groups: Vec::new(),
            home: home(&passwd, uid),
        });
    }
    let entry = users(&passwd).find(|entry| entry.name == wanted || entry.uid.is(wanted));
    let uid = match (&entry, number(wanted)?) {
        (Some(entry), _) => entry.uid.of(PASSWD, entry.name)?,
        (None, Some(uid)) => uid,
        (None, None) => {
            return Err(Error::UnknownUser { user: user.to_owned() });
        }
    };
    let home = home(&passwd, uid);
    if let Some(group) = group.filter(|group| !group.is_empty()) {
        let gid = group_id(root, group)?;
        return Ok(Identity {
            uid,
            gid,
            groups: Vec::new(),
            home,
        });
    }
    let Some(entry) = entry else {
        let (gid, groups) = (0, Vec::new());
        return Ok(Identity { uid, gid, groups, home });
    };
    let gid = entry.gid.of(PASSWD, entry.name)?;
    let groups = groups(&read(root, GROUP)?)
        .filter(|group| group.members.split(',').any(|member| member == entry.name))
        .map(|group| group.gid.of(GROUP, group.name))
        .collect::<Result<_, _>>()?;
    Ok(Identity { uid, gid, groups, home })
}

/// Whose files are those given to `user` and `group` inside `root`: user and group number.
///
/// Without a group, a number is its own group and a name has its primary one. A user without an entry is root, a group
/// without one counts as not given: it is no error, because it is none in BuildKit.
///
/// # Errors
///
/// When a file of users or groups is there and cannot be read.
pub fn owner(root: &Path, user: &UserRef, group: Option<&UserRef>) -> Result<(u32, u32), Error> {
    let (uid, primary) = match user {
        UserRef::Id(id) => (*id, *id),
        UserRef::Name(name) => match users(&read(root, PASSWD)?).find(|entry| entry.name == name) {
            Some(entry) => (entry.uid.of(PASSWD, name)?, entry.gid.of(PASSWD, name)?),
            None => (0, 0),
        },
    };
    let gid = match group {
        None => primary,
        Some(UserRef::Id(id)) => *id,
        Some(UserRef::Name(name)) => match groups(&read(root, GROUP)?).find(|entry| entry.name == name) {
            Some(entry) => entry.gid.of(GROUP, name)?,
            None => primary,
        },
    };
    Ok((uid, gid))
}

/// `uid:gid`, which no file is asked about.
fn numbers(user: &str, group: Option<&str>) -> Result<Option<(u32, u32)>, Error> {
    let of = |text: &str| if text == "root" { Ok(Some(0)) } else { number(text) };
    let Some(group) = group else { return Ok(None) };
    Ok(of(user)?.zip(of(group)?))
}

fn group_id(root: &Path, group: &str) -> Result<u32, Error> {
    let number = number(group)?;
    let text = read(root, GROUP)?;
    let entry = groups(&text).find(|entry| entry.name == group || entry.gid.is(group));
    match (entry, number) {
        (Some(entry), _) => entry.gid.of(GROUP, entry.name),
        (None, Some(gid)) => Ok(gid),
        (None, None) => Err(Error::UnknownGroup {
            group: group.to_owned(),
        }),
    }
}

fn home(passwd: &str, uid: u32) -> String {
    match users(passwd).find(|entry| entry.uid.number() == Some(uid)) {
        Some(entry) if !entry.home.is_empty() => entry.home.to_owned(),
        None if uid == 0 => "/root".to_owned(),
        _ => "/".to_owned(),
    }
}

/// The number that `text` is, if it is one.
fn number(text: &str) -> Result<Option<u32>, Error> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse::<u32>() {
        Ok(id) if id <= LARGEST_ID => Ok(Some(id)),
        _ => Err(Error::InvalidId { id: text.to_owned() }),
    }
}

struct User<'a> {
    name: &'a str,
    uid: Id<'a>,
    gid: Id<'a>,
    home: &'a str,
}

struct Group<'a> {
    name: &'a str,
    gid: Id<'a>,
    members: &'a str,
}

/// A number as a file has it. A field that is missing is 0, as it is for runc and BuildKit. One that is no number is 0 to them,
/// too, which makes a user root who was to be somebody else: it is refused here where it is needed.
#[derive(Clone, Copy)]
struct Id<'a>(Option<&'a str>);

impl Id<'_> {
    fn number(self) -> Option<u32> {
        match self.0 {
            None | Some("") => Some(0),
            Some(text) => text.parse().ok().filter(|id| *id != NOBODY),
        }
    }

    fn is(self, wanted: &str) -> bool {
        self.number().is_some_and(|id| id.to_string() == wanted)
    }

    /// The number of `name` in the file at `path`.
    fn of(self, path: &'static str, name: &str) -> Result<u32, Error> {
        self.number().ok_or_else(|| {
            let text = self.0.unwrap_or_default();
            let reason = format!(
                "{name:?} has the number {text:?}, and there are those from 0 to {}",
                NOBODY - 1
            );
            Error::UserFile {
                path,
                source: io::Error::new(io::ErrorKind::InvalidData, reason),
            }
        })
    }
}

fn users(passwd: &str) -> impl Iterator<Item = User<'_>> {
    passwd.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
        let mut fields = line.trim().split(':');
        Some(User {
            name: fields.next().filter(|name| !name.is_empty())?,
            uid: Id(fields.nth(1)),
            gid: Id(fields.next()),
            home: fields.nth(1).unwrap_or_default(),
        })
    })
}

fn groups(group: &str) -> impl Iterator<Item = Group<'_>> {
    group.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        Some(Group {
            name: fields.next().filter(|name| !name.is_empty())?,
            gid: Id(fields.nth(1)),
            members: fields.next().unwrap_or_default(),
        })
    })
}

/// The text of the file at `path` inside `root`; empty when there is none.
fn read(root: &Path, path: &'static str) -> Result<String, Error> {
    let unreadable = |source: io::Error| Error::UserFile { path, source };
    let file = match open(root, path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(String::new());
        }
        Err(error) => return Err(unreadable(error)),
    };
    let mut bytes = Vec::new();
    file.take(LARGEST_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(Error::UserFileTooLarge { path });
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn open(root: &Path, path: &str) -> io::Result<File> {
    let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::openat(CWD, root, directory, Mode::empty())?;
    // Not blocking, because opening a pipe would wait for someone to write to it.
    let file = rustix::fs::openat2(
        root,
        path,
        OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY,
        Mode::empty(),
        ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
    )?;
    if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) != FileType::RegularFile {
        return Err(io::Error::other("not a regular file"));
    }
    Ok(File::from(file))
}

#[cfg(test)]
mod tests;
