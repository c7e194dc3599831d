//! The program is run by a small interpreter of BPF, call by call.

use super::compile::{Instruction, family, program};

const X86_64: u32 = 0xc000_003e;
const I386: u32 = 0x4000_0003;
const AARCH64: u32 = 0xc000_00b7;
const ARM: u32 = 0x4000_0028;
const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0026;

fn judge(program: &[Instruction], architecture: u32, number: u32, argument: u64) -> u32 {
    let argument = argument as u32;
    let mut loaded = 0;
    let mut at = 0;
    loop {
        let Instruction { code, jt, jf, k } = program[at];
        at += 1;
        let holds = match code {
            0x20 => {
                loaded = match k {
                    0 => number,
                    4 => architecture,
                    16 => argument,
                    other => panic!("loads {other}"),
                };
                continue;
            }
            0x05 => {
                at += k as usize;
                continue;
            }
            0x06 => return k,
            0x15 => loaded == k,
            0x35 => loaded >= k,
            0x45 => loaded & k != 0,
            other => panic!("instruction {other:#x}"),
        };
        at += usize::from(if holds { jt } else { jf });
    }
}

fn families() -> [Vec<Instruction>; 2] {
    ["x86_64", "aarch64"].map(|machine| program(family(machine).unwrap()))
}

#[test]
fn calls_are_judged_as_docker_does() {
    let cases = [
        ("read", X86_64, 0, 0, ALLOW),
        ("execve", X86_64, 59, 0, ALLOW),
        ("chroot", X86_64, 161, 0, ALLOW),
        ("ptrace", X86_64, 101, 0, ALLOW),
        ("mount", X86_64, 165, 0, EPERM),
        ("unshare", X86_64, 272, 0, EPERM),
        ("setns", X86_64, 308, 0, EPERM),
        ("bpf", X86_64, 321, 0, EPERM),
        ("keyctl", X86_64, 250, 0, EPERM),
        ("io_uring_setup", X86_64, 425, 0, EPERM),
        ("clone3", X86_64, 435, 0, ENOSYS),
        ("a call of the future", X86_64, 5000, 0, ENOSYS),
        ("clone of a thread", X86_64, 56, 0x003d_0f00, ALLOW),
        ("clone of a user namespace", X86_64, 56, 0x1000_0011, EPERM),
        ("clone of a mount namespace", X86_64, 56, 0x0002_0000, EPERM),
        ("personality: which", X86_64, 135, 0xffff_ffff, ALLOW),
        ("personality: 32 bit", X86_64, 135, 8, ALLOW),
        ("personality: no randomising", X86_64, 135, 0x0004_0000, EPERM),
        ("socket of IPv4", X86_64, 41, 2, ALLOW),
        ("socket of netlink", X86_64, 41, 16, ALLOW),
        ("socket of the kernel's cryptography", X86_64, 41, 38, EPERM),
        ("socket of the hypervisor", X86_64, 41, 40, EPERM),
        ("socket of the hypervisor, disguised", X86_64, 41, 0x1_0000_0028, EPERM),
        ("x32 read", X86_64, 0x4000_0000, 0, ALLOW),
        ("x32 execve", X86_64, 0x4000_0000 + 520, 0, ALLOW),
        ("x32 mount", X86_64, 0x4000_0000 + 165, 0, EPERM),
        ("i386 write", I386, 4, 0, ALLOW),
        ("i386 mmap2", I386, 192, 0, ALLOW),
        ("i386 mount", I386, 21, 0, EPERM),
        ("i386 clone of a namespace", I386, 120, 0x2000_0000, EPERM),
        ("arm64 openat", AARCH64, 56, 0, ALLOW),
        ("arm64 mount", AARCH64, 40, 0, EPERM),
        ("arm64 clone of a namespace", AARCH64, 220, 0x0400_0000, EPERM),
        ("arm write", ARM, 4, 0, ALLOW),
        ("arm set_tls", ARM, 0x000f_0005, 0, ALLOW),
        ("arm mount", ARM, 21, 0, EPERM),
        ("arm, of the future", ARM, 5000, 0, ENOSYS),
    ];
    let [x86, arm] = families();
    for (name, architecture, number, argument, expected) in cases {
        let family = if matches!(architecture, X86_64 | I386) {
            &x86
        } else {
            &arm
        };
        assert_eq!(judge(family, architecture, number, argument), expected, "{name}");
    }
}

#[test]
fn every_listed_call_has_its_rule_on_every_architecture() {
    use super::Rule;
    use super::calls::{CALLS, Column};
    let [x86, arm] = families();
    let columns = [
        (&x86, X86_64, Column::X86_64, 0),
        (&x86, X86_64, Column::X32, 0x4000_0000),
        (&x86, I386, Column::I386, 0),
        (&arm, AARCH64, Column::Aarch64, 0),
        (&arm, ARM, Column::Arm, 0),
    ];
    for (program, architecture, column, mark) in columns {
        for call in CALLS {
            let Some(number) = call.number(column) else { continue };
            let expected = if call.rule == Rule::Missing { ENOSYS } else { ALLOW };
            assert_eq!(
                judge(program, architecture, number | mark, 0),
                expected,
                "{} {column:?}",
                call.name
            );
        }
    }
}

#[test]
fn foreign_architectures_are_refused_and_programs_are_small() {
    for family in families() {
        assert_eq!(judge(&family, 0x8000_0016, 1, 0), EPERM);
        assert!(family.len() < 4096, "{}", family.len());
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn numbers_are_the_kernels() {
    use super::calls::{CALLS, Column};
    let cases = [
        ("accept", libc::SYS_accept),
        ("statx", libc::SYS_statx),
        ("writev", libc::SYS_writev),
    ];
    for (name, expected) in cases {
        let call = CALLS.iter().find(|call| call.name == name).unwrap();
        assert_eq!(call.number(Column::X86_64).map(i64::from), Some(expected), "{name}");
    }
}
