//! Requests: what command lines and environments mean.

use std::ffi::OsString;
use std::fs;

use export::{ArchiveDest, OutputSpec};
use frontend::{NamedContext, RemoteContext};
use oci::Reference;

use super::*;
use crate::cli::Command;

/// A context with a Dockerfile.
fn context() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("Dockerfile"), "FROM scratch\n").unwrap();
    directory
}

fn args(line: &str) -> BuildArgs {
    let words = std::iter::once("rbuild").chain(line.split_whitespace());
    match cli::parse(words.map(OsString::from)).unwrap().command {
        Command::Build(args) => *args,
        other => panic!("{other:?}"),
    }
}

fn resolved(line: &str, directory: &Path, variables: &[(&str, &str)]) -> Result<BuildRequest, String> {
    let environment = Environment::of(directory, variables);
    BuildRequest::resolve(args(line), &environment).map_err(|error| error.to_string())
}

#[test]
fn an_image_in_the_store_is_what_comes_out_by_default() {
    let directory = context();
    let mut request = resolved("-t a -t b:1 -t a .", directory.path(), &[]).unwrap();
    assert_eq!(request.outputs.len(), 1);
    let names = &request.outputs[0].options_mut().unwrap().names;
    let names: Vec<String> = names.iter().map(Reference::familiar).collect();
    assert_eq!(names, ["a:latest", "b:1"]);
    assert!(matches!(
        request.outputs[0],
        OutputSpec::Image {
            push: false,
            store: true,
            ..
        }
    ));
    assert_eq!(request.contexts["context"], directory.path().canonicalize().unwrap());
}

#[test]
fn push_and_load_are_outputs() {
    let directory = context();
    let pushed = |line: &str| {
        let outputs = resolved(line, directory.path(), &[]).unwrap().outputs;
        let pushes = outputs
            .iter()
            .filter(|output| matches!(output, OutputSpec::Image { push: true, .. }));
        (pushes.count(), outputs.len())
    };
    assert_eq!(pushed("-t a --push ."), (1, 1));
    assert_eq!(pushed("-t a --push -o type=image ."), (1, 1));
    assert_eq!(pushed("-t a --push -o out ."), (1, 2));
    assert_eq!(pushed("-t a --push --load ."), (1, 2));
    let loaded = resolved("--load -o type=docker .", directory.path(), &[])
        .unwrap()
        .outputs;
    assert!(matches!(
        loaded[..],
        [OutputSpec::Archive {
            dest: ArchiveDest::Load,
            ..
        }]
    ));
}

#[test]
fn what_cannot_be_followed_is_refused_by_name() {
    let directory = context();
    fs::write(directory.path().join("file"), "").unwrap();
    for (line, complaint) in [
        ("nowhere", "unable to prepare context: path \"nowhere\" not found"),
        ("file", "unable to prepare context: context must be a directory: file"),
        ("-f - -", "can't use stdin for both build context and dockerfile"),
        ("https://h/p.git?tag=a&branch=b", "branch conflicts with tag"),
        (
            "-f nope .",
            "failed to read dockerfile: open nope: no such file or directory\nhint: there is ",
        ),
        ("-t A .", "invalid tag \"A\": invalid reference format"),
        ("--push .", "tag is needed when pushing to registry"),
        ("--provenance=true .", "--provenance=true is not supported yet"),
        ("--attest type=sbom .", "--attest type=sbom is not supported yet"),
        (
            "-t a:1 -o type=image,push-by-digest=true,push=true .",
            "can't push tagged ref a:1 by digest",
        ),
        (
            "-o type=local,dest=/x,mode=delete .",
            "mode=delete would delete files in /x",
        ),
        ("-o type=local,dest=.,mode=delete .", "not below the working directory"),
        (
            "-o type=local,dest=a/../..,mode=delete .",
            "not below the working directory",
        ),
        ("--builder nope .", "no builder \"nope\" found"),
        (
            "--no-cache --no-cache-filter a .",
            "--no-cache and --no-cache-filter cannot currently be used together",
        ),
        (
            "-q --progress=plain .",
            "progress=plain and quiet cannot be used together",
        ),
        (
            "--iidfile id -o out .",
            "local and tar exporters are incompatible with image ID file",
        ),
        (
            "--annotation a .",
            "parse annotations: invalid annotation \"a\", expected key=value",
        ),
        ("--allow device .", "--allow device is not supported yet"),
        ("--allow all .", "invalid entitlement \"all\""),
        (
            "--platform linux/amd64,linux/arm64 -o type=docker,dest=x .",
            "docker exporter does not support exporting manifest lists, use the oci exporter instead",
        ),
        (
            "--platform a/b/c/d .",
            "failed to parse platform: invalid platform `a/b/c/d`",
        ),
        (
            "--build-context a=https://h/x.git?what=1 .",
            "unexpected query \"what\"",
        ),
        ("--build-context a=target:x .", "bake is not supported yet"),
        ("--build-context context=. .", "the name is taken"),
        ("--build-context a=nope .", "path \"nope\" not found"),
        ("-o - -o type=oci .", "only one output can go to standard output"),
        ("-q -o type=oci .", "--quiet prints the image's ID"),
        ("-o type=no .", "unknown output type `no`"),
    ] {
        let error = resolved(line, directory.path(), &[]).map(|_| ()).unwrap_err();
        assert!(error.contains(complaint), "{line}: {error}");
    }
}

