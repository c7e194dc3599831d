//! Resource limits, by docker's names.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{Error, Limit};

/// A limit known to be one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KnownLimit {
    resource: Resource,
    soft: Option<u64>,
    hard: Option<u64>,
}

impl KnownLimit {
    /// What `limit` asks for.
    pub(crate) fn parse(limit: &Limit) -> Result<KnownLimit, Error> {
        let Some(resource) = resource(&limit.resource) else {
            return Err(Error::UnknownLimit {
                resource: limit.resource.clone(),
            });
        };
        let invalid = || Error::InvalidLimit {
            resource: limit.resource.clone(),
            soft: limit.soft,
            hard: limit.hard,
        };
        let soft = amount(limit.soft).ok_or_else(invalid)?;
        let hard = amount(limit.hard).ok_or_else(invalid)?;
        let ordered = hard.is_none_or(|hard| soft.is_some_and(|soft| soft <= hard));
        if !ordered {
            return Err(invalid());
        }
        Ok(KnownLimit { resource, soft, hard })
    }

    /// Sets it for this process and its children: as far up as we may.
    pub(crate) fn apply(self) -> std::io::Result<()> {
        let wanted = Rlimit {
            current: self.soft,
            maximum: self.hard,
        };
        match setrlimit(self.resource, wanted) {
            Err(rustix::io::Errno::PERM) => {
                let ceiling = getrlimit(self.resource).maximum;
                let capped = Rlimit {
                    current: smaller(self.soft, ceiling),
                    maximum: smaller(self.hard, ceiling),
                };
                Ok(setrlimit(self.resource, capped)?)
            }
            result => Ok(result?),
        }
    }
}

/// The number, nothing for unlimited; outer `None` where it is neither.
#[expect(clippy::option_option, reason = "no limit and no number are two things")]
fn amount(value: i64) -> Option<Option<u64>> {
    match value {
        -1 => Some(None),
        _ => u64::try_from(value).ok().map(Some),
    }
}

fn smaller(wanted: Option<u64>, ceiling: Option<u64>) -> Option<u64> {
    match (wanted, ceiling) {
        (Some(wanted), Some(ceiling)) => Some(wanted.min(ceiling)),
        (wanted, ceiling) => wanted.or(ceiling),
    }
}

fn resource(name: &str) -> Option<Resource> {
    Some(match name {
        "as" => Resource::As,
        "core" => Resource::Core,
        "cpu" => Resource::Cpu,
        "data" => Resource::Data,
        "fsize" => Resource::Fsize,
        "locks" => Resource::Locks,
        "memlock" => Resource::Memlock,
        "msgqueue" => Resource::Msgqueue,
        "nice" => Resource::Nice,
        "nofile" => Resource::Nofile,
        "nproc" => Resource::Nproc,
        "rss" => Resource::Rss,
        "rtprio" => Resource::Rtprio,
        "rttime" => Resource::Rttime,
        "sigpending" => Resource::Sigpending,
        "stack" => Resource::Stack,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_is_refused_by_name() {
        let cases = [
            ("files", 1, 1, "unknown resource limit `files`"),
            ("nofile", 5, 4, "invalid resource limit `nofile=5:4`"),
            ("nofile", -1, 4, "invalid resource limit `nofile=-1:4`"),
            ("core", -2, -1, "invalid resource limit `core=-2:-1`"),
        ];
        for (resource, soft, hard, message) in cases {
            let limit = Limit {
                resource: resource.to_owned(),
                soft,
                hard,
            };
            assert_eq!(KnownLimit::parse(&limit).unwrap_err().to_string(), message);
        }
    }
}
