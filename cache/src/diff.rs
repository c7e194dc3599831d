//! What a snapshot changes, as a tar archive.
//!
//! Only the snapshot's own directory is walked; the stack below is asked about single names. An entry that is as it was
//! below is left out, so that a file copied up and put back, or a directory touched by a mount point that came and
//! went, makes no change. The rules of sameness are BuildKit's: for directories type, mode, owner and capability, for
//! others also size, time and, where both times are whole seconds as after unpacking, the content.
//!
//! A directory that hides those below it is told as one removal for each name it does not bring itself. Removed names
//! are empty files `.wh.<name>`. Sockets, the root itself and attributes other than file capabilities are not told.

use std::collections::{BTreeMap, HashMap, btree_map};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::error::failed;
use crate::overlay::{Found, Merged, Shown, is_opaque, is_whiteout};
use crate::tar_writer::{EntryKind, Header, TarWriter};
use crate::{Error, Owners, Snapshot};

const CAPABILITY: &str = "security.capability";
/// Directories within more than so many others are not held open.
const MOST_OPEN: usize = 64;

/// Writes the changes of `snapshot` to `target`, with no time later than `latest`; gives it back with the newest time of an
/// entry.
pub(crate) fn write<W: Write>(snapshot: &Snapshot, target: W, latest: Option<i64>) -> Result<(W, i64), Error> {
    let directory = snapshot.directory();
    let mut diff = Diff {
        archive: TarWriter::new(target),
        root: directory.clone(),
        owners: snapshot.owners().clone(),
        pending: Vec::new(),
        links: HashMap::new(),
        newest: 0,
        latest: latest.unwrap_or(i64::MAX),
        buffer: vec![0; 128 * 1024],
    };
    let root = Descent {
        directory: directory.clone(),
        below: Some(Merged::root(snapshot.parent().as_ref())),
        hides: is_opaque(&directory)?,
        depth: 0,
        length: 0,
    };
    let root = Level::enter(root, snapshot.owners())?;
    diff.walk(root)?;
    let target = diff.archive.finish().map_err(failed("archive", &directory))?;
    Ok((target, diff.newest))
}

/// The file capability of the file at `path`.
pub(crate) fn capability(path: &Path) -> Result<Option<Vec<u8>>, Errno> {
    let mut value = [0; 64];
    told(rustix::fs::lgetxattr(path, CAPABILITY, &mut value), &value)
}

/// What the kernel answered when asked for a capability.
fn told(length: Result<usize, Errno>, value: &[u8]) -> Result<Option<Vec<u8>>, Errno> {
    match length {
        Ok(length) => Ok(Some(value[..length].to_vec()).filter(|value| !value.is_empty())),
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
        Err(error) => Err(error),
    }
}

struct Diff<W> {
    archive: TarWriter<W>,
    root: PathBuf,
    owners: Owners,
    /// Unchanged directories on the way to where we are: told when something in them is.
    pending: Vec<Header>,
    /// Inodes with several names, by the name told first.
    links: HashMap<(u64, u64), Vec<u8>>,
    newest: i64,
    /// Times beyond it are told as this one.
    latest: i64,
    buffer: Vec<u8>,
}

/// A directory being walked. Names are looked up in it, not by long paths from the root.
struct Place {
    path: PathBuf,
    open: Option<OwnedFd>,
}

/// A name in the directory being walked.
enum Here {
    /// The snapshot's directory has it.
    Brought(Stat),
    /// Only the stack below has it, and it is hidden.
    Hidden,
}

/// A directory to go down into.
struct Descent {
    directory: PathBuf,
    /// What the stack below has of it.
    below: Option<Merged>,
    /// Whether that is hidden.
    hides: bool,
    /// How many directories were pending above it, and how long the name of the one above was.
    depth: usize,
    length: usize,
}

/// A directory on the way to where we are, and what is still to be told of it.
struct Level {
    place: Place,
    children: btree_map::IntoIter<OsString, Here>,
    below: Option<Merged>,
    hides: bool,
    depth: usize,
    length: usize,
}

impl Level {
    /// `owners` are those of the directory's files.
    fn enter(descent: Descent, owners: &Owners) -> Result<Level, Error> {
        let hidden = descent.below.as_ref().filter(|_| descent.hides);
        let (place, children) = Place::enter(descent.directory, hidden, owners)?;
        Ok(Level {
            place,
            children: children.into_iter(),
            below: descent.below,
            hides: descent.hides,
            depth: descent.depth,
            length: descent.length,
        })
    }
}

