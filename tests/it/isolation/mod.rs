//! Steps that attack the machine they are built on: what each gets is what `docs/isolation.md` says.
//!
//! `attacks` runs the program of `testdata/attacks`, in which every attack is a function that tells one verdict; the table
//! of the document is what the verdicts are compared with, so it cannot say what is not so. The other modules are attacks
//! that take several steps, or need somebody outside to look.

mod attacks;
mod descriptors;
mod lifetime;
mod limits;
mod links;
mod neighbours;
mod plain;
mod table;