#[test]
fn contexts_may_be_elsewhere() {
    let directory = context();
    for (line, context, dockerfile) in [
        (".", None, None),
        ("-", Some("Stdin"), Some("Context(None)")),
        ("https://h/p.git#main", Some("main"), Some("Context(None)")),
        ("git@h:p", Some("git@h:p"), Some("Context(None)")),
        ("github.com/a/b", Some("https://github.com/a/b"), Some("Context(None)")),
        ("-f a/D https://h/p.tar", Some("Http"), Some("Context(Some(\"a/D\"))")),
        ("-f https://h/D .", None, Some("Url(\"https://h/D\")")),
    ] {
        let elsewhere = resolved(line, directory.path(), &[]).unwrap().elsewhere;
        let shown = |place: Option<String>, wanted: Option<&str>| match (place, wanted) {
            (Some(place), Some(wanted)) => assert!(place.contains(wanted), "{line}: {place}"),
            (place, wanted) => assert_eq!(place.as_deref(), wanted, "{line}"),
        };
        shown(elsewhere.context.map(|place| format!("{place:?}")), context);
        shown(elsewhere.dockerfile.map(|place| format!("{place:?}")), dockerfile);
    }
    let line = "--build-context g=https://h/p.git --build-context f=https://h/x --build-context l=. .";
    let contexts = resolved(line, directory.path(), &[]).unwrap().options.contexts;
    assert!(matches!(contexts["g"], NamedContext::Remote(RemoteContext::Git(_))));
    assert!(matches!(&contexts["f"], NamedContext::Remote(RemoteContext::Http(file)) if file.file_name == "context"));
    assert!(matches!(contexts["l"], NamedContext::Local { .. }));
}

#[test]
fn arguments_without_a_value_come_from_the_environment() {
    let directory = context();
    let variables = [("A", "from outside"), ("EMPTY", ""), ("SOURCE_DATE_EPOCH", "5")];
    let line = "--build-arg A --build-arg B --build-arg EMPTY --build-arg C=1 .";
    let options = resolved(line, directory.path(), &variables).unwrap().options;
    let values: Vec<(&str, &str)> = options
        .build_args
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    assert_eq!(
        values,
        [
            ("A", "from outside"),
            ("C", "1"),
            ("EMPTY", ""),
            ("SOURCE_DATE_EPOCH", "5")
        ]
    );
    let line = "--build-arg SOURCE_DATE_EPOCH=7 .";
    let options = resolved(line, directory.path(), &variables).unwrap().options;
    assert_eq!(options.build_args["SOURCE_DATE_EPOCH"], "7");
}

