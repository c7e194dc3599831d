//! When to ask again: after server errors, `Too Many Requests` and broken connections, a few times, waiting longer
//! each time. What the registry refuses for a reason is not asked twice.

use std::time::Duration;

use crate::error::{Error, Hope};

const TRIES: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(400);
/// A registry that wants us to wait longer is taken at its word: the request fails.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How the request stands to those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contact {
    /// The first one: a host that does not answer is most likely the wrong one.
    First,
    /// The host answered before: if it does not now, it will soon.
    Established,
}

/// Counts the tries of one operation.
#[derive(Debug)]
pub(crate) struct Tries {
    contact: Contact,
    failed: u32,
}

impl Tries {
    pub(crate) fn new(contact: Contact) -> Tries {
        Tries { contact, failed: 0 }
    }

    /// Starts counting anew: there was progress.
    pub(crate) fn forgive(&mut self) {
        self.failed = 0;
    }

    /// Waits for the next try, or gives the error back if there should be none.
    pub(crate) async fn again(&mut self, error: Error) -> Result<(), Error> {
        self.failed += 1;
        match pause(&error, self.contact, self.failed) {
            Some(pause) => {
                tokio::time::sleep(pause).await;
                Ok(())
            }
            None => Err(error),
        }
    }
}

/// How long to wait after the `failed`-th failure; `None` to give up.
fn pause(error: &Error, contact: Contact, failed: u32) -> Option<Duration> {
    let asked_for = match (error.hope(), contact) {
        (Hope::None, _) | (Hope::IfItWasThere, Contact::First) => return None,
        (Hope::IfItWasThere, Contact::Established) => None,
        (Hope::After(pause), _) => pause,
    };
    let pause = asked_for.unwrap_or(FIRST_PAUSE * 2_u32.pow(failed.min(10) - 1));
    (failed < TRIES && pause <= LONGEST_PAUSE).then_some(pause)
}

#[cfg(test)]
mod tests {
    use reqwest::StatusCode;

    use super::*;

    fn status(status: u16, retry_after: Option<u64>) -> Error {
        Error::Status {
            request: String::new(),
            status: StatusCode::from_u16(status).unwrap(),
            said: String::new(),
            retry_after: retry_after.map(Duration::from_secs),
        }
    }

    #[test]
    fn what_may_pass_is_retried_and_what_will_not_is_not() {
        let millis = |number| Some(Duration::from_millis(number));
        let unreachable = || Error::Unreachable(String::new());
        for (error, contact, failed, expected) in [
            (status(503, None), Contact::First, 1, millis(400)),
            (status(503, None), Contact::First, 3, millis(1600)),
            (status(503, None), Contact::First, 5, None),
            (status(429, Some(7)), Contact::Established, 1, millis(7000)),
            (status(429, Some(3600)), Contact::Established, 1, None),
            (status(400, None), Contact::Established, 1, None),
            (unreachable(), Contact::First, 1, None),
            (unreachable(), Contact::Established, 2, millis(800)),
            (Error::Denied(String::new()), Contact::Established, 1, None),
        ] {
            assert_eq!(
                pause(&error, contact, failed),
                expected,
                "{error:?} {contact:?} {failed}"
            );
        }
    }
}
