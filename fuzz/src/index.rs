//! Indexes: whatever platform is asked for, what is selected is one of the manifests listed, and the same each time; the
//! platforms listed are written and read again as the same.

use oci::{Index, ManifestKind, Platform, media_type};

/// Selects for some platforms.
pub fn run(bytes: &[u8]) {
    let Ok(ManifestKind::Index(index)) = ManifestKind::parse(media_type::INDEX, bytes) else {
        return;
    };
    let again = ManifestKind::parse(media_type::INDEX, &index.to_bytes()).expect("what we write can be read");
    assert_eq!(again, ManifestKind::Index(index.clone()));
    for name in [
        "linux/amd64",
        "linux/arm/v7",
        "linux/arm64",
        "windows(10.0.1)/amd64",
        "linux/amd64/v3",
    ] {
        select(&index, &name.parse().expect("a platform"));
    }
    for platform in index.manifests.iter().filter_map(|entry| entry.platform.as_ref()) {
        select(&index, platform);
        if let Ok(read) = platform.to_string().parse::<Platform>() {
            assert_eq!(
                read.to_string().parse::<Platform>().expect("what we write can be read"),
                read
            );
        }
    }
}

fn select(index: &Index, platform: &Platform) {
    match index.select(platform) {
        Ok(selected) => {
            assert!(index.manifests.contains(&selected));
            assert!(
                selected
                    .platform
                    .as_ref()
                    .is_none_or(|found| platform.preference(found).is_some())
            );
        }
        Err(error) => assert!(error.to_string().contains("no manifest for platform"), "{error}"),
    }
}
