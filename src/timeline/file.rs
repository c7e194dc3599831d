//! The file of a trace: whole events through a buffer, and a bracket at the end.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::events;

/// The buffer is written when it is so long.
const FULL: usize = 32 * 1024;
/// Or when this time has passed since it was written.
const OLD: Duration = Duration::from_secs(1);

/// A trace being written.
pub(super) struct TraceFile {
    path: PathBuf,
    /// `None` after the end, and after a failure.
    file: Option<File>,
    out: Out,
    written: Duration,
    failure: Option<io::Error>,
}

/// Events on their way to the file.
pub(super) struct Out {
    bytes: Vec<u8>,
    is_first: bool,
}

impl Out {
    /// Begins an event of a kind on the track of a process. Its object is left open.
    pub(super) fn event(&mut self, kind: &str, (process, track): (u64, u64), at: Option<Duration>) {
        self.text(match self.is_first {
            true => "\n{\"ph\":\"",
            false => ",\n{\"ph\":\"",
        });
        self.is_first = false;
        self.text(kind);
        self.text("\",\"pid\":");
        self.number(process);
        self.text(",\"tid\":");
        self.number(track);
        if let Some(at) = at {
            self.text(",\"ts\":");
            self.microseconds(at);
        }
    }

    /// Adds text as it is.
    pub(super) fn text(&mut self, text: &str) {
        self.bytes.extend_from_slice(text.as_bytes());
    }

    /// Adds a JSON string.
    pub(super) fn string(&mut self, text: &str) {
        if text.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') {
            self.text("\"");
            self.text(text);
            self.text("\"");
        } else {
            self.text(&serde_json::Value::from(text).to_string());
        }
    }

    pub(super) fn number(&mut self, number: u64) {
        let mut digits = [0; 20];
        let mut first = digits.len();
        let mut rest = number;
        loop {
            first -= 1;
            digits[first] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.bytes.extend_from_slice(&digits[first..]);
    }

    /// Adds a number of microseconds, with nanoseconds behind the point.
    pub(super) fn microseconds(&mut self, time: Duration) {
        self.number(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
        let nanoseconds = time.subsec_nanos() % 1000;
        self.bytes.push(b'.');
        for divisor in [100, 10, 1] {
            self.bytes.push(b'0' + (nanoseconds / divisor % 10) as u8);
        }
    }
}

impl TraceFile {
    /// Makes the file, or empties it.
    pub(super) fn create(path: &Path) -> io::Result<TraceFile> {
        let file = File::create(path)?;
        let mut out = Out {
            bytes: Vec::with_capacity(2 * FULL),
            is_first: true,
        };
        out.text("[");
        events::begin(&mut out);
        Ok(TraceFile {
            path: path.to_owned(),
            file: Some(file),
            out,
            written: Duration::ZERO,
            failure: None,
        })
    }

    /// Adds events that happened by `now`.
    pub(super) fn add(&mut self, now: Duration, add: impl FnOnce(&mut Out)) {
        if self.file.is_none() {
            return;
        }
        add(&mut self.out);
        if self.out.bytes.len() >= FULL || now.saturating_sub(self.written) >= OLD {
            self.written = now;
            self.write();
        }
    }

    fn write(&mut self) {
        let Some(file) = &mut self.file else { return };
        if let Err(error) = file.write_all(&self.out.bytes) {
            self.failure = Some(error);
            self.file = None;
        }
        self.out.bytes.clear();
    }

    /// Ends the trace; says what went wrong, if anything did.
    pub(super) fn finish(&mut self) -> Option<String> {
        self.out.bytes.extend_from_slice(b"\n]\n");
        self.write();
        self.file = None;
        let failure = self.failure.take()?;
        Some(format!("the trace {} is not whole: {failure}", self.path.display()))
    }
}
