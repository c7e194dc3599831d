//! Whole ways through the crate: text and options in, plan or error out.

#![allow(clippy::unwrap_used, reason = "a test says what is wrong by failing")]
#![allow(clippy::print_stderr, reason = "a test that is skipped says so")]
#![allow(clippy::result_large_err, reason = "the error is the one under test")]

mod cross_check;
mod dependence;
mod errors;
mod golden;
mod hostile;
mod images;
mod plans;
mod platforms;
mod rules;
mod triggers;
mod vectors;
