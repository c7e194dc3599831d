//! How registries are reached: flags, variables and the places where files of other programs lie, as the options of one
//! client. Nothing is opened here: a build that speaks to no registry reads none of these files.

use std::path::{Path, PathBuf};

use registry::{ClientOptions, CredentialSource, Mirror, Sources};

use crate::cli::ReachArgs;
use crate::environment::Environment;
use crate::error::CommandError;

/// The options for what was typed.
///
/// # Errors
/// When a variable cannot be understood, or a folder is named that is not there.
pub(crate) fn options(typed: &ReachArgs, environment: &Environment) -> Result<ClientOptions, CommandError> {
    let mut mirrors = typed.registry_mirror.clone();
    for text in listed(environment, "RBUILD_REGISTRY_MIRROR") {
        let mirror: Result<Mirror, String> = text.parse();
        mirrors.push(mirror.map_err(|why| CommandError::usage(format!("invalid RBUILD_REGISTRY_MIRROR: {why}")))?);
    }
    let insecure = typed.insecure_registry.iter().map(String::as_str);
    Ok(ClientOptions {
        credentials: credentials(typed, environment),
        sources: Sources {
            mirrors,
            folders: folders(typed, environment)?,
            registries_conf: registries_conf(environment, ""),
            registries_conf_d: match environment.path("CONTAINERS_REGISTRIES_CONF") {
                Some(_) => Vec::new(),
                None => registries_conf(environment, ".d"),
            },
            buildkitd: buildkitd(environment),
        },
        insecure: insecure
            .chain(listed(environment, "RBUILD_INSECURE_REGISTRY"))
            .map(str::to_owned)
            .collect(),
        user_agent: format!("rbuild/{}", env!("CARGO_PKG_VERSION")),
        extra_roots: environment.certificates.iter().cloned().collect(),
        ..ClientOptions::default()
    })
}

/// The parts of a variable, between commas.
fn listed<'a>(environment: &'a Environment, name: &str) -> impl Iterator<Item = &'a str> {
    let text = environment.text(name).unwrap_or_default();
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

/// Folders of certificates and `hosts.toml`: the user's before the machine's.
fn folders(typed: &ReachArgs, environment: &Environment) -> Result<Vec<PathBuf>, CommandError> {
    let named = listed(environment, "RBUILD_REGISTRY_CERTS").map(PathBuf::from);
    let mut folders: Vec<PathBuf> = typed
        .registry_certs
        .iter()
        .cloned()
        .chain(named)
        .map(|path| environment.absolute(&path))
        .collect();
    if let Some(missing) = folders.iter().find(|folder| !folder.is_dir()) {
        let message = format!("--registry-certs: `{}` is not a folder", missing.display());
        return Err(CommandError::usage(message));
    }
    if let Some(config) = config_home(environment) {
        folders.extend(["docker/certs.d", "containers/certs.d"].map(|name| config.join(name)));
    }
    folders.extend(
        [
            "/etc/containerd/certs.d",
            "/etc/docker/certs.d",
            "/etc/containers/certs.d",
        ]
        .map(PathBuf::from),
    );
    Ok(folders)
}

/// The user's file comes before the machine's and takes its place; of what is dropped beside them, the user's comes last
/// and counts more.
fn registries_conf(environment: &Environment, end: &str) -> Vec<PathBuf> {
    if let Some(named) = environment.path("CONTAINERS_REGISTRIES_CONF") {
        return vec![environment.absolute(Path::new(named))];
    }
    let name = format!("containers/registries.conf{end}");
    let own = config_home(environment).map(|config| config.join(&name));
    let machine = Path::new("/etc").join(&name);
    let mut paths: Vec<PathBuf> = own.into_iter().chain([machine]).collect();
    if !end.is_empty() {
        paths.reverse();
    }
    paths
}

fn buildkitd(environment: &Environment) -> Vec<PathBuf> {
    let own = config_home(environment).map(|config| config.join("buildkit/buildkitd.toml"));
    let machine = PathBuf::from("/etc/buildkit/buildkitd.toml");
    own.into_iter().chain([machine]).collect()
}

