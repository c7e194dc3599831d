//! `registries.conf` of podman, buildah and skopeo, version 2:
//!
//! ```toml
//! [[registry]]
//! prefix = "registry.example/team"        # which names: a host, a repository, `*.example`
//! location = "other.example/team"         # where they are instead
//! insecure = false
//! blocked = false
//! mirror-by-digest-only = false
//! [[registry.mirror]]                      # tried before it, in the order of the file
//! location = "mirror.example/team"
//! insecure = false
//! pull-from-mirror = "all"                 # or digest-only, tag-only
//! ```
//!
//! `unqualified-search-registries` and short names are not followed: a name without a host is Docker Hub's.

use std::path::{Path, PathBuf};

use super::address::Address;
use super::document::{self, Table};
use super::{Purposes, Route, Stop};
use crate::error::Error;

/// What a file says of the names that begin so.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    prefix: String,
    location: Option<String>,
    insecure: bool,
    blocked: bool,
    place: String,
    mirrors: Vec<Mirror>,
}

#[derive(Clone, Debug)]
struct Mirror {
    location: String,
    insecure: bool,
    purposes: Purposes,
    tags_only: bool,
    place: String,
}

/// The entries of the first of `files` that is there and of the `*.conf` in `folders`; a later file takes the place of what
/// earlier ones say of the same prefix.
pub(super) fn entries(files: &[PathBuf], folders: &[PathBuf]) -> Result<Vec<Entry>, Error> {
    let main = files.iter().find(|file| file.exists()).cloned();
    let mut entries: Vec<Entry> = Vec::new();
    for file in main
        .into_iter()
        .chain(folders.iter().flat_map(|folder| dropped(folder)))
    {
        let found = document::read(&file, |table| {
            let tables = table.list("registry")?;
            tables.iter().map(read).collect::<Result<Vec<_>, _>>()
        })?;
        for entry in found.unwrap_or_default() {
            entries.retain(|known| known.prefix != entry.prefix);
            entries.push(entry);
        }
    }
    Ok(entries)
}

fn dropped(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut files: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|end| end == "conf"))
        .collect();
    files.sort();
    files
}

fn read(table: &Table<'_>) -> Result<Entry, Error> {
    let location = table.text("location")?.filter(|text| !text.is_empty());
    let prefix = table
        .text("prefix")?
        .filter(|text| !text.is_empty())
        .or(location.clone());
    let prefix = prefix.ok_or_else(|| table.complain("a registry has neither `prefix` nor `location`"))?;
    let by_digest = table.is_set("mirror-by-digest-only")?;
    let mirrors = table.list("mirror")?;
    let mirrors = mirrors.iter().map(|mirror| {
        let location = mirror.text("location")?;
        let location = location.ok_or_else(|| mirror.complain("a mirror has no `location`"))?;
        let wanted = mirror.text("pull-from-mirror")?.unwrap_or_default();
        let (resolve, tags_only) = match wanted.as_str() {
            "" => (!by_digest, false),
            "all" => (true, false),
            "digest-only" => (false, false),
            "tag-only" => (true, true),
            other => {
                let why = format!("`pull-from-mirror` is `{other}`; it can be all, digest-only or tag-only");
                return Err(mirror.complain(why));
            }
        };
        Ok(Mirror {
            location,
            insecure: mirror.is_set("insecure")?,
            purposes: Purposes {
                resolve,
                ..Purposes::MIRROR
            },
            tags_only,
            place: mirror.place(),
        })
    });
    Ok(Entry {
        prefix,
        location,
        insecure: table.is_set("insecure")?,
        blocked: table.is_set("blocked")?,
        place: table.place(),
        mirrors: mirrors.collect::<Result<_, Error>>()?,
    })
}

/// The way to the repository `name` (`host/path`), by the entry with the longest prefix.
pub(super) fn route(entries: &[Entry], host: &str, path: &str) -> Result<Option<Route>, Error> {
    let name = format!("{host}/{path}");
    let matching = entries
        .iter()
        .filter_map(|entry| Some((entry, rest(&entry.prefix, &name)?)));
    let Some((entry, rest)) = matching.max_by_key(|(entry, _)| entry.prefix.len()) else {
        return Ok(None);
    };
    if entry.blocked {
        return Err(Error::Blocked {
            name,
            by: entry.place.clone(),
        });
    }
    let at = |location: &str, purposes, place: &str, insecure| {
        let full = if location.starts_with("*.") {
            name.clone()
        } else {
            format!("{location}{rest}")
        };
        let address = Address::parse(&full).map_err(|why| Error::Address {
            host: location.to_owned(),
            reason: format!("{why}, from {place}"),
        })?;
        let path = address.path.clone();
        let mut stop = Stop::new(address, purposes, place.to_owned());
        stop.address.path = String::new();
        stop.repository = Some(path);
        stop.is_insecure = insecure;
        Ok::<_, Error>(stop)
    };
    let mut mirrors = Vec::new();
    for mirror in &entry.mirrors {
        let mut stop = at(&mirror.location, mirror.purposes, &mirror.place, mirror.insecure)?;
        stop.tags_only = mirror.tags_only;
        mirrors.push(stop);
    }
    let location = entry.location.as_ref().unwrap_or(&entry.prefix);
    let upstream = at(location, Purposes::ALL, &entry.place, entry.insecure)?;
    Ok(Some(Route { mirrors, upstream }))
}

/// What follows the prefix in the name, if it begins with it.
fn rest<'a>(prefix: &str, name: &'a str) -> Option<&'a str> {
    if let Some(domain) = prefix.strip_prefix('*') {
        let (host, _) = name.split_once('/')?;
        let host = host.split(':').next().unwrap_or(host);
        return host.ends_with(domain).then_some("");
    }
    let rest = name.strip_prefix(prefix)?;
    (rest.is_empty() || rest.starts_with('/')).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_where_a_part_of_the_name_ends() {
        for (prefix, name, expected) in [
            ("h.example", "h.example/a", Some("/a")),
            ("h.example/a", "h.example/a", Some("")),
            ("h.example/a", "h.example/ab", None),
            ("h.example", "h.example:5000/a", None),
            ("*.example", "h.example/a", Some("")),
            ("*.example", "h.example:5000/a", Some("")),
            ("*.example", "example/a", None),
        ] {
            assert_eq!(rest(prefix, name), expected, "{prefix} {name}");
        }
    }
}
