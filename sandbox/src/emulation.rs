//! Programs for other processors: what the kernel has emulators for, and emulators of our own.
//!
//! The kernel's `binfmt_misc` keeps registrations, one file each:
//!
//! ```text
//! enabled
//! interpreter /usr/bin/qemu-aarch64-static
//! flags: POCF                                    F: opened at registration, so the root need not have it
//! offset 0
//! magic 7f454c460201010000000000000000000200b700
//! mask ffffffffffffff00fffffffffffffffffeffffff
//! ```
//!
//! Root's are everybody's, and are left as they are. A user namespace can have its own (Linux 6.7): there emulators found
//! in `PATH` are registered for the time of the build, beside copies of root's, which the namespace's own would hide.

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, mount};

use crate::Isolation;

const REGISTRATIONS: &str = "/proc/sys/fs/binfmt_misc";
/// How many bytes of a program tell for which processor it is.
const HEADER: usize = 20;

/// How programs for a processor are run here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Emulation {
    /// By the processor itself.
    Native,
    /// By this program.
    By(PathBuf),
    /// By this program, where the root has it: it was registered without the flag `F`.
    InsideOnly(PathBuf),
    /// Not at all, though this program could: the kernel, whose registrations are those of the whole machine, does not
    /// know it.
    Unregistered(PathBuf),
    /// Not at all.
    None,
}

/// How programs for each of `architectures` (in Go's spelling) are run here. In a user namespace emulators in one of the
/// folders of `search` are put to use.
#[must_use]
pub fn emulate(architectures: &[String], isolation: &Isolation, search: Option<&OsStr>) -> Vec<Emulation> {
    let host = std::env::consts::ARCH;
    let mut registered = read(Path::new(REGISTRATIONS));
    let find = |registered: &[Registration]| -> Vec<Emulation> {
        let of = |architecture: &String| emulation(architecture, host, registered);
        architectures.iter().map(of).collect()
    };
    let found = find(&registered);
    let is_missing = |emulation: &Emulation| matches!(emulation, Emulation::None | Emulation::InsideOnly(_));
    if !found.iter().any(is_missing) {
        return found;
    }
    if matches!(isolation, Isolation::Root | Isolation::Plain { .. }) {
        // They would be registered for everybody, and stay.
        let or_unregistered = |(found, architecture): (Emulation, &String)| match found {
            Emulation::None => match Registration::for_program(architecture, search) {
                Some(program) => Emulation::Unregistered(program.interpreter),
                None => Emulation::None,
            },
            found => found,
        };
        return found.into_iter().zip(architectures).map(or_unregistered).collect();
    }
    let mut own = Vec::new();
    for (architecture, _) in architectures.iter().zip(&found).filter(|(_, found)| is_missing(found)) {
        own.extend(Registration::for_program(architecture, search));
    }
    if own.is_empty() {
        return found;
    }
    own.append(&mut registered);
    match register(&own) {
        Ok(()) => find(&read(Path::new(REGISTRATIONS))),
        // An older kernel: what it has is what there is.
        Err(_) => found,
    }
}

fn emulation(architecture: &str, host: &str, registered: &[Registration]) -> Emulation {
    let Some(processor) = Processor::named(architecture) else {
        return Emulation::None;
    };
    match registered.iter().find(|entry| entry.takes(&processor.header())) {
        _ if processor.is_native_on(host) => Emulation::Native,
        Some(entry) if entry.is_fixed => Emulation::By(entry.interpreter.clone()),
        Some(entry) => Emulation::InsideOnly(entry.interpreter.clone()),
        None if processor.may_be_native_on(host) => Emulation::Native,
        None => Emulation::None,
    }
}

/// A processor by what the header of its programs says.
#[derive(Clone, Copy, Debug)]
struct Processor {
    architecture: &'static str,
    /// As qemu calls it, and Rust.
    qemu: &'static str,
    is_64_bit: bool,
    is_big_endian: bool,
    machine: u16,
}

const PROCESSORS: [Processor; 14] = [
    Processor::new("amd64", "x86_64", (true, false), 62),
    Processor::new("386", "i386", (false, false), 3),
    Processor::new("arm64", "aarch64", (true, false), 183),
    Processor::new("arm", "arm", (false, false), 40),
    Processor::new("riscv64", "riscv64", (true, false), 243),
    Processor::new("ppc64le", "ppc64le", (true, false), 21),
    Processor::new("ppc64", "ppc64", (true, true), 21),
    Processor::new("ppc", "ppc", (false, true), 20),
    Processor::new("s390x", "s390x", (true, true), 22),
    Processor::new("loong64", "loongarch64", (true, false), 258),
    Processor::new("mips64le", "mips64el", (true, false), 8),
    Processor::new("mips64", "mips64", (true, true), 8),
    Processor::new("mipsle", "mipsel", (false, false), 8),
    Processor::new("mips", "mips", (false, true), 8),
];

impl Processor {
    const fn new(
        architecture: &'static str,
        qemu: &'static str,
        (is_64_bit, is_big_endian): (bool, bool),
        machine: u16,
    ) -> Processor {
        Processor {
            architecture,
            qemu,
            is_64_bit,
            is_big_endian,
            machine,
        }
    }

