//! What a build finds around it, for the lines before it. Everything is read, nothing is asked: no helper is run and no
//! server connected to.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use cache::{Amount, Limits};
use export::records::CachePlace;
use export::{ArchiveDest, FileDest, OutputSpec};
use oci::Reference;
use registry::{CredentialSource, Whereabouts};

use super::preamble::{Facts, Memory};
use crate::commands::Setting;
use crate::request::BuildRequest;

const PROXIES: [&str; 5] = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "FTP_PROXY", "NO_PROXY"];

/// Looks at all of it.
pub(super) fn find(request: &BuildRequest, setting: &Setting) -> Facts {
    let environment = &setting.environment;
    let spelled = || {
        PROXIES
            .into_iter()
            .flat_map(|name| [name.to_owned(), name.to_lowercase()])
    };
    let resolvers = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    Facts {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        isolation: setting.isolation.to_string(),
        processors: std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get),
        memory: memory(&|path| fs::read_to_string(path).ok()),
        root: setting.root().to_owned(),
        free: free_space(setting.root()),
        resolvers: servers(&resolvers),
        proxies: spelled().filter(|name| environment.path(name).is_some()).collect(),
        proxies_of_steps: spelled()
            .filter(|name| request.options.build_args.contains_key(name))
            .collect(),
        certificates: request.certificates.clone(),
        credentials: registries(request)
            .into_iter()
            .map(|name| {
                let source = source_of_credentials(&name, &setting.registries.credentials);
                (name.host().to_owned(), source)
            })
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect(),
        cache_from: request.cache_from.iter().map(ToString::to_string).collect(),
        cache_to: request
            .cache_to
            .iter()
            .map(|to| format!("{} (mode {:?})", to.place, to.mode).to_lowercase())
            .collect(),
        room: room(setting.limits()),
        budget: request.cache_budget,
        outputs: request.outputs.iter().map(output).collect(),
    }
}

fn servers(resolvers: &str) -> Vec<String> {
    let of = |line: &str| Some(line.trim().strip_prefix("nameserver")?.trim().to_owned());
    resolvers.lines().filter_map(of).collect()
}

/// The least of the limits of our control groups and of the machine's memory.
fn memory(read: &dyn Fn(&Path) -> Option<String>) -> Option<Memory> {
    let machine = read(Path::new("/proc/meminfo")).and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(Memory {
            bytes: kilobytes.saturating_mul(1024),
            group: None,
        })
    });
    let membership = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
    let mut limits = Vec::from_iter(machine);
    for line in membership.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        let (top, name, version) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max", 2),
            _ if controllers.split(',').any(|controller| controller == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", 1)
            }
            _ => continue,
        };
        // Limits above us hold for us too. In a container of its own the path may begin at the top.
        for folder in Path::new(path.trim_start_matches('/')).ancestors() {
            let limit = read(&Path::new(top).join(folder).join(name)).and_then(|text| text.trim().parse().ok());
            limits.extend(limit.map(|bytes| Memory {
                bytes,
                group: Some(version),
            }));
        }
    }
    limits.into_iter().min_by_key(|memory| memory.bytes)
}

/// On the disk that has the folder, or will have it.
fn free_space(root: &Path) -> Option<u64> {
    let found = root.ancestors().find_map(|folder| rustix::fs::statvfs(folder).ok())?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

/// The images in registries that the build names. The Dockerfile is looked through for FROM, and not understood: a name that a
/// variable makes is not among them.
fn registries(request: &BuildRequest) -> Vec<Reference> {
    let text = String::from_utf8_lossy(&request.dockerfile.text);
    let mut stages: Vec<String> = vec!["scratch".to_owned()];
    let mut names: Vec<Reference> = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace().filter(|word| !word.starts_with("--"));
        if !words.next().is_some_and(|word| word.eq_ignore_ascii_case("from")) {
            continue;
        }
        let Some(name) = words.next() else { continue };
        let is_known = stages.iter().any(|stage| stage.eq_ignore_ascii_case(name));
        if !is_known && !name.contains('$') && !request.options.contexts.contains_key(name) {
            names.extend(name.parse::<Reference>());
        }
        stages.extend(words.nth(1).map(str::to_owned));
    }
    for output in &request.outputs {
        if let OutputSpec::Image {
            options, push: true, ..
        } = output
        {
            names.extend(options.names.iter().cloned());
        }
    }
    let places = request.cache_to.iter().map(|to| &to.place).chain(&request.cache_from);
    for place in places {
        if let CachePlace::Registry(name) = place {
            names.push(name.clone());
        }
    }
    names
}

