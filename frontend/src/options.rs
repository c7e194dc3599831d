//! What is asked of a build besides its Dockerfile.

use std::collections::BTreeMap;

use graph::{GitSource, HttpSource, NetworkMode, Ulimit};
use oci::{ImageName, Platform};

use crate::Diagnostic;

/// The argument that asks for an index even of one platform.
const MULTI_PLATFORM: &str = "BUILDKIT_MULTI_PLATFORM";

/// What is asked of a build besides its Dockerfile.
#[derive(Clone, Debug)]
pub struct Options {
    /// The stage to build; the last one if none is named.
    pub target: Option<String>,
    /// Values for ARG.
    pub build_args: BTreeMap<String, String>,
    /// Labels that win over those of the Dockerfile.
    pub labels: BTreeMap<String, String>,
    /// The platforms asked for; none is that of the builder, and then an image's own platform stays in its configuration.
    /// A plan is made for each of them with options that name this one only.
    pub platforms: Vec<Platform>,
    /// Whether the result is an index, and steps say which platform they are for. Several platforms make it so, and the
    /// argument `BUILDKIT_MULTI_PLATFORM`.
    pub multi_platform: bool,
    /// The platform of the builder.
    pub build_platform: Platform,
    /// Named contexts. A name may end in `::os/architecture`: then it counts for that platform only.
    pub contexts: BTreeMap<String, NamedContext>,
    /// Where the files of the main context are.
    pub main_context: MainContext,
    /// Patterns of the main context's ignore file, if it is a directory of the user's.
    pub excludes: Vec<String>,
    /// Which stages run again although there is a record of them.
    pub no_cache: NoCache,
    /// The network of each RUN that does not ask for another.
    pub network: Option<NetworkMode>,
    /// Whether RUN may ask for the host's network.
    pub allow_network_host: bool,
    /// Whether RUN may ask for all that the builder may.
    pub allow_security_insecure: bool,
    /// Lines for `/etc/hosts`: name and address.
    pub extra_hosts: Vec<(String, String)>,
    /// The size of `/dev/shm` in bytes.
    pub shm_size: Option<u64>,
    /// Resource limits of each RUN.
    pub ulimits: Vec<Ulimit>,
}

impl Options {
    /// The options of a build of which nothing is asked.
    #[must_use]
    pub fn new(build_platform: Platform) -> Options {
        Options {
            target: None,
            build_args: BTreeMap::new(),
            labels: BTreeMap::new(),
            platforms: Vec::new(),
            multi_platform: false,
            build_platform,
            contexts: BTreeMap::new(),
            main_context: MainContext::Lent,
            excludes: Vec::new(),
            no_cache: NoCache::No,
            network: None,
            allow_network_host: false,
            allow_security_insecure: false,
            extra_hosts: Vec::new(),
            shm_size: None,
            ulimits: Vec::new(),
        }
    }

    /// The platform of the result, or the first of several.
    #[must_use]
    pub fn target_platform(&self) -> &Platform {
        self.platforms.first().unwrap_or(&self.build_platform)
    }

    /// The same options for each of the platforms asked for; at least one.
    pub(crate) fn each_platform(&self) -> Result<Vec<Options>, Diagnostic> {
        let several = self.platforms.len() > 1;
        let multi_platform = match self.build_args.get(MULTI_PLATFORM).map(String::as_str) {
            None | Some("") => self.multi_platform || several,
            Some(text) => boolean(text)
                .ok_or_else(|| Diagnostic::new(format!("invalid boolean value for multi-platform: {text}")))?,
        };
        if several && !multi_platform {
            let message = "conflicting config: returning multiple target platforms is not allowed";
            return Err(Diagnostic::new(message));
        }
        let for_one = |platforms: Vec<Platform>| Options {
            platforms,
            multi_platform,
            ..self.clone()
        };
        Ok(match &self.platforms[..] {
            [] => vec![for_one(Vec::new())],
            some => some.iter().map(|platform| for_one(vec![platform.clone()])).collect(),
        })
    }

    /// The context that replaces `name` (a stage or an image) for `platform`, and the name it was given under.
    pub(crate) fn context(&self, name: &str, platform: &Platform) -> Option<(&str, &NamedContext)> {
        if name.eq_ignore_ascii_case("scratch") || name.eq_ignore_ascii_case("context") {
            return None;
        }
        let wanted = familiar(name);
        let for_platform = format!("{wanted}::{platform}");
        let find = |wanted: &str| {
            self.contexts
                .iter()
                .find(|(key, _)| match key.split_once("::") {
                    Some((key, platform)) => format!("{}::{platform}", familiar(key)) == wanted,
                    None => familiar(key) == wanted,
                })
                .map(|(key, context)| (key.as_str(), context))
        };
        find(&for_platform).or_else(|| find(&wanted))
    }
}

/// As Go reads it.
pub(crate) fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// The short form in which the names of contexts and images are compared.
fn familiar(name: &str) -> String {
    let Ok(reference) = name.parse::<oci::Reference>() else {
        return name.to_owned();
    };
    let familiar = reference.familiar();
    familiar.strip_suffix(":latest").map(str::to_owned).unwrap_or(familiar)
}

/// Where the files of the main context are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MainContext {
    /// In a directory of the user's.
    Lent,
    /// Nowhere: there are none.
    Empty,
    /// Elsewhere.
    Remote(RemoteContext),
    /// In an archive of a web server.
    Archive(HttpSource),
}

/// A context that is elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RemoteContext {
    /// A commit of a git repository.
    Git(GitSource),
    /// One file of a web server.
    Http(HttpSource),
}

/// Where the files of a named context are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamedContext {
    /// A directory of the user's.
    Local {
        /// The name under which the session knows it.
        context: String,
        /// Patterns of its ignore file.
        excludes: Vec<String>,
    },
    /// An image, in a registry or a layout.
    Image(ImageName),
    /// Elsewhere.
    Remote(RemoteContext),
    /// Nothing: `docker-image://scratch`.
    Scratch,
}

/// Which stages run again although there is a record of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NoCache {
    /// None.
    #[default]
    No,
    /// All.
    All,
    /// Those of these names, whatever their case.
    Stages(Vec<String>),
}

impl NoCache {
    /// Whether a stage of that name (empty if it has none) runs again.
    pub(crate) fn covers(&self, stage: &str) -> bool {
        match self {
            NoCache::No => false,
            NoCache::All => true,
            NoCache::Stages(names) => names.iter().any(|name| name.eq_ignore_ascii_case(stage)),
        }
    }
}