#[test]
fn dockers_proxies_are_build_arguments() {
    let directory = context();
    let config = r#"{"auths":{},"proxies":{"default":{"httpProxy":"http://p","noProxy":"a"}}}"#;
    fs::write(directory.path().join("config.json"), config).unwrap();
    let home = directory.path().to_str().unwrap();
    let options = resolved(
        "--build-arg http_proxy=mine .",
        directory.path(),
        &[("DOCKER_CONFIG", home)],
    );
    let values = options.unwrap().options.build_args;
    assert_eq!(values["http_proxy"], "mine");
    assert_eq!(values["HTTP_PROXY"], "http://p");
    assert_eq!(values["no_proxy"], "a");
}

#[test]
fn a_dockerfile_may_bring_its_own_ignore_file() {
    let directory = context();
    let path = directory.path();
    fs::write(path.join(".dockerignore"), "# all\nfrom-context\n").unwrap();
    fs::write(path.join("other"), "FROM scratch").unwrap();
    assert_eq!(resolved(".", path, &[]).unwrap().options.excludes, ["from-context"]);
    assert_eq!(
        resolved("-f other .", path, &[]).unwrap().options.excludes,
        ["from-context"]
    );
    fs::write(path.join("other.dockerignore"), "from-dockerfile\n").unwrap();
    let request = resolved("-f other .", path, &[]).unwrap();
    assert_eq!(request.options.excludes, ["from-dockerfile"]);
    assert_eq!(
        (request.dockerfile.name.as_str(), &request.dockerfile.text[..]),
        ("other", &b"FROM scratch"[..])
    );
}

#[test]
fn a_lower_case_dockerfile_is_found() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("dockerfile"), "FROM a").unwrap();
    assert_eq!(
        resolved(".", directory.path(), &[]).unwrap().dockerfile.name,
        "dockerfile"
    );
}

#[test]
fn contexts_have_names() {
    let directory = context();
    fs::create_dir(directory.path().join("lib")).unwrap();
    fs::write(directory.path().join("lib/.dockerignore"), "x").unwrap();
    let line = "--build-context lib=lib --build-context base=docker-image://scratch --build-context i=docker-image://a:1 --build-context l=oci-layout://lib:t .";
    let request = resolved(line, directory.path(), &[]).unwrap();
    let contexts = &request.options.contexts;
    let excludes = vec!["x".to_owned()];
    let context = "lib".to_owned();
    assert_eq!(contexts["lib"], NamedContext::Local { context, excludes });
    assert_eq!(contexts["base"], NamedContext::Scratch);
    assert!(matches!(&contexts["i"], NamedContext::Image(name) if name.to_string() == "docker.io/library/a:1"));
    let layout = format!("oci-layout://{}/lib:t", directory.path().display());
    assert!(matches!(&contexts["l"], NamedContext::Image(name) if name.to_string() == layout));
    assert!(request.contexts["lib"].ends_with("lib"));
}

#[test]
fn the_store_is_where_this_user_may_write() {
    let root = |variables: &[(&str, &str)], uid: u32, asked: Option<&str>| {
        let mut environment = Environment::of(Path::new("/w"), variables);
        environment.uid = uid;
        store_root(asked.map(Path::new), &environment).map(|path| path.display().to_string())
    };
    let home = [("HOME", "/home/u")];
    assert_eq!(root(&home, 0, None).unwrap(), "/var/lib/rbuild");
    assert_eq!(root(&home, 1000, None).unwrap(), "/home/u/.local/share/rbuild");
    assert_eq!(
        root(&[("HOME", "/home/u"), ("XDG_DATA_HOME", "/d")], 1000, None).unwrap(),
        "/d/rbuild"
    );
    assert_eq!(
        root(&[("HOME", "/home/u"), ("XDG_DATA_HOME", "d")], 1000, None).unwrap(),
        "/home/u/.local/share/rbuild"
    );
    assert_eq!(root(&[], 1000, Some("here")).unwrap(), "/w/here");
    assert_eq!(root(&[("RBUILD_ROOT", "/env")], 0, None).unwrap(), "/env");
    assert_eq!(root(&[("RBUILD_ROOT", "/env")], 0, Some("/flag")).unwrap(), "/flag");
    assert!(root(&[], 1000, None).is_err());
}
