//! Cache keys: what a result depends on, by content and for ever. Pure.
//!
//! A key is the sha256 of canonical bytes ([`graph::encode`]) of the op and of the keys of its inputs. Where the op reads
//! selected files only (COPY), an input can enter in two ways:
//!
//! - by the *key of its tree* and the path read in it: known without the tree being there, but different whenever
//!   anything that led to the tree is;
//! - by the *checksum of the files* selected: the same whenever the files are, however they came about. This is what
//!   makes a rebuilt stage with an unchanged result stop the rebuilding there.
//!
//! Not in any key: names of images and contexts, the time of anything, proxy variables, addresses of extra hosts.

use cache::CacheKey;
use graph::encode::Encode;
use graph::{Encoder, ExecOp, FileAction, FileOp};
use oci::{ChainId, Digest};

/// How the source of one copy or mount enters the key of its vertex.
#[derive(Clone, Debug)]
pub(crate) enum CopySource {
    /// By the checksum of the selected files.
    Content(Digest),
    /// By the key of the tree; the op's own source path says what is read of it.
    Tree(CacheKey),
}

impl CopySource {
    /// The fields of the source at `path`.
    fn encode(&self, path: &str, encoder: &mut Encoder) {
        match self {
            CopySource::Content(checksum) => encoder.bytes("content", checksum.raw()),
            CopySource::Tree(key) => {
                encoder.bytes("tree", key.0.raw());
                encoder.text("path", path);
            }
        }
    }
}

/// The key of an image's tree: only its layers matter, not its name or configuration.
pub(crate) fn of_image(chain: Option<ChainId>) -> CacheKey {
    let mut encoder = Encoder::new("image");
    encoder.option("chain", chain, |encoder, chain| encoder.bytes("chain", chain.0.raw()));
    CacheKey(encoder.finish())
}

/// The key of the empty tree.
pub(crate) fn of_nothing() -> CacheKey {
    of_image(None)
}

/// The key of a process run on a tree; `sources` has one entry for each mount that shows files of an input, in order.
pub(crate) fn of_exec(op: &ExecOp, root: CacheKey, sources: &[CopySource]) -> CacheKey {
    let mut encoder = Encoder::new("exec");
    op.encode_run(&mut encoder);
    encoder.bytes("root", root.0.raw());
    encoder.number("mounts", op.mounts.len() as u64);
    let mut sources = sources.iter();
    for mount in &op.mounts {
        mount.encode_view(&mut encoder);
        if let Some(source) = mount.source() {
            let content = sources.next().expect("every mount of an input has a source");
            content.encode(source.path, &mut encoder);
        }
    }
    CacheKey(encoder.finish())
}

/// The key of a directory that stays from build to build; `begins_as` says which tree it begins as, and the path in it.
pub(crate) fn of_directory(id: &str, begins_as: Option<(&str, &str)>) -> CacheKey {
    let mut encoder = Encoder::new("directory");
    encoder.text("id", id);
    encoder.option("from", begins_as, |encoder, (tree, path)| {
        encoder.text("from", tree);
        encoder.text("path", path);
    });
    CacheKey(encoder.finish())
}

/// The key of actions on files. `names` is the key of the tree that names of owners are looked up in, if that is not the
/// base; `sources` has one entry for each copy, in order.
pub(crate) fn of_file(op: &FileOp, base: CacheKey, names: Option<CacheKey>, sources: &[CopySource]) -> CacheKey {
    let mut encoder = Encoder::new("file");
    encoder.bytes("base", base.0.raw());
    if let Some(names) = names {
        encoder.bytes("names", names.0.raw());
    }
    encoder.number("actions", op.actions.len() as u64);
    let mut sources = sources.iter();
    for action in &op.actions {
        match action {
            FileAction::MakeDirectory(make) => make.encode(&mut encoder),
            FileAction::MakeFile(make) => make.encode(&mut encoder),
            FileAction::Copy(copy) => {
                copy.encode_target(&mut encoder);
                let source = sources.next().expect("every copy has a source");
                source.encode(&copy.source, &mut encoder);
            }
        }
    }
    CacheKey(encoder.finish())
}

/// The key of trees laid over one another.
pub(crate) fn of_merge(base: CacheKey, over: &[CacheKey]) -> CacheKey {
    let mut encoder = Encoder::new("merge");
    encoder.bytes("base", base.0.raw());
    encoder.list("over", over, |encoder, key| encoder.bytes("tree", key.0.raw()));
    CacheKey(encoder.finish())
}

#[cfg(test)]
mod tests;
