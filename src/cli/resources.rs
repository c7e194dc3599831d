//! Flags that limit how much of the machine processes may take: docker's own, and `--resource` of buildx, which is all of
//! them in one.

use clap::Args;
use sandbox::Resources;

use super::values;

/// Limits, as typed; 0 and nothing are no limit, as for docker.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct ResourceArgs {
    /// Memory of all processes together, for example 512m
    #[arg(short, long, value_name = "SIZE", value_parser = values::size)]
    pub(crate) memory: Option<u64>,

    /// Memory and swap together; -1 is unlimited
    #[arg(long, value_name = "SIZE", value_parser = size_or_unlimited, allow_hyphen_values = true)]
    pub(crate) memory_swap: Option<i64>,

    /// Share of the processors when others want them too [usual: 1024]
    #[arg(short, long, value_name = "N")]
    pub(crate) cpu_shares: Option<u64>,

    /// Microseconds after which the quota is there again [usual: 100000]
    #[arg(long, value_name = "MICROSECONDS")]
    pub(crate) cpu_period: Option<u64>,

    /// Microseconds of processor time in a period
    #[arg(long, value_name = "MICROSECONDS")]
    pub(crate) cpu_quota: Option<u64>,

    /// Processors to use, for example 0-3,5
    #[arg(long, value_name = "LIST", value_parser = list)]
    pub(crate) cpuset_cpus: Option<String>,

    /// Nodes of memory to use
    #[arg(long, value_name = "LIST", value_parser = list)]
    pub(crate) cpuset_mems: Option<String>,

    /// Most processes and threads at a time; -1 is unlimited
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub(crate) pids_limit: Option<i64>,

    /// Control group to be in, from the top of its hierarchy
    #[arg(long, value_name = "GROUP")]
    pub(crate) cgroup_parent: Option<String>,

    /// One of these limits by its name, for example memory=512m
    #[arg(long, value_name = "NAME=VALUE", value_parser = values::named)]
    pub(crate) resource: Vec<(String, String)>,
}

impl ResourceArgs {
    /// What they mean.
    ///
    /// # Errors
    /// When a limit is unknown, no number, or makes no sense without another.
    pub(crate) fn resources(self) -> Result<Resources, String> {
        let mut resources = Resources {
            memory: self.memory.filter(|bytes| *bytes > 0),
            memory_swap: self.memory_swap.filter(|bytes| *bytes != 0),
            cpu_shares: self.cpu_shares.filter(|shares| *shares > 0),
            cpu_period: self.cpu_period.filter(|period| *period > 0),
            cpu_quota: self.cpu_quota.filter(|quota| *quota > 0),
            cpuset_cpus: self.cpuset_cpus,
            cpuset_mems: self.cpuset_mems,
            pids: self.pids_limit.filter(|pids| *pids != 0),
            parent: self.cgroup_parent.filter(|group| !group.is_empty()),
        };
        for (name, value) in &self.resource {
            set(&mut resources, name, value)
                .map_err(|reason| format!("invalid value {value:?} for resource {name}: {reason}"))?;
        }
        match (resources.memory, resources.memory_swap) {
            (None, Some(1..)) => Err("--memory-swap counts memory and swap together: it needs --memory too".to_owned()),
            (Some(memory), Some(total @ 1..)) if total.cast_unsigned() < memory => {
                Err("--memory-swap counts memory and swap together: it cannot be less than --memory".to_owned())
            }
            _ => Ok(resources),
        }
    }
}

fn set(resources: &mut Resources, name: &str, value: &str) -> Result<(), String> {
    let positive = || match value.parse::<u64>() {
        Ok(number) if number > 0 => Ok(Some(number)),
        _ => Err("expected a number above 0".to_owned()),
    };
    match name {
        "memory" => resources.memory = Some(values::size(value)?).filter(|bytes| *bytes > 0),
        "memory-swap" => resources.memory_swap = Some(size_or_unlimited(value)?).filter(|bytes| *bytes != 0),
        "cpu-shares" => resources.cpu_shares = positive()?,
        "cpu-period" => resources.cpu_period = positive()?,
        "cpu-quota" => resources.cpu_quota = positive()?,
        "cpuset-cpus" => resources.cpuset_cpus = Some(list(value)?),
        "cpuset-mems" => resources.cpuset_mems = Some(list(value)?),
        "pids-limit" => resources.pids = Some(value.parse().map_err(|_| "expected a number".to_owned())?),
        _ => {
            return Err("there are: memory, memory-swap, cpu-shares, cpu-period, cpu-quota, cpuset-cpus, cpuset-mems, pids-limit"
                .to_owned());
        }
    }
    Ok(())
}

/// A number of bytes, or -1.
fn size_or_unlimited(text: &str) -> Result<i64, String> {
    match text {
        "-1" => Ok(-1),
        text => i64::try_from(values::size(text)?).map_err(|_| "the size is too large".to_owned()),
    }
}

/// Numbers and ranges of numbers: `0-3,5`.
fn list(text: &str) -> Result<String, String> {
    let is_number = |text: &str| text.parse::<u32>().is_ok();
    let is_range = |text: &str| match text.split_once('-') {
        Some((first, last)) => is_number(first) && is_number(last),
        None => is_number(text),
    };
    match text.split(',').all(|part| is_range(part.trim())) {
        true => Ok(text.to_owned()),
        false => Err("expected numbers and ranges such as `0-3,5`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(pairs: &[(&str, &str)]) -> ResourceArgs {
        ResourceArgs {
            resource: pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            ..ResourceArgs::default()
        }
    }

    #[test]
    fn limits_are_given_by_flags_or_by_name() {
        let args = ResourceArgs {
            memory: Some(1 << 20),
            cpu_shares: Some(0),
            ..named(&[
                ("memory", "64m"),
                ("memory-swap", "-1"),
                ("cpuset-cpus", "0,2-3"),
                ("pids-limit", "9"),
            ])
        };
        let expected = Resources {
            memory: Some(64 << 20),
            memory_swap: Some(-1),
            cpuset_cpus: Some("0,2-3".to_owned()),
            pids: Some(9),
            ..Resources::default()
        };
        assert_eq!(args.resources(), Ok(expected));
        assert_eq!(ResourceArgs::default().resources(), Ok(Resources::default()));
    }

    #[test]
    fn limits_that_make_no_sense_are_refused() {
        for (pairs, complaint) in [
            (&[("memory", "x")][..], "invalid value \"x\" for resource memory"),
            (&[("cpus", "2")][..], "there are: memory, memory-swap"),
            (&[("cpu-quota", "0")][..], "above 0"),
            (&[("cpuset-cpus", "a-b")][..], "`0-3,5`"),
            (&[("memory-swap", "64m")][..], "needs --memory"),
            (&[("memory", "64m"), ("memory-swap", "32m")][..], "less than --memory"),
        ] {
            let error = named(pairs).resources().unwrap_err();
            assert!(error.contains(complaint), "{error}");
        }
    }
}
