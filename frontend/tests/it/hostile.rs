//! Text that nobody wrote on purpose makes errors, not crashes.

use futures_util::FutureExt;

use crate::images::{images, options};

const PIECES: [&str; 40] = [
    "FROM ",
    "scratch",
    "busybox",
    " AS a",
    "\nRUN ",
    "\nCOPY ",
    "--from=",
    "a",
    "0",
    "\nADD ",
    "\nENV ",
    "x=",
    "\"",
    "'",
    "\\",
    "\n",
    "${",
    "}",
    ":-",
    "#",
    "%",
    "/",
    "*",
    "<<E",
    "<<-'E'",
    "\nE\n",
    "[\"b\"]",
    "[",
    "]",
    "--mount=",
    "type=,",
    "$",
    "\t",
    "\u{e9}",
    "\nONBUILD ",
    "\nEXPOSE ",
    "65535-",
    "\nHEALTHCHECK --interval=",
    "9s",
    "# escape=`\n",
];

/// A sequence of numbers that is the same on every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }
}

#[test]
fn no_text_makes_a_crash() {
    let (images, options) = (images(), options());
    let mut numbers = Numbers(1);
    let mut planned = 0;
    for _ in 0..20_000 {
        let mut text = String::from(if numbers.below(4) == 0 {
            ""
        } else {
            "FROM scratch AS a\nRUN "
        });
        for _ in 0..numbers.below(24) {
            text.push_str(PIECES[numbers.below(PIECES.len())]);
        }
        let mut bytes = text.into_bytes();
        if numbers.below(8) == 0 && !bytes.is_empty() {
            let place = numbers.below(bytes.len());
            bytes[place] = u8::try_from(numbers.below(256)).unwrap();
        }
        let plan = frontend::plan(&bytes, &options, &images, &frontend::Findings::new())
            .now_or_never()
            .unwrap();
        planned += usize::from(plan.is_ok());
    }
    assert!(planned > 100, "{planned}");
}
