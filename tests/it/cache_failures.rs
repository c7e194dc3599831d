//! Places of caches that are silent, in trouble, slow, or say nonsense: what it costs a build, and what is said of it.

use std::time::{Duration, Instant};

use crate::proxy::{Answer, Fault, Faults};
use crate::remote_caches::{Behind, build, cached, context, warnings};
use crate::support::{Bases, Workshop, ends_with};

#[test]
fn a_place_that_says_nothing_is_not_waited_for() {
    let (Some(bases), Some(behind)) = (Bases::find(), Behind::start()) else {
        return;
    };
    let workshops = [Workshop::own(), Workshop::own(), Workshop::own()];
    let contexts = workshops.each_ref().map(context);
    let silent = Fault::Wait(Duration::from_secs(400));
    behind.proxy.again(Faults::none().on("", "", silent));
    let (from, to) = (behind.from(), behind.to());
    let ignoring = format!("{to},ignore-error=true");
    let began = Instant::now();
    std::thread::scope(|scope| {
        for (place, flag) in [(0, &from), (1, &ignoring)] {
            let (workshop, context) = (&workshops[place], &contexts[place]);
            scope.spawn(move || {
                let (_, said) = build(workshop, bases, context, &[flag]);
                assert_eq!(warnings(&said), 1, "{said}");
                assert!(said.contains("it has said nothing for 20 seconds"), "{said}");
            });
        }
        let mut refused = workshops[2].build(bases, &contexts[2]);
        let said = ends_with(refused.args(["-o", "type=cacheonly", &to]), 3);
        assert_eq!(said.matches("ERROR: failed to build").count(), 1, "{said}");
        assert!(said.contains("it has said nothing for 20 seconds"), "{said}");
        assert!(said.contains("ignore-error=true"), "{said}");
    });
    assert!(began.elapsed() < Duration::from_secs(200));
}

#[test]
fn a_registry_in_trouble_costs_one_line() {
    let (Some(bases), Some(behind)) = (Bases::find(), Behind::start()) else {
        return;
    };
    let workshop = Workshop::own();
    let context = context(&workshop);
    let trouble = Fault::Answer(Answer::of(500));
    behind.proxy.again(Faults::none().on("", "", trouble));
    let ignoring = format!("{},ignore-error=true", behind.to());
    for flag in [behind.from(), ignoring] {
        let (_, said) = build(&Workshop::own(), bases, &context, &[&flag]);
        assert_eq!(warnings(&said), 1, "{flag}: {said}");
        assert!(said.contains("500 Internal Server Error"), "{flag}: {said}");
    }
    let mut refused = workshop.build(bases, &context);
    let said = ends_with(refused.args(["-o", "type=cacheonly", &behind.to()]), 3);
    assert!(said.contains("500 Internal Server Error"), "{said}");
    // Where nobody asks before, it is found out at the end.
    let mut refused = workshop.build(bases, &context);
    let said = ends_with(
        refused.args(["-o", "type=cacheonly", "--no-push-probe", &behind.to()]),
        3,
    );
    assert!(
        said.contains("ERROR: failed to export the cache to") && said.contains("hint: with ignore-error=true"),
        "{said}"
    );
}

#[test]
fn a_registry_without_indexes_takes_the_usual_list() {
    let (Some(bases), Some(behind)) = (Bases::find(), Behind::start()) else {
        return;
    };
    let workshop = Workshop::own();
    let context = context(&workshop);
    for status in [400, 415] {
        let refused = Fault::Answer(Answer::of(status));
        let kinds = [
            "application/vnd.oci.image.index.v1",
            "application/vnd.docker.distribution.manifest.list",
        ];
        let faults = kinds.iter().fold(Faults::none(), |faults, kind| {
            let faults = faults.on("PUT", "/manifests/", refused.clone());
            faults.with_header(&format!("content-type: {kind}"))
        });
        behind.proxy.again(faults);
        let name = format!("{}-{status}", behind.cache());
        for form in ["image-manifest=false", "oci-mediatypes=false"] {
            let to = format!("--cache-to=type=registry,ref={name},{form}");
            let said = ends_with(workshop.build(bases, &context).args(["-o", "type=cacheonly", &to]), 3);
            assert_eq!(
                said.matches("image-manifest=true").count(),
                2,
                "in the step and at the end: {said}"
            );
        }
        let to = format!("--cache-to=type=registry,ref={name},mode=max");
        build(&workshop, bases, &context, &[&to]);
        let (_, said) = build(&Workshop::own(), bases, &context, &[&format!("--cache-from={name}")]);
        assert_eq!(cached(&said), 4, "{said}");
    }
}

