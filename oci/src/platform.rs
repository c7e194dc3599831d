//! Platforms: for which system and processor an image is.
//!
//! ```text
//! linux/arm64   linux/arm/v7   windows(10.0.17763)/amd64   windows(10.0.17763+win32k)/amd64   arm64   linux   local
//! ```

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Error;

/// Operating system, architecture and its variant, in the spelling of Go's `GOOS` and `GOARCH`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Platform {
    /// For example `amd64`.
    pub architecture: String,
    /// For example `linux`.
    pub os: String,
    /// What of the system an image needs besides.
    #[serde(rename = "os.features", default, skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
    /// Of Windows images: the version of the system.
    #[serde(rename = "os.version", default, skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// For example `v7` of `arm`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Platform {
    /// The platform this program runs on.
    #[must_use]
    pub fn host() -> Platform {
        Platform::normalized("linux", std::env::consts::ARCH, None)
    }

    /// Brings other spellings (`x86_64`, `aarch64`, `armhf`, `arm64/v8`) into the usual one.
    #[must_use]
    pub fn normalized(os: &str, architecture: &str, variant: Option<&str>) -> Platform {
        let os = match os.to_ascii_lowercase().as_str() {
            "macos" => "darwin".to_owned(),
            other => other.to_owned(),
        };
        let variant = variant
            .map(str::to_ascii_lowercase)
            .filter(|variant| !variant.is_empty());
        let (architecture, variant) = match architecture.to_ascii_lowercase().as_str() {
            "i386" | "i686" | "x86" | "386" => ("386".to_owned(), None),
            "x86_64" | "x86-64" | "amd64" => ("amd64".to_owned(), variant.filter(|variant| variant != "v1")),
            "aarch64" | "arm64" => (
                "arm64".to_owned(),
                variant.filter(|variant| !matches!(variant.as_str(), "8" | "v8")),
            ),
            "armhf" => ("arm".to_owned(), Some("v7".to_owned())),
            "armel" => ("arm".to_owned(), Some("v6".to_owned())),
            "arm" => {
                let variant = match variant.as_deref() {
                    None | Some("7") => "v7".to_owned(),
                    Some(digit @ ("5" | "6" | "8")) => format!("v{digit}"),
                    Some(other) => other.to_owned(),
                };
                ("arm".to_owned(), Some(variant))
            }
            "powerpc64" => ("ppc64le".to_owned(), variant),
            "riscv64gc" => ("riscv64".to_owned(), variant),
            other => (other.to_owned(), variant),
        };
        Platform {
            architecture,
            os,
            os_features: Vec::new(),
            os_version: None,
            variant,
        }
    }

    /// How well an image for `offered` runs where `self` is wanted: `None` not at all, else greater is better.
    #[must_use]
    pub fn preference(&self, offered: &Platform) -> Option<u32> {
        let os_version = offered.os_version.as_deref();
        let offered = Platform::normalized(&offered.os, &offered.architecture, offered.variant.as_deref());
        if offered.os != self.os || offered.architecture != self.architecture {
            return None;
        }
        if !self.suits_version(os_version) {
            return None;
        }
        let level = |variant: &Option<String>| match variant {
            None => Some(if self.architecture == "arm64" { 8 } else { 1 }),
            Some(text) => text.strip_prefix('v')?.parse::<u32>().ok(),
        };
        match (level(&self.variant), level(&offered.variant)) {
            (Some(wanted), Some(offered)) if offered <= wanted => Some(offered + 1),
            _ if self.variant == offered.variant => Some(1),
            _ => None,
        }
    }
}

impl Platform {
    /// Windows runs images of its own build only: the first three parts of the version.
    fn suits_version(&self, offered: Option<&str>) -> bool {
        let build = |version: &str| version.split('.').take(3).map(str::to_owned).collect::<Vec<_>>();
        match (&self.os_version, offered) {
            (Some(wanted), Some(offered)) if self.os == "windows" => build(wanted) == build(offered),
            _ => true,
        }
    }
}

