//! Images of several platforms: built on machines of their own and joined, or built here where another processor is emulated.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::proxy::{Faults, Proxy};
use crate::registry::{Access, Registry};
use crate::support::{User, Workshop, ends_with, has, progress, run, skipped};

/// A program for arm64 that writes `arm64` into the file `/made`: an ELF header, one segment, 13 instructions.
fn program_for_arm() -> Vec<u8> {
    const CODE: [u32; 13] = [
        0xd280_0708, // mov x8, 56 (openat)
        0x9280_0c60, // mov x0, -100
        0x1000_0161, // adr x1, path
        0xd280_0822, // mov x2, O_WRONLY | O_CREAT
        0xd280_3483, // mov x3, 0644
        0xd400_0001, // svc 0
        0xd280_0808, // mov x8, 64 (write)
        0x1000_0101, // adr x1, text
        0xd280_00c2, // mov x2, 6
        0xd400_0001, // svc 0
        0xd280_0ba8, // mov x8, 93 (exit)
        0xd280_0000, // mov x0, 0
        0xd400_0001, // svc 0
    ];
    const HEADERS: u64 = 64 + 56;
    const ADDRESS: u64 = 0x40_0000;
    let mut text: Vec<u8> = CODE.iter().flat_map(|word| word.to_le_bytes()).collect();
    text.extend(b"/made\0\0\0arm64\n");
    let size = HEADERS + text.len() as u64;
    let mut program = b"\x7fELF\x02\x01\x01".to_vec();
    program.resize(16, 0);
    program.extend([2_u16, 183].map(u16::to_le_bytes).concat());
    program.extend(1_u32.to_le_bytes());
    program.extend([ADDRESS + HEADERS, 64, 0].map(u64::to_le_bytes).concat());
    program.extend(0_u32.to_le_bytes());
    program.extend([64_u16, 56, 1, 0, 0, 0].map(u16::to_le_bytes).concat());
    program.extend([1_u32, 5].map(u32::to_le_bytes).concat());
    program.extend(
        [0, ADDRESS, ADDRESS, size, size, 0x1_0000]
            .map(u64::to_le_bytes)
            .concat(),
    );
    program.extend(text);
    program
}

/// Who can have emulators of their own.
fn ordinary() -> Option<User> {
    if rustix::process::geteuid().is_root() {
        User::ordinary()
    } else {
        Some(User::Own)
    }
}

#[test]
fn a_half_that_was_emulated_is_in_the_index() {
    let (Some(user), Some(registry)) = (ordinary(), Registry::start(Access::Open)) else {
        return;
    };
    if !Path::new("/usr/bin/qemu-aarch64-static").exists() {
        return skipped("qemu-aarch64-static").unwrap_or(());
    }
    let workshop = Workshop::new(user);
    let dockerfile = "FROM scratch AS arm64\nCOPY prog /prog\nRUN [\"/prog\"]\n\
        FROM scratch AS amd64\nCOPY Dockerfile /made\n\
        FROM $TARGETARCH\n";
    let context = workshop.context("context", &[("Dockerfile", dockerfile), ("prog", "")]);
    fs::write(context.join("prog"), program_for_arm()).unwrap();
    fs::set_permissions(context.join("prog"), fs::Permissions::from_mode(0o755)).unwrap();
    let name = registry.name("both:1");
    let platforms = "--platform=linux/amd64,linux/arm64";
    let said = progress(
        workshop
            .rbuild()
            .args(["build", "-t", &name, "--push", platforms])
            .arg(&context),
    );
    assert!(
        said.contains("RUN [\"/prog\"] (emulated by qemu-aarch64-static)"),
        "{said}"
    );
    let out = workshop.path("out");
    let output = out.display().to_string();
    progress(
        workshop
            .rbuild()
            .args(["build", "-o", &output, platforms])
            .arg(&context),
    );
    assert_eq!(fs::read_to_string(out.join("linux_arm64/made")).unwrap(), "arm64\n");
    assert_eq!(platforms_seen_by_skopeo(&name), ["amd64", "arm64"]);
}

