//! Rules into BPF.
//!
//! ```text
//! architecture? ─┬─ one we know ── number? ── binary search over runs of equal rules ── verdict
//!                └─ else: EPERM
//! ```
//!
//! A program is put together from pieces that jump forward only within themselves; [`branch`] joins two of them.

use super::Rule;
use super::calls::{CALLS, Column};

// linux/audit.h: the architecture's ELF machine, and flags for 64 bits and little endian.
const AUDIT_X86_64: u32 = 0xc000_003e;
const AUDIT_I386: u32 = 0x4000_0003;
const AUDIT_AARCH64: u32 = 0xc000_00b7;
const AUDIT_ARM: u32 = 0x4000_0028;
/// What marks the numbers of x32, which shares the architecture word with x86-64.
const X32_MARK: u32 = 0x4000_0000;
/// `breakpoint`, `cacheflush` and `set_tls`, which 32-bit ARM has far away from all others.
const ARM_PRIVATE: [u32; 3] = [0x000f_0001, 0x000f_0002, 0x000f_0005];

// linux/seccomp.h: where the words of `struct seccomp_data` are (little endian), and the verdicts.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const FIRST_ARGUMENT: u32 = 16;
const VERDICT_ALLOW: u32 = 0x7fff_0000;
const VERDICT_ERRNO: u32 = 0x0005_0000;

// linux/bpf_common.h
const LOAD: u16 = 0x20;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_AT_LEAST: u16 = 0x35;
const JUMP_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

/// `CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET`
const NEW_NAMESPACES: u32 = 0x7e02_0000;
/// `PER_LINUX`, `PER_LINUX32`, those two with `UNAME26`, and the question which one it is.
const PERSONALITIES: [u32; 5] = [0, 0x0008, 0x0002_0000, 0x0002_0008, 0xffff_ffff];
const AF_ALG: u32 = 38;
const AF_VSOCK: u32 = 40;

/// One step of a program, as in `struct sock_filter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Instruction {
    /// What to do.
    pub(super) code: u16,
    /// How many to leave out if the test holds.
    pub(super) jt: u8,
    /// How many if not.
    pub(super) jf: u8,
    /// The number it is about.
    pub(super) k: u32,
}

type Piece = Vec<Instruction>;

/// An architecture that the kernel we run on can execute.
#[derive(Clone, Copy, Debug)]
pub(super) struct Architecture {
    audit: u32,
    column: Column,
}

const X86_FAMILY: &[Architecture] = &[
    Architecture {
        audit: AUDIT_X86_64,
        column: Column::X86_64,
    },
    Architecture {
        audit: AUDIT_I386,
        column: Column::I386,
    },
];
const ARM_FAMILY: &[Architecture] = &[
    Architecture {
        audit: AUDIT_AARCH64,
        column: Column::Aarch64,
    },
    Architecture {
        audit: AUDIT_ARM,
        column: Column::Arm,
    },
];

/// What a kernel for `machine`, as Rust names it, can execute.
pub(super) fn family(machine: &str) -> Option<&'static [Architecture]> {
    match machine {
        "x86_64" => Some(X86_FAMILY),
        "aarch64" => Some(ARM_FAMILY),
        _ => None,
    }
}

/// The whole filter for a kernel that executes `architectures`.
pub(super) fn program(architectures: &[Architecture]) -> Piece {
    let mut piece = verdict(Rule::Deny);
    for architecture in architectures.iter().rev() {
        piece = branch(JUMP_EQUAL, architecture.audit, calls_of(*architecture), piece);
    }
    after(load(ARCHITECTURE), piece)
}

fn calls_of(architecture: Architecture) -> Piece {
    let calls = search(&runs(architecture.column));
    let calls = match architecture.column {
        Column::X86_64 => branch(JUMP_AT_LEAST, X32_MARK, search(&runs(Column::X32)), calls),
        _ => calls,
    };
    after(load(NUMBER), calls)
}

/// From this number on, this rule.
#[derive(Clone, Copy, Debug)]
struct Run {
    first: u32,
    rule: Rule,
}

