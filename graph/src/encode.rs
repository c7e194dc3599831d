//! The canonical bytes of ops, from which ids and keys are hashed.
//!
//! The encoding is a sequence of fields. A field is its name and its value, each preceded by its length in bytes as a
//! 64-bit little-endian number; numbers are 8 bytes little-endian; an absent value is a field of the name `name?` with
//! an empty value; a list is a field holding the number of items, followed by the items' fields. The first field is
//! `rbuild` with the kind of thing encoded and the version of this encoding. So no two different values have the same
//! bytes, and none depends on the machine, the compiler or the order of a hash map.
//!
//! A change of these bytes makes every cache cold: the pinned digests in the tests are there to make it visible.

use oci::{Digest, Hasher, ImageName};

use crate::op::{
    Copy, ExecOp, FileAction, FileOp, GitSource, HttpSource, ImageSource, LocalSource, MakeDirectory, MakeFile,
    MergeOp, NetworkMode, Op, Owner, Process, Security, Unpack, UserName,
};

/// A value with canonical bytes, as specified in [the module](self).
pub trait Encode {
    /// Adds the value's fields.
    fn encode(&self, encoder: &mut Encoder);
}

/// Takes fields and hashes them.
#[derive(Debug)]
pub struct Encoder(Hasher);

impl Encoder {
    /// An encoder for a thing of the given kind.
    #[must_use]
    pub fn new(kind: &str) -> Encoder {
        let mut encoder = Encoder(Hasher::new());
        encoder.text("rbuild", &format!("{kind}/1"));
        encoder
    }

    /// A field of bytes.
    pub fn bytes(&mut self, name: &str, value: &[u8]) {
        for part in [name.as_bytes(), value] {
            self.0.update(&(part.len() as u64).to_le_bytes());
            self.0.update(part);
        }
    }

    /// A field of text.
    pub fn text(&mut self, name: &str, value: &str) {
        self.bytes(name, value.as_bytes());
    }

    /// A field of a number.
    pub fn number(&mut self, name: &str, value: u64) {
        self.bytes(name, &value.to_le_bytes());
    }

    /// A field that may be absent.
    pub fn option<T>(&mut self, name: &str, value: Option<T>, field: impl FnOnce(&mut Encoder, T)) {
        match value {
            Some(value) => field(self, value),
            None => self.bytes(&format!("{name}?"), &[]),
        }
    }

    /// A field for a list, then those of its items.
    pub fn list<T>(&mut self, name: &str, items: &[T], mut item: impl FnMut(&mut Encoder, &T)) {
        self.number(name, items.len() as u64);
        for value in items {
            item(self, value);
        }
    }

    /// A list of texts.
    pub fn texts(&mut self, name: &str, items: &[String]) {
        self.list(name, items, |encoder, item| encoder.text("item", item));
    }

    /// The sha256 of all fields.
    #[must_use]
    pub fn finish(self) -> Digest {
        self.0.finish()
    }
}

impl Encode for Op {
    fn encode(&self, encoder: &mut Encoder) {
        match self {
            Op::Image(image) => image.encode(encoder),
            Op::Local(local) => local.encode(encoder),
            Op::Http(http) => http.encode(encoder),
            Op::Git(git) => git.encode(encoder),
            Op::Exec(exec) => exec.encode(encoder),
            Op::File(file) => file.encode(encoder),
            Op::Merge(merge) => merge.encode(encoder),
        }
    }
}

impl Encode for ImageSource {
    fn encode(&self, encoder: &mut Encoder) {
        encoder.text("op", "image");
        let kind = match &self.name {
            ImageName::Registry(_) => "registry",
            ImageName::Results(_) => "results",
            ImageName::Layout { .. } => "layout",
        };
        encoder.text("kind", kind);
        encoder.text("name", &self.name.to_string());
        encoder.bytes("manifest", self.manifest.raw());
        encoder.text("platform", &self.platform.to_string());
    }
}