    fn named(architecture: &str) -> Option<Processor> {
        PROCESSORS
            .into_iter()
            .find(|processor| processor.architecture == architecture)
    }

    fn is_native_on(&self, host: &str) -> bool {
        self.qemu == host || (self.architecture == "386" && host == "x86_64")
    }

    /// Some 64-bit processors still run the programs of their forebears.
    fn may_be_native_on(&self, host: &str) -> bool {
        self.architecture == "arm" && host == "aarch64"
    }

    /// The first bytes of an ELF program.
    fn header(&self) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        let class = if self.is_64_bit { 2 } else { 1 };
        let order = if self.is_big_endian { 2 } else { 1 };
        header[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', class, order, 1]);
        let [kind, machine] = [2, self.machine].map(|number: u16| match self.is_big_endian {
            true => number.to_be_bytes(),
            false => number.to_le_bytes(),
        });
        header[16..18].copy_from_slice(&kind);
        header[18..20].copy_from_slice(&machine);
        header
    }

    /// Which bits of the header count: any operating system, and shared objects as well as programs.
    fn mask(&self) -> [u8; HEADER] {
        let mut mask = [0xff; HEADER];
        mask[7] = 0;
        mask[if self.is_big_endian { 17 } else { 16 }] = 0xfe;
        mask
    }
}

/// An emulator as the kernel knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Registration {
    name: String,
    interpreter: PathBuf,
    magic: Vec<u8>,
    mask: Vec<u8>,
    is_fixed: bool,
}

impl Registration {
    /// Reads a file of `binfmt_misc`; those that are disabled, or look at names instead of content, are none.
    fn parse(name: &str, text: &str) -> Option<Registration> {
        let mut lines = text.lines();
        if lines.next() != Some("enabled") {
            return None;
        }
        let lines: Vec<&str> = lines.collect();
        let field = |name: &str| lines.iter().find_map(|line| line.strip_prefix(name));
        let magic = bytes(field("magic ")?)?;
        if field("offset ")? != "0" {
            return None;
        }
        let mask = match field("mask ") {
            Some(mask) => bytes(mask)?,
            None => vec![0xff; magic.len()],
        };
        Some(Registration {
            name: name.to_owned(),
            interpreter: PathBuf::from(field("interpreter ")?),
            is_fixed: field("flags:").is_some_and(|flags| flags.contains('F')),
            mask,
            magic,
        })
    }

    /// One for the static emulator of `architecture` in one of the folders of `search`.
    fn for_program(architecture: &str, search: Option<&OsStr>) -> Option<Registration> {
        let processor = Processor::named(architecture)?;
        // The second is a name that BuildKit looks for.
        let names = [
            format!("qemu-{}-static", processor.qemu),
            format!("buildkit-qemu-{}", processor.qemu),
        ];
        let folders: Vec<PathBuf> = std::env::split_paths(search?).collect();
        let paths = names
            .iter()
            .flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
        let interpreter = paths.into_iter().find(|path| is_executable(path))?;
        Some(Registration {
            name: format!("rbuild-{}", processor.qemu),
            interpreter,
            magic: processor.header().to_vec(),
            mask: processor.mask().to_vec(),
            is_fixed: true,
        })
    }

    fn takes(&self, header: &[u8]) -> bool {
        self.magic.len() <= header.len()
            && self.mask.len() == self.magic.len()
            && header
                .iter()
                .zip(&self.magic)
                .zip(&self.mask)
                .all(|((byte, magic), mask)| byte & mask == magic & mask)
    }

    /// As it is written to `register`; `None` for a path that cannot be.
    fn line(&self) -> Option<String> {
        let escaped = |bytes: &[u8]| bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect::<String>();
        let path = self.interpreter.to_str().filter(|path| !path.contains([':', '\n']))?;
        let flags = if self.is_fixed { "POCF" } else { "POC" };
        let (magic, mask) = (escaped(&self.magic), escaped(&self.mask));
        Some(format!(":{}:M:0:{magic}:{mask}:{path}:{flags}", self.name))
    }
}

fn bytes(hexadecimal: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = hexadecimal.bytes().collect();
    let pairs = digits.chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// The registrations in force; none where they cannot be read.
fn read(directory: &Path) -> Vec<Registration> {
    let is_on = |name: &str| fs::read_to_string(directory.join(name)).is_ok_and(|text| text.trim() == "enabled");
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    if !is_on("status") {
        return Vec::new();
    }
    let mut registered: Vec<Registration> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().to_str()?.to_owned();
            let text = fs::read_to_string(entry.path()).ok()?;
            Registration::parse(&name, &text)
        })
        .collect();
    registered.sort_by(|a, b| a.name.cmp(&b.name));
    registered
}

/// Gives our user namespace registrations of its own.
fn register(wanted: &[Registration]) -> std::io::Result<()> {
    mount("binfmt_misc", REGISTRATIONS, "binfmt_misc", MountFlags::empty(), None)?;
    for registration in wanted {
        if let Some(line) = registration.line() {
            let mut file = fs::OpenOptions::new()
                .write(true)
                .open(Path::new(REGISTRATIONS).join("register"))?;
            // One that the kernel does not take is as if it were not installed; its name may be there already.
            let _ = file.write_all(line.as_bytes());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
