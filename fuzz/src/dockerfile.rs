//! A whole plan of any text: it may be refused, but nothing else may happen.

use frontend::{Findings, Options};
use futures_util::FutureExt;
use oci::{
    Blob, BoxFuture, Descriptor, DiffId, Digest, Fetch, ImageConfig, ImageName, Manifest, Platform, PortError,
    ResolvedImage,
};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Every image exists; those whose name says so have triggers.
pub(crate) struct Images;

impl Fetch for Images {
    fn resolve<'a>(
        &'a self,
        name: &'a ImageName,
        platform: &'a Platform,
    ) -> BoxFuture<'a, Result<ResolvedImage, PortError>> {
        let mut config = ImageConfig::scratch(platform);
        config.rootfs.diff_ids = vec![DiffId(Digest::of(name.to_string().as_bytes()))];
        if name.to_string().contains("trigger") {
            config.config.on_build = ["COPY --from=a / /", "RUN --mount=from=b,target=/b x", "ONBUILD RUN y"]
                .map(str::to_owned)
                .into();
        }
        let config_bytes = config.to_bytes();
        let blob = Descriptor::of("application/vnd.oci.image.config.v1+json", &config_bytes);
        let manifest = Manifest::new(MANIFEST, blob, Vec::new());
        let manifest_bytes = manifest.to_bytes();
        let found = ResolvedImage {
            name: name.clone(),
            root: Descriptor::of(MANIFEST, &manifest_bytes),
            manifest_descriptor: Descriptor::of(MANIFEST, &manifest_bytes),
            manifest,
            manifest_bytes,
            indexes: Vec::new(),
            config,
            config_bytes,
        };
        async move { Ok(found) }.boxed()
    }

    fn blob<'a>(&'a self, name: &'a ImageName, _: &'a Descriptor) -> BoxFuture<'a, Result<Blob, PortError>> {
        let name = name.to_string();
        async move { Err(PortError::NotFound { name }) }.boxed()
    }
}

/// Plans the text twice.
pub fn run(text: &[u8]) {
    let mut options = Options::new("linux/amd64".parse().expect("a platform"));
    options.build_args.insert("x".to_owned(), "given $x ${y".to_owned());
    if text.len().is_multiple_of(3) {
        options.platforms = ["linux/arm64", "windows(10.0.1)/amd64"]
            .map(|name| name.parse().expect("a platform"))
            .into();
    }
    if let Ok(dockerfile) = frontend::parse(text) {
        let _ = frontend::ast_dump(&dockerfile);
    }
    let plan = || frontend::plan(text, &options, &Images, &Findings::new()).now_or_never();
    match (plan(), plan()) {
        (Some(Ok(one)), Some(Ok(two))) => {
            let [one, two] = [one, two].map(|plan| graph::dump::definition(&plan.definition));
            assert_eq!(one, two, "the same text gives the same definition");
        }
        (Some(Err(one)), Some(Err(two))) => assert_eq!(one.to_string(), two.to_string()),
        _ => panic!("the same text gives the same answer, at once"),
    }
}
