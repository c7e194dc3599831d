//! How long is waited for somebody who says nothing at all. Whoever answers, whatever the answer, has all the time that the
//! work takes.

use std::time::Duration;

/// So long nobody asks whether somebody is there: most work is done by then.
const AT_FIRST: Duration = Duration::from_millis(if cfg!(test) { 50 } else { 10_000 });
/// And so long an answer may take.
const THEN: Duration = AT_FIRST;

/// Somebody said nothing for so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it has said nothing for {} seconds", (AT_FIRST + THEN).as_secs())]
pub(crate) struct Silent;

/// What comes of `work`, unless it takes long and even the small question of `sign` gets no answer.
///
/// # Errors
/// [`Silent`].
pub(crate) async fn unless_silent<T>(
    work: impl Future<Output = T>,
    sign: impl Future<Output = ()>,
) -> Result<T, Silent> {
    let silence = async {
        tokio::time::sleep(AT_FIRST).await;
        if tokio::time::timeout(THEN, sign).await.is_ok() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        done = work => Ok(done),
        () = silence => Err(Silent),
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use tokio::time::sleep;

    use super::*;

    #[tokio::test]
    async fn only_who_says_nothing_is_not_waited_for() {
        let slow = || sleep(4 * (AT_FIRST + THEN));
        assert_eq!(unless_silent(slow(), pending()).await, Err(Silent));
        assert_eq!(unless_silent(slow(), ready(())).await, Ok(()));
        assert_eq!(unless_silent(ready(()), pending()).await, Ok(()));
    }
}
