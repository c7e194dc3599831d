//! What survives: rbuild is killed, and made to fail, in the middle of all it does; then the same build gives what an
//! undisturbed one gives, `debug fsck` finds nothing, and nothing is left running, mounted or lying about.
//!
//! The instants are drawn from a seed, which is printed. `RBUILD_TEST_KILLS` and `RBUILD_TEST_FAULTS` say how many, and
//! `RBUILD_TEST_SEED` which; without them these tests are skipped. `docs/testing.md` tells more.

mod draw;
mod faults;
mod kills;
mod leftovers;
mod site;
mod strace;
