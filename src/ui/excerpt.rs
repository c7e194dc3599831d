//! The user's own lines, marked: what a failure shows of the Dockerfile.
//!
//! ```text
//! Dockerfile:3
//! --------------------
//!    1 |     FROM x
//!    2 |
//!    3 | >>> RUN false
//!    4 |
//! --------------------
//! ```
//!
//! A single line is shown with two lines around it on each side, a longer range with one, as BuildKit does.

use std::fmt::Write as _;

use graph::SourceLines;

use super::text;

const RULE: &str = "--------------------";

/// The excerpt around `marked` of the file `name` with content `source`; `None` if the lines are not in the file.
pub(crate) fn excerpt(name: &str, source: &[u8], marked: &[SourceLines]) -> Option<String> {
    excerpt_of_lines(name, &lines(source), marked)
}

/// The lines of a file, for many excerpts.
pub(crate) fn lines(source: &[u8]) -> Vec<&[u8]> {
    source.split(|byte| *byte == b'\n').collect()
}

/// The same of a file that is cut into [`lines`].
pub(crate) fn excerpt_of_lines(name: &str, lines: &[&[u8]], marked: &[SourceLines]) -> Option<String> {
    let first = marked.iter().map(|range| range.0.start).min()?;
    let last = marked.iter().map(last_line).max()?.min(lines.len());
    if first < 1 || first > lines.len() {
        return None;
    }
    let around = if first == last { 2 } else { 1 };
    let from = first.saturating_sub(around).max(1);
    let to = (last + around).min(lines.len());

    let mut out = format!("{name}:{first}\n{RULE}\n");
    for number in from..=to {
        let is_marked = marked
            .iter()
            .any(|range| (range.0.start..=last_line(range)).contains(&number));
        let mark = if is_marked { ">>>" } else { "   " };
        let line = text::harmless(lines[number - 1]);
        let _ = writeln!(out, " {number:3} | {mark} {line}");
    }
    out.push_str(RULE);
    out.push('\n');
    Some(out)
}

fn last_line(range: &SourceLines) -> usize {
    range.0.end.saturating_sub(1).max(range.0.start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_has_two_lines_around_it() {
        let source = b"FROM x\nRUN a\nRUN b\nRUN false\nRUN c\nRUN d\nRUN e\n";
        let shown = excerpt("Dockerfile", source, &[SourceLines(4..5)]).unwrap();
        assert_eq!(
            shown,
            "Dockerfile:4\n--------------------\n   2 |     RUN a\n   3 |     RUN b\n   4 | >>> RUN false\n   5 |     RUN c\n   6 |     RUN d\n--------------------\n"
        );
    }

    #[test]
    fn a_range_has_one_line_around_it() {
        let source = b"FROM x\nRUN a\nRUN b \\\n  c\nRUN d\nRUN e";
        let shown = excerpt("a/Dockerfile", source, &[SourceLines(3..5)]).unwrap();
        assert_eq!(
            shown,
            "a/Dockerfile:3\n--------------------\n   2 |     RUN a\n   3 | >>> RUN b \\\n   4 | >>>   c\n   5 |     RUN d\n--------------------\n"
        );
    }

    #[test]
    fn the_edges_of_the_file_are_the_edges_of_the_excerpt() {
        let shown = excerpt("Dockerfile", b"FRM x\n", &[SourceLines(1..2)]).unwrap();
        assert_eq!(
            shown,
            "Dockerfile:1\n--------------------\n   1 | >>> FRM x\n   2 |     \n--------------------\n"
        );
    }

    #[test]
    fn lines_outside_the_file_are_no_excerpt() {
        assert_eq!(excerpt("Dockerfile", b"FROM x", &[SourceLines(7..8)]), None);
        assert_eq!(excerpt("Dockerfile", b"FROM x", &[]), None);
    }
}
