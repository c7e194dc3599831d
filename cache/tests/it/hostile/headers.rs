//! Headers and maps that lie about what follows.

use super::Fate::{Harmless, Refused};
use super::try_all;
use crate::raw::Raw;

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn headers_that_lie_are_refused() {
    let file = || Raw::new().file("a", "1");
    let zeros = |count: usize| {
        let raw = (0..count).fold(file(), |raw, _| raw.block([0; 512]));
        raw.file("b", "2")
    };
    let field = |from: usize, value: &'static [u8]| {
        Raw::new().entry_with(b"x", b'0', b"", b"", move |block| {
            block[from..from + value.len()].copy_from_slice(value);
        })
    };
    try_all(vec![
        (
            "pax size of words",
            Raw::new().pax("size", b"many").file("x", ""),
            Refused("size"),
        ),
        (
            "pax size below nothing",
            file().pax("size", b"-1").file("x", ""),
            Refused("entry `x`: its size is `-1`"),
        ),
        (
            "pax size of all",
            Raw::new().pax("size", b"18446744073709551615").file("x", ""),
            Refused(""),
        ),
        (
            "pax size beyond all",
            Raw::new().pax("size", b"99999999999999999999999").file("x", ""),
            Refused("size"),
        ),
        (
            "pax size beyond the archive",
            Raw::new().pax("size", b"1000000").file("x", ""),
            Refused("ends within a file"),
        ),
        (
            "pax user of words",
            Raw::new().pax("uid", b"root").file("x", ""),
            Refused("uid"),
        ),
        (
            "pax user below nothing",
            Raw::new().pax("uid", b"-1").file("x", ""),
            Refused("uid"),
        ),
        (
            "pax user of nobody",
            Raw::new().pax("uid", b"4294967295").file("x", ""),
            Refused("out of range"),
        ),
        (
            "pax group too large",
            Raw::new().pax("gid", b"4294967296").file("x", ""),
            Refused("out of range"),
        ),
        (
            "pax time of words",
            Raw::new().pax("mtime", b"noon").file("x", ""),
            Refused("mtime"),
        ),
        (
            "pax time of no number",
            Raw::new().pax("mtime", b"NaN").file("x", ""),
            Refused("mtime"),
        ),
        (
            "pax time beyond all",
            Raw::new().pax("mtime", b"99999999999999999999").file("x", ""),
            Refused("mtime"),
        ),
        (
            "pax time before all",
            Raw::new().pax("mtime", b"-9223372036854775808.9").file("x", ""),
            Refused("mtime"),
        ),
        (
            "pax time far away",
            Raw::new().pax("mtime", b"9223372036854775807").file("x", ""),
            Harmless,
        ),
        (
            "a record without a length",
            Raw::new().pax_text(b"path=x\n").file("x", ""),
            Refused(""),
        ),
        (
            "a record too long",
            Raw::new().pax_text(b"99999999 path=x\n").file("x", ""),
            Refused(""),
        ),
        (
            "a record too short",
            Raw::new().pax_text(b"3 path=x\n").file("x", ""),
            Refused(""),
        ),
        (
            "a record of nothing",
            Raw::new().pax_text(b"0 path=x\n").file("x", ""),
            Refused(""),
        ),
        (
            "a record below nothing",
            Raw::new().pax_text(b"-9 path=x\n").file("x", ""),
            Refused(""),
        ),
        (
            "a record without a value",
            Raw::new().pax_text(b"7 path\n").file("x", ""),
            Refused(""),
        ),
        (
            "two megabytes of records",
            Raw::new().pax("comment", &vec![b'x'; 2 << 20]).file("x", ""),
            Refused("metadata exceeds limit"),
        ),
        (
            "records of a gigabyte",
            Raw::new().entry_with(b"x", b'x', b"", b"", |block| {
                block[124..136].copy_from_slice(b"10000000000\0");
            }),
            Refused(""),
        ),
        ("records, and nothing behind", Raw::new().pax("path", b"x"), Refused("")),
        (
            "records of records",
            (0..40)
                .fold(Raw::new(), |raw, _| raw.global("comment", b"x"))
                .file("x", ""),
            Harmless,
        ),
        (
            "two names for one",
            Raw::new().long(b'L', b"a\0").long(b'L', b"b\0").file("x", ""),
            Refused("duplicate"),
        ),
        (
            "a size below nothing",
            field(124, &[0xff; 12]),
            Refused("entry `x`: its size is negative"),
        ),
        (
            "a size of 81 bits",
            field(124, b"\x80\x01\0\0\0\0\0\0\0\0\0\0"),
            Refused("entry `x`: its size is out of range"),
        ),
        (
            "a time of 81 bits",
            field(136, b"\x80\x01\0\0\0\0\0\0\0\0\0\0"),
            Refused("its time is out of range"),
        ),
        (
            "records of a size of 81 bits",
            Raw::new().entry_with(b"x", b'x', b"", b"", |block| {
                block[124..136].copy_from_slice(b"\x80\x01\0\0\0\0\0\0\0\0\0\0");
            }),
            Refused("its size is out of range"),
        ),
        (
            "a long name of which little is right",
            Raw::new()
                .pax("path", &[b'n'; 200])
                .entry_with(b"x", b'0', b"", b"", |block| block[124] = b'q'),
            Refused("entry `nnnn"),
        ),
        (
            "a device of letters",
            Raw::new().entry_with(b"x", b'3', b"", b"", |block| block[329] = b'q'),
            Refused("entry `x`: a number in its header is `q"),
        ),
        (
            "a size of all",
            field(124, b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff"),
            Refused(""),
        ),
        (
            "a size of letters",
            field(124, b"aaaaaaaaaaa\0"),
            Refused("entry `x`: a number in its header is `aaaaaaaaaaa`"),
        ),
        ("a user below nothing", field(108, &[0xff; 8]), Refused("")),
        (
            "a user too large",
            field(108, b"\x80\0\0\xff\xff\xff\xff\xff"),
            Refused("out of range"),
        ),
        ("a time below nothing", field(136, &[0xff; 12]), Harmless),
        ("a mode of everything", field(100, b"7777777\0"), Harmless),
        (
            "a wrong checksum",
            Raw::new().file("x", "").spoiled(148),
            Refused("checksum"),
        ),
        (
            "the end within a header",
            Raw::new().file("x", "").cut(300),
            Refused("ends within a header"),
        ),
        (
            "the end within a file",
            Raw::new().file("x", &"y".repeat(2000)).cut(1000),
            Refused("ends within a file"),
        ),
        ("no end at all", file().cut(1024), Harmless),
        ("nothing", Raw::new().cut(0), Harmless),
        ("noise behind the end", file().tail(&[7; 5000]), Harmless),
        (
            "a kind that nobody knows",
            file().entry(b"z", b'Z', b"", b"12"),
            Refused("entry `z`: it is of the unknown type `Z`"),
        ),
        (
            "a list of names of a directory",
            Raw::new().entry(b"z", b'D', b"", b""),
            Refused("unknown type `D`"),
        ),
        (
            "a kind that is no letter",
            Raw::new().entry(b"w", 0xff, b"", b"1"),
            Refused("unknown type 255"),
        ),
        (
            "a block of zeros, and more",
            zeros(1),
            Refused("a single block of zeros"),
        ),
        ("the end, and more", zeros(2), Harmless),
        (
            "a directory with content",
            Raw::new()
                .entry_with(b"d/", b'5', b"", b"", |block| {
                    block[124..136].copy_from_slice(b"77777777777\0");
                })
                .file("d/f", "1"),
            Harmless,
        ),
    ]);
}