impl From<&oci_spec::image::Platform> for Platform {
    /// Without the system's version and features, see `manifest::add_system`.
    fn from(foreign: &oci_spec::image::Platform) -> Platform {
        Platform::normalized(
            &foreign.os().to_string(),
            &foreign.architecture().to_string(),
            foreign.variant().as_deref(),
        )
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.os)?;
        if self.os_version.is_some() || !self.os_features.is_empty() {
            write!(f, "({}", self.os_version.as_deref().unwrap_or_default())?;
            for feature in &self.os_features {
                write!(f, "+{feature}")?;
            }
            f.write_str(")")?;
        }
        write!(f, "/{}", self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Platform {
    type Err = Error;

    /// `os`, `architecture`, `os/architecture` or `os/architecture/variant`; `local` is the host. The system may be
    /// followed by its version and features in parentheses.
    fn from_str(text: &str) -> Result<Platform, Error> {
        let invalid = || Error::Platform(text.to_owned());
        let mut parts: Vec<&str> = text.trim().split('/').collect();
        let (os, options) = parts[0]
            .split_once('(')
            .map_or((parts[0], None), |(os, rest)| (os, Some(rest)));
        parts[0] = os;
        if !is_word(parts[0], b"_-") {
            return Err(invalid());
        }
        if let Some(part) = parts.iter().find(|part| !is_word(part, b"_.-")) {
            return Err(Error::PlatformComponent {
                component: (*part).to_owned(),
                text: text.to_owned(),
            });
        }
        let host = Platform::host();
        let mut platform = match parts[..] {
            ["local"] if options.is_none() => host,
            [one] if SYSTEMS.contains(&one.to_ascii_lowercase().as_str()) => {
                Platform::normalized(one, &host.architecture, host.variant.as_deref())
            }
            [one] => {
                let platform = Platform::normalized(&host.os, one, None);
                let is_known = ARCHITECTURES.contains(&platform.architecture.as_str());
                is_known.then_some(platform).ok_or_else(invalid)?
            }
            [os, architecture] => Platform::normalized(os, architecture, None),
            [os, architecture, variant] => Platform::normalized(os, architecture, Some(variant)),
            _ => return Err(invalid()),
        };
        if let Some(options) = options {
            let options = options.strip_suffix(')').ok_or_else(invalid)?;
            let mut options = options.split('+');
            let version = options.next().unwrap_or_default();
            let features: Vec<String> = options.map(str::to_owned).collect();
            let is_valid =
                (version.is_empty() || is_word(version, b"_.-")) && features.iter().all(|f| is_word(f, b"_.-"));
            if !is_valid {
                return Err(invalid());
            }
            platform.os_version = Some(version.to_owned()).filter(|version| !version.is_empty());
            platform.os_features = features;
            platform.os_features.sort();
        }
        Ok(platform)
    }
}

/// Names that alone mean a system.
const SYSTEMS: [&str; 14] = [
    "aix",
    "android",
    "darwin",
    "dragonfly",
    "freebsd",
    "illumos",
    "ios",
    "linux",
    "macos",
    "netbsd",
    "openbsd",
    "plan9",
    "solaris",
    "windows",
];

/// Names that alone mean an architecture.
const ARCHITECTURES: [&str; 20] = [
    "386", "amd64", "arm", "arm64", "arm64be", "armbe", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc",
    "ppc64", "ppc64le", "riscv", "riscv64", "s390", "s390x", "sparc64", "wasm",
];

fn is_word(text: &str, others: &[u8]) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || others.contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_are_brought_into_one() {
        for (given, meant) in [
            ("linux/x86_64", "linux/amd64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/armhf", "linux/arm/v7"),
            ("arm64", "linux/arm64"),
            ("LINUX/AMD64", "linux/amd64"),
            ("windows(10.0.1)/x86_64", "windows(10.0.1)/amd64"),
            ("windows(10.0.1+b+a)/amd64", "windows(10.0.1+a+b)/amd64"),
            ("linux(+f)/arm64/v9", "linux(+f)/arm64/v9"),
        ] {
            assert_eq!(given.parse::<Platform>().unwrap().to_string(), meant);
        }
        for wrong in [
            "linux//",
            "a/b/c/d",
            "foo",
            "",
            "windows(1/amd64",
            "windows()x/amd64",
            "windows(a b)/amd64",
        ] {
            assert!(wrong.parse::<Platform>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_lower_variant_runs_but_a_higher_one_does_not() {
        let wanted: Platform = "linux/arm/v7".parse().unwrap();
        let preference = |offered: &str| wanted.preference(&offered.parse().unwrap());
        assert!(preference("linux/arm/v7") > preference("linux/arm/v6"));
        assert!(preference("linux/arm/v6").is_some());
        assert!(preference("linux/arm/v8").is_none());
        assert!(preference("linux/arm64").is_none());
    }

    #[test]
    fn windows_runs_images_of_its_own_build() {
        for (wanted, offered, suits) in [
            ("windows(10.0.1.2)/amd64", "windows(10.0.1.9)/amd64", true),
            ("windows(10.0.1)/amd64", "windows(10.0.2)/amd64", false),
            ("windows/amd64", "windows(10.0.2)/amd64", true),
            ("linux(1)/amd64", "linux(2)/amd64", true),
        ] {
            let [wanted, offered]: [Platform; 2] = [wanted, offered].map(|text| text.parse().unwrap());
            assert_eq!(wanted.preference(&offered).is_some(), suits, "{wanted} {offered}");
        }
    }
}