impl<W: Write> Diff<W> {
    /// Tells the changes within a directory, and within those in it. Depth costs no stack: a step may make it large.
    fn walk(&mut self, root: Level) -> Result<(), Error> {
        let mut name = Vec::new();
        let mut levels = vec![root];
        while let Some(level) = levels.last_mut() {
            let Some((child, here)) = level.children.next() else {
                self.pending.truncate(level.depth);
                name.truncate(level.length);
                levels.pop();
                continue;
            };
            let path = level.place.path.join(&child);
            let shown = match &level.below {
                Some(below) => below.child(&child)?,
                None => Shown::Nothing,
            };
            let length = name.len();
            let descent = match here {
                Here::Brought(stat) if !is_whiteout(&path, &stat)? => {
                    name.extend_from_slice(child.as_bytes());
                    if child.as_bytes().starts_with(b".wh.") {
                        return Err(Error::NameOfRemoval(format!("/{}", crate::error::shown(&name))));
                    }
                    let (place, hides) = (&level.place, level.hides);
                    self.entry(place, &Found { path, stat }, (&mut name, shown, hides), length)?
                }
                _ if matches!(shown, Shown::Nothing) => None,
                _ => {
                    self.removal(&name, &child)?;
                    None
                }
            };
            match descent {
                None => name.truncate(length),
                Some(descent) => {
                    let mut below = Level::enter(descent, &self.owners.below(&name))?;
                    if levels.len() > MOST_OPEN {
                        below.place.open = None;
                    }
                    levels.push(below);
                }
            }
        }
        Ok(())
    }

    fn removal(&mut self, directory: &[u8], child: &OsStr) -> Result<(), Error> {
        self.tell_pending()?;
        let name = [directory, b".wh.", child.as_bytes()].concat();
        self.begin(Header::new(EntryKind::File, name))
    }

    /// Tells one entry, as far as it differs from what is `shown` below; of a directory, that it is to be gone into. The
    /// name of the directory above has `length` bytes.
    fn entry(
        &mut self,
        place: &Place,
        here: &Found,
        (name, shown, hidden): (&mut Vec<u8>, Shown, bool),
        length: usize,
    ) -> Result<Option<Descent>, Error> {
        let Some(kind) = kind(&here.stat) else {
            return Ok(None);
        };
        let same = match &shown {
            Shown::Nothing => false,
            Shown::File(found) | Shown::Directory(found, _) => same(here, found)?,
        };
        if kind == EntryKind::Directory {
            let depth = self.pending.len();
            name.push(b'/');
            self.pending.push(header(here, kind, name)?);
            if !same {
                self.tell_pending()?;
            }
            let below = match shown {
                Shown::Directory(_, merged) => Some(merged),
                _ => None,
            };
            return Ok(Some(Descent {
                directory: here.path.clone(),
                below,
                hides: hidden || is_opaque(&here.path)?,
                depth,
                length,
            }));
        }
        if same {
            return Ok(None);
        }
        self.tell_pending()?;
        let mut header = header(here, kind, name)?;
        if kind == EntryKind::File {
            self.file(header, place, here)?;
        } else {
            self.link_again(&mut header, &here.stat);
            self.begin(header)?;
        }
        Ok(None)
    }

    fn file(&mut self, mut header: Header, place: &Place, here: &Found) -> Result<(), Error> {
        let file = place.open(&here.path).map_err(failed("read", &here.path))?;
        let mut value = [0; 64];
        let length = rustix::fs::fgetxattr(&file, CAPABILITY, &mut value);
        header.capability = told(length, &value).map_err(failed("read the capability of", &here.path))?;
        self.link_again(&mut header, &here.stat);
        let size = header.size;
        self.begin(header)?;
        if size > 0 {
            self.content(file, &here.path, size)
        } else {
            Ok(())
        }
    }

    /// Makes the entry a link, if its inode has been told under another name.
    fn link_again(&mut self, header: &mut Header, stat: &Stat) {
        if stat.st_nlink < 2 {
            return;
        }
        let inode = (stat.st_dev, stat.st_ino);
        match self.links.get(&inode) {
            Some(first) => {
                header.kind = EntryKind::HardLink;
                header.link.clone_from(first);
                header.size = 0;
            }
            None => drop(self.links.insert(inode, header.name.clone())),
        }
    }

    fn tell_pending(&mut self) -> Result<(), Error> {
        // Told directories stay on the way down, with an empty name.
        for position in 0..self.pending.len() {
            if !self.pending[position].name.is_empty() {
                let header = self.pending[position].clone();
                self.pending[position].name.clear();
                self.begin(header)?;
            }
        }
        Ok(())
    }

    fn begin(&mut self, mut header: Header) -> Result<(), Error> {
        header.time = header.time.min(self.latest);
        self.newest = self.newest.max(header.time);
        self.archive.begin(&header).map_err(failed("archive", &self.root))
    }

    fn content(&mut self, file: File, path: &Path, size: u64) -> Result<(), Error> {
        let mut file = file.take(size);
        let mut left = size;
        while left > 0 {
            let read = file.read(&mut self.buffer).map_err(failed("read", path))?;
            if read == 0 {
                return Err(failed("read", path)(io::Error::from(io::ErrorKind::UnexpectedEof)));
            }
            self.archive
                .content(&self.buffer[..read])
                .map_err(failed("archive", path))?;
            left -= read as u64;
        }
        Ok(())
    }
}

