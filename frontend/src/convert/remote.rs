//! What is not in a directory of the user's: files of web servers and git repositories, for ADD and as contexts.

use graph::git::GitAddress;
use graph::{
    Builder, Copy, FileAction, FileOp, GitSource, HttpSource, InputIndex, LocalSource, Metadata, Op, Unpack, VertexId,
};

use super::origin::Origin;
use super::{Converter, Scope};
use crate::command::{Add, Placed};
use crate::options::{MainContext, RemoteContext};
use crate::quote::quote;
use crate::{Diagnostic, Options};

/// A source that is in no context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Remote {
    /// A repository of git.
    Git(GitAddress),
    /// A file of a web server.
    Http(String),
}

impl Remote {
    /// What `source` is, if it is none of a context's paths.
    pub(crate) fn of(source: &str) -> Result<Option<Remote>, Diagnostic> {
        let address = GitAddress::parse(source).map_err(|error| Diagnostic::new(error.to_string()))?;
        if let Some(address) = address.filter(|address| !address.may_be_path) {
            return Ok(Some(Remote::Git(address)));
        }
        let is_http = source.starts_with("http://") || source.starts_with("https://");
        Ok(is_http.then(|| Remote::Http(source.to_owned())))
    }
}

impl Scope<'_, '_> {
    /// A remote source of ADD, as a tree of the graph.
    pub(super) fn remote(&mut self, remote: &Remote, add: &Add, placed: &Placed) -> Result<Origin, Diagnostic> {
        let checksum = match &add.checksum {
            Some(checksum) => Some(self.expand(checksum)?).filter(|checksum| !checksum.is_empty()),
            None => None,
        };
        let mut metadata = Metadata {
            lines: Some(placed.lines.clone()),
            ..Metadata::default()
        };
        match remote {
            Remote::Http(url) => {
                let source = http_source(url, checksum.as_deref())?;
                let name = source.file_name.clone();
                metadata.name = format!("[internal] load {}", redacted(url));
                let tree = self.converter.builder.add(Op::Http(source), Vec::new(), metadata);
                Ok(Origin {
                    unpack: match add.unpack {
                        Some(true) => Unpack::Archives,
                        Some(false) | None => Unpack::Never,
                    },
                    ..Origin::file(tree, &name)
                })
            }
            Remote::Git(address) => {
                let source = git_source(address, add.keep_git_dir, checksum)?;
                metadata.name = git_name(&source);
                let tree = self.converter.builder.add(Op::Git(source), Vec::new(), metadata);
                Ok(Origin::path(tree, "/", Unpack::Never))
            }
        }
    }
}

/// A file of a web server, called by the last part of its address.
pub(crate) fn http_source(url: &str, checksum: Option<&str>) -> Result<HttpSource, Diagnostic> {
    let checksum = checksum.map(str::parse).transpose();
    Ok(HttpSource {
        url: url.to_owned(),
        file_name: file_name(url),
        checksum: checksum.map_err(|error: oci::Error| Diagnostic::new(error.to_string()))?,
    })
}

/// A repository of which the instruction may say what its address says, too.
pub(crate) fn git_source(
    address: &GitAddress,
    keep_git_dir: Option<bool>,
    checksum: Option<String>,
) -> Result<GitSource, Diagnostic> {
    if let (Some(flag), Some(query)) = (keep_git_dir, address.keep_git_dir)
        && flag != query
    {
        return Err(Diagnostic::new("inconsistent keep-git-dir configuration"));
    }
    if let (Some(flag), Some(query)) = (&checksum, &address.checksum)
        && flag != query
    {
        return Err(Diagnostic::new(format!(
            "checksum mismatch {} != {}",
            quote(flag),
            quote(query)
        )));
    }
    let alone = address.source();
    Ok(GitSource {
        keep_git_dir: address.keep_git_dir.or(keep_git_dir).unwrap_or(false),
        checksum: alone.checksum.clone().or(checksum),
        ..alone
    })
}

/// The last part of the path of an address.
fn file_name(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = rest.split(['?', '#']).next().unwrap_or_default();
    let path = path.split_once('/').map_or("", |(_, path)| path);
    let name = graph::git::decoded(path);
    let name = name.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    match name {
        "" | "." | ".." => "__unnamed__".to_owned(),
        name => name.replace('\0', ""),
    }
}

