//! Bombs: small archives that become large. They need disk, as what they hold does, but little memory, and an end.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Workshop, binary, has, run, text};

const MIB: u64 = 1 << 20;

/// What a process had in memory at most, how it ended and what it said. It is polled, for a child cannot be asked later.
fn measured(command: &mut Command) -> (u64, bool, String) {
    let said = tempfile::tempfile().unwrap();
    let began = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(said.try_clone().unwrap())
        .spawn()
        .unwrap();
    let mut most = 0;
    let status = loop {
        let state = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = state.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let size = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
        most = most.max(size.unwrap_or(0) * 1024);
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        assert!(began.elapsed() < Duration::from_secs(120), "{command:?} does not end");
        std::thread::sleep(Duration::from_millis(5));
    };
    let mut bytes = Vec::new();
    let mut said = said;
    std::io::Seek::rewind(&mut said).unwrap();
    std::io::Read::read_to_end(&mut said, &mut bytes).unwrap();
    (most, status.success(), text(&bytes))
}

fn rbuild(workshop: &Workshop) -> Command {
    let mut build = Command::new(binary());
    build.arg("--root").arg(workshop.store()).arg("--progress=plain");
    build
}

/// A tar archive with one file of zeros, compressed by `program`.
fn zeros(path: &Path, megabytes: u64, program: &str) {
    let size = megabytes * MIB;
    let mut header = tar::Header::new_gnu();
    header.set_path("zeros").unwrap();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_cksum();
    let start = path.with_extension("start");
    fs::write(&start, header.as_bytes()).unwrap();
    let script = format!("(cat \"$0\"; head -c {size} /dev/zero; head -c 1024 /dev/zero) | {program} > \"$1\"");
    run(Command::new("sh").args(["-c", &script]).arg(&start).arg(path));
}

#[test]
fn an_archive_that_grows_needs_little_memory() {
    let workshop = Workshop::own();
    for program in ["xz", "bzip2 -1", "zstd -q", "gzip -1"] {
        if !has(program.split(' ').next().unwrap()) {
            continue;
        }
        let context = workshop.context("bomb", &[("Dockerfile", "FROM scratch\nADD a.tar /\n")]);
        zeros(&context.join("a.tar"), 96, program);
        assert!(fs::metadata(context.join("a.tar")).unwrap().len() < 2 * MIB);
        let mut build = rbuild(&workshop);
        let (memory, succeeded, said) = measured(build.args(["-o", "type=cacheonly"]).arg(&context));
        assert!(succeeded, "{program}: {said}");
        assert!(memory < 80 * MIB, "{program}: {} MiB", memory / MIB);
        eprintln!("{program}: 96 MiB of content, {} MiB of memory", memory / MIB);
    }
}

/// A layout of one image of these layers, each a file and the digest of what it is decompressed.
fn layout(folder: &Path, layers: &[(PathBuf, String)]) {
    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let keep = |bytes: &[u8]| {
        let digest = oci::Digest::of(bytes).hex();
        fs::write(blobs.join(&digest), bytes).unwrap();
        (digest, bytes.len())
    };
    let diff_ids: Vec<String> = layers
        .iter()
        .map(|(_, diff_id)| format!("\"sha256:{diff_id}\""))
        .collect();
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
        diff_ids.join(",")
    );
    let (config, size) = keep(config.as_bytes());
    let layers: Vec<String> = layers
        .iter()
        .map(|(path, _)| {
            let (digest, size) = keep(&fs::read(path).unwrap());
            format!(r#"{{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"sha256:{digest}","size":{size}}}"#)
        })
        .collect();
    let manifest = format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:{config}","size":{size}}},"layers":[{}]}}"#,
        layers.join(",")
    );
    let (manifest, size) = keep(manifest.as_bytes());
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:{manifest}","size":{size}}}]}}"#
    );
    fs::write(folder.join("index.json"), index).unwrap();
    fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    run(Command::new("chmod").args(["-R", "a+rX"]).arg(folder));
}

