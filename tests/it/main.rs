//! Whole-program tests: the binary is run as a user runs it, on real base images, and what it printed and made is looked at.
//!
//! They take from the environment, as `scripts/test` sets it:
//! `RBUILD_TEST_BASES` the folder of `scripts/make-bases`; `RBUILD_TEST_CA` a bundle of certificates for steps that reach
//! the network; `RBUILD_TEST_USER` an ordinary user to run as too; `RBUILD_TEST_USER_WITHOUT_RANGE` one to whom no ids are lent; `RBUILD_TEST_SCRATCH` a folder for stores.
//! What cannot run says `skipped: needs …` on stderr.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "these are tests, though not all code of them is in one"
)]

mod cache_failures;
mod caches;
mod check;
mod ci;
mod concurrency;
mod container;
mod crash;
mod determinism;
mod disk;
mod doctor;
mod errors;
mod examples;
mod github_cache;
mod helpers;
mod hostile;
mod interrupt;
mod isolation;
mod keys;
mod language;
mod local;
mod memory;
mod merge;
mod mounts;
mod own_image;
mod plain;
mod platforms;
mod progress;
mod proxy;
mod push;
mod registries;
mod registry;
mod remote;
mod remote_caches;
mod remote_storage;
mod runc;
mod single_id;
mod support;
mod tls;
mod token_server;
mod trace;