/// In words; no value, and no helper is asked.
fn source_of_credentials(name: &Reference, sources: &[CredentialSource]) -> String {
    for source in sources {
        match source.whereabouts(name.host(), name.repository()) {
            Some(Whereabouts::Here) => return source.to_string(),
            Some(Whereabouts::Helper(program)) => return format!("`{program}`, if it has any ({source})"),
            None => {}
        }
    }
    "none".to_owned()
}

fn room(limits: Limits) -> String {
    let amount = |amount: Amount| match amount {
        Amount::Bytes(size) => crate::ui::text::bytes(size),
        Amount::Percent(percent) => format!("{percent}% of the disk"),
    };
    let mut parts = Vec::new();
    parts.extend(limits.max_used.map(|size| format!("at most {} kept", amount(size))));
    parts.extend(limits.min_free.map(|size| format!("{} left free", amount(size))));
    if parts.is_empty() {
        "no limit but a nearly full disk".to_owned()
    } else {
        parts.join(", ")
    }
}

fn output(output: &OutputSpec) -> String {
    let file = |dest: &FileDest| match dest {
        FileDest::Stdout => "standard output".to_owned(),
        FileDest::File(path) => path.display().to_string(),
    };
    match output {
        OutputSpec::Image {
            options, push, store, ..
        } => {
            let names: Vec<String> = options.names.iter().map(Reference::to_string).collect();
            let names = if names.is_empty() {
                "an image without a name".to_owned()
            } else {
                names.join(", ")
            };
            match (push, store) {
                (true, true) => format!("{names}, kept here and pushed"),
                (true, false) => format!("{names}, pushed"),
                (false, _) => format!("{names}, kept here"),
            }
        }
        OutputSpec::Archive { dest, .. } => match dest {
            ArchiveDest::File(dest) => format!("an archive to {}", file(dest)),
            ArchiveDest::Directory(path) => format!("a layout in {}", path.display()),
            ArchiveDest::Load => "loaded into docker or podman".to_owned(),
        },
        OutputSpec::Directory { dest, .. } => format!("files in {}", dest.display()),
        OutputSpec::Tar { dest, .. } => format!("files in an archive to {}", file(dest)),
        OutputSpec::CacheOnly => "the cache only".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_limit_on_memory_is_told_with_whose_it_is() {
        let read = |files: &'static [(&str, &str)]| {
            memory(&move |path| {
                let found = files.iter().find(|(name, _)| Path::new(name) == path);
                found.map(|(_, text)| (*text).to_owned())
            })
        };
        let machine = Memory {
            bytes: 8 << 30,
            group: None,
        };
        assert_eq!(read(&[("/proc/meminfo", "MemTotal:  8388608 kB\n")]), Some(machine));
        assert_eq!(
            read(&[
                ("/proc/meminfo", "MemTotal:  8388608 kB\n"),
                ("/proc/self/cgroup", "0::/a/b\n"),
                ("/sys/fs/cgroup/a/b/memory.max", "max\n"),
                ("/sys/fs/cgroup/a/memory.max", "536870912\n"),
            ]),
            Some(Memory {
                bytes: 512 << 20,
                group: Some(2)
            })
        );
        assert_eq!(
            read(&[
                ("/proc/self/cgroup", "5:cpu:/\n4:memory:/job\n"),
                ("/sys/fs/cgroup/memory/job/memory.limit_in_bytes", "1048576\n"),
            ]),
            Some(Memory {
                bytes: 1 << 20,
                group: Some(1)
            })
        );
        assert_eq!(read(&[]), None);
    }

    #[test]
    fn credentials_are_told_by_their_source_only() {
        let text = r#"{"auths":{"r.example":{"auth":"c2VjcmV0"}},"credHelpers":{"ecr.example":"ecr"}}"#;
        let sources = [
            CredentialSource::Text {
                name: "CONFIG".to_owned(),
                text: text.to_owned(),
            },
            CredentialSource::Login {
                name: "TOKEN".to_owned(),
                host: "g.example".to_owned(),
                user: "u".to_owned(),
                password: "secret".to_owned(),
            },
        ];
        for (name, told) in [
            ("r.example/app", "`CONFIG`"),
            ("g.example/app", "`TOKEN`"),
            ("ecr.example/app", "`docker-credential-ecr`, if it has any (`CONFIG`)"),
            ("other.example/app", "none"),
        ] {
            assert_eq!(source_of_credentials(&name.parse().unwrap(), &sources), told);
        }
    }
}
