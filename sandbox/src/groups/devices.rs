//! The devices that a step may open: docker's, by a program of the new hierarchy or by lines of the old one.
//!
//! Making a node is allowed, so that archives with devices can be unpacked; opening one is what is judged, whoever made it
//! and wherever it lies.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::OnceLock;

use rustix::fs::{CWD, FileType, Mode, OFlags, makedev, mknodat, openat};
use rustix::io::Errno;

use crate::sys;

/// Character devices by their numbers; without the second, all of the first.
const ALLOWED: [(u32, Option<u32>); 15] = [
    // null, zero, full, random, urandom
    (1, Some(3)),
    (1, Some(5)),
    (1, Some(7)),
    (1, Some(8)),
    (1, Some(9)),
    // tty, ptmx
    (5, Some(0)),
    (5, Some(2)),
    // The other ends of terminals.
    (136, None),
    (137, None),
    (138, None),
    (139, None),
    (140, None),
    (141, None),
    (142, None),
    (143, None),
];

/// Whether we are under somebody's rules: they refuse a device before anybody looks whether there is such a one. Tried with
/// one that nobody has, in `folder`.
pub(super) fn are_ruled(folder: &Path) -> bool {
    let path = folder.join(format!(".rbuild-device-{}", std::process::id()));
    let (kind, nobodys) = (FileType::CharacterDevice, makedev(0, 1));
    if mknodat(CWD, &path, kind, Mode::RUSR, nobodys).is_err() {
        // Then a step can make none either.
        return true;
    }
    let opened = openat(
        CWD,
        &path,
        OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC,
        Mode::empty(),
    );
    let _ = fs::remove_file(&path);
    !matches!(opened, Ok(_) | Err(Errno::NXIO | Errno::NODEV))
}

/// Puts the group under the rules by a program.
pub(super) fn attach(group: &OwnedFd) -> io::Result<()> {
    static PROGRAM: OnceLock<OwnedFd> = OnceLock::new();
    let program = match PROGRAM.get() {
        Some(program) => program,
        None => {
            let loaded = sys::load_device_program(&program())?;
            PROGRAM.get_or_init(|| loaded)
        }
    };
    sys::attach_device_program(group, program)
}

/// Puts the group under the rules by writing them to its files.
pub(super) fn write(group: &Path) -> io::Result<()> {
    fs::write(group.join("devices.deny"), "a")?;
    for line in lines() {
        fs::write(group.join("devices.allow"), line)?;
    }
    Ok(())
}

fn lines() -> Vec<String> {
    let mut lines = vec!["c *:* m".to_owned(), "b *:* m".to_owned()];
    lines.extend(ALLOWED.iter().map(|(major, minor)| match minor {
        Some(minor) => format!("c {major}:{minor} rw"),
        None => format!("c {major}:* rw"),
    }));
    lines
}

// linux/bpf.h: what a program is told of the device, and the words for it.
const ACCESS: i16 = 0;
const MAJOR: i16 = 4;
const MINOR: i16 = 8;
const MAKE: i32 = 1;
const CHARACTER: i32 = 2;

// The machine's instructions: load a word, move, and, shift right, jump unless equal, return.
const LOAD: u8 = 0x61;
const MOVE: u8 = 0xb7;
const COPY: u8 = 0xbf;
const AND: u8 = 0x57;
const SHIFT_RIGHT: u8 = 0x77;
const JUMP_UNLESS: u8 = 0x55;
const EXIT: u8 = 0x95;

const fn instruction(code: u8, to: u8, from: u8, offset: i16, number: i32) -> u64 {
    code as u64
        | (to as u64) << 8
        | (from as u64) << 12
        | (offset.cast_unsigned() as u64) << 16
        | (number.cast_unsigned() as u64) << 32
}

