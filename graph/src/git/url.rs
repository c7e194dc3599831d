//! The parts of an address: what is before the query and the fragment, and these, decoded.

/// An address in parts.
pub(super) struct Parts {
    pub(super) remote: String,
    pub(super) query: Vec<(String, String)>,
    pub(super) fragment: String,
    pub(super) may_be_path: bool,
}

/// Splits an address of a repository; `None` for text that is none.
pub(super) fn split(text: &str) -> Option<Parts> {
    if text.starts_with("./") || text.starts_with("../") {
        return None;
    }
    if text.starts_with("github.com/") {
        return Some(parts(text, true, true));
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        return split_short(text);
    };
    match scheme.to_ascii_lowercase().as_str() {
        "git" | "ssh" => {}
        // Of what a web server has, only this is a repository.
        "http" | "https" => {
            let path = rest.split(['#', '?']).next().unwrap_or_default();
            let (_, path) = path.split_once('/')?;
            if !path.ends_with(".git") {
                return None;
            }
        }
        _ => return None,
    }
    Some(parts(text, true, false))
}

/// `user@host:path`, as ssh and git write it.
fn split_short(text: &str) -> Option<Parts> {
    let (user, rest) = text.split_once('@')?;
    let (host, _) = rest.split_once(':')?;
    let letter = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
    let is_user = !user.is_empty() && user.chars().all(|c| letter(c) || c == '_');
    let is_host = !host.is_empty() && host.chars().all(|c| letter(c) || c == '.');
    (is_user && is_host).then(|| parts(text, false, false))
}

fn parts(text: &str, encoded: bool, may_be_path: bool) -> Parts {
    let (text, fragment) = text.split_once('#').unwrap_or((text, ""));
    let (remote, query) = text.split_once('?').unwrap_or((text, ""));
    let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(key, true), decode(value, true))
    });
    Parts {
        remote: lower_scheme(remote),
        query: pairs.collect(),
        fragment: match encoded {
            true => decode(fragment, false),
            false => fragment.to_owned(),
        },
        may_be_path,
    }
}

fn lower_scheme(remote: &str) -> String {
    match remote.split_once("://") {
        Some((scheme, rest)) => format!("{}://{rest}", scheme.to_ascii_lowercase()),
        None => remote.to_owned(),
    }
}

/// Text with `%41` for `A`, and in queries `+` for a blank. What is no such code stays.
pub(super) fn decode(text: &str, is_query: bool) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = bytes.get(at + 1..at + 3).and_then(|digits| str::from_utf8(digits).ok());
        let code = code.filter(|_| bytes[at] == b'%');
        match code.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                decoded.push(byte);
                at += 3;
            }
            None => {
                decoded.push(if is_query && bytes[at] == b'+' { b' ' } else { bytes[at] });
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}
