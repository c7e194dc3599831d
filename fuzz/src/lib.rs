//! What rbuild does with bytes of strangers, one function a target: bytes in, and a panic if something happened that may
//! not. Programs that find such bytes are in `fuzz_targets`.
//!
//! A target says more than "no crash" where it can: what is read and written again is the same, a slow and simple
//! second reader agrees, nothing outside of a directory has changed, no more comes out than went in.
//!
//! `tests/seeds.rs` of the main package has these functions as a module, so that they are tried with every change.
#![forbid(unsafe_code)]

pub mod archive;
pub mod challenge;
pub mod config;
pub mod credentials;
pub mod dockerfile;
pub mod git;
pub mod headers;
pub mod ignore;
pub mod index;
pub mod json;
pub mod layer;
pub mod layout;
pub mod manifest;
pub mod mount;
pub mod output;
pub mod records;
pub mod reference;
pub mod tar;
pub mod users;
pub mod words;

mod blocks;
mod outside;

/// The name of a target, and what is done with bytes.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 20] = [
    ("archive", archive::run),
    ("challenge", challenge::run),
    ("config", config::run),
    ("credentials", credentials::run),
    ("dockerfile", dockerfile::run),
    ("git", git::run),
    ("headers", headers::run),
    ("ignore", ignore::run),
    ("index", index::run),
    ("json", json::run),
    ("layer", layer::run),
    ("layout", layout::run),
    ("manifest", manifest::run),
    ("mount", mount::run),
    ("output", output::run),
    ("records", records::run),
    ("reference", reference::run),
    ("tar", tar::run),
    ("users", users::run),
    ("words", words::run),
];