impl Encode for LocalSource {
    fn encode(&self, encoder: &mut Encoder) {
        encoder.text("op", "local");
        encoder.text("context", &self.context);
        encoder.texts("excludes", &self.excludes);
    }
}

impl Encode for HttpSource {
    fn encode(&self, encoder: &mut Encoder) {
        encoder.text("op", "http");
        encoder.text("url", &self.url);
        encoder.text("file-name", &self.file_name);
        encoder.option("checksum", self.checksum, |encoder, checksum| {
            encoder.bytes("checksum", checksum.raw());
        });
    }
}

impl Encode for GitSource {
    fn encode(&self, encoder: &mut Encoder) {
        encoder.text("op", "git");
        encoder.text("remote", &self.remote);
        for (name, value) in [("reference", &self.reference), ("checksum", &self.checksum)] {
            encoder.option(name, value.as_deref(), |encoder, value| encoder.text(name, value));
        }
        encoder.text("subdirectory", &self.subdirectory);
        for (name, value) in [
            ("keep-git-dir", self.keep_git_dir),
            ("submodules", self.submodules),
            ("fetch-by-commit", self.fetch_by_commit),
            ("checkout-times", self.checkout_times),
        ] {
            encoder.number(name, u64::from(value));
        }
    }
}

impl Encode for ExecOp {
    fn encode(&self, encoder: &mut Encoder) {
        encoder.text("op", "exec");
        encoder.option("root", self.root, |encoder, root| encoder.number("root", root.0 as u64));
        self.encode_run(encoder);
        encoder.list("mounts", &self.mounts, |encoder, mount| mount.encode(encoder));
    }
}

impl ExecOp {
    /// The fields that say what is run and how, without those about the trees it reads: for keys made of content.
    pub fn encode_run(&self, encoder: &mut Encoder) {
        self.process.encode(encoder);
        let network = match self.network {
            NetworkMode::Default => "default",
            NetworkMode::None => "none",
            NetworkMode::Host => "host",
        };
        encoder.text("network", network);
        let security = match self.security {
            Security::Sandbox => "sandbox",
            Security::Insecure => "insecure",
        };
        encoder.text("security", security);
        encoder.list("secret-env", &self.secret_env, |encoder, variable| {
            variable.encode(encoder);
        });
        // The addresses are not what the step depends on: BuildKit leaves them out of the key too.
        encoder.list("extra-hosts", &self.extra_hosts, |encoder, (name, _)| {
            encoder.text("name", name);
        });
        encoder.option("shm-size", self.shm_size, |encoder, size| {
            encoder.number("shm-size", size);
        });
        encoder.list("ulimits", &self.ulimits, |encoder, limit| {
            encoder.text("limit", &format!("{}={}:{}", limit.name, limit.soft, limit.hard));
        });
        encoder.text("platform", &self.platform.to_string());
    }
}

impl Encode for Process {
    /// Proxy variables are left out: they say how to reach something, not what.
    fn encode(&self, encoder: &mut Encoder) {
        encoder.texts("args", &self.args);
        encoder.texts("env", &self.env);
        encoder.text("working-directory", &self.working_directory);
        encoder.text("user", &self.user);
        encoder.option("hostname", self.hostname.as_deref(), |encoder, name| {
            encoder.text("hostname", name);
        });
    }
}

impl Encode for FileOp {
    fn encode(&self, encoder: &mut Encoder) {
        encoder.text("op", "file");
        encoder.option("base", self.base, |encoder, base| encoder.number("base", base.0 as u64));
        if let Some(names) = self.names {
            encoder.number("names", names.0 as u64);
        }
        encoder.list("actions", &self.actions, |encoder, action| match action {
            FileAction::Copy(copy) => copy.encode(encoder),
            FileAction::MakeDirectory(make) => make.encode(encoder),
            FileAction::MakeFile(make) => make.encode(encoder),
        });
    }
}

impl Encode for MergeOp {
    fn encode(&self, encoder: &mut Encoder) {
        encoder.text("op", "merge");
        encoder.number("base", self.base.0 as u64);
        encoder.list("over", &self.over, |encoder, over| {
            encoder.number("input", over.0 as u64);
        });
    }
}