/// Gives 1 for what is allowed and 0 for all else.
fn program() -> Vec<u64> {
    const VERDICT: u8 = 0;
    const TOLD: u8 = 1;
    const KIND: u8 = 2;
    const WISH: u8 = 3;
    const FIRST: u8 = 4;
    const SECOND: u8 = 5;
    let allow = [instruction(MOVE, VERDICT, 0, 0, 1), instruction(EXIT, 0, 0, 0, 0)];
    let deny = [instruction(MOVE, VERDICT, 0, 0, 0), instruction(EXIT, 0, 0, 0, 0)];
    let mut program = vec![
        instruction(LOAD, KIND, TOLD, ACCESS, 0),
        instruction(COPY, WISH, KIND, 0, 0),
        instruction(SHIFT_RIGHT, WISH, 0, 0, 16),
        instruction(AND, KIND, 0, 0, 0xffff),
        instruction(LOAD, FIRST, TOLD, MAJOR, 0),
        instruction(LOAD, SECOND, TOLD, MINOR, 0),
        instruction(JUMP_UNLESS, WISH, 0, 2, MAKE),
    ];
    program.extend(allow);
    program.extend([instruction(JUMP_UNLESS, KIND, 0, 1, CHARACTER)]);
    // Over the refusal, to the rules.
    program.push(instruction(0x05, 0, 0, 2, 0));
    program.extend(deny);
    for (major, minor) in ALLOWED {
        let (major, minor) = (major.cast_signed(), minor.map(u32::cast_signed));
        program.push(instruction(
            JUMP_UNLESS,
            FIRST,
            0,
            if minor.is_some() { 3 } else { 2 },
            major,
        ));
        program.extend(minor.map(|minor| instruction(JUMP_UNLESS, SECOND, 0, 2, minor)));
        program.extend(allow);
    }
    program.extend(deny);
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The verdict of the program, run here as the kernel would.
    fn judged(kind: u32, access: u32, major: u32, minor: u32) -> u32 {
        let told = [access << 16 | kind, major, minor];
        let mut registers = [0_u32; 6];
        let (program, mut at) = (program(), 0_usize);
        loop {
            let word = program[at];
            let (to, number) = ((word >> 8 & 15) as usize, (word >> 32) as u32);
            let offset = (word >> 16 & 0xffff) as usize;
            at += 1;
            match (word & 0xff) as u8 {
                LOAD => registers[to] = told[offset / 4],
                MOVE => registers[to] = number,
                COPY => registers[to] = registers[(word >> 12 & 15) as usize],
                AND => registers[to] &= number,
                SHIFT_RIGHT => registers[to] >>= number,
                JUMP_UNLESS if registers[to] != number => at += offset,
                JUMP_UNLESS => {}
                0x05 => at += offset,
                EXIT => return registers[0],
                other => panic!("{other:#x}"),
            }
        }
    }

    #[test]
    fn usual_devices_are_allowed_and_no_other() {
        const BLOCK: u32 = 1;
        const CHARACTER: u32 = 2;
        let (make, read, write) = (1, 2, 4);
        let cases = [
            (CHARACTER, read | write, 1, 3, 1),
            (CHARACTER, read, 1, 9, 1),
            (CHARACTER, read, 5, 2, 1),
            (CHARACTER, read | write, 136, 7, 1),
            (CHARACTER, read, 143, 0, 1),
            (CHARACTER, read, 1, 1, 0),
            (CHARACTER, read, 1, 11, 0),
            (CHARACTER, read, 5, 1, 0),
            (CHARACTER, read, 10, 229, 0),
            (CHARACTER, write, 144, 0, 0),
            (BLOCK, read, 1, 3, 0),
            (BLOCK, read, 254, 0, 0),
            (BLOCK, make, 254, 0, 1),
            (CHARACTER, make, 1, 1, 1),
            (CHARACTER, make | read, 1, 1, 0),
        ];
        for (kind, access, major, minor, expected) in cases {
            assert_eq!(
                judged(kind, access, major, minor),
                expected,
                "{kind} {access} {major}:{minor}"
            );
        }
    }

    #[test]
    fn the_old_kind_is_told_the_same() {
        let lines = lines();
        assert!(lines.contains(&"b *:* m".to_owned()) && lines.contains(&"c 1:3 rw".to_owned()));
        assert!(!lines.iter().any(|line| line.starts_with("b ") && line.contains('r')));
    }
}
