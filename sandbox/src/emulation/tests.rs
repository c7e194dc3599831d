use super::*;

const ARM64: &str = "enabled\ninterpreter /usr/bin/qemu-aarch64-static\nflags: POCF\noffset 0\n\
    magic 7f454c460201010000000000000000000200b700\nmask ffffffffffffff00fffffffffffffffffeffffff\n";
const S390X: &str = "enabled\ninterpreter /q\nflags: OC\noffset 0\n\
    magic 7f454c4602020100000000000000000000020016\nmask fffffffffffffffcfffffffffffffffffffeffff\n";

/// A folder like the kernel's.
fn kernel(status: &str, files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("status", status), ("register", "")].iter().chain(files) {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

#[test]
fn the_kernels_registrations_say_what_can_be_run() {
    let disabled = ARM64.replace("enabled", "disabled").replace("b700", "f300");
    let folder = kernel(
        "enabled\n",
        &[
            ("qemu-aarch64", ARM64),
            ("s390", S390X),
            ("riscv", &disabled),
            ("python", "enabled\nextension .py\n"),
        ],
    );
    let registered = read(folder.path());
    for (architecture, host, expected) in [
        ("amd64", "x86_64", Emulation::Native),
        ("386", "x86_64", Emulation::Native),
        ("arm64", "x86_64", Emulation::By("/usr/bin/qemu-aarch64-static".into())),
        ("arm64", "aarch64", Emulation::Native),
        ("arm", "aarch64", Emulation::Native),
        ("s390x", "x86_64", Emulation::InsideOnly("/q".into())),
        ("riscv64", "x86_64", Emulation::None),
        ("arm", "x86_64", Emulation::None),
        ("abacus", "x86_64", Emulation::None),
    ] {
        assert_eq!(
            emulation(architecture, host, &registered),
            expected,
            "{architecture} on {host}"
        );
    }
}

#[test]
fn nothing_is_registered_where_the_kernel_says_so_or_nothing() {
    assert_eq!(read(kernel("disabled\n", &[("qemu-aarch64", ARM64)]).path()), []);
    assert_eq!(read(Path::new("/nonexistent")), []);
    for nonsense in [
        "",
        "enabled",
        "enabled\nmagic zz\n",
        "enabled\ninterpreter /x\noffset 0\nmagic 7\n",
    ] {
        let registered = Registration::parse("x", nonsense);
        assert!(
            registered.is_none_or(|entry| !entry.takes(&PROCESSORS[0].header())),
            "{nonsense}"
        );
    }
}

#[test]
fn a_static_emulator_is_registered_as_the_kernel_takes_it() {
    let folder = tempfile::tempdir().unwrap();
    let search = folder.path().as_os_str();
    assert_eq!(Registration::for_program("arm64", Some(search)), None);
    let program = folder.path().join("qemu-aarch64-static");
    fs::write(&program, "").unwrap();
    assert_eq!(Registration::for_program("arm64", Some(search)), None);
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let registration = Registration::for_program("arm64", Some(search)).unwrap();
    let kernels = Registration::parse("x", ARM64).unwrap();
    assert_eq!(
        (&registration.magic, &registration.mask),
        (&kernels.magic, &kernels.mask)
    );
    let line = registration.line().unwrap();
    assert!(
        line.starts_with(r":rbuild-aarch64:M:0:\x7f\x45\x4c\x46\x02\x01\x01\x00"),
        "{line}"
    );
    assert!(line.ends_with(&format!("{}:POCF", program.display())), "{line}");
}

#[test]
fn a_processor_is_told_by_its_programs_and_no_others() {
    for one in &PROCESSORS {
        for other in &PROCESSORS {
            let registration = Registration {
                name: "x".to_owned(),
                interpreter: "/x".into(),
                magic: one.header().to_vec(),
                mask: one.mask().to_vec(),
                is_fixed: true,
            };
            let is_same = one.architecture == other.architecture;
            assert_eq!(registration.takes(&other.header()), is_same, "{one:?} {other:?}");
        }
    }
}