#[test]
fn maps_of_holes_are_not_believed() {
    let sparse = |map: &str, size: &str, content: &str| {
        Raw::new()
            .pax_records(&[
                ("GNU.sparse.major", b"0"),
                ("GNU.sparse.minor", b"1"),
                ("GNU.sparse.name", b"s"),
                ("GNU.sparse.map", map.as_bytes()),
                ("GNU.sparse.size", size.as_bytes()),
            ])
            .file("x", content)
    };
    let many: Vec<String> = (0..20_000).map(|number| format!("{},1", number * 2)).collect();
    try_all(vec![
        ("a good map", sparse("0,1,1000,1", "2000", "ab"), Harmless),
        (
            "a map beyond the file",
            sparse("0,1,5000,1", "2000", "ab"),
            Refused("go beyond its size"),
        ),
        (
            "a map beyond all",
            sparse("18446744073709551615,2", "2000", "ab"),
            Refused(""),
        ),
        ("a map without room", sparse("0,1", "2000", "abcd"), Refused("room")),
        (
            "a map that overlaps",
            sparse("0,2,1,2", "2000", "abcd"),
            Refused("overlap"),
        ),
        (
            "a map out of order",
            sparse("1000,1,0,1", "2000", "ab"),
            Refused("out of order"),
        ),
        (
            "a map with nothing at its end",
            sparse("0,2,2000,0", "2000", "ab"),
            Harmless,
        ),
        ("a map of words", sparse("a,b", "2000", "ab"), Refused("")),
        ("half a map", sparse("0", "2000", "ab"), Refused("")),
        (
            "a map of twenty thousand",
            sparse(&many.join(","), "50000", &"x".repeat(20_000)),
            Refused("too many sparse entries"),
        ),
        (
            "eight exabytes",
            sparse("0,1", "9223372036854775807", "a"),
            Refused("free"),
        ),
        ("a petabyte", sparse("0,1", "1125899906842624", "a"), Refused("free")),
        ("more than all", sparse("0,1", "18446744073709551615", "a"), Refused("")),
    ]);
}
