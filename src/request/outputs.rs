//! Outputs: `-o`, and the flags that stand for one (`-t`, `--push`, `--load`), as one list.

use export::{Annotation, ArchiveDest, ArchiveForm, FileDest, ImageOptions, OutputSpec};
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
    check_stdout(&outputs, environment)?;
    Ok(outputs)
}

/// Those of `--annotation`, which are for every image.
fn annotations(typed: &[String]) -> Result<Vec<Annotation>, CommandError> {
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
        store: true,
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