fn config_home(environment: &Environment) -> Option<PathBuf> {
    let named = environment.path("XDG_CONFIG_HOME").map(PathBuf::from);
    let home = environment.path("HOME").map(|home| Path::new(home).join(".config"));
    named.filter(|path| path.is_absolute()).or(home)
}

/// Where credentials are, the strongest first: what was named for this very run, what `docker login` and `podman login`
/// left, and what a CI gives to every job.
fn credentials(typed: &ReachArgs, environment: &Environment) -> Vec<CredentialSource> {
    let file = |path: &Path| CredentialSource::Containers(environment.absolute(path));
    let variable = |name: &str| environment.text(name).map(str::to_owned);
    let login = |names: &str, host: Option<String>, user: Option<String>, password: Option<String>| {
        Some(CredentialSource::Login {
            name: names.to_owned(),
            host: host?,
            user: user?,
            password: password?,
        })
    };
    let text = variable("DOCKER_AUTH_CONFIG").map(|text| CredentialSource::Text {
        name: "DOCKER_AUTH_CONFIG".to_owned(),
        text,
    });
    let runtime = environment.path("XDG_RUNTIME_DIR").map(Path::new);
    let home = environment.path("HOME").map(Path::new);
    let podman = [
        runtime.map(|folder| folder.join("containers/auth.json")),
        home.map(|folder| folder.join(".config/containers/auth.json")),
    ];
    let gitlab = login(
        "CI_REGISTRY_PASSWORD",
        variable("CI_REGISTRY"),
        variable("CI_REGISTRY_USER"),
        variable("CI_REGISTRY_PASSWORD"),
    );
    let github = login(
        "GITHUB_TOKEN",
        Some("ghcr.io".to_owned()),
        variable("GITHUB_ACTOR"),
        variable("GITHUB_TOKEN"),
    );
    let named = typed.authfile.as_deref().map(file);
    let of_podman = environment.path("REGISTRY_AUTH_FILE").map(|path| file(Path::new(path)));
    let docker = environment.docker_config().map(CredentialSource::Docker);
    let files = podman.into_iter().flatten().map(CredentialSource::Containers);
    [named, text, of_podman, docker]
        .into_iter()
        .flatten()
        .chain(files)
        .chain(gitlab)
        .chain(github)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        Environment::of(Path::new("/project"), variables)
    }

    #[test]
    fn credentials_named_for_this_run_come_first_and_those_of_a_ci_last() {
        let environment = environment(&[
            ("HOME", "/home/ada"),
            ("DOCKER_AUTH_CONFIG", "{}"),
            ("REGISTRY_AUTH_FILE", "auth.json"),
            ("CI_REGISTRY", "gitlab.example:5050"),
            ("CI_REGISTRY_USER", "job"),
            ("CI_REGISTRY_PASSWORD", "geheim"),
            ("GITHUB_TOKEN", "geheim"),
        ]);
        let typed = ReachArgs {
            authfile: Some("mine.json".into()),
            ..ReachArgs::default()
        };
        let names: Vec<String> = credentials(&typed, &environment)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            names,
            [
                "`/project/mine.json`",
                "`DOCKER_AUTH_CONFIG`",
                "`/project/auth.json`",
                "`/home/ada/.docker/config.json`",
                "`/home/ada/.config/containers/auth.json`",
                "`CI_REGISTRY_PASSWORD`",
            ],
            "a token of GitHub without a user is none"
        );
    }

    #[test]
    fn variables_have_commas_where_flags_are_given_again() {
        let environment = environment(&[
            ("RBUILD_REGISTRY_MIRROR", "m.example, h.example=n.example"),
            ("RBUILD_INSECURE_REGISTRY", "a.example,b.example:81"),
        ]);
        let options = options(&ReachArgs::default(), &environment).unwrap();
        assert_eq!(options.sources.mirrors.len(), 2);
        assert_eq!(options.insecure, ["a.example", "b.example:81"]);
    }

    #[test]
    fn a_variable_that_is_no_mirror_is_named() {
        let environment = environment(&[("RBUILD_REGISTRY_MIRROR", "ftp://m.example")]);
        let error = options(&ReachArgs::default(), &environment).unwrap_err();
        assert!(error.message().contains("RBUILD_REGISTRY_MIRROR"), "{error}");
    }
}
