//! Outputs: `-o`, and the flags that stand for one (`-t`, `--push`, `--load`), as one list.

use export::{Annotation, ArchiveDest, ArchiveForm, FileDest, ImageOptions, OutputSpec, Stale};
use oci::{Platform, Reference};

use crate::cli::OutputArgs;
use crate::environment::Environment;
use crate::error::CommandError;

/// The names of `-t`.
pub(crate) fn tags(typed: &[String]) -> Result<Vec<Reference>, CommandError> {
    let mut tags: Vec<Reference> = Vec::new();
    for text in typed {
        let refuse = || CommandError::usage(format!("failed to build: invalid tag {text:?}"));
        let name: Reference = text.parse().map_err(|error| refuse().because(&error))?;
        if name.digest().is_some() {
            return Err(refuse().hint("a digest is the result of a build: leave out what follows `@`"));
        }
        if !tags.contains(&name) {
            tags.push(name);
        }
    }
    Ok(tags)
}

/// All outputs, with the names of `tags` where they have none of their own. Nothing asked for is an image in the store.
pub(crate) fn resolve(
    typed: &OutputArgs,
    tags: &[Reference],
    may_delete: bool,
    environment: &Environment,
) -> Result<Vec<OutputSpec>, CommandError> {
    let mut outputs = Vec::new();
    for text in &typed.output {
        let spec = OutputSpec::parse(text);
        outputs.push(spec.map_err(|error| CommandError::usage("failed to build").because(&error))?);
    }
    if typed.push {
        push_images(&mut outputs);
    }
    if typed.load && !outputs.iter().any(is_load) {
        outputs.push(load());
    }
    if outputs.is_empty() {
        outputs.push(image(false));
    }
    let annotations = annotations(&typed.annotation)?;
    for output in &mut outputs {
        if let Some(options) = output.options_mut() {
            options.annotations.0.extend(annotations.iter().cloned());
        }
        if let Some(options) = output.options_mut()
            && options.names.is_empty()
        {
            options.names = tags.to_vec();
        }
        make_absolute(output, environment);
    }
    check_names(&mut outputs)?;
    refuse_tags_by_digest(&outputs, &typed.tag)?;
    refuse_deleting(&outputs, may_delete, environment)?;
    check_stdout(&outputs, environment)?;
    Ok(outputs)
}

/// Those of `--annotation`, which are for every image.
pub(crate) fn annotations(typed: &[String]) -> Result<Vec<Annotation>, CommandError> {
    let mut annotations = Vec::new();
    for text in typed {
        let parsed = Annotation::parse(text);
        let refuse = |error| CommandError::usage("failed to build: parse annotations").because(&error);
        annotations.extend(parsed.map_err(refuse)?);
    }
    Ok(annotations)
}

/// What `docker load` reads holds one image.
pub(crate) fn refuse_several(outputs: &[OutputSpec], platforms: &[Platform]) -> Result<(), CommandError> {
    let is_docker = |output: &OutputSpec| {
        matches!(
            output,
            OutputSpec::Archive {
                form: ArchiveForm::Docker,
                ..
            }
        )
    };
    if platforms.len() > 1 && outputs.iter().any(is_docker) {
        return Err(CommandError::usage("failed to build").because(&export::Error::ManifestList));
    }
    Ok(())
}

/// Whether the result goes to the docker or podman of this machine.
pub(crate) fn is_load(output: &OutputSpec) -> bool {
    matches!(
        output,
        OutputSpec::Archive {
            dest: ArchiveDest::Load,
            ..
        }
    )
}

fn image(push: bool) -> OutputSpec {
    OutputSpec::Image {
        options: ImageOptions::default(),
        push,
        by_digest: false,
        store: true,
        insecure: false,
    }
}

fn load() -> OutputSpec {
    OutputSpec::Archive {
        options: ImageOptions::default(),
        form: ArchiveForm::Docker,
        dest: ArchiveDest::Load,
    }
}

/// `--push` is for the image outputs there are; without one it is an output.
fn push_images(outputs: &mut Vec<OutputSpec>) {
    let mut any = false;
    for output in outputs.iter_mut() {
        if let OutputSpec::Image { push, .. } = output {
            *push = true;
            any = true;
        }
    }
    if !any {
        outputs.push(image(true));
    }
}

fn check_names(outputs: &mut [OutputSpec]) -> Result<(), CommandError> {
    for output in outputs {
        let is_pushed = matches!(output, OutputSpec::Image { push: true, .. });
        let is_nameless = output.options_mut().is_some_and(|options| options.names.is_empty());
        if is_pushed && is_nameless {
            return Err(
                CommandError::usage("failed to build: tag is needed when pushing to registry")
                    .hint("name the image with -t HOST/REPOSITORY:TAG"),
            );
        }
    }
    Ok(())
}

/// What is pushed by digest has no tag.
fn refuse_tags_by_digest(outputs: &[OutputSpec], typed: &[String]) -> Result<(), CommandError> {
    let is_by_digest = |output: &OutputSpec| matches!(output, OutputSpec::Image { by_digest: true, .. });
    let has_tag = |name: &&String| name.rsplit('/').next().is_some_and(|last| last.contains(':'));
    match typed.iter().find(has_tag) {
        Some(name) if outputs.iter().any(is_by_digest) => Err(CommandError::usage(format!(
            "failed to build: can't push tagged ref {name} by digest"
        ))),
        _ => Ok(()),
    }
}

/// Files are deleted only below the working directory, unless more is allowed.
fn refuse_deleting(outputs: &[OutputSpec], may_delete: bool, environment: &Environment) -> Result<(), CommandError> {
    for output in outputs.iter().filter(|_| !may_delete) {
        if let OutputSpec::Directory {
            dest,
            stale: Stale::Deleted,
            ..
        } = output
        {
            let has_way_out = dest.components().any(|part| part == std::path::Component::ParentDir);
            // Where a link leads counts, not where it is.
            let real = |path: &std::path::Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
            let (place, here) = (real(dest), real(&environment.directory));
            let is_below = place.starts_with(&here) && place != here;
            if has_way_out || !is_below {
                return Err(CommandError::usage(format!(
                    "failed to build: mode=delete would delete files in {}, which is not below the working directory",
                    dest.display()
                ))
                .hint("allow it with --allow buildx.local.delete"));
            }
        }
    }
    Ok(())
}

fn check_stdout(outputs: &[OutputSpec], environment: &Environment) -> Result<(), CommandError> {
    match outputs.iter().filter(|output| output.writes_stdout()).count() {
        0 => Ok(()),
        1 if environment.stdout_is_terminal => {
            let message = "failed to build: dest file is required: refusing to write an archive to the terminal";
            Err(CommandError::usage(message).hint("add dest=FILE to the output, or redirect standard output"))
        }
        1 => Ok(()),
        _ => Err(CommandError::usage(
            "failed to build: only one output can go to standard output",
        )),
    }
}

fn make_absolute(output: &mut OutputSpec, environment: &Environment) {
    let path = match output {
        OutputSpec::Archive {
            dest: ArchiveDest::File(FileDest::File(path)) | ArchiveDest::Directory(path),
            ..
        } => path,
        OutputSpec::Tar {
            dest: FileDest::File(path),
            ..
        } => path,
        OutputSpec::Directory { dest, .. } => dest,
        _ => return,
    };
    *path = environment.absolute(path);
}