/// The rules of all numbers there are, as few runs as possible. What is newer than this table is said to be missing, so
/// that programs do without.
fn runs(column: Column) -> Vec<Run> {
    let mark = if column == Column::X32 { X32_MARK } else { 0 };
    let mut listed: Vec<(u32, Rule)> = CALLS
        .iter()
        .filter_map(|call| Some((call.number(column)? | mark, call.rule)))
        .collect();
    listed.sort_unstable_by_key(|(number, _)| *number);
    let newest = listed.last().map_or(0, |(number, _)| *number);
    if column == Column::Arm {
        listed.extend(ARM_PRIVATE.map(|number| (number, Rule::Allow)));
    }
    let mut runs = vec![Run {
        first: 0,
        rule: Rule::Deny,
    }];
    let mut add = |first: u32, rule: Rule| match runs.last_mut() {
        Some(last) if last.rule == rule => {}
        Some(last) if last.first == first => last.rule = rule,
        _ => runs.push(Run { first, rule }),
    };
    for (number, rule) in listed {
        add(number, rule);
        add(number + 1, if number < newest { Rule::Deny } else { Rule::Missing });
    }
    runs.dedup_by_key(|run| run.rule);
    runs
}

fn search(runs: &[Run]) -> Piece {
    match runs {
        [] => verdict(Rule::Deny),
        [run] => verdict(run.rule),
        _ => {
            let (low, high) = runs.split_at(runs.len() / 2);
            branch(JUMP_AT_LEAST, high[0].first, search(high), search(low))
        }
    }
}

fn verdict(rule: Rule) -> Piece {
    match rule {
        Rule::Allow => give(VERDICT_ALLOW),
        Rule::Deny => give(VERDICT_ERRNO | libc::EPERM.unsigned_abs()),
        Rule::Missing => give(VERDICT_ERRNO | libc::ENOSYS.unsigned_abs()),
        Rule::CloneWithoutNamespaces => {
            let judged = branch(JUMP_ANY_BIT, NEW_NAMESPACES, verdict(Rule::Deny), verdict(Rule::Allow));
            after(load(FIRST_ARGUMENT), judged)
        }
        Rule::KnownPersonality => {
            let allow_if = |otherwise, known| branch(JUMP_EQUAL, known, verdict(Rule::Allow), otherwise);
            after(
                load(FIRST_ARGUMENT),
                PERSONALITIES.into_iter().fold(verdict(Rule::Deny), allow_if),
            )
        }
        // Arguments of these calls are 32 bits wide, whatever a program puts above them.
        Rule::OrdinarySocket => {
            let deny_if = |otherwise, family| branch(JUMP_EQUAL, family, verdict(Rule::Deny), otherwise);
            after(
                load(FIRST_ARGUMENT),
                [AF_ALG, AF_VSOCK].into_iter().fold(verdict(Rule::Allow), deny_if),
            )
        }
    }
}

/// `holds` if the loaded word passes the test, else `fails`.
fn branch(test: u16, k: u32, holds: Piece, fails: Piece) -> Piece {
    let head = match u8::try_from(fails.len()) {
        Ok(distance) => vec![Instruction {
            code: test,
            jt: distance,
            jf: 0,
            k,
        }],
        // Conditional jumps are short; a plain one goes any distance.
        Err(_) => {
            let distance = u32::try_from(fails.len()).unwrap_or(u32::MAX);
            vec![
                Instruction {
                    code: test,
                    jt: 0,
                    jf: 1,
                    k,
                },
                Instruction {
                    code: JUMP,
                    jt: 0,
                    jf: 0,
                    k: distance,
                },
            ]
        }
    };
    [head, fails, holds].concat()
}

fn after(first: Instruction, then: Piece) -> Piece {
    [vec![first], then].concat()
}

fn load(offset: u32) -> Instruction {
    Instruction {
        code: LOAD,
        jt: 0,
        jf: 0,
        k: offset,
    }
}

fn give(verdict: u32) -> Piece {
    vec![Instruction {
        code: RETURN,
        jt: 0,
        jf: 0,
        k: verdict,
    }]
}
