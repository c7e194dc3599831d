//! What is asked of a build besides its Dockerfile.

use std::collections::BTreeMap;

use graph::{NetworkMode, Ulimit};
use oci::{ImageName, Platform};

/// What is asked of a build besides its Dockerfile.
#[derive(Clone, Debug)]
pub struct Options {
    /// The stage to build; the last one if none is named.
    pub target: Option<String>,
    /// Values for ARG.
    pub build_args: BTreeMap<String, String>,
    /// Labels that win over those of the Dockerfile.
    pub labels: BTreeMap<String, String>,
    /// The platform asked for; `None` is that of the builder, and then an image's own platform stays in its configuration.
    pub platform: Option<Platform>,
    /// The platform of the builder.
    pub build_platform: Platform,
    /// Named contexts. A name may end in `::os/architecture`: then it counts for that platform only.
    pub contexts: BTreeMap<String, NamedContext>,
    /// Patterns of the main context's ignore file.
    pub excludes: Vec<String>,
    /// Which stages run again although there is a record of them.
    pub no_cache: NoCache,
    /// The network of each RUN that does not ask for another.
    pub network: Option<NetworkMode>,
    /// Whether RUN may ask for the host's network.
    pub allow_network_host: bool,
    /// Lines for `/etc/hosts`: name and address.
    pub extra_hosts: Vec<(String, String)>,
    /// The size of `/dev/shm` in bytes.
    pub shm_size: Option<u64>,
    /// Resource limits of each RUN.
    pub ulimits: Vec<Ulimit>,
    /// `SOURCE_DATE_EPOCH`: the time given to what the build makes.
    pub epoch: Option<i64>,
}

impl Options {
    /// The options of a build of which nothing is asked.
    #[must_use]
    pub fn new(build_platform: Platform) -> Options {
        Options {
            target: None,
            build_args: BTreeMap::new(),
            labels: BTreeMap::new(),
            platform: None,
            build_platform,
            contexts: BTreeMap::new(),
            excludes: Vec::new(),
            no_cache: NoCache::No,
            network: None,
            allow_network_host: false,
            extra_hosts: Vec::new(),
            shm_size: None,
            ulimits: Vec::new(),
            epoch: None,
        }
    }

    /// The platform of the result.
    #[must_use]
    pub fn target_platform(&self) -> &Platform {
        self.platform.as_ref().unwrap_or(&self.build_platform)
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

/// The short form in which the names of contexts and images are compared.
fn familiar(name: &str) -> String {
    let Ok(reference) = name.parse::<oci::Reference>() else {
        return name.to_owned();
    };
    let familiar = reference.familiar();
    familiar.strip_suffix(":latest").map(str::to_owned).unwrap_or(familiar)
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
