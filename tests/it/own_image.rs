//! The image of rbuild itself: made by rbuild, and a builder wherever it is put.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::support::{Bases, Workshop, binary, progress, run, skipped};

#[test]
fn the_image_of_the_builder_builds() {
    let Some(bases) = Bases::find() else { return };
    if !rustix::process::geteuid().is_root() {
        return skipped("root").unwrap_or(());
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/make-image");
    let workshop = Workshop::own();
    let bundle = workshop.path("bundle.crt");
    fs::write(&bundle, "").unwrap();
    let root = workshop.path("root");
    let mut make = Command::new(script);
    make.env("RBUILD", binary())
        .env("RBUILD_ROOT", workshop.store())
        .env("SSL_CERT_FILE", &bundle)
        .arg("-o")
        .arg(&root);
    progress(&mut make);
    let program = fs::metadata(root.join("usr/bin/rbuild")).unwrap();
    assert_eq!(program.permissions().mode() & 0o777, 0o755);

    // As a container runtime starts it: /proc, and a store and a context lent by the host.
    let base = bases.folder().join("busybox");
    for (name, from) in [("context", None), ("base", Some(base))] {
        fs::create_dir(root.join(name)).unwrap();
        if let Some(from) = from {
            run(Command::new("cp").arg("-rT").arg(from).arg(root.join(name)));
        }
    }
    for folder in ["proc", "dev", "tmp"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    fs::write(
        root.join("context/Dockerfile"),
        "FROM busybox\nRUN echo built > /made\nFROM scratch\nCOPY --from=0 /made /\n",
    )
    .unwrap();
    let inside = "mount --bind \"$0\" \"$0\" && mount -t proc proc \"$0/proc\" && mount --rbind /dev \"$0/dev\" && exec chroot \"$0\" /usr/bin/rbuild --root /store \
        --build-context busybox=oci-layout:///base:latest -o /out /context";
    let mut container = Command::new("unshare");
    container
        .args([
            "--mount",
            "--pid",
            "--fork",
            "--propagation=private",
            "sh",
            "-c",
            inside,
        ])
        .arg(&root);
    progress(container.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"));
    assert_eq!(fs::read_to_string(root.join("out/made")).unwrap(), "built\n");
}
