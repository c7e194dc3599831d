//! The text after `-o`: which form the result takes, and where it goes.
//!
//! ```text
//! -o DIR                                        = type=local,dest=DIR
//! -o -                                          = type=tar,dest=-
//! -o type=image[,name=NAME][,push=true][,store=false][,unpack=…]
//! -o type=registry                              = type=image,push=true
//! -o type=oci|docker[,dest=FILE|-][,tar=false][,name=NAME]
//! -o type=local,dest=DIR          -o type=tar[,dest=FILE|-]          -o type=cacheonly
//! image, oci and docker also: compression, compression-level, force-compression, oci-mediatypes, oci-artifact,
//!   source-date-epoch, annotation.KEY, annotation-TYPE[PLATFORM].KEY         local and tar also: platform-split
//! image also: push-by-digest, name-canonical                   local also: mode=copy|delete
//! ```
//!
//! A key that BuildKit has and rbuild has not is refused by name, unless its value asks for what is done anyway. Paths
//! are taken as written; what they are relative to, and whether standard output is a terminal, the caller knows.

use std::path::PathBuf;

use cache::Compression;
use oci::Reference;

use crate::{Annotations, Assembly, Error, Media, OutputError, Stale};

mod attributes;

use attributes::Attributes;
pub use attributes::compression;

/// One result that the user wants.
#[derive(Clone, Debug)]
pub enum OutputSpec {
    /// An image in the store, and perhaps in a registry.
    Image {
        /// How it is made and named.
        options: ImageOptions,
        /// Whether every name is pushed.
        push: bool,
        /// Whether it is pushed without its tags, to be found by its digest only.
        by_digest: bool,
        /// Whether the store keeps the image under its names.
        store: bool,
        /// Whether the certificates of the registries are not checked, and plain HTTP will do.
        insecure: bool,
    },
    /// An image in files.
    Archive {
        /// How it is made and named.
        options: ImageOptions,
        /// Of which form.
        form: ArchiveForm,
        /// Where to.
        dest: ArchiveDest,
    },
    /// The root file system as files of the caller.
    Directory {
        /// The directory.
        dest: PathBuf,
        /// The time that all files get.
        epoch: Epoch,
        /// Whether each platform has a folder of its own; by default where there are several.
        split: Option<bool>,
        /// What becomes of what is there already.
        stale: Stale,
    },
    /// The root file system as one tar archive.
    Tar {
        /// Where to.
        dest: FileDest,
        /// The time that all files get.
        epoch: Epoch,
        /// Whether each platform has a folder of its own; by default where there are several.
        split: Option<bool>,
    },
    /// Nothing but what the cache keeps.
    CacheOnly,
}

/// How an image is made and named.
#[derive(Clone, Debug, Default)]
pub struct ImageOptions {
    /// The names; the command adds those of `-t` if there is none.
    pub names: Vec<Reference>,
    /// Of new layers; `None` for the default, gzip.
    pub compression: Option<Compression>,
    /// Whether base layers are compressed anew as well.
    pub force_compression: bool,
    /// The family of media types.
    pub media: Media,
    /// Where this output differs from `SOURCE_DATE_EPOCH`.
    pub epoch: Epoch,
    /// Whether no file of a new layer is to be later than that time.
    pub rewrite_timestamp: bool,
    /// Of manifests and of what leads to them.
    pub annotations: Annotations,
}

/// The time given to what is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Epoch {
    /// That of the build, if it has one.
    #[default]
    OfBuild,
    /// The output's own, or none whatever the build has.
    Own(Option<i64>),
}

impl Epoch {
    /// The time, where the build as a whole has `build`.
    #[must_use]
    pub fn or(self, build: Option<i64>) -> Option<i64> {
        match self {
            Epoch::OfBuild => build,
            Epoch::Own(own) => own,
        }
    }
}

/// The form of an image in files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArchiveForm {
    /// An OCI layout.
    Oci,
    /// An OCI layout that `docker load` reads as well.
    Docker,
}

