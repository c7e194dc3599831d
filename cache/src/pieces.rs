//! A stream of bytes from one thread to another, in pieces whose buffers go back to be filled again.
//!
//! So much as a few pieces lies between the two, whatever the length of the stream. Either side may go away: the writer
//! stops, the reader sees the end.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel as unbounded, sync_channel};

/// Large enough that handing one over costs nothing beside what is done with it, small enough for the processor's cache.
const SIZE: usize = 128 * 1024;
/// How many may wait.
const WAITING: usize = 4;

/// A buffer and how much of it counts.
type Piece = (Vec<u8>, usize);

/// Where bytes go in.
pub(crate) struct Departing {
    full: SyncSender<io::Result<Piece>>,
    empty: Receiver<Vec<u8>>,
}

/// Where bytes come out.
pub(crate) struct Arriving {
    full: Receiver<io::Result<Piece>>,
    empty: Sender<Vec<u8>>,
    current: Piece,
    used: usize,
}

/// The two ends of a stream.
pub(crate) fn channel() -> (Departing, Arriving) {
    let (full_in, full_out) = sync_channel(WAITING);
    let (empty_in, empty_out) = unbounded();
    let departing = Departing {
        full: full_in,
        empty: empty_out,
    };
    let arriving = Arriving {
        full: full_out,
        empty: empty_in,
        current: (Vec::new(), 0),
        used: 0,
    };
    (departing, arriving)
}

impl Departing {
    /// Sends what is in `source`, up to its end, an error of it, or until nobody listens.
    pub(crate) fn send_all(&mut self, mut source: impl Read) {
        loop {
            let mut buffer = self.empty.try_recv().unwrap_or_else(|_| vec![0; SIZE]);
            match source.read(&mut buffer) {
                Ok(0) => return,
                Ok(read) => {
                    if self.full.send(Ok((buffer, read))).is_err() {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.fail(error),
            }
        }
    }

    /// Ends the stream with an error.
    pub(crate) fn fail(&mut self, error: io::Error) {
        // Nobody listens: nobody minds.
        let _ = self.full.send(Err(error));
    }
}

impl BufRead for Arriving {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.used == self.current.1 {
            let Ok(next) = self.full.recv() else {
                return Ok(&[]);
            };
            let (emptied, _) = std::mem::replace(&mut self.current, next?);
            self.used = 0;
            if !emptied.is_empty() {
                // The other side may have finished.
                let _ = self.empty.send(emptied);
            }
        }
        Ok(&self.current.0[self.used..self.current.1])
    }

    fn consume(&mut self, count: usize) {
        self.used += count;
    }
}

impl Read for Arriving {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn bytes_arrive_in_order_whatever_the_sizes_of_reads() {
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
        let (mut departing, mut arriving) = channel();
        let seen = thread::scope(|scope| {
            scope.spawn(|| {
                departing.send_all(bytes.as_slice());
                drop(departing);
            });
            let mut seen = Vec::new();
            let mut buffer = [0; 1000];
            loop {
                match arriving.read(&mut buffer).unwrap() {
                    0 => break seen,
                    read => seen.extend_from_slice(&buffer[..read]),
                }
            }
        });
        assert!(seen == bytes);
    }

    #[test]
    fn an_error_arrives_behind_the_bytes_before_it() {
        let (mut departing, mut arriving) = channel();
        departing.send_all(b"abc".as_slice());
        departing.fail(io::Error::other("broken"));
        drop(departing);
        let mut bytes = Vec::new();
        let error = arriving.read_to_end(&mut bytes).unwrap_err();
        assert_eq!(
            (bytes.as_slice(), error.to_string().as_str()),
            (b"abc".as_slice(), "broken")
        );
    }

    #[test]
    fn a_reader_that_goes_away_stops_the_writer() {
        let (mut departing, arriving) = channel();
        drop(arriving);
        departing.send_all(io::repeat(0));
    }
}
