//! Dockerfiles and what becomes of them: `testdata/dockerfiles/<case>/{Dockerfile,expected}`. With `RBUILD_BLESS=1` in
//! the environment the expectations are written anew.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::images::{options, plan_with};

fn dump(text: &str) -> String {
    let plan = match plan_with(text, &options()) {
        Ok(plan) => plan,
        Err(error) => return format!("error: {error}\n"),
    };
    let mut dump = graph::dump::definition(&plan.definition);
    for (_, vertex) in plan.definition.iter() {
        writeln!(dump, "{}", vertex.metadata.name).unwrap();
    }
    let config: serde_json::Value = serde_json::from_slice(&plan.images[0].config.to_bytes()).unwrap();
    writeln!(dump, "{}", serde_json::to_string_pretty(&config).unwrap()).unwrap();
    dump
}

#[test]
fn plans_are_as_expected() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/dockerfiles");
    let bless = std::env::var_os("RBUILD_BLESS").is_some();
    let mut count = 0;
    for entry in fs::read_dir(&root).unwrap() {
        let folder = entry.unwrap().path();
        let text = fs::read_to_string(folder.join("Dockerfile")).unwrap();
        let dump = dump(&text);
        let expected = folder.join("expected");
        if bless {
            fs::write(&expected, &dump).unwrap();
        }
        assert_eq!(dump, fs::read_to_string(&expected).unwrap(), "{}", folder.display());
        count += 1;
    }
    assert!(count > 0);
}
