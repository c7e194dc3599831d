//! COPY and ADD.

use crate::Diagnostic;
use crate::parse::{self, Flags, Heredoc, Instruction, Kind};

/// COPY.
#[derive(Clone, Debug)]
pub(crate) struct Copy {
    /// What goes where.
    pub(crate) sources: Sources,
    /// The stage, image or context it comes from.
    pub(crate) from: Option<String>,
    /// What else was chosen.
    pub(crate) chosen: Chosen,
    /// `--parents`.
    pub(crate) parents: bool,
}

/// ADD.
#[derive(Clone, Debug)]
pub(crate) struct Add {
    /// What goes where.
    pub(crate) sources: Sources,
    /// What else was chosen.
    pub(crate) chosen: Chosen,
    /// `--keep-git-dir`.
    pub(crate) keep_git_dir: Option<bool>,
    /// `--checksum`.
    pub(crate) checksum: Option<String>,
    /// `--unpack`.
    pub(crate) unpack: Option<bool>,
}

/// What goes where; variables not replaced.
#[derive(Clone, Debug)]
pub(crate) struct Sources {
    /// Paths and, for ADD, addresses.
    pub(crate) paths: Vec<String>,
    /// Documents in the Dockerfile.
    pub(crate) documents: Vec<Heredoc>,
    /// Where to.
    pub(crate) destination: String,
}

/// Flags that COPY and ADD share; variables not replaced.
#[derive(Clone, Debug)]
pub(crate) struct Chosen {
    /// `--chown`.
    pub(crate) owner: Option<String>,
    /// `--chmod`.
    pub(crate) mode: Option<String>,
    /// `--link`.
    pub(crate) link: bool,
    /// `--exclude`.
    pub(crate) excludes: Vec<String>,
}

/// Reads COPY.
pub(super) fn copy(instruction: &Instruction) -> Result<Copy, Diagnostic> {
    two_arguments(instruction, "COPY")?;
    let flags = Flags::read(
        &instruction.flags,
        &[
            ("chown", Kind::Value),
            ("from", Kind::Value),
            ("chmod", Kind::Value),
            ("link", Kind::Switch),
            ("exclude", Kind::Values),
            ("parents", Kind::Switch),
        ],
    )?;
    Ok(Copy {
        sources: sources(instruction, "COPY")?,
        from: filled(&flags, "from"),
        chosen: chosen(&flags),
        parents: flags.switch("parents") == Some(true),
    })
}

/// Reads ADD.
pub(super) fn add(instruction: &Instruction) -> Result<Add, Diagnostic> {
    two_arguments(instruction, "ADD")?;
    let flags = Flags::read(
        &instruction.flags,
        &[
            ("chown", Kind::Value),
            ("chmod", Kind::Value),
            ("link", Kind::Switch),
            ("keep-git-dir", Kind::Switch),
            ("checksum", Kind::Value),
            ("unpack", Kind::Switch),
            ("exclude", Kind::Values),
        ],
    )?;
    Ok(Add {
        sources: sources(instruction, "ADD")?,
        chosen: chosen(&flags),
        keep_git_dir: flags.switch("keep-git-dir"),
        checksum: filled(&flags, "checksum"),
        unpack: flags.switch("unpack"),
    })
}

fn filled(flags: &Flags, name: &str) -> Option<String> {
    flags.value(name).filter(|value| !value.is_empty()).map(str::to_owned)
}

fn chosen(flags: &Flags) -> Chosen {
    Chosen {
        owner: filled(flags, "chown"),
        mode: filled(flags, "chmod"),
        link: flags.switch("link") == Some(true),
        excludes: flags.values("exclude").map(str::to_owned).collect(),
    }
}

fn two_arguments(instruction: &Instruction, name: &str) -> Result<(), Diagnostic> {
    if instruction.arguments.len() >= 2 {
        return Ok(());
    }
    Err(Diagnostic::new(format!(
        "{name} requires at least two arguments, but only one was provided. Destination could not be determined"
    )))
}

fn sources(instruction: &Instruction, name: &str) -> Result<Sources, Diagnostic> {
    let Some((destination, words)) = instruction.arguments.split_last() else {
        return Err(Diagnostic::new(format!("{name} has no destination")));
    };
    if parse::heredoc_word(destination).is_some() {
        return Err(Diagnostic::new(format!(
            "{name} cannot accept a heredoc as a destination"
        )));
    }
    let mut sources = Sources {
        paths: Vec::new(),
        documents: Vec::new(),
        destination: destination.clone(),
    };
    for word in words {
        match parse::heredoc_word(word) {
            None => sources.paths.push(word.clone()),
            Some(announced) => {
                let read = instruction
                    .heredocs
                    .iter()
                    .rfind(|document| document.name == announced.name);
                let content = read.map(|document| document.content.clone()).unwrap_or_default();
                let content = if announced.strip_tabs {
                    parse::strip_tabs(&content)
                } else {
                    content
                };
                sources.documents.push(Heredoc { content, ..announced });
            }
        }
    }
    Ok(sources)
}
