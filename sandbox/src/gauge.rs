//! How much memory a step takes, for whoever wants to know while it runs. It is its control group that counts, so only a
//! step with one of its own tells; files that the kernel keeps in memory for it count too.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Where a group tells what it takes and took, by the version of its hierarchy: 2, then 1.
const FILES: [(&str, &str); 2] = [
    ("memory.current", "memory.peak"),
    ("memory.usage_in_bytes", "memory.max_usage_in_bytes"),
];

/// Tells of the memory of a run as long as it runs. Clones tell of the same.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<Mutex<Vec<PathBuf>>>);

/// How much memory a run takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryUse {
    /// Bytes now.
    pub current: u64,
    /// Bytes at most so far, where the kernel remembers that.
    pub peak: Option<u64>,
}

/// A run whose groups are looked at, until it is dropped.
#[derive(Debug)]
pub(crate) struct Reading<'a>(&'a Gauge);

impl Gauge {
    /// What the run takes; nothing before and after it, and where nothing counts.
    #[must_use]
    pub fn read(&self) -> Option<MemoryUse> {
        let groups = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        groups.iter().find_map(|group| memory_of(group))
    }

    pub(crate) fn begin(&self, groups: Vec<PathBuf>) -> Reading<'_> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = groups;
        Reading(self)
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

fn memory_of(group: &Path) -> Option<MemoryUse> {
    let number = |file: &str| fs::read_to_string(group.join(file)).ok()?.trim().parse().ok();
    FILES.iter().find_map(|(current, peak)| {
        Some(MemoryUse {
            current: number(current)?,
            peak: number(peak),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_as_either_version_tells_it_and_only_meanwhile() {
        for (name, peak) in [("memory.current", "memory.peak"), FILES[1]] {
            let group = tempfile::tempdir().unwrap();
            let gauge = Gauge::default();
            let reading = gauge.begin(vec![PathBuf::from("/nowhere"), group.path().to_owned()]);
            assert_eq!(gauge.read(), None);
            fs::write(group.path().join(name), "4096\n").unwrap();
            let told = |peak| Some(MemoryUse { current: 4096, peak });
            assert_eq!(gauge.read(), told(None));
            fs::write(group.path().join(peak), "8192\n").unwrap();
            assert_eq!(gauge.clone().read(), told(Some(8192)));
            drop(reading);
            assert_eq!(gauge.read(), None);
        }
    }
}
