//! Waiting for others on the same store, and saying so: for whom, once.

use std::time::Duration;

use cache::{Attempt, CacheKey, KeyLock, Store, User};
use sandbox::Cancel;

use crate::{Step, StepError};

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(20);

/// A step that may have to wait for somebody.
pub(crate) struct Waiting<'a> {
    step: &'a Step,
    cancel: &'a Cancel,
    told: bool,
}

impl<'a> Waiting<'a> {
    pub(crate) fn new(step: &'a Step, cancel: &'a Cancel) -> Waiting<'a> {
        let told = false;
        Waiting { step, cancel, told }
    }

    /// Says that the step waits for `user`, who does `what`, unless it has been said; gives how long to wait until the next try.
    pub(crate) fn pause(&mut self, user: &User, what: &str) -> Result<Duration, StepError> {
        if self.cancel.is_cancelled() {
            return Err(StepError::Cancelled);
        }
        if !self.told {
            self.step.note(format!("waiting for {}, which {what}", named(user)));
            self.told = true;
        }
        Ok(PAUSE)
    }
}

/// Takes the lock of `key` as soon as nobody has it, on a thread that may block.
pub(crate) fn lock(store: &Store, key: &CacheKey, what: &str, mut waiting: Waiting<'_>) -> Result<KeyLock, StepError> {
    loop {
        match store.try_lock(key, waiting.step.name())? {
            Attempt::Locked(lock) => return Ok(lock),
            Attempt::HeldBy(user) => std::thread::sleep(waiting.pause(&user, what)?),
        }
    }
}

/// Takes the lock of `key` as soon as nobody has it.
pub(crate) async fn lock_later(
    store: &Store,
    key: &CacheKey,
    what: &str,
    mut waiting: Waiting<'_>,
) -> Result<KeyLock, StepError> {
    loop {
        match store.try_lock(key, waiting.step.name())? {
            Attempt::Locked(lock) => return Ok(lock),
            Attempt::HeldBy(user) => tokio::time::sleep(waiting.pause(&user, what)?).await,
        }
    }
}

fn named(user: &User) -> String {
    let process = match user.process {
        0 => "another process".to_owned(),
        own if own == std::process::id() => "another step of this build".to_owned(),
        other => format!("process {other}"),
    };
    match user.about.is_empty() {
        true => process,
        false => format!("{process} (`{}`)", user.about),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_waited_for_are_named() {
        for (process, about, name) in [
            (0, "", "another process"),
            (1, "[2/4] RUN make", "process 1 (`[2/4] RUN make`)"),
            (std::process::id(), "RUN x", "another step of this build (`RUN x`)"),
        ] {
            let about = about.to_owned();
            assert_eq!(named(&User { process, about }), name);
        }
    }
}
