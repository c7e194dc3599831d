//! How much work the words of one Dockerfile may be, all together.
//!
//! Values are made of values, so a few lines can ask for more memory than there is. What is counted is what is read of
//! variables and what is made of them; what is written in the Dockerfile is free.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Reason;

/// In bytes. A Dockerfile of a thousand lines with a thousand bytes of values in each needs a sixty-fourth of it.
pub(crate) const ALLOWANCE: u64 = 64 << 20;

/// What is left. Copies have it together.
#[derive(Clone, Debug)]
pub(crate) struct Allowance(Arc<AtomicU64>);

impl Allowance {
    pub(crate) fn new() -> Allowance {
        Allowance(Arc::new(AtomicU64::new(ALLOWANCE)))
    }

    /// Takes `bytes` of it.
    ///
    /// # Errors
    /// [`Reason::TooMuch`] if there are not so many.
    pub(crate) fn take(&self, bytes: usize) -> Result<(), Reason> {
        let less = |left: u64| left.checked_sub(bytes as u64);
        match self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less) {
            Ok(_) => Ok(()),
            Err(_) => Err(Reason::TooMuch(ALLOWANCE)),
        }
    }
}
