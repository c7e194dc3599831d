//! Links that one step leaves so that the next, or the builder itself, writes outside of the tree.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{Bases, Workshop, ends_with, progress, text};

/// Users, each with a workshop, and a folder outside in which nothing may ever appear.
fn for_each_user(attack: impl Fn(&Workshop, &Bases, &Path)) {
    let Some(bases) = Bases::find() else { return };
    for workshop in Workshop::of_everybody() {
        let outside = workshop.context("outside", &[("kept", "kept")]);
        attack(&workshop, bases, &outside);
        let names: Vec<_> = fs::read_dir(&outside)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, ["kept"], "something was made or removed outside");
        assert_eq!(fs::read_to_string(outside.join("kept")).unwrap(), "kept");
    }
}

fn built(workshop: &Workshop, bases: &Bases, dockerfile: &str) -> PathBuf {
    let context = workshop.context("links", &[("Dockerfile", dockerfile), ("file", "attacker's")]);
    let out = context.join("out");
    progress(
        workshop
            .build(bases, &context)
            .arg(format!("--output=type=local,dest={}", out.display())),
    );
    out
}

#[test]
fn a_link_leads_no_instruction_out_of_the_tree() {
    for_each_user(|workshop, bases, outside| {
        let up = format!("../../../../../../../..{}", outside.display());
        let dockerfile = format!(
            "FROM busybox AS base\n\
             RUN mkdir -p /d {inside} && ln -s {outside} /absolute && ln -s {up} /d/relative && \
             ln -s /proc/self/root/{outside} /magic\n\
             WORKDIR /absolute/made\n\
             WORKDIR /d/relative/made\n\
             COPY file /absolute/copied\n\
             COPY file /d/relative/kept\n\
             ADD file /absolute/\n\
             FROM base\n\
             COPY --from=base /absolute/kept /tmp/\n",
            inside = outside.display(),
            outside = outside.display(),
        );
        // What the links lead to inside the tree is another folder of that name.
        let out = built(workshop, bases, &dockerfile);
        let inside = out.join(outside.strip_prefix("/").unwrap());
        for name in ["made", "copied", "kept", "file"] {
            assert!(inside.join(name).exists(), "{name}");
        }
        assert_eq!(fs::read_to_string(out.join("tmp/kept")).unwrap(), "attacker's");
    });
}

#[test]
fn a_mount_stays_in_the_tree_whatever_its_target_is_a_link_to() {
    for_each_user(|workshop, bases, outside| {
        let dockerfile = format!(
            "FROM busybox AS other\n\
             RUN ln -s {outside} /link\n\
             FROM busybox\n\
             RUN ln -s {outside} /link && ln -s /proc/self/root/{outside} /magic\n\
             RUN --mount=type=tmpfs,target=/link/memory --mount=type=cache,target=/link/cache \
             --mount=type=bind,target=/link/bind,rw echo x | tee /link/memory/x /link/cache/x /link/bind/x\n\
             RUN --mount=type=secret,id=s,target=/link/kept cat /link/kept > /secret\n",
            outside = outside.display(),
        );
        let secret = workshop.context("secrets", &[("s", "secret")]).join("s");
        let context = workshop.context("mounts", &[("Dockerfile", &dockerfile)]);
        let build = |dockerfile: &str| {
            fs::write(context.join("Dockerfile"), dockerfile).unwrap();
            let mut build = workshop.build(bases, &context);
            build.arg(format!("--secret=id=s,src={}", secret.display()));
            build
        };
        progress(&mut build(&dockerfile));
        // The other end of a bind, too, is a path inside of a tree.
        let from = format!(
            "FROM busybox AS other\nRUN ln -s {outside} /link\nFROM busybox\n\
             RUN --mount=type=bind,from=other,source=/link,target=/m cat /m/kept\n",
            outside = outside.display()
        );
        let said = ends_with(&mut build(&from), 1);
        assert!(said.contains("not found") || said.contains("No such file"), "{said}");
    });
}

#[test]
fn the_systems_own_folders_may_be_links() {
    for_each_user(|workshop, bases, outside| {
        let dockerfile = format!(
            "FROM busybox\n\
             RUN rm -rf /dev /sys /etc/hosts /etc/resolv.conf 2>/dev/null; mkdir -p /etc {outside}; \
             ln -s {outside}/hosts /etc/hosts; ln -s {outside}/kept /etc/resolv.conf; ls -l /etc > /links\n\
             RUN grep -q localhost /etc/hosts && test -c /dev/null && test -d /sys && test -r /proc/meminfo\n",
            outside = outside.display(),
        );
        built(workshop, bases, &dockerfile);
    });
}

/// `/proc` and the like in a tree that no step made: every one a link to the outside.
#[test]
fn a_tree_of_links_is_no_way_out() {
    for_each_user(|workshop, bases, outside| {
        let context = workshop.context("tree", &[("file", "x")]);
        for name in ["proc", "sys", "dev"] {
            std::os::unix::fs::symlink(outside.join(name), context.join(name)).unwrap();
        }
        let dockerfile = "FROM busybox AS box\nFROM scratch\nCOPY . /\nCOPY --from=box /bin /bin\n\
            RUN [\"/bin/busybox\", \"sh\", \"-c\", \"test -c /dev/null && test -r /proc/meminfo && echo fine\"]\n";
        fs::write(context.join("Dockerfile"), dockerfile).unwrap();
        let output = workshop.build(bases, &context).output().unwrap();
        let said = text(&output.stderr);
        assert!(output.status.success() && said.contains("fine"), "{said}");
    });
}

/// One step swaps a folder of a shared cache for a link out, over and over, while others mount something below it.
#[test]
fn a_target_that_changes_while_it_is_mounted_on_stays_inside() {
    for_each_user(|workshop, bases, outside| {
        let mut dockerfile = format!(
            "FROM busybox AS swap\n\
             RUN --mount=type=cache,id=swapped,target=/c cd /c && end=$(($(date +%s) + 8)); mkdir -p {outside}; \
             while [ $(date +%s) -lt $end ]; do for i in 1 2 3 4 5 6 7 8 9; do mkdir -p a; rmdir a/* a 2>/dev/null; \
             ln -s ../../../../../../../..{outside} a; rm a; ln -s /proc/self/root a; rm a; done; done\n",
            outside = outside.display()
        );
        for number in 0..12 {
            dockerfile.push_str(&format!(
                "FROM busybox AS mount{number}\n\
                 RUN --mount=type=cache,id=swapped,target=/c --mount=type=tmpfs,target=/c/a/{number} echo {number} > /done\n"
            ));
        }
        dockerfile.push_str("FROM busybox\nCOPY --from=swap /bin/busybox /swap\n");
        for number in 0..12 {
            dockerfile.push_str(&format!("COPY --from=mount{number} /bin/busybox /{number}\n"));
        }
        let context = workshop.context("race", &[("Dockerfile", &dockerfile)]);
        // A mount may fail when its folder is gone; that nothing comes to lie outside is what counts.
        let output = workshop.build(bases, &context).output().unwrap();
        assert!(output.status.code().is_some_and(|code| code <= 1), "{output:?}");
    });
}
