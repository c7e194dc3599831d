//! Go's durations: `1h2m3.5s` to nanoseconds and back.

const UNITS: [(&str, i64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Nanoseconds; the error says what is wrong in Go's words.
pub(crate) fn parse(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {}", crate::quote::quote(text));
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if !rest.starts_with(|first: char| first.is_ascii_digit() || first == '.') {
        return Err(invalid());
    }
    let mut total: i64 = 0;
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, after) = rest.split_at(end);
        let end = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {}", crate::quote::quote(text)));
        }
        let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(|| {
            let (unit, text) = (crate::quote::quote(unit), crate::quote::quote(text));
            format!("time: unknown unit {unit} in duration {text}")
        })?;
        let nanoseconds = scaled(number, *scale).ok_or_else(invalid)?;
        total = total.checked_add(nanoseconds).ok_or_else(invalid)?;
        rest = after;
    }
    Ok(if negative { -total } else { total })
}

/// A decimal number times `scale`; what is less than a nanosecond is dropped.
fn scaled(number: &str, scale: i64) -> Option<i64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let fraction = &fraction[..fraction.len().min(18)];
    let parse = |digits: &str| {
        if digits.is_empty() {
            Some(0)
        } else {
            digits.parse::<i128>().ok()
        }
    };
    let below = parse(fraction)? * i128::from(scale) / 10_i128.pow(u32::try_from(fraction.len()).ok()?);
    i64::try_from(parse(whole)?.checked_mul(i128::from(scale))?.checked_add(below)?).ok()
}

/// As Go prints it: `1h0m0s`, `1.5s`, `100ms`, `0s`.
pub(crate) fn print(nanoseconds: i64) -> String {
    const SECOND: u64 = 1_000_000_000;
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let total = nanoseconds.unsigned_abs();
    let text = match total {
        0 => "0s".to_owned(),
        1..1_000 => decimal(total, 1, "ns"),
        1_000..1_000_000 => decimal(total, 1_000, "µs"),
        1_000_000..SECOND => decimal(total, 1_000_000, "ms"),
        _ => {
            let seconds = decimal(total % (60 * SECOND), SECOND, "s");
            let minutes = total / (60 * SECOND);
            match (minutes / 60, minutes % 60) {
                (0, 0) => seconds,
                (0, minutes) => format!("{minutes}m{seconds}"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}"),
            }
        }
    };
    format!("{sign}{text}")
}

/// `value` in units of `unit` nanoseconds, with as many decimals as it has.
fn decimal(value: u64, unit: u64, name: &str) -> String {
    let nanoseconds = format!("{:09}", value % unit * (1_000_000_000 / unit));
    match nanoseconds.trim_end_matches('0') {
        "" => format!("{}{name}", value / unit),
        fraction => format!("{}.{fraction}{name}", value / unit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_printed_as_go_does() {
        for (text, nanoseconds, printed) in [
            ("5m", 300_000_000_000, "5m0s"),
            ("1.5s", 1_500_000_000, "1.5s"),
            ("1h", 3_600_000_000_000, "1h0m0s"),
            ("1h1m1.25s", 3_661_250_000_000, "1h1m1.25s"),
            ("100ms", 100_000_000, "100ms"),
            ("60.5s", 60_500_000_000, "1m0.5s"),
            ("1us", 1_000, "1µs"),
            ("3ns", 3, "3ns"),
            ("0", 0, "0s"),
            ("-2s", -2_000_000_000, "-2s"),
        ] {
            assert_eq!(parse(text), Ok(nanoseconds), "{text}");
            assert_eq!(print(nanoseconds), printed);
        }
        for text in ["", "5", "5x", "s", "1.2.3s", "99999999999999h", "."] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
