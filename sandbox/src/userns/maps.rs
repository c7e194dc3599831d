//! Which ids a user namespace has, and what they are outside: what the administrator lends a user.

use std::fs;

use serde::{Deserialize, Serialize};

use super::Lack;

const SUBUID: &str = "/etc/subuid";
const SUBGID: &str = "/etc/subgid";
/// As many ids as distributions lend, and from where on.
const USUAL_COUNT: u32 = 65_536;
const USUAL_FIRST: u32 = 100_000;

/// `count` ids from `inside` on are those from `outside` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Extent {
    pub(super) inside: u32,
    pub(super) outside: u32,
    pub(super) count: u32,
}

/// What the ids of a user namespace are outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Maps {
    pub(super) uids: Vec<Extent>,
    pub(super) gids: Vec<Extent>,
    /// Whether setuid programs have to write them.
    pub(super) by_programs: bool,
}

impl Maps {
    /// The user itself as root, and after it the ids lent to it.
    pub(super) fn lent_to(user: &str, uid: u32, gid: u32) -> Result<Maps, Lack> {
        let (users, groups) = (read(SUBUID), read(SUBGID));
        let lent = |file, text: &str| {
            let ranges = ranges(text, user, uid);
            if ranges.is_empty() {
                return Err(Lack::NoRange {
                    file,
                    first: first_free(&users).max(first_free(&groups)),
                });
            }
            Ok(ranges)
        };
        Ok(Maps {
            uids: stacked(uid, &lent(SUBUID, &users)?),
            gids: stacked(gid, &lent(SUBGID, &groups)?),
            by_programs: true,
        })
    }

    /// All ids we have, as they are.
    pub(super) fn of_all_ids() -> Maps {
        let identity = |file| {
            let text = fs::read_to_string(file).unwrap_or_default();
            text.lines()
                .filter_map(|line| {
                    let mut fields = line.split_whitespace().map(str::parse::<u32>);
                    let (inside, _, count) = (fields.next()?.ok()?, fields.next()?.ok()?, fields.next()?.ok()?);
                    Some(Extent {
                        inside,
                        outside: inside,
                        count,
                    })
                })
                .collect()
        };
        Maps {
            uids: identity("/proc/self/uid_map"),
            gids: identity("/proc/self/gid_map"),
            by_programs: false,
        }
    }
}

/// `own` is 0 inside, and the ranges follow from 1 on without gaps.
fn stacked(own: u32, ranges: &[(u32, u32)]) -> Vec<Extent> {
    let mut extents = vec![Extent {
        inside: 0,
        outside: own,
        count: 1,
    }];
    let mut inside = 1_u32;
    for (first, count) in ranges {
        let count = (*count).min(u32::MAX - inside);
        extents.push(Extent {
            inside,
            outside: *first,
            count,
        });
        inside += count;
    }
    extents
}

/// First and count of each range that a file such as `/etc/subuid` lends to a user, by name or by number.
fn ranges(text: &str, user: &str, uid: u32) -> Vec<(u32, u32)> {
    let number = uid.to_string();
    all_ranges(text)
        .filter(|(owner, _, count)| (*owner == user || *owner == number) && *count > 0)
        .map(|(_, first, count)| (first, count))
        .collect()
}

fn all_ranges(text: &str) -> impl Iterator<Item = (&str, u32, u32)> {
    text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        Some((
            fields.next()?,
            fields.next()?.parse().ok()?,
            fields.next()?.parse().ok()?,
        ))
    })
}

/// How many ids a user is lent: users and groups.
pub(super) fn counts(user: &str, uid: u32) -> (u64, u64) {
    let count = |file| {
        let lent = ranges(&read(file), user, uid);
        lent.iter().map(|(_, count)| u64::from(*count)).sum()
    };
    (count(SUBUID), count(SUBGID))
}

/// The command that lends a user ids from `first` on.
pub(crate) fn lending(user: &str, first: u32) -> String {
    let last = first + (USUAL_COUNT - 1);
    format!("usermod --add-subuids {first}-{last} --add-subgids {first}-{last} {user}")
}

/// Whether an id is among those of a map, as the kernel shows it.
pub(super) fn covers(map: &str, id: u32) -> bool {
    map.lines().any(|line| {
        let mut fields = line.split_whitespace().map(|field| field.parse::<u64>().unwrap_or(0));
        let (inside, count) = (fields.next().unwrap_or(0), fields.nth(1).unwrap_or(0));
        (inside..inside + count).contains(&u64::from(id))
    })
}

fn read(file: &str) -> String {
    fs::read_to_string(file).unwrap_or_default()
}

/// Where a range could begin that overlaps none.
fn first_free(text: &str) -> u32 {
    let end = all_ranges(text)
        .map(|(_, first, count)| first.saturating_add(count))
        .max()
        .unwrap_or(0);
    end.clamp(USUAL_FIRST, u32::MAX - USUAL_COUNT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_lent_by_name_or_number() {
        let text = "ann:100000:65536\nbob:165536:65536\n1000:300000:10\nbroken\nann:x:1\n";
        assert_eq!(ranges(text, "ann", 1000), [(100_000, 65_536), (300_000, 10)]);
        assert_eq!(ranges(text, "carol", 7), []);
        assert_eq!(first_free(text), 300_010);
        assert_eq!(first_free(""), USUAL_FIRST);
    }

    #[test]
    fn the_user_is_root_and_lent_ids_follow() {
        let expected = [(0, 1000, 1), (1, 100_000, 5), (6, 300_000, 7)].map(|(inside, outside, count)| Extent {
            inside,
            outside,
            count,
        });
        assert_eq!(stacked(1000, &[(100_000, 5), (300_000, 7)]), expected);
    }

    #[test]
    fn a_map_says_which_ids_there_are() {
        let map = "         0       1000          1\n         1     100000      65536\n";
        assert!(covers(map, 0) && covers(map, 65_536) && !covers(map, 65_537));
        assert!(!covers("0 1000 1\n", 1) && covers("0 0 4294967295\n", 1000));
    }
}
