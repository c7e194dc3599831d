//! The way to an entry through links of the layer that lead to what is not there yet, which is made.

use std::os::fd::OwnedFd;

use rustix::fs::FileType;

use super::{Extraction, Refused, is_marked, make_parent, open_child, split, stat, step, text};
use crate::error::shown;

/// As many as the kernel follows.
const MOST_LINKS: usize = 40;

impl Extraction {
    /// Makes the directory `path` name by name, as the kernel would go: where a link leads to what is not there, that is made.
    /// Nothing above the root is reached, because each name is opened in the directory before it, and `..` of the root is
    /// itself.
    pub(super) fn make_through_links(&mut self, path: &[u8]) -> Result<OwnedFd, Refused> {
        let names = |path: &[u8]| -> Vec<Vec<u8>> {
            let names = path.split(|byte| *byte == b'/');
            let names = names.filter(|name| !matches!(*name, b"" | b"."));
            names.rev().map(<[u8]>::to_vec).collect()
        };
        let open_root = || self.root.try_clone().map_err(step("open the root"));
        let mut made = Vec::new();
        let (mut ahead, mut here, mut directory) = (names(path), Vec::new(), open_root()?);
        let mut links = 0;
        while let Some(name) = ahead.pop() {
            let text = text(&name)?;
            if name == b".." {
                let Some((parent, _)) = split(&here) else { continue };
                here = parent.to_vec();
                directory = open_child(&directory, &text)?;
                continue;
            }
            let there = [&here[..], b"/", &name].concat();
            let there = if here.is_empty() { name } else { there };
            let found = stat(&directory, &text)?;
            match found.map(|found| FileType::from_raw_mode(found.st_mode)) {
                Some(FileType::Directory) => directory = open_child(&directory, &text)?,
                Some(FileType::Symlink) => {
                    links += 1;
                    if links > MOST_LINKS {
                        let reason = format!("the link `{}` above it leads in a circle", shown(&there));
                        return Err(Refused::Entry(reason));
                    }
                    let target = rustix::fs::readlinkat(&directory, &text, Vec::new());
                    let target = target.map_err(step("read a link above it"))?.into_bytes();
                    if target.starts_with(b"/") {
                        (here, directory) = (Vec::new(), open_root()?);
                    }
                    ahead.extend(names(&target));
                    continue;
                }
                Some(_) if !is_marked(&directory, &text, found)? => {
                    let reason = format!("`{}` above it is no directory", shown(&there));
                    return Err(Refused::Entry(reason));
                }
                _ => {
                    directory = make_parent(&directory, &text)?;
                    made.push(there.clone());
                }
            }
            here = there;
        }
        for path in made {
            self.note(2 * path.len())?;
            self.implied.insert(path.clone());
            self.times.push((path, (0, 0)));
        }
        Ok(directory)
    }
}