/// Where an image in files goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArchiveDest {
    /// To the docker or podman of this machine.
    Load,
    /// To standard output or a file, as one tar archive.
    File(FileDest),
    /// Into a directory, as a layout.
    Directory(PathBuf),
}

/// Where a single stream of bytes goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileDest {
    /// To standard output.
    Stdout,
    /// Into a file.
    File(PathBuf),
}

impl OutputSpec {
    /// Understands the text after `-o`.
    ///
    /// # Errors
    /// [`Error::Output`] for what is not of the grammar, not known, or not supported.
    pub fn parse(text: &str) -> Result<OutputSpec, Error> {
        let fields = crate::csv::split(text).map_err(|reason| OutputError::Syntax {
            text: text.to_owned(),
            reason,
        })?;
        if fields.len() == 1 && fields[0] == text && !text.starts_with("type=") {
            return Ok(bare(text)?);
        }
        let mut attributes = Attributes::read(&fields)?;
        let name = attributes
            .take("type")
            .ok_or_else(|| OutputError::NoType(text.to_owned()))?;
        let kind = kind_named(&name)?;
        let spec = match kind {
            "image" | "registry" => image(&mut attributes, kind == "registry"),
            "oci" | "docker" => archive(&mut attributes, kind),
            "local" => directory(&mut attributes),
            "tar" => tar(&mut attributes),
            _ => Ok(OutputSpec::CacheOnly),
        }?;
        attributes.finish(kind)?;
        Ok(spec)
    }

    /// How the image is made and named, of outputs that are images.
    pub fn options_mut(&mut self) -> Option<&mut ImageOptions> {
        match self {
            OutputSpec::Image { options, .. } | OutputSpec::Archive { options, .. } => Some(options),
            OutputSpec::Directory { .. } | OutputSpec::Tar { .. } | OutputSpec::CacheOnly => None,
        }
    }

    /// The same, to look at.
    #[must_use]
    pub fn options(&self) -> Option<&ImageOptions> {
        match self {
            OutputSpec::Image { options, .. } | OutputSpec::Archive { options, .. } => Some(options),
            OutputSpec::Directory { .. } | OutputSpec::Tar { .. } | OutputSpec::CacheOnly => None,
        }
    }

    /// Whether the result goes to standard output, which then must not be a terminal and can take only one.
    #[must_use]
    pub fn writes_stdout(&self) -> bool {
        match self {
            OutputSpec::Archive { dest, .. } => *dest == ArchiveDest::File(FileDest::Stdout),
            OutputSpec::Tar { dest, .. } => *dest == FileDest::Stdout,
            OutputSpec::Image { .. } | OutputSpec::Directory { .. } | OutputSpec::CacheOnly => false,
        }
    }
}

impl ImageOptions {
    /// What Docker's media types cannot say, so that those of OCI are taken whatever was asked for.
    #[must_use]
    pub fn needs_oci_types(&self) -> Option<&'static str> {
        match (self.media, self.compression) {
            (Media::Docker, Some(Compression::Zstd { .. })) => Some("zstd compression"),
            (Media::Docker, _) if !self.annotations.is_empty() => Some("annotations"),
            (Media::Docker | Media::Oci, _) => None,
        }
    }

    /// How layers and documents are to be written, where the build as a whole has `epoch`.
    #[must_use]
    pub fn assembly(&self, epoch: Option<i64>) -> Assembly {
        Assembly {
            compression: self.compression.unwrap_or(Compression::Gzip { level: None }),
            force_compression: self.force_compression,
            media: match self.needs_oci_types() {
                Some(_) => Media::Oci,
                None => self.media,
            },
            // What the Dockerfile asks for stays in the configuration, whatever the output does with its files.
            epoch: self.epoch.or(epoch).or(epoch),
            rewrite_timestamp: self.rewrite_timestamp && self.epoch.or(epoch).is_some(),
            annotations: self.annotations.clone(),
        }
    }
}

