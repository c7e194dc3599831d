//! What pipelines rely on: exit codes that say whose failure it is, limits on time, an end in time, a log that their service
//! can fold, results for later steps, certificates of their own.

mod bare;
mod certificates;
mod codes;
mod ending;
mod files;
mod service;