impl Encode for Copy {
    fn encode(&self, encoder: &mut Encoder) {
        encoder.text("action", "copy");
        encoder.number("from", self.from.0 as u64);
        encoder.text("source", &self.source);
        self.encode_target(encoder);
    }
}

impl Copy {
    /// The fields that say what becomes of the files, without saying which they are: for keys made of content.
    pub fn encode_target(&self, encoder: &mut Encoder) {
        encoder.text("destination", &self.destination);
        encoder.option("owner", self.owner.as_ref(), |encoder, owner| owner.encode(encoder));
        encoder.option("mode", self.mode.as_ref(), |encoder, mode| {
            encoder.text("mode", &mode.to_string());
        });
        encoder.option("include", self.include.as_ref(), |encoder, pattern| {
            encoder.text("include", pattern);
        });
        encoder.texts("excludes", &self.excludes);
        let unpack = match self.unpack {
            Unpack::Never => "never",
            Unpack::Archives => "archives",
        };
        encoder.text("unpack", unpack);
    }
}

impl Encode for MakeDirectory {
    fn encode(&self, encoder: &mut Encoder) {
        encoder.text("action", "make-directory");
        encoder.text("path", &self.path);
        encoder.number("mode", u64::from(self.mode));
        encoder.option("owner", self.owner.as_ref(), |encoder, owner| owner.encode(encoder));
        encoder.option("timestamp", self.timestamp, |encoder, time| {
            encoder.bytes("timestamp", &time.to_le_bytes());
        });
    }
}

impl Encode for MakeFile {
    fn encode(&self, encoder: &mut Encoder) {
        encoder.text("action", "make-file");
        encoder.text("path", &self.path);
        encoder.bytes("content", &self.content);
        encoder.number("mode", u64::from(self.mode));
        encoder.option("owner", self.owner.as_ref(), |encoder, owner| owner.encode(encoder));
        encoder.option("timestamp", self.timestamp, |encoder, time| {
            encoder.bytes("timestamp", &time.to_le_bytes());
        });
    }
}

impl Encode for Owner {
    fn encode(&self, encoder: &mut Encoder) {
        self.user.encode(encoder);
        encoder.option("group", self.group.as_ref(), |encoder, group| group.encode(encoder));
    }
}

impl Encode for UserName {
    fn encode(&self, encoder: &mut Encoder) {
        match self {
            UserName::Id(id) => encoder.number("id", u64::from(*id)),
            UserName::Name(name) => encoder.text("name", name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{InputIndex, Vertex};

    #[test]
    fn bytes_of_an_op_are_pinned() {
        let op = Op::File(FileOp {
            base: Some(InputIndex(0)),
            names: None,
            actions: vec![FileAction::Copy(Copy {
                from: InputIndex(1),
                source: "/a".into(),
                destination: "/b/".into(),
                owner: Some(Owner {
                    user: UserName::Id(1),
                    group: None,
                }),
                mode: Some(crate::FileMode::Octal(0o755)),
                include: None,
                excludes: vec![],
                unpack: Unpack::Never,
            })],
        });
        let vertex = Vertex {
            op,
            inputs: vec![],
            metadata: crate::Metadata::default(),
        };
        assert_eq!(vertex.id().to_string(), PINNED);
    }

    const PINNED: &str = "sha256:38684b9558bbd362ae210eff3148a479e44be4377c383d9dbc33096465334dcb";

    #[test]
    fn neighbours_do_not_run_into_each_other() {
        let digest = |fields: &[&str]| {
            let mut encoder = Encoder::new("test");
            encoder.texts("words", &fields.iter().map(|f| (*f).to_owned()).collect::<Vec<_>>());
            encoder.finish()
        };
        assert_ne!(digest(&["ab", "c"]), digest(&["a", "bc"]));
        assert_ne!(digest(&["a", ""]), digest(&["a"]));
    }
}
