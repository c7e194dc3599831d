//! The list of warnings at the end of a build.
//!
//! ```text
//!  2 warnings found (use --check to expand):
//!  - StageNameCasing: Stage name 'A' should be lowercase (line 1)
//!  - LegacyKeyValueFormat: "ENV key=value" should be used … (line 2)
//! ```

use std::io::{self, Write};

use frontend::Warning;

use super::{Mode, text};

/// Lists the warnings on standard error, unless nothing is to be shown.
pub(crate) fn tell_warnings(mode: Mode, warnings: &[Warning]) {
    if matches!(mode, Mode::Auto | Mode::Plain | Mode::Tty | Mode::Grouped(_)) {
        // With stderr gone there is nobody to warn.
        let mut text = list(warnings);
        if let Mode::Grouped(service) = mode {
            text = service.disarmed(&text);
        }
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }
}

fn list(warnings: &[Warning]) -> String {
    let count = match warnings.len() {
        0 => return String::new(),
        1 => "1 warning found".to_owned(),
        count => format!("{count} warnings found"),
    };
    let mut out = format!("\n {count} (use --check to expand):\n");
    for warning in warnings {
        let line = text::harmless(warning.to_string().as_bytes());
        out.push_str(&format!(" - {line}\n"));
    }
    out
}

#[cfg(test)]
mod tests {
    use frontend::Rule;
    use graph::SourceLines;

    use super::*;

    #[test]
    fn each_warning_has_its_rule_and_its_line() {
        let warning = Warning {
            rule: Rule::StageNameCasing,
            detail: "Stage name 'A\x1b[31m' should be lowercase".to_owned(),
            lines: SourceLines(1..2),
        };
        let shown = list(&[warning]);
        assert!(shown.starts_with("\n 1 warning found (use --check to expand):\n - StageNameCasing: Stage name 'A"));
        assert!(shown.ends_with("should be lowercase (line 1)\n") && !shown.contains('\x1b'));
        assert_eq!(list(&[]), "");
    }
}
