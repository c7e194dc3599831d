//! Values of flags, parsed into what they mean: sizes, durations, limits, hosts, pairs.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use cache::Amount;
use graph::Ulimit;

/// `KEY=value`, or `KEY` alone, whose value is then looked up in the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    /// Never empty.
    pub(crate) key: String,
    /// `None` if there is no `=`.
    pub(crate) value: Option<String>,
}

/// A line for `/etc/hosts`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExtraHost {
    pub(crate) name: String,
    pub(crate) address: String,
}

/// `KEY[=value]`.
pub(crate) fn pair(text: &str) -> Result<Pair, String> {
    let (key, value) = match text.split_once('=') {
        Some((key, value)) => (key, Some(value.to_owned())),
        None => (text, None),
    };
    if key.is_empty() {
        return Err("expected KEY=value".to_owned());
    }
    Ok(Pair {
        key: key.to_owned(),
        value,
    })
}

/// `KEY=value`, the `=` being needed.
pub(crate) fn named(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=value".to_owned()),
    }
}

/// A number of bytes, as docker takes them: `512m`, `10GB`, `1.5GiB`; all units are powers of 1024.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let expected = || "expected a size such as `512m` or `10GB`".to_owned();
    let trimmed = text.trim();
    let digits = trimmed
        .find(|character: char| !character.is_ascii_digit() && character != '.')
        .unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(digits);
    let number: f64 = number.parse().map_err(|_| expected())?;
    let power = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 1,
        "m" | "mb" | "mib" => 2,
        "g" | "gb" | "gib" => 3,
        "t" | "tb" | "tib" => 4,
        "p" | "pb" | "pib" => 5,
        _ => return Err(expected()),
    };
    let bytes = number * 1024_f64.powi(power);
    if bytes.is_finite() && bytes < u64::MAX as f64 {
        Ok(bytes as u64)
    } else {
        Err("the size is too large".to_owned())
    }
}

/// A size, or so many hundredths of the disk: `20%`.
pub(crate) fn amount(text: &str) -> Result<Amount, String> {
    let Some(percent) = text.trim().strip_suffix('%') else {
        return match size(text) {
            Ok(bytes) => Ok(Amount::Bytes(bytes)),
            Err(_) => Err("expected a size such as `10GB`, or a part of the disk such as `20%`".to_owned()),
        };
    };
    let percent = percent.trim_end().parse().ok().filter(|percent| *percent <= 100);
    percent
        .map(Amount::Percent)
        .ok_or_else(|| "expected 0% to 100% of the disk".to_owned())
}

/// `90s`, `24h`, `7d`, `1h30m`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let expected = || "expected a duration such as `24h`, `7d` or `1h30m`".to_owned();
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(expected());
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let end = rest.find(|character: char| !character.is_ascii_digit());
        let (number, after) = rest.split_at(end.ok_or_else(expected)?);
        let number: u64 = number.parse().map_err(|_| expected())?;
        let mut characters = after.chars();
        let unit = match characters.next() {
            Some('s') => 1,
            Some('m') => 60,
            Some('h') => 3600,
            Some('d') => 86_400,
            Some('w') => 604_800,
            _ => return Err(expected()),
        };
        let seconds = number.checked_mul(unit).and_then(|seconds| total.checked_add(seconds));
        total = seconds.ok_or_else(|| "the duration is too long".to_owned())?;
        rest = characters.as_str();
    }
    Ok(Duration::from_secs(total))
}

/// A duration in which something can be done.
pub(crate) fn time_limit(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("nothing can be done in no time".to_owned()),
        limit => Ok(limit),
    }
}

const LIMITS: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// `nofile=1024:2048`, `core=0`, `memlock=-1`.
pub(crate) fn ulimit(text: &str) -> Result<Ulimit, String> {
    let expected = || "expected NAME=soft[:hard], for example `nofile=1024:2048`".to_owned();
    let (name, limits) = text.split_once('=').ok_or_else(expected)?;
    if !LIMITS.contains(&name) {
        return Err(format!("no limit is called `{name}`; there are: {}", LIMITS.join(", ")));
    }
    let number = |text: &str| match text {
        "unlimited" => Ok(-1),
        text => text
            .parse::<i64>()
            .ok()
            .filter(|number| *number >= -1)
            .ok_or_else(expected),
    };
    let (soft, hard) = match limits.split_once(':') {
        Some((soft, hard)) => (number(soft)?, number(hard)?),
        None => (number(limits)?, number(limits)?),
    };
    if hard != -1 && (soft == -1 || soft > hard) {
        return Err(format!("the soft limit {soft} is greater than the hard limit {hard}"));
    }
    match most_open_files() {
        Some(most) if name == "nofile" && hard.max(soft) > most => Err(format!(
            "the limit {} is above what the kernel gives to any process (fs.nr_open): {most}",
            hard.max(soft)
        )),
        _ => Ok(Ulimit {
            name: name.to_owned(),
            soft,
            hard,
        }),
    }
}

fn most_open_files() -> Option<i64> {
    let text = std::fs::read_to_string("/proc/sys/fs/nr_open").ok()?;
    text.trim().parse().ok()
}

/// `host:ip`, `host=ip`; an IPv6 address may stand in brackets, and `host-gateway` is the host.
pub(crate) fn extra_host(text: &str) -> Result<ExtraHost, String> {
    let expected = || "expected HOST=address or HOST:address".to_owned();
    let (name, address) = text
        .split_once('=')
        .or_else(|| text.split_once(':'))
        .ok_or_else(expected)?;
    if name.is_empty() || name.contains(char::is_whitespace) {
        return Err(expected());
    }
    if address == "host-gateway" {
        // Steps have the network of the host.
        return Ok(ExtraHost {
            name: name.to_lowercase(),
            address: Ipv4Addr::LOCALHOST.to_string(),
        });
    }
    let bare = address
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(address);
    let address: IpAddr = bare.parse().map_err(|_| format!("`{bare}` is not an IP address"))?;
    Ok(ExtraHost {
        name: name.to_lowercase(),
        address: address.to_canonical().to_string(),
    })
}