fn digest_of(path: &Path, program: &str) -> String {
    let script = format!("{program} < \"$0\" | sha256sum");
    run(Command::new("sh").args(["-c", &script]).arg(path))
        .split(' ')
        .next()
        .unwrap()
        .to_owned()
}

fn from_layout(workshop: &Workshop, layout: &Path) -> (u64, bool, String) {
    let context = workshop.context("from", &[("Dockerfile", "FROM evil\nCOPY Dockerfile /d\n")]);
    let mut build = rbuild(workshop);
    build.arg(format!("--build-context=evil=oci-layout://{}", layout.display()));
    measured(
        build
            .args(["--platform=linux/amd64", "-o", "type=cacheonly"])
            .arg(&context),
    )
}

#[test]
fn a_layer_that_grows_needs_little_memory() {
    let workshop = Workshop::own();
    let path = workshop.path("layer");
    zeros(&path, 96, "gzip -1");
    let folder = workshop.path("gzip");
    layout(&folder, &[(path.clone(), digest_of(&path, "gzip -d"))]);
    let (memory, succeeded, said) = from_layout(&workshop, &folder);
    assert!(succeeded && memory < 80 * MIB, "{} MiB: {said}", memory / MIB);
    // A window of two gigabytes.
    fs::write(&path, [0x28, 0xb5, 0x2f, 0xfd, 0, 21 << 3, 3, 0, 0, b'x']).unwrap();
    let folder = workshop.path("window");
    layout(&folder, &[(path.clone(), "0".repeat(64))]);
    let (memory, succeeded, said) = from_layout(&workshop, &folder);
    assert!(!succeeded && memory < 80 * MIB, "{} MiB: {said}", memory / MIB);
    assert!(said.contains("too much memory"), "{said}");
}

/// A quarter of them are directories. A million, if `RBUILD_TEST_MEMORY=full`.
#[test]
fn a_layer_of_very_many_files_needs_little_memory() {
    let (entries, most) = match std::env::var("RBUILD_TEST_MEMORY").as_deref() {
        Ok("full") => (1_000_000, 160 * MIB),
        _ => (20_000, 80 * MIB),
    };
    let workshop = Workshop::own();
    let path = workshop.path("layer");
    let mut archive = tar::Builder::new(flate2::write::GzEncoder::new(
        File::create(&path).unwrap(),
        flate2::Compression::fast(),
    ));
    for number in 0..entries {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(if number % 4 == 0 {
            tar::EntryType::Directory
        } else {
            tar::EntryType::Regular
        });
        header.set_path(format!("{}/{number}", number % 7)).unwrap();
        header.set_size(0);
        header.set_mode(0o755);
        header.set_cksum();
        archive.append(&header, std::io::empty()).unwrap();
    }
    archive.into_inner().unwrap().finish().unwrap();
    let folder = workshop.path("many");
    layout(&folder, &[(path.clone(), digest_of(&path, "gzip -d"))]);
    let (memory, succeeded, said) = from_layout(&workshop, &folder);
    assert!(succeeded && memory < most, "{} MiB: {said}", memory / MIB);
    eprintln!("{entries} entries, {} MiB of memory", memory / MIB);
}

#[test]
fn more_layers_than_can_be_stacked_are_refused_before_they_are_fetched() {
    let workshop = Workshop::own();
    let path = workshop.path("layer");
    fs::write(&path, [0; 1024]).unwrap();
    let folder = workshop.path("stack");
    layout(&folder, &vec![(path.clone(), digest_of(&path, "cat")); 5000]);
    let (_, succeeded, said) = from_layout(&workshop, &folder);
    assert!(
        !succeeded && said.contains("an image of 5000 layers cannot be mounted"),
        "{said}"
    );
    let folder = workshop.path("uneven");
    layout(
        &folder,
        &[(path.clone(), digest_of(&path, "cat")), (path.clone(), "0".repeat(64))],
    );
    let (_, succeeded, said) = from_layout(&workshop, &folder);
    assert!(!succeeded && said.contains("the image configuration says"), "{said}");
}
