//! What a step's process writes: to a file, line by line to the reporter. The values of its secrets come to neither.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::mask::{Mask, Masked};
use crate::{Step, StepError, Stream};

/// A line longer than this is shown in pieces, so that memory stays bounded. The file is not cut there.
const LONGEST_LINE: usize = 64 * 1024;
/// The file has the beginning and the end of what is written, so that no step fills the disk by talking.
const LONGEST_BEGINNING: usize = 64 << 20;
const LONGEST_END: usize = 1 << 20;

/// Takes the output of one process.
pub(crate) struct StepLog<'a> {
    step: &'a Step,
    path: PathBuf,
    file: BufWriter<File>,
    /// How much more of the beginning is kept.
    room: usize,
    end: VecDeque<u8>,
    /// How many bytes between beginning and end are gone.
    left_out: usize,
    pending: [Vec<u8>; 2],
    mask: &'a Mask,
    masked: [Masked; 2],
}

impl<'a> StepLog<'a> {
    /// Starts the log in the file `path`, of a process that knows what is in `mask`.
    pub(crate) fn create(path: &Path, step: &'a Step, mask: &'a Mask) -> Result<StepLog<'a>, StepError> {
        let failed = |source| StepError::Log {
            path: path.to_owned(),
            source,
        };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        let file = BufWriter::new(File::create(path).map_err(failed)?);
        Ok(StepLog {
            step,
            path: path.to_owned(),
            file,
            room: LONGEST_BEGINNING,
            end: VecDeque::new(),
            left_out: 0,
            pending: [Vec::new(), Vec::new()],
            mask,
            masked: [Masked::default(), Masked::default()],
        })
    }

    /// Takes what the process wrote, in any pieces.
    pub(crate) fn write(&mut self, stream: Stream, bytes: &[u8]) -> Result<(), StepError> {
        let shown = match self.mask.is_empty() {
            true => Cow::Borrowed(bytes),
            false => Cow::Owned(self.masked[stream as usize].pass(self.mask, bytes)),
        };
        self.keep(stream, &shown)
    }

    /// Takes what may be seen.
    fn keep(&mut self, stream: Stream, bytes: &[u8]) -> Result<(), StepError> {
        let (beginning, end) = bytes.split_at(bytes.len().min(self.room));
        self.room -= beginning.len();
        self.end.extend(end);
        let too_many = self.end.len().saturating_sub(LONGEST_END);
        self.end.drain(..too_many);
        self.left_out += too_many;
        self.file.write_all(beginning).map_err(|source| StepError::Log {
            path: self.path.clone(),
            source,
        })?;
        let pending = &mut self.pending[stream as usize];
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            pending.extend_from_slice(piece);
            if piece.ends_with(b"\n") || pending.len() >= LONGEST_LINE {
                self.step.line(stream, without_end(pending));
                pending.clear();
            }
        }
        Ok(())
    }

    /// Reports what is left without a line end, and finishes the file.
    pub(crate) fn finish(mut self) -> Result<(), StepError> {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let rest = self.masked[stream as usize].rest(self.mask);
            self.keep(stream, &rest)?;
        }
        for (stream, pending) in [Stream::Stdout, Stream::Stderr].into_iter().zip(&self.pending) {
            if !pending.is_empty() {
                self.step.line(stream, pending);
            }
        }
        self.write_end().map_err(|source| StepError::Log {
            path: self.path.clone(),
            source,
        })
    }

    fn write_end(&mut self) -> io::Result<()> {
        if self.left_out > 0 {
            write!(self.file, "\n[{} bytes are left out here]\n", self.left_out)?;
        }
        let (first, second) = self.end.as_slices();
        self.file.write_all(first)?;
        self.file.write_all(second)?;
        self.file.flush()
    }
}

fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::{Event, Reporter};

    #[test]
    fn lines_are_reported_whole_and_the_file_has_every_byte_that_is_no_secret() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let seen = lines.clone();
        let reporter = Reporter::new(Arc::new(move |event| {
            if let Event::Line { stream, text, .. } = event {
                seen.lock().unwrap().push((stream, String::from_utf8(text).unwrap()));
            }
        }));
        let path = std::env::temp_dir().join(format!("rbuild-log-test-{}", std::process::id()));
        let step = reporter.start("step");
        let mask = Mask::of([&b"hush-hush"[..]].into_iter());
        let mut log = StepLog::create(&path, &step, &mask).unwrap();
        for (stream, text) in [
            (Stream::Stdout, "a\r\nb"),
            (Stream::Stderr, "e\n"),
            (Stream::Stdout, "c\nrest hush"),
            (Stream::Stderr, "-hush\n"),
            (Stream::Stdout, "-hush hush"),
        ] {
            log.write(stream, text.as_bytes()).unwrap();
        }
        log.finish().unwrap();
        let expected = [
            (Stream::Stdout, "a"),
            (Stream::Stderr, "e"),
            (Stream::Stdout, "bc"),
            (Stream::Stderr, "-hush"),
            (Stream::Stdout, "rest *** hush"),
        ];
        assert_eq!(
            *lines.lock().unwrap(),
            expected.map(|(stream, text)| (stream, text.to_owned()))
        );
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "a\r\nbe\nc\nrest -hush\n*** hush"
        );
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_file_has_the_beginning_and_the_end_of_what_is_too_much() {
        let path = std::env::temp_dir().join(format!("rbuild-long-log-test-{}", std::process::id()));
        let reporter = Reporter::new(Arc::new(|_| {}));
        let step = reporter.start("step");
        let mask = Mask::of(std::iter::empty());
        let mut log = StepLog::create(&path, &step, &mask).unwrap();
        log.room = 5;
        log.write(Stream::Stdout, b"begin").unwrap();
        for _ in 0..3 {
            log.write(Stream::Stdout, &[b'x'; LONGEST_END]).unwrap();
        }
        log.write(Stream::Stdout, b"the end").unwrap();
        log.finish().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let left_out = 2 * LONGEST_END + 7;
        assert!(text.starts_with(&format!("begin\n[{left_out} bytes are left out here]\nxxx")));
        assert!(text.ends_with("xthe end") && text.len() < LONGEST_END + 100);
        std::fs::remove_file(path).unwrap();
    }
}
