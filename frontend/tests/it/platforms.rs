//! Several platforms in one plan.

use graph::Op;
use oci::Platform;

use crate::images::{options, plan_with};

const CROSS: &str = "FROM --platform=$BUILDPLATFORM busybox AS b\nRUN common\nARG TARGETARCH\nRUN x\nFROM scratch\nCOPY --from=b /a /\n";

fn for_platforms(text: &str, platforms: &[&str], argument: Option<&str>) -> Result<frontend::Plan, String> {
    let mut options = options();
    options.platforms = platforms.iter().map(|text| text.parse().unwrap()).collect();
    let argument = argument.map(|value| ("BUILDKIT_MULTI_PLATFORM".to_owned(), value.to_owned()));
    options.build_args.extend(argument);
    plan_with(text, &options).map_err(|error| error.to_string())
}

fn names(plan: &frontend::Plan) -> Vec<&str> {
    plan.definition
        .iter()
        .map(|(_, vertex)| vertex.metadata.name.as_str())
        .filter(|name| name.starts_with('['))
        .collect()
}

#[test]
fn what_runs_on_the_build_platform_is_planned_once() {
    let plan = for_platforms(CROSS, &["linux/arm64", "linux/arm/v7"], None).unwrap();
    assert!(plan.multi_platform);
    let platforms: Vec<String> = plan.images.iter().map(|image| image.platform.to_string()).collect();
    assert_eq!(platforms, ["linux/arm64", "linux/arm/v7"]);
    let of_config: Vec<Platform> = plan.images.iter().map(|image| image.config.platform()).collect();
    assert_eq!(of_config.iter().map(Platform::to_string).collect::<Vec<_>>(), platforms);
    let runs = plan
        .definition
        .iter()
        .filter(|(_, vertex)| matches!(vertex.op, Op::Exec(_)));
    assert_eq!(runs.count(), 3);
    let pinned = "FROM docker.io/library/busybox:latest@sha256:";
    let names = names(&plan);
    assert!(
        names[0].starts_with(&format!("[linux/amd64 b 1/3] {pinned}")),
        "{names:?}"
    );
    assert_eq!(
        names[1..],
        [
            "[linux/amd64 b 2/3] RUN common",
            "[linux/amd64->arm64 b 3/3] RUN x",
            "[linux/arm64 stage-1 1/1] COPY --from=b /a /",
            "[linux/amd64->arm/v7 b 3/3] RUN x",
            "[linux/arm/v7 stage-1 1/1] COPY --from=b /a /",
        ]
    );
}

#[test]
fn one_platform_makes_an_index_only_if_asked() {
    for (platforms, argument, multi_platform) in [
        (&[][..], None, Ok(false)),
        (&["linux/arm64"], None, Ok(false)),
        (&["linux/arm64"], Some("1"), Ok(true)),
        (&[], Some("true"), Ok(true)),
        (&["linux/arm64", "linux/amd64"], Some("1"), Ok(true)),
        (
            &["linux/arm64", "linux/amd64"],
            Some("0"),
            Err("conflicting config: returning multiple target platforms is not allowed"),
        ),
        (&[], Some("x"), Err("invalid boolean value for multi-platform: x")),
    ] {
        let plan = for_platforms("FROM scratch\nCOPY a /\n", platforms, argument);
        let found = plan.as_ref().map(|plan| plan.multi_platform).map_err(String::as_str);
        assert_eq!(found, multi_platform, "{platforms:?} {argument:?}");
    }
}
