//! The times in an image configuration, and the agreement of its history with its layers.
//!
//! No clock is read. A layer is as old as its newest file, but never older than what lies below it; entries without a
//! layer borrow the time of a neighbour as BuildKit has it: those before the first new layer take that layer's time,
//! later ones that of the layer before them. Entries that have a time, which are the base image's, keep it.

use jiff::Timestamp;
use oci::{History, ImageConfig};

/// The comment of entries for layers that no instruction accounts for.
const UNACCOUNTED: &str = "buildkit.exporter.image.v0";

/// Fills in what only the layers tell: which entries have one, and the times. `newest` is the time of the newest file of
/// each layer, lowest first, in Unix seconds; no time of ours will be later than `epoch`.
pub(crate) fn complete(config: &mut ImageConfig, newest: &[i64], epoch: Option<i64>) {
    let epoch = epoch.map(timestamp);
    let clamp = |time: Timestamp| epoch.map_or(time, |epoch| time.min(epoch));
    match_layers(&mut config.history, newest.len());
    let of_base: Vec<bool> = config.history.iter().map(|entry| entry.created.is_some()).collect();
    let mut times = date_layers(&config.history, newest, clamp);
    date_the_rest(&mut times);
    let fallback = epoch.unwrap_or(Timestamp::UNIX_EPOCH);
    for ((entry, time), of_base) in config.history.iter_mut().zip(&times).zip(of_base) {
        if !of_base {
            entry.created = Some(clamp(time.unwrap_or(fallback)).to_string());
        }
    }
    let last = times.last().copied().flatten().map_or(fallback, clamp);
    config.created = Some(last.to_string());
}

/// Makes the history have as many entries with a layer as there are layers: too many are marked empty from the top, for
/// too few some are added.
fn match_layers(history: &mut Vec<History>, layers: usize) {
    let mut accounted = 0;
    for entry in history.iter_mut().filter(|entry| !entry.empty_layer) {
        entry.empty_layer = accounted >= layers;
        accounted += usize::from(!entry.empty_layer);
    }
    history.resize_with(history.len() + (layers - accounted), || History {
        created_by: Some("created by buildkit".to_owned()),
        comment: Some(UNACCOUNTED.to_owned()),
        ..History::default()
    });
}

/// The times of entries that have one, and of those with a layer.
fn date_layers(history: &[History], newest: &[i64], clamp: impl Fn(Timestamp) -> Timestamp) -> Vec<Option<Timestamp>> {
    let mut layers = newest.iter().copied();
    let mut below = None;
    let mut times = Vec::with_capacity(history.len());
    for entry in history {
        let newest = if entry.empty_layer { None } else { layers.next() };
        let time = match (&entry.created, newest) {
            (Some(text), _) => text.parse().ok(),
            (None, Some(newest)) => Some(clamp(timestamp(newest)).max(below.map_or(Timestamp::MIN, &clamp))),
            (None, None) => None,
        };
        below = time.or(below);
        times.push(time);
    }
    times
}

/// Gives the entries that are still without a time one.
fn date_the_rest(times: &mut [Option<Timestamp>]) {
    let Some(first_undated) = times.iter().position(Option::is_none) else {
        return;
    };
    let (dated, rest) = times.split_at_mut(first_undated);
    let first_new = rest.iter().copied().flatten().next();
    let mut neighbour = first_new.or_else(|| dated.last().copied().flatten());
    for time in rest {
        match time {
            Some(time) => neighbour = Some(*time),
            None => *time = neighbour,
        }
    }
}

/// Within what RFC 3339 can write and every reader reads: file times are the file's maker's choice.
pub(crate) fn timestamp(seconds: i64) -> Timestamp {
    let seconds = seconds.clamp(0, Timestamp::MAX.as_second());
    Timestamp::from_second(seconds).expect("the number was just brought into range")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `L` has a layer, `-` has none; what follows is its time, if it has one.
    fn history(text: &str) -> Vec<History> {
        let entry = |word: &str| History {
            empty_layer: word.starts_with('-'),
            created: (word.len() > 1).then(|| timestamp(word[1..].parse().unwrap()).to_string()),
            ..History::default()
        };
        text.split_whitespace().map(entry).collect()
    }

    fn written(history: &[History]) -> String {
        let word = |entry: &History| {
            let created: Timestamp = entry.created.as_ref().unwrap().parse().unwrap();
            format!("{}{}", if entry.empty_layer { '-' } else { 'L' }, created.as_second())
        };
        history.iter().map(word).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn times_come_from_files_and_neighbours() {
        for (given, newest, epoch, expected, created) in [
            ("", &[][..], None, "", 0),
            ("", &[], Some(7), "", 7),
            ("- -", &[], None, "-0 -0", 0),
            ("- -", &[], Some(7), "-7 -7", 7),
            ("L L", &[5, 9], None, "L5 L9", 9),
            // A layer of old files is not older than what lies below it.
            ("L L", &[9, 5], None, "L9 L9", 9),
            ("L20 - L", &[20, 5], None, "L20 -20 L20", 20),
            // Before the first new layer its time, later the one below.
            (
                "L20 -21 - L - L -",
                &[20, 30, 40],
                None,
                "L20 -21 -30 L30 -30 L40 -40",
                40,
            ),
            ("L20 -21 -", &[20], None, "L20 -21 -21", 21),
            // The epoch holds for our entries only.
            ("L20 - L - L", &[20, 30, 40], Some(35), "L20 -30 L30 -30 L35", 35),
            ("L20 - L", &[20, 30], Some(10), "L20 -10 L10", 10),
            ("L20", &[20], Some(10), "L20", 10),
            // Nonsense in files does not get out of range.
            ("L L", &[-5, i64::MAX], None, "L0 L253402207200", 253_402_207_200),
        ] {
            let mut config = ImageConfig {
                history: history(given),
                ..ImageConfig::default()
            };
            complete(&mut config, newest, epoch);
            assert_eq!(written(&config.history), expected, "{given}");
            assert_eq!(config.created, Some(timestamp(created).to_string()), "{given}");
        }
    }

    #[test]
    fn history_and_layers_are_made_to_agree() {
        for (given, layers, expected) in [
            ("L L", 1, "L -"),
            ("L - L", 0, "- - -"),
            ("-", 2, "- L L"),
            ("L", 1, "L"),
        ] {
            let mut entries = history(given);
            match_layers(&mut entries, layers);
            let marks: Vec<&str> = entries.iter().map(|e| if e.empty_layer { "-" } else { "L" }).collect();
            assert_eq!(marks.join(" "), expected);
            let added = &entries[given.split_whitespace().count()..];
            assert!(added.iter().all(|e| e.comment.as_deref() == Some(UNACCOUNTED)));
        }
    }

    #[test]
    fn fractions_of_the_base_are_kept() {
        let mut config = ImageConfig {
            history: vec![
                History {
                    created: Some("2024-05-06T07:08:09.123456789Z".to_owned()),
                    ..History::default()
                },
                History::default(),
            ],
            ..ImageConfig::default()
        };
        complete(&mut config, &[0, 0], None);
        assert_eq!(config.history[0].created, config.history[1].created);
        assert_eq!(config.created.as_deref(), Some("2024-05-06T07:08:09.123456789Z"));
    }
}
