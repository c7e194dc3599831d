//! A second opinion on exported images: unpacked by umoci, run by runc.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{has, run, skipped};

/// An unpacked image, ready for runc.
#[derive(Debug)]
pub(crate) struct Bundle(PathBuf);

impl Bundle {
    /// From an OCI archive; nothing (and a word on stderr) where root, umoci or runc is missing.
    pub(crate) fn unpack(archive: &Path, folder: &Path) -> Option<Bundle> {
        if !rustix::process::geteuid().is_root() || !has("umoci") || !has("runc") {
            return skipped("root, umoci and runc");
        }
        let layout = folder.join("layout");
        fs::create_dir_all(&layout).unwrap();
        run(Command::new("tar").arg("-xf").arg(archive).arg("-C").arg(&layout));
        let bundle = folder.join("bundle");
        run(Command::new("umoci")
            .arg("unpack")
            .arg(format!("--image={}:latest", layout.display()))
            .arg(&bundle));
        Some(Bundle(bundle))
    }

    /// What the image's own command (or other arguments) prints.
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        let path = self.0.join("config.json");
        let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        config["process"]["terminal"] = json!(false);
        if !arguments.is_empty() {
            config["process"]["args"] = json!(arguments);
        }
        fs::write(&path, config.to_string()).unwrap();
        let name = format!("rbuild-it-{}-{}", std::process::id(), self.0.display()).replace('/', "-");
        let state = self.0.join("state");
        run(Command::new("runc")
            .arg("--root")
            .arg(state)
            .args(["run", "--bundle"])
            .arg(&self.0)
            .arg(name))
    }
}
