//! Addresses of git repositories: none that the program `git` could take for an option or a command, no directory that
//! leads out of the repository; written in its longest form an address is the same.

use graph::git::GitAddress;

/// Reads an address.
pub fn run(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let Ok(Some(address)) = GitAddress::parse(text) else {
        return;
    };
    let source = address.source();
    assert!(!source.remote.starts_with('-') && !source.remote.contains(char::is_control));
    assert!(
        source
            .reference
            .as_deref()
            .is_none_or(|name| !name.is_empty() && !name.starts_with('-'))
    );
    let inside = |name: &str| !matches!(name, "" | "." | "..");
    assert!(source.subdirectory.is_empty() || source.subdirectory.split('/').all(inside));
    let scheme = source.remote.split_once("://").map(|(scheme, _)| scheme);
    assert!(
        matches!(scheme, None | Some("git" | "ssh" | "http" | "https")),
        "{scheme:?}"
    );
    let word = |letter: char| letter.is_ascii_alphanumeric() || "+-.".contains(letter);
    let after = source.remote.trim_start_matches(word);
    assert!(
        !after.starts_with("::"),
        "git would look for a helper: {}",
        source.remote
    );
    let mut query = Vec::new();
    let mut put = |key: &str, value: &str| query.push(format!("{key}={}", encoded(value)));
    if let Some(reference) = &address.reference {
        put("ref", reference);
    }
    if !address.subdirectory.is_empty() {
        put("subdir", &address.subdirectory);
    }
    if let Some(checksum) = &address.checksum {
        put("checksum", checksum);
    }
    for (key, value) in [
        ("keep-git-dir", address.keep_git_dir),
        ("submodules", address.submodules),
    ] {
        if let Some(value) = value {
            put(key, &value.to_string());
        }
    }
    put("fetch-by-commit", &address.fetch_by_commit.to_string());
    put("mtime", if address.checkout_times { "checkout" } else { "commit" });
    let written = format!("{}?{}", address.remote, query.join("&"));
    assert_eq!(GitAddress::parse(&written), Ok(Some(address)), "{written}");
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}
