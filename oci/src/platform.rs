//! Platforms: for which system and processor an image is.

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
            os_version: None,
            variant,
        }
    }

    /// How well an image for `offered` runs where `self` is wanted: `None` not at all, else greater is better.
    #[must_use]
    pub fn preference(&self, offered: &Platform) -> Option<u32> {
        let offered = Platform::normalized(&offered.os, &offered.architecture, offered.variant.as_deref());
        if offered.os != self.os || offered.architecture != self.architecture {
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

impl From<&oci_spec::image::Platform> for Platform {
    fn from(foreign: &oci_spec::image::Platform) -> Platform {
        let mut platform = Platform::normalized(
            &foreign.os().to_string(),
            &foreign.architecture().to_string(),
            foreign.variant().as_deref(),
        );
        platform.os_version.clone_from(foreign.os_version());
        platform
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Platform {
    type Err = Error;

    /// `os`, `architecture`, `os/architecture` or `os/architecture/variant`; `local` is the host.
    fn from_str(text: &str) -> Result<Platform, Error> {
        let parts: Vec<&str> = text.trim().split('/').collect();
        let word = |part: &&str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
        };
        if !parts.iter().all(word) {
            return Err(Error::Platform(text.to_owned()));
        }
        let host = Platform::host();
        match parts[..] {
            ["local"] => Ok(host),
            [one] if matches!(one, "linux" | "windows" | "darwin" | "freebsd" | "macos") => {
                Ok(Platform::normalized(one, &host.architecture, host.variant.as_deref()))
            }
            [one] => Ok(Platform::normalized(&host.os, one, None)),
            [os, architecture] => Ok(Platform::normalized(os, architecture, None)),
            [os, architecture, variant] => Ok(Platform::normalized(os, architecture, Some(variant))),
            _ => Err(Error::Platform(text.to_owned())),
        }
    }
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
        ] {
            assert_eq!(given.parse::<Platform>().unwrap().to_string(), meant);
        }
        assert!("linux//".parse::<Platform>().is_err());
        assert!("a/b/c/d".parse::<Platform>().is_err());
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
}
