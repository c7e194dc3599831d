//! Whole ways through the crate: text and options in, plan or error out.

mod cross_check;
mod errors;
mod golden;
mod images;
mod plans;
mod vectors;