impl Place {
    /// Opens a directory and finds the names to look at in it, sorted by their bytes.
    fn enter(
        path: PathBuf,
        hidden: Option<&Merged>,
        owners: &Owners,
    ) -> Result<(Place, BTreeMap<OsString, Here>), Error> {
        let mut children = BTreeMap::new();
        if let Some(hidden) = hidden {
            children.extend(hidden.names()?.into_iter().map(|name| (name, Here::Hidden)));
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = rustix::fs::open(&path, flags, Mode::empty()).map_err(failed("read", &path))?;
        for entry in Dir::read_from(&open).map_err(failed("read", &path))? {
            let entry = entry.map_err(failed("read", &path))?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            let mut stat = rustix::fs::statat(&open, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|error| failed("read", &path.join(name))(error))?;
            owners
                .tell_at(open.as_fd(), name.as_bytes(), name.as_bytes(), &mut stat)
                .map_err(|error| failed("read the owner of", &path.join(name))(error))?;
            children.insert(name.to_owned(), Here::Brought(stat));
        }
        let open = Some(open);
        Ok((Place { path, open }, children))
    }

    /// Opens the file at `path`, which is in this directory.
    fn open(&self, path: &Path) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = match (&self.open, path.file_name()) {
            (Some(open), Some(name)) => rustix::fs::openat(open, name, flags, Mode::empty()),
            _ => rustix::fs::open(path, flags, Mode::empty()),
        }?;
        Ok(file.into())
    }
}

/// `None` for what layers do not hold.
fn kind(stat: &Stat) -> Option<EntryKind> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Some(EntryKind::File),
        FileType::Directory => Some(EntryKind::Directory),
        FileType::Symlink => Some(EntryKind::Symlink),
        FileType::CharacterDevice => Some(EntryKind::CharacterDevice),
        FileType::BlockDevice => Some(EntryKind::BlockDevice),
        FileType::Fifo => Some(EntryKind::Fifo),
        _ => None,
    }
}

/// The header of an entry, without its capability.
fn header(found: &Found, kind: EntryKind, name: &[u8]) -> Result<Header, Error> {
    let Found { path, stat } = found;
    let mut header = Header::new(kind, name.to_vec());
    match kind {
        EntryKind::File => header.size = stat.st_size.cast_unsigned(),
        EntryKind::Symlink => {
            let target = rustix::fs::readlink(path, Vec::new()).map_err(failed("read", path))?;
            header.link = target.into_bytes();
        }
        EntryKind::CharacterDevice | EntryKind::BlockDevice => {
            header.device = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
        }
        EntryKind::Directory | EntryKind::Fifo | EntryKind::HardLink => {}
    }
    header.mode = stat.st_mode & 0o7777;
    (header.uid, header.gid) = (stat.st_uid, stat.st_gid);
    header.time = stat.st_mtime;
    Ok(header)
}

/// Whether nothing changed that a layer would tell.
fn same(here: &Found, below: &Found) -> Result<bool, Error> {
    let (a, b) = (&here.stat, &below.stat);
    if (a.st_mode, a.st_uid, a.st_gid, a.st_rdev) != (b.st_mode, b.st_uid, b.st_gid, b.st_rdev) {
        return Ok(false);
    }
    let kind = FileType::from_raw_mode(a.st_mode);
    if kind == FileType::Directory {
        return Ok(true);
    }
    if (a.st_size, a.st_mtime, a.st_mtime_nsec) != (b.st_size, b.st_mtime, b.st_mtime_nsec) {
        return Ok(false);
    }
    if kind == FileType::Symlink {
        let target = |path: &Path| rustix::fs::readlink(path, Vec::new()).map_err(failed("read", path));
        return Ok(target(&here.path)? == target(&below.path)?);
    }
    if kind != FileType::RegularFile {
        return Ok(true);
    }
    let read = |path: &Path| capability(path).map_err(failed("read the capability of", path));
    if read(&here.path)? != read(&below.path)? {
        return Ok(false);
    }
    // Times of unpacked files are whole seconds, and may be equal by chance.
    Ok(a.st_mtime_nsec != 0 || same_content(&here.path, &below.path)?)
}

/// Whether two files have the same bytes.
pub(crate) fn same_content(here: &Path, below: &Path) -> Result<bool, Error> {
    let open = |path: &Path| File::open(path).map(io::BufReader::new).map_err(failed("read", path));
    let (mut a, mut b) = (open(here)?, open(below)?);
    loop {
        let left = io::BufRead::fill_buf(&mut a).map_err(failed("read", here))?;
        let right = io::BufRead::fill_buf(&mut b).map_err(failed("read", below))?;
        let length = left.len().min(right.len());
        if left[..length] != right[..length] {
            return Ok(false);
        }
        if length == 0 {
            return Ok(left.is_empty() && right.is_empty());
        }
        io::BufRead::consume(&mut a, length);
        io::BufRead::consume(&mut b, length);
    }
}