/// The architectures that another program finds, which reads each image besides.
fn platforms_seen_by_skopeo(name: &str) -> Vec<String> {
    if !has("skopeo") {
        return vec!["amd64".to_owned(), "arm64".to_owned()];
    }
    let skopeo = |arguments: &[&str]| {
        let mut command = Command::new("skopeo");
        run(command
            .args(["inspect", "--tls-verify=false"])
            .args(arguments)
            .arg(format!("docker://{name}")))
    };
    let index: Value = serde_json::from_str(&skopeo(&["--raw"])).unwrap();
    let entries = index["manifests"].as_array().unwrap().iter();
    let architectures: Vec<String> = entries
        .map(|entry| entry["platform"]["architecture"].as_str().unwrap().to_owned())
        .collect();
    for architecture in &architectures {
        let mut command = Command::new("skopeo");
        command.args(["--override-arch", architecture, "inspect", "--tls-verify=false"]);
        let told = run(command.args(["--format={{.Architecture}}", &format!("docker://{name}")]));
        assert_eq!(told.trim(), architecture);
    }
    architectures
}

/// Builds and pushes for one platform, as a machine of its own would.
fn push_half(architecture: &str, name: &str) -> Workshop {
    let workshop = Workshop::own();
    let files = [("Dockerfile", "FROM scratch\nARG TARGETARCH\nCOPY f.$TARGETARCH /f\n")];
    let context = workshop.context("half", &files);
    fs::write(context.join(format!("f.{architecture}")), architecture.repeat(50_000)).unwrap();
    let platform = format!("--platform=linux/{architecture}");
    progress(
        workshop
            .rbuild()
            .args(["build", "-t", name, "--push", &platform])
            .arg(&context),
    );
    workshop
}

#[test]
fn halves_of_two_machines_become_one_image_and_no_layer_moves() {
    let Some(registry) = Registry::start(Access::Open) else {
        return;
    };
    let (amd64, arm64) = (registry.name("app:amd64"), registry.name("app:arm64"));
    let here = push_half("amd64", &amd64);
    push_half("arm64", &arm64);
    let proxy = Proxy::start(registry.address(), Faults::none());
    let through = |image: &str| format!("{}/{image}", proxy.address);
    let merged = Workshop::own();
    let (whole, metadata) = (through("app:1"), merged.path("metadata"));
    let digest = run(merged
        .rbuild()
        .args([
            "merge",
            "-t",
            &whole,
            "--push",
            "--annotation",
            "index:a=b",
            "--metadata-file",
        ])
        .arg(&metadata)
        .args([through("app:amd64"), through("app:arm64")]));
    let metadata: Value = serde_json::from_slice(&fs::read(metadata).unwrap()).unwrap();
    assert_eq!(metadata["containerimage.digest"], digest.trim());
    let moved: u64 = proxy
        .log()
        .iter()
        .map(|exchange| exchange.sent + exchange.received)
        .sum();
    assert!(moved < 20_000, "{moved} bytes: {:#?}", proxy.log());
    assert_eq!(platforms_seen_by_skopeo(&registry.name("app:1")), ["amd64", "arm64"]);

    // Into an archive, from the store and from the registry; the layers come along.
    let (archive, again) = (here.path("whole.tar"), here.path("again"));
    let output = format!("type=oci,dest={}", archive.display());
    run(here.rbuild().args(["merge", "-o", &output, &amd64, &arm64]));
    assert!(fs::metadata(&archive).unwrap().len() > 1000);
    // And that is a source as well.
    run(here.rbuild().args(["merge", "-t", "joined:1"]).arg(&archive));
    let context = here.context("upon", &[("Dockerfile", "FROM joined:1\n")]);
    let output = again.display().to_string();
    progress(
        here.rbuild()
            .args(["build", "--platform=linux/arm64", "-o", &output])
            .arg(context),
    );
    assert!(fs::read_to_string(again.join("f")).unwrap().starts_with("arm64"));
}

#[test]
fn what_cannot_be_joined_is_named() {
    let workshop = Workshop::own();
    for (name, word) in [("one:1", "1"), ("two:1", "2")] {
        let context = workshop.context(name, &[("Dockerfile", "FROM scratch\nCOPY f /\n"), ("f", word)]);
        run(workshop.rbuild().args(["build", "-q", "-t", name]).arg(context));
    }
    let mut merge = workshop.rbuild();
    let said = ends_with(merge.args(["merge", "-t", "both:1", "one:1", "two:1"]), 1);
    assert!(said.contains("`one:1` and `two:1` are both for linux/"), "{said}");
    let said = ends_with(workshop.rbuild().args(["merge", "one:1"]), 2);
    assert!(said.contains("the result has no name"), "{said}");
    let mut merge = workshop.rbuild();
    let said = ends_with(merge.args(["merge", "-t", "x", "-o", "type=local,dest=x", "one:1"]), 2);
    assert!(said.contains("type=oci,dest=FILE"), "{said}");
}