/// A path alone.
fn bare(text: &str) -> Result<OutputSpec, OutputError> {
    match text {
        "" => Err(OutputError::NoType(text.to_owned())),
        "-" => Ok(OutputSpec::Tar {
            dest: FileDest::Stdout,
            epoch: Epoch::OfBuild,
            split: None,
        }),
        path => Ok(OutputSpec::Directory {
            dest: path.into(),
            epoch: Epoch::OfBuild,
            split: None,
            stale: Stale::Kept,
        }),
    }
}

fn kind_named(name: &str) -> Result<&'static str, OutputError> {
    const KINDS: [&str; 7] = ["image", "registry", "oci", "docker", "local", "tar", "cacheonly"];
    let known = KINDS.into_iter().find(|kind| *kind == name);
    known.ok_or_else(|| OutputError::UnknownType {
        name: name.to_owned(),
        suggestion: crate::csv::nearest(name, &KINDS),
    })
}

fn image(attributes: &mut Attributes, push: bool) -> Result<OutputSpec, OutputError> {
    // The store keeps every image unpacked, so both values get what they ask for.
    let unpack = attributes.take_bool("unpack", false)?;
    // Every name is found with the digest after it, too.
    attributes.take_bool("name-canonical", false)?;
    let options = image_options(attributes)?;
    if unpack && options.rewrite_timestamp {
        return Err(OutputError::RewriteUnpacked);
    }
    Ok(OutputSpec::Image {
        options,
        push: attributes.take_bool("push", push)?,
        by_digest: attributes.take_bool("push-by-digest", false)?,
        store: attributes.take_bool("store", true)?,
        insecure: attributes.take_bool("registry.insecure", false)?,
    })
}

fn archive(attributes: &mut Attributes, kind: &'static str) -> Result<OutputSpec, OutputError> {
    let form = if kind == "oci" {
        ArchiveForm::Oci
    } else {
        ArchiveForm::Docker
    };
    let options = image_options(attributes)?;
    let tar = attributes.take_bool("tar", true)?;
    let dest = match (attributes.take_dest(), tar) {
        (Some(dest), false) if dest != "-" => ArchiveDest::Directory(dest.into()),
        (_, false) => {
            return Err(OutputError::Required {
                key: "dest",
                output: kind,
            });
        }
        (None, true) if form == ArchiveForm::Docker => ArchiveDest::Load,
        (dest, true) => ArchiveDest::File(file_dest(dest.as_deref())),
    };
    Ok(OutputSpec::Archive { options, form, dest })
}

fn directory(attributes: &mut Attributes) -> Result<OutputSpec, OutputError> {
    let dest = attributes.take_dest().ok_or(OutputError::Required {
        key: "dest",
        output: "local",
    })?;
    if dest == "-" {
        return Err(OutputError::Value {
            key: "dest".to_owned(),
            value: dest,
            expected: "a directory",
        });
    }
    Ok(OutputSpec::Directory {
        dest: dest.into(),
        epoch: attributes.take_epoch()?,
        split: attributes.take_split()?,
        stale: attributes.take_stale()?,
    })
}

fn tar(attributes: &mut Attributes) -> Result<OutputSpec, OutputError> {
    Ok(OutputSpec::Tar {
        dest: file_dest(attributes.take_dest().as_deref()),
        epoch: attributes.take_epoch()?,
        split: attributes.take_split()?,
    })
}

fn file_dest(dest: Option<&str>) -> FileDest {
    match dest {
        None | Some("-") => FileDest::Stdout,
        Some(path) => FileDest::File(path.into()),
    }
}

fn image_options(attributes: &mut Attributes) -> Result<ImageOptions, OutputError> {
    // Says how attestations are written, and an image without any has none either way.
    attributes.take_bool("oci-artifact", true)?;
    let media = if attributes.take_bool("oci-mediatypes", true)? {
        Media::Oci
    } else {
        Media::Docker
    };
    Ok(ImageOptions {
        names: attributes.take_names()?,
        compression: attributes.take_compression()?,
        force_compression: attributes.take_bool("force-compression", false)?,
        media,
        epoch: attributes.take_epoch()?,
        rewrite_timestamp: attributes.take_bool("rewrite-timestamp", false)?,
        annotations: attributes.take_annotations()?,
    })
}

#[cfg(test)]
mod tests;
