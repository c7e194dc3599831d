//! Room for what waits: who brings more than there is room for waits until some of it was taken.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// So many bytes and no more, besides what is greater alone.
#[derive(Debug)]
pub(super) struct Room {
    size: usize,
    /// How many bytes are taken; `None` when nobody takes anything out any more.
    taken: Mutex<Option<usize>>,
    news: Condvar,
}

impl Room {
    pub(super) fn new(size: usize) -> Room {
        Room {
            size,
            taken: Mutex::new(Some(0)),
            news: Condvar::new(),
        }
    }

    fn taken(&self) -> MutexGuard<'_, Option<usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for room for so many bytes, and takes it.
    pub(super) fn take(&self, bytes: usize) {
        if bytes == 0 {
            return;
        }
        let is_full = |taken: &mut Option<usize>| taken.is_some_and(|taken| taken > 0 && taken + bytes > self.size);
        let taken = self.news.wait_while(self.taken(), is_full);
        if let Some(taken) = taken.unwrap_or_else(PoisonError::into_inner).as_mut() {
            *taken += bytes;
        }
    }

    /// Gives the room of so many bytes back.
    pub(super) fn give(&self, bytes: usize) {
        if bytes == 0 {
            return;
        }
        if let Some(taken) = self.taken().as_mut() {
            *taken = taken.saturating_sub(bytes);
        }
        self.news.notify_all();
    }

    /// From now on there is room for everything.
    pub(super) fn open(&self) {
        *self.taken() = None;
        self.news.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn who_finds_no_room_waits_until_there_is() {
        let room = Arc::new(Room::new(10));
        room.take(100);
        let second = {
            let room = room.clone();
            std::thread::spawn(move || room.take(5))
        };
        room.give(100);
        second.join().unwrap();
        assert_eq!(*room.taken(), Some(5));
    }

    #[test]
    fn nobody_waits_when_nothing_is_taken_out_any_more() {
        let room = Arc::new(Room::new(10));
        room.take(10);
        let second = {
            let room = room.clone();
            std::thread::spawn(move || room.take(5))
        };
        room.open();
        second.join().unwrap();
    }
}
