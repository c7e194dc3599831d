//! Names of images: those that docker's grammar has, as regular expressions, and no others; each is written and read
//! again as the same, in its long form and in its short one.

use std::sync::LazyLock;

use oci::Reference;
use regex::Regex;

/// Reads a name, and a place of a layout.
pub fn run(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    if let Ok((path, tag, _)) = oci::layout::parse_location(text) {
        assert!(!path.as_os_str().is_empty() && tag.as_deref() != Some(""));
    }
    let read = text.parse::<Reference>();
    if let Ok(name) = &read {
        let [long, short] = [name.to_string(), name.familiar()].map(|text| text.parse::<Reference>());
        assert_eq!(&long.expect("the long form is a name"), name);
        assert_eq!(&short.expect("the short form is a name"), name);
        let good = |byte: u8| byte.is_ascii_graphic() && !b"\\?#%\"'".contains(&byte);
        assert!(name.to_string().bytes().all(good), "{name}");
    }
    // What the two differ in by intent: digests other than SHA-256, addresses that are none, and the very longest.
    if text.len() < 200 && !text.contains(['@', '[']) {
        assert_eq!(read.is_ok(), is_name(text), "{text:?}: {read:?}");
    }
}

static NAME: LazyLock<Regex> = LazyLock::new(|| {
    let label = "(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])";
    let component = r"[a-z0-9]+(?:(?:[._]|__|[-]+)[a-z0-9]+)*";
    let domain = format!(r"{label}(?:\.{label})*(?::[0-9]+)?");
    let tag = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}";
    let name = format!(r"^(?:{domain}/)?{component}(?:/{component})*(?::{tag})?$");
    Regex::new(&name).expect("an expression")
});

/// Docker's rule: what is before the first slash is a host if it looks like one.
fn is_name(text: &str) -> bool {
    let (host, rest) = match text.split_once('/') {
        Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" || host.to_lowercase() != host => {
            (host, rest.to_owned())
        }
        _ => ("docker.io", text.to_owned()),
    };
    let host = if host == "index.docker.io" { "docker.io" } else { host };
    let rest = if host == "docker.io" && !rest.contains('/') {
        format!("library/{rest}")
    } else {
        rest
    };
    NAME.is_match(&format!("{host}/{rest}"))
}
