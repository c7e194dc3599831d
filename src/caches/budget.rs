//! How long a build waits for remote caches: not how long they take, which costs nothing while something else is done.

use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Time that may be spent on waiting; `None` is as much as it takes.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: Option<Duration>,
    spent: Mutex<Spent>,
}

#[derive(Debug, Default)]
struct Spent {
    before: Duration,
    /// Since when somebody has been waiting, and how many are.
    since: Option<Instant>,
    waiting: usize,
}

impl Spent {
    fn so_far(&self) -> Duration {
        self.before + self.since.map(|since| since.elapsed()).unwrap_or_default()
    }
}

/// Somebody waits, as long as it lives.
struct Wait<'a>(&'a Budget);

impl Budget {
    pub(crate) fn of(limit: Option<Duration>) -> Budget {
        Budget {
            limit,
            spent: Mutex::default(),
        }
    }

    /// What was promised.
    pub(crate) fn limit(&self) -> Option<Duration> {
        self.limit
    }

    /// What comes of `work`, if it comes in time. Those who wait at once spend the same time.
    pub(crate) async fn within<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let _wait = self.enter();
        match self.left() {
            None => Some(work.await),
            Some(left) => tokio::time::timeout(left, work).await.ok(),
        }
    }

    /// Ends when the time is spent; it is spent while this is waited for.
    pub(crate) async fn over(&self) {
        let _: Option<()> = self.within(std::future::pending()).await;
    }

    fn left(&self) -> Option<Duration> {
        let spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner).so_far();
        self.limit.map(|limit| limit.saturating_sub(spent))
    }

    fn enter(&self) -> Wait<'_> {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        spent.waiting += 1;
        spent.since.get_or_insert_with(Instant::now);
        Wait(self)
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        let mut spent = self.0.spent.lock().unwrap_or_else(PoisonError::into_inner);
        spent.waiting -= 1;
        if spent.waiting == 0 {
            spent.before = spent.so_far();
            spent.since = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOME: Duration = Duration::from_millis(60);

    #[tokio::test]
    async fn time_is_spent_once_by_all_who_wait_and_not_between() {
        let budget = Budget::of(Some(3 * SOME));
        let nap = || budget.within(tokio::time::sleep(SOME));
        let (one, two, three) = tokio::join!(nap(), nap(), nap());
        assert!(one.is_some() && two.is_some() && three.is_some());
        tokio::time::sleep(3 * SOME).await;
        assert!(nap().await.is_some(), "nobody waited meanwhile");
        budget.over().await;
        assert!(nap().await.is_none(), "it is spent");
    }

    #[tokio::test]
    async fn without_a_limit_everything_is_waited_for() {
        let budget = Budget::of(None);
        assert!(budget.within(tokio::time::sleep(SOME)).await.is_some());
        assert_eq!(budget.limit(), None);
    }
}
