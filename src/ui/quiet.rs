//! No progress at all.

use std::io;
use std::time::Duration;

use solver::Event;

use super::Display;
use super::steps::Steps;

/// Shows nothing; failures are still collected and told at the end.
pub(crate) struct Quiet;

impl Display for Quiet {
    fn take(&mut self, _: Duration, _: &Event, _: &Steps) {}

    fn refresh(&mut self, _: Duration, _: &Steps) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self, _: Duration, _: &Steps) -> io::Result<()> {
        Ok(())
    }
}