#[test]
fn a_place_that_fails_costs_one_line() {
    let (Some(bases), Some(behind)) = (Bases::find(), Behind::start()) else {
        return;
    };
    let workshop = Workshop::own();
    let context = context(&workshop);
    build(&workshop, bases, &context, &[&behind.to()]);
    let garbage = |kind: &str, body: &str| Fault::Answer(Answer::of(200).with("Content-Type", kind).saying(body));
    let manifest = "application/vnd.oci.image.manifest.v1+json";
    for (what, faults) in [
        (
            "refused",
            Faults::none().on("", "/manifests/", Fault::Answer(Answer::of(401))),
        ),
        (
            "no document",
            Faults::none().on("GET", "/manifests/", garbage(manifest, "{")),
        ),
        (
            "another list",
            Faults::none().on("GET", "/blobs/", garbage("text/plain", "[]")),
        ),
        ("cut", Faults::none().on("GET", "/manifests/", Fault::CutAnswer(20))),
    ] {
        behind.proxy.again(faults);
        let (_, said) = build(&Workshop::own(), bases, &context, &[&behind.from()]);
        assert_eq!(warnings(&said), 1, "{what}: {said}");
        assert_eq!(cached(&said), 0, "{what}: {said}");
    }
}

#[test]
fn a_budget_ends_the_wait_with_one_line() {
    let (Some(bases), Some(behind)) = (Bases::find(), Behind::start()) else {
        return;
    };
    let workshop = Workshop::own();
    let context = context(&workshop);
    let slow = || Faults::none().on("", "", Fault::Wait(Duration::from_secs(200)));
    behind.proxy.again(slow());
    let began = Instant::now();
    let (_, said) = build(&workshop, bases, &context, &[&behind.from(), "--cache-budget=1s"]);
    assert_eq!(warnings(&said), 1, "{said}");
    assert!(said.contains("--cache-budget"), "{said}");
    let (_, said) = build(&workshop, bases, &context, &[&behind.to(), "--cache-budget=1s"]);
    assert_eq!(warnings(&said), 1, "{said}");
    // A slow machine takes its time for the builds, but waits for nobody.
    assert!(began.elapsed() < Duration::from_secs(100));
    let refused = ends_with(workshop.build(bases, &context).env("RBUILD_CACHE_BUDGET", "soon"), 2);
    assert!(refused.contains("RBUILD_CACHE_BUDGET"), "{refused}");
}

#[test]
fn a_layer_that_does_not_leave_in_time_is_not_listed() {
    let (Some(bases), Some(behind)) = (Bases::find(), Behind::start()) else {
        return;
    };
    let workshop = Workshop::own();
    let context = context(&workshop);
    // The large layer is one of those that take too long; small ones pass.
    behind
        .proxy
        .again(Faults::none().on("PUT", "/blobs/uploads/", Fault::Throttle(30_000)));
    let (_, said) = build(&workshop, bases, &context, &[&behind.to(), "--cache-budget=4s"]);
    assert_eq!(warnings(&said), 1, "{said}");
    behind.proxy.again(Faults::none());
    let (_, said) = build(&Workshop::own(), bases, &context, &[&behind.from()]);
    assert!(!said.contains("done again here"), "{said}");
}
