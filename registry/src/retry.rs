//! When to ask again: after server errors, `Too Many Requests` and broken connections, a few times, waiting longer
//! each time, and never the same time as others. What the registry refuses for a reason, and an answer that breaks the
//! rules, is not asked for twice.

use std::fmt;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;

use crate::error::{Error, Hope};

const TRIES: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(400);
/// A registry that wants us to wait longer is taken at its word: the request fails.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// All pauses of one operation that gets nowhere.
const LONGEST_IN_ALL: Duration = Duration::from_secs(150);
/// A pause of that length is told of every time, and not only when it is the first.
const LONG: Duration = Duration::from_secs(5);
/// By so much a pause is longer at most, so that those who were refused together do not come back together.
const MOST_SPREAD: Duration = Duration::from_secs(1);

/// How the request stands to those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contact {
    /// The first one: a host that does not answer is most likely the wrong one.
    First,
    /// The host answered before: if it does not now, it will soon.
    Established,
}

/// Is told, in a sentence, when something is asked for again and why.
#[derive(Clone)]
pub struct Listener(Arc<dyn Fn(&str) + Send + Sync>);

impl Listener {
    /// Passes each sentence to `hear`.
    #[must_use]
    pub fn new(hear: impl Fn(&str) + Send + Sync + 'static) -> Listener {
        Listener(Arc::new(hear))
    }

    pub(crate) fn tell(&self, sentence: &str) {
        (self.0)(sentence);
    }
}

impl Default for Listener {
    /// Nobody listens.
    fn default() -> Listener {
        Listener::new(|_| {})
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listener")
    }
}

/// Counts the tries of one operation.
#[derive(Debug)]
pub(crate) struct Tries {
    contact: Contact,
    failed: u32,
    most: u32,
    waited: Duration,
    listener: Listener,
    /// Why, when that was told last: other causes are told of, too.
    told: String,
}

impl Tries {
    pub(crate) fn new(contact: Contact, listener: &Listener) -> Tries {
        Tries {
            contact,
            failed: 0,
            most: TRIES,
            waited: Duration::ZERO,
            listener: listener.clone(),
            told: String::new(),
        }
    }

    /// The same, of which there are no more than `most`.
    pub(crate) fn at_most(self, most: u32) -> Tries {
        Tries { most, ..self }
    }

    /// Starts counting anew: there was progress.
    pub(crate) fn forgive(&mut self) {
        (self.failed, self.waited) = (0, Duration::ZERO);
    }

    /// Waits for the next try, or gives the error back if there should be none.
    pub(crate) async fn again(&mut self, error: Error) -> Result<(), Error> {
        self.failed += 1;
        if self.failed >= self.most {
            return Err(error);
        }
        let Some(pause) = pause(&error, self.contact, self.failed).map(|pause| pause + spread(pause, random())) else {
            return Err(taken_at_its_word(error));
        };
        if self.waited + pause > LONGEST_IN_ALL {
            return Err(error);
        }
        let what = error.to_string();
        // An upload that is begun anew is another request, but fails of the same.
        let cause = what.split_once(": ").map_or(&*what, |(_, cause)| cause);
        if self.failed == 1 || pause >= LONG || cause != self.told {
            let seconds = pause.as_secs_f64();
            self.listener.tell(&format!("{what}; trying again in {seconds:.1} s"));
            cause.clone_into(&mut self.told);
        }
        self.waited += pause;
        tokio::time::sleep(pause).await;
        Ok(())
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

/// What a pause is longer by; `part` is between 0 and 1.
fn spread(pause: Duration, part: f64) -> Duration {
    (pause / 4).min(MOST_SPREAD).mul_f64(part)
}

/// Between 0 and 1: the standard library seeds each of these anew.
fn random() -> f64 {
    f64::from((RandomState::new().build_hasher().finish() >> 32) as u32) / f64::from(u32::MAX)
}

/// Says so of a registry that asks for more patience than there is.
fn taken_at_its_word(error: Error) -> Error {
    match error {
        Error::Status {
            request,
            status,
            said,
            retry_after: Some(after),
        } if after > LONGEST_PAUSE => Error::Status {
            request,
            status,
            said: format!(
                "{said}; it wants to be asked again in {} seconds, and {} are waited at most",
                after.as_secs(),
                LONGEST_PAUSE.as_secs()
            ),
            retry_after: Some(after),
        },
        other => other,
    }
}

/// The value of `Retry-After`: seconds, or [a date](https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3).
pub(crate) fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = DateTimeParser::new().parse_timestamp(text).ok()?;
    // What is past is now.
    Some(Duration::try_from(date.duration_since(now)).unwrap_or_default())
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
        let malformed = || Error::Answer {
            request: String::new(),
            detail: String::new(),
        };
        for (error, contact, failed, expected) in [
            (status(503, None), Contact::First, 1, millis(400)),
            (status(503, None), Contact::First, 3, millis(1600)),
            (status(503, None), Contact::First, 5, None),
            (status(429, Some(7)), Contact::Established, 1, millis(7000)),
            (status(429, Some(3600)), Contact::Established, 1, None),
            (status(400, None), Contact::Established, 1, None),
            (status(501, None), Contact::Established, 1, None),
            (unreachable(), Contact::First, 1, None),
            (unreachable(), Contact::Established, 2, millis(800)),
            (malformed(), Contact::Established, 1, None),
            (Error::Denied(String::new()), Contact::Established, 1, None),
        ] {
            assert_eq!(
                pause(&error, contact, failed),
                expected,
                "{error:?} {contact:?} {failed}"
            );
        }
    }

    #[test]
    fn a_pause_is_a_little_longer_by_chance_and_never_shorter() {
        let spreads = |millis, part| spread(Duration::from_millis(millis), part).as_millis();
        assert_eq!(spreads(400, 0.0), 0);
        assert_eq!(spreads(400, 1.0), 100);
        assert_eq!(spreads(60_000, 1.0), 1000);
        assert!((0.0..=1.0).contains(&random()));
    }

    #[test]
    fn the_time_to_wait_is_in_seconds_or_until_a_date() {
        let now = "1994-11-06T08:49:37Z".parse().unwrap();
        for (text, expected) in [
            ("7", Some(7)),
            (" 0 ", Some(0)),
            ("Sun, 06 Nov 1994 08:49:59 GMT", Some(22)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
            ("", None),
        ] {
            assert_eq!(retry_after(text, now), expected.map(Duration::from_secs), "{text:?}");
        }
    }

    #[tokio::test]
    async fn a_registry_that_wants_us_to_wait_for_long_is_quoted() {
        let mut tries = Tries::new(Contact::Established, &Listener::default());
        let error = tries.again(status(429, Some(3600))).await.unwrap_err();
        let expected = "asked again in 3600 seconds, and 60 are waited at most";
        assert!(error.to_string().ends_with(expected), "{error}");
    }
}