fn git_name(source: &GitSource) -> String {
    let mut name = format!("[internal] load git source {}", redacted(&source.remote));
    if let Some(reference) = &source.reference {
        name += &format!("#{reference}");
    }
    name
}

/// The address without a password.
fn redacted(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match host.rsplit_once('@') {
        Some((user, host)) if user.contains(':') => {
            let name = user.split(':').next().unwrap_or_default();
            format!("{scheme}://{name}:xxxxx@{host}{path}")
        }
        _ => url.to_owned(),
    }
}

impl Converter<'_> {
    /// The main context.
    pub(super) fn main_context(&mut self) -> VertexId {
        main_context(self.builder, self.options)
    }
}

/// The vertex of the main context.
pub(crate) fn main_context(builder: &mut Builder, options: &Options) -> VertexId {
    match &options.main_context {
        MainContext::Lent => {
            let name = "[internal] load build context".to_owned();
            local(builder, "context", &options.excludes, name)
        }
        MainContext::Empty => empty(builder),
        MainContext::Remote(source) => context(builder, source, None),
        MainContext::Archive(source) => {
            let packed = context(builder, &RemoteContext::Http(source.clone()), None);
            unpacked(builder, packed, &source.file_name)
        }
    }
}

/// The vertex of a context that is elsewhere; `title` is its name if it has one.
pub(super) fn context(builder: &mut Builder, source: &RemoteContext, title: Option<&str>) -> VertexId {
    let (op, name) = match source {
        RemoteContext::Git(git) => (Op::Git(git.clone()), git_name(git)),
        RemoteContext::Http(http) => {
            let name = match title {
                Some(title) => format!("[context {title}] {}", redacted(&http.url)),
                None => "[internal] load remote build context".to_owned(),
            };
            (Op::Http(http.clone()), name)
        }
    };
    builder.add(op, Vec::new(), named(name))
}

/// The vertex of a directory of the user's.
pub(super) fn local(builder: &mut Builder, context: &str, excludes: &[String], name: String) -> VertexId {
    let source = LocalSource {
        context: context.to_owned(),
        excludes: excludes.to_vec(),
    };
    builder.add(Op::Local(source), Vec::new(), named(name))
}

/// The vertex of no files.
pub(super) fn empty(builder: &mut Builder) -> VertexId {
    let nothing = FileOp {
        base: None,
        names: None,
        actions: Vec::new(),
    };
    builder.add(Op::File(nothing), Vec::new(), named("[internal] empty tree".to_owned()))
}

/// The contents of an archive.
fn unpacked(builder: &mut Builder, packed: VertexId, name: &str) -> VertexId {
    let Origin { path, .. } = Origin::file(packed, name);
    let copy = Copy {
        from: InputIndex(0),
        source: path,
        destination: "/".to_owned(),
        owner: None,
        mode: None,
        include: None,
        excludes: Vec::new(),
        unpack: Unpack::Archives,
    };
    let file = FileOp {
        base: None,
        names: None,
        actions: vec![FileAction::Copy(copy)],
    };
    let metadata = named("[internal] unpack the build context".to_owned());
    builder.add(Op::File(file), vec![packed], metadata)
}

fn named(name: String) -> Metadata {
    Metadata {
        name,
        ..Metadata::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_called_as_its_address_ends() {
        for (url, name) in [
            ("http://h/a/b.txt?x=/y#z", "b.txt"),
            ("http://h/a%20b", "a b"),
            ("http://h/a/", "a"),
            ("http://h/", "__unnamed__"),
            ("http://h", "__unnamed__"),
            ("http://h?x", "__unnamed__"),
            ("http://h/a/..", "__unnamed__"),
            ("http://h/%2e%2e", "__unnamed__"),
            ("http://h/x%2Fy", "y"),
        ] {
            assert_eq!(file_name(url), name, "{url}");
        }
    }

    #[test]
    fn an_instruction_and_an_address_may_not_contradict_each_other() {
        let address = GitAddress::parse("https://h/r.git?keep-git-dir=1&checksum=abc")
            .unwrap()
            .unwrap();
        let source = git_source(&address, Some(true), None).unwrap();
        assert!(source.keep_git_dir);
        assert_eq!(source.checksum.as_deref(), Some("abc"));
        for (keep, checksum, message) in [
            (Some(false), None, "inconsistent keep-git-dir configuration"),
            (None, Some("abd"), "checksum mismatch \"abd\" != \"abc\""),
        ] {
            let error = git_source(&address, keep, checksum.map(str::to_owned)).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
    }
}
