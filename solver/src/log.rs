//! What a step's process writes: whole to a file, line by line to the reporter.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::{Step, StepError, Stream};

/// A line longer than this is shown in pieces, so that memory stays bounded. The file has it whole.
const LONGEST_LINE: usize = 64 * 1024;

/// Takes the output of one process.
pub(crate) struct StepLog<'a> {
    step: &'a Step,
    path: PathBuf,
    file: BufWriter<File>,
    pending: [Vec<u8>; 2],
}

impl<'a> StepLog<'a> {
    /// Starts the log in the file `path`.
    pub(crate) fn create(path: &Path, step: &'a Step) -> Result<StepLog<'a>, StepError> {
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
            pending: [Vec::new(), Vec::new()],
        })
    }

    /// Takes what the process wrote, in any pieces.
    pub(crate) fn write(&mut self, stream: Stream, bytes: &[u8]) -> Result<(), StepError> {
        self.file.write_all(bytes).map_err(|source| StepError::Log {
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
        for (stream, pending) in [Stream::Stdout, Stream::Stderr].into_iter().zip(&self.pending) {
            if !pending.is_empty() {
                self.step.line(stream, pending);
            }
        }
        self.file.flush().map_err(|source| StepError::Log {
            path: self.path.clone(),
            source,
        })
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
    fn lines_are_reported_whole_and_the_file_has_every_byte() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let seen = lines.clone();
        let reporter = Reporter::new(Arc::new(move |event| {
            if let Event::Line { stream, text, .. } = event {
                seen.lock().unwrap().push((stream, String::from_utf8(text).unwrap()));
            }
        }));
        let path = std::env::temp_dir().join(format!("rbuild-log-test-{}", std::process::id()));
        let step = reporter.start("step");
        let mut log = StepLog::create(&path, &step).unwrap();
        for (stream, text) in [
            (Stream::Stdout, "a\r\nb"),
            (Stream::Stderr, "e\n"),
            (Stream::Stdout, "c\nrest"),
        ] {
            log.write(stream, text.as_bytes()).unwrap();
        }
        log.finish().unwrap();
        let expected = [
            (Stream::Stdout, "a"),
            (Stream::Stderr, "e"),
            (Stream::Stdout, "bc"),
            (Stream::Stdout, "rest"),
        ];
        assert_eq!(
            *lines.lock().unwrap(),
            expected.map(|(stream, text)| (stream, text.to_owned()))
        );
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "a\r\nbe\nc\nrest");
        std::fs::remove_file(path).unwrap();
    }
}
