//! The JSON form of CMD: a list of strings to another reader of JSON is the same list here, and never a shell's text.

use frontend::{Findings, Options};
use futures_util::FutureExt;

use super::dockerfile::Images;

/// Plans an image with the command.
pub fn run(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    // What the lines of a Dockerfile mean before JSON comes in.
    if text.contains(['\n', '\r']) || text.trim() != text || text.ends_with('\\') {
        return;
    }
    let dockerfile = format!("FROM scratch\nCMD {text}\n");
    let options = Options::new("linux/amd64".parse().expect("a platform"));
    let planned = frontend::plan(dockerfile.as_bytes(), &options, &Images, &Findings::new()).now_or_never();
    let planned = planned.expect("nobody is waited for");
    if let Ok(words) = serde_json::from_str::<Vec<String>>(text)
        && !words.is_empty()
    {
        let plan = planned.expect("a list of words is a command");
        assert_eq!(plan.images[0].config.config.cmd, Some(words), "{text}");
    }
}
