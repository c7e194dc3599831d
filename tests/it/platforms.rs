//! One build for several platforms: an index, its images, and folders of their files.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::support::{Workshop, ends_with, progress, run};

const DOCKERFILE: &str = "FROM scratch\nARG TARGETARCH\nCOPY f.$TARGETARCH /dir/f\nCOPY same /\n";

fn context(workshop: &Workshop) -> std::path::PathBuf {
    let files = [
        ("Dockerfile", DOCKERFILE),
        ("f.amd64", "a"),
        ("f.arm64", "b"),
        ("f.arm", "c"),
        ("same", "s"),
    ];
    workshop.context("several", &files)
}

#[test]
fn an_index_has_the_platforms_in_the_order_asked_for() {
    let workshop = Workshop::own();
    let context = context(&workshop);
    let (layout, metadata) = (workshop.path("layout"), workshop.path("metadata"));
    let output = format!("type=oci,tar=false,dest={}", layout.display());
    let text = progress(
        workshop
            .rbuild()
            .args([
                "build",
                "-t",
                "several:1",
                "--platform",
                "linux/arm64,linux/amd64",
                "--platform=linux/arm",
            ])
            .args([
                "--annotation",
                "index:a=b",
                "--annotation",
                "manifest[linux/arm64]:c=d",
                "-o",
                &output,
            ])
            .arg("--metadata-file")
            .arg(&metadata)
            .arg(&context),
    );
    assert!(text.contains("[linux/arm/v7 2/2] COPY same /"), "{text}");
    let read = |path: std::path::PathBuf| serde_json::from_slice::<Value>(&fs::read(path).unwrap()).unwrap();
    let blob = |digest: &Value| {
        let name = digest.as_str().unwrap().replace(':', "/");
        read(layout.join("blobs").join(name))
    };
    let entry = read(layout.join("index.json"))["manifests"][0].clone();
    let metadata = read(metadata);
    assert_eq!(metadata["containerimage.digest"], entry["digest"]);
    assert_eq!(metadata.get("containerimage.config.digest"), None);
    let index = blob(&entry["digest"]);
    assert_eq!(index["annotations"], serde_json::json!({"a": "b"}));
    let manifests = index["manifests"].as_array().unwrap();
    let architectures: Vec<&Value> = manifests
        .iter()
        .map(|entry| &entry["platform"]["architecture"])
        .collect();
    assert_eq!(architectures, ["arm64", "amd64", "arm"]);
    let annotated: Vec<bool> = manifests
        .iter()
        .map(|entry| blob(&entry["digest"])["annotations"]["c"] == "d")
        .collect();
    assert_eq!(annotated, [true, false, false]);
    // The same name leads to the same index here, and an image of it can be built upon.
    let listed = run(workshop.rbuild().args(["images", "--format", "json"]));
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed[0]["digest"], entry["digest"]);
    assert_eq!(
        listed[0]["platforms"],
        serde_json::json!(["linux/arm64", "linux/amd64", "linux/arm/v7"])
    );
    let output = workshop
        .rbuild()
        .args(["run", "--platform=linux/s390x", "several:1"])
        .output()
        .unwrap();
    let told = "there is no image for linux/s390x; there are: linux/arm64, linux/amd64, linux/arm/v7";
    assert!(String::from_utf8_lossy(&output.stderr).contains(told), "{output:?}");
    let upon = workshop.context("upon", &[("Dockerfile", "FROM several:1\n")]);
    let out = workshop.path("out");
    let output = out.display().to_string();
    run(workshop
        .rbuild()
        .args(["build", "-q", "--platform=linux/arm64", "-o", &output])
        .arg(upon));
    assert_eq!(fs::read_to_string(out.join("dir/f")).unwrap(), "b");
}

#[test]
fn files_of_platforms_are_apart_unless_they_can_be_together() {
    let workshop = Workshop::own();
    let context = context(&workshop);
    let build = |platforms: &str, output: &str| {
        let mut command = workshop.rbuild();
        command.args(["build", "-q", "--platform", platforms, "-o"]);
        command.arg(output.replace("DIR", &workshop.path("").display().to_string()));
        command.arg(&context);
        command
    };
    run(&mut build("linux/arm,linux/amd64", "DIR/apart"));
    for (file, text) in [("linux_arm_v7/dir/f", "c"), ("linux_amd64/dir/f", "a")] {
        assert_eq!(fs::read_to_string(workshop.path("apart").join(file)).unwrap(), text);
    }
    run(&mut build(
        "linux/arm",
        "type=local,dest=DIR/forced,platform-split=true",
    ));
    assert!(workshop.path("forced/linux_arm_v7/same").exists());
    run(&mut build("linux/arm", "type=local,dest=DIR/plain"));
    assert!(workshop.path("plain/same").exists());
    let output = build("linux/arm,linux/amd64", "type=local,dest=DIR/one,platform-split=false")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let collision = "cannot overwrite dir/f from linux/arm/v7 with linux/amd64 when split option is disabled";
    assert!(!output.status.success() && said.contains(collision), "{said}");
    assert!(!workshop.path("one").exists());
}

#[test]
fn a_program_for_a_processor_that_nobody_has_is_an_error_with_a_way_out() {
    let workshop = Workshop::own();
    let context = workshop.context("foreign", &[("Dockerfile", "FROM scratch\nCOPY sh /bin/sh\nRUN x\n")]);
    let mut program = b"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xcd\xab".to_vec();
    program.resize(120, 0);
    fs::write(context.join("sh"), program).unwrap();
    fs::set_permissions(context.join("sh"), fs::Permissions::from_mode(0o755)).unwrap();
    let said = ends_with(
        workshop
            .rbuild()
            .args(["build", "--platform=linux/abacus"])
            .arg(&context),
        4,
    );
    for part in [
        "[internal] emulate abacus on ",
        "there is no emulator: programs for abacus do not run here",
        "exec /bin/sh: exec format error",
        "hint: the program is for another processor",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn an_image_made_here_for_another_platform_can_be_built_upon() {
    let workshop = Workshop::own();
    let base = workshop.context("base", &[("Dockerfile", "FROM scratch\nCOPY f /\n"), ("f", "x")]);
    run(workshop
        .rbuild()
        .args(["build", "-q", "--platform=linux/s390x", "-t", "nowhere.invalid/base:1"])
        .arg(base));
    let upon = workshop.context(
        "upon",
        &[("Dockerfile", "FROM nowhere.invalid/base:1\nCOPY g /\n"), ("g", "y")],
    );
    run(workshop.rbuild().args(["build", "-q", "-t", "upon:1"]).arg(upon));
    let listed = run(workshop.rbuild().args(["images", "--format", "json", "upon:1"]));
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed[0]["platform"], "linux/s390x");
}
