//! rbuild
fn main() {}
