//! Manifests, as any server may send them: what is read is written and read again as the same. The first line is the
//! media type that the server claims.

use oci::ManifestKind;

/// Reads a manifest or an index, writes it, and reads that.
pub fn run(bytes: &[u8]) {
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let (claimed, document) = (&bytes[..end], &bytes[(end + 1).min(bytes.len())..]);
    let Ok(read) = ManifestKind::parse(&String::from_utf8_lossy(claimed), document) else {
        return;
    };
    let (media_type, written) = match &read {
        ManifestKind::Manifest(manifest) => (&manifest.media_type, manifest.to_bytes()),
        ManifestKind::Index(index) => (&index.media_type, index.to_bytes()),
    };
    let again = ManifestKind::parse(media_type, &written).expect("what we write can be read");
    assert_eq!(again, read);
}
