//! Image configurations: what is read is written and read again as the same.

use oci::ImageConfig;

/// Reads, writes and reads.
pub fn run(bytes: &[u8]) {
    let Ok(config) = ImageConfig::parse(bytes) else { return };
    let written = config.to_bytes();
    let again = ImageConfig::parse(&written).expect("what we write can be read");
    assert_eq!(again, config);
    assert_eq!(again.to_bytes(), written);
    let platform = config.platform();
    assert_eq!(
        platform.preference(&platform).is_some(),
        config.platform().preference(&platform).is_some()
    );
}
