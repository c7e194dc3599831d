//! Images in memory: only those put in exist, and only for their own platform.

use std::sync::Mutex;

use frontend::{Error, Findings, Options, Plan};
use futures_util::FutureExt;
use oci::{
    Blob, BoxFuture, Descriptor, DiffId, Digest, Fetch, History, ImageConfig, ImageName, Manifest, Platform, PortError,
    ResolvedImage,
};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Images in memory, and what was asked of them.
pub(crate) struct Images {
    known: Vec<(ImageName, ImageConfig)>,
    pub(crate) asked: Mutex<Vec<String>>,
}

/// busybox, an image with a rich configuration, one without files, and some with triggers.
pub(crate) fn images() -> Images {
    let configs = [
        (
            "busybox",
            r#"{"Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],"Cmd":["sh"]}"#,
        ),
        (
            "conf/rich",
            r#"{"User":"daemon","ExposedPorts":{"80/tcp":{}},"Env":["PATH=/bin","BASE=1","FOO=base"],"Entrypoint":["/bin/entry"],"Cmd":["a","b"],"Volumes":{"/data":{}},"WorkingDir":"/srv/app","Labels":{"base":"yes"},"StopSignal":"SIGQUIT","Memory":5}"#,
        ),
        ("conf/empty", r#"{"Env":["A=1"]}"#),
        ("conf/onbuild", r#"{"OnBuild":["RUN touch /onbuild.txt"]}"#),
        ("conf/twice", r#"{"OnBuild":["ONBUILD RUN later"]}"#),
        ("conf/wrong", r#"{"OnBuild":["RUN a\nRUN b"]}"#),
        ("conf/from", r#"{"OnBuild":["FROM busybox"]}"#),
    ];
    let known = configs.map(|(name, config)| (ImageName::Registry(name.parse().unwrap()), image(name, config)));
    Images {
        known: known.into(),
        asked: Mutex::new(Vec::new()),
    }
}

fn image(name: &str, config: &str) -> ImageConfig {
    let text = format!(
        r#"{{"architecture":"amd64","os":"linux","created":"2020-01-01T00:00:00Z","config":{config},"rootfs":{{"type":"layers"}}}}"#
    );
    let mut config = ImageConfig::parse(text.as_bytes()).unwrap();
    if name != "conf/empty" {
        config.rootfs.diff_ids = vec![DiffId(Digest::of(name.as_bytes()))];
        config.history = vec![History {
            created_by: Some(format!("made {name}")),
            ..History::default()
        }];
    }
    config
}

impl Fetch for Images {
    fn resolve<'a>(
        &'a self,
        name: &'a ImageName,
        platform: &'a Platform,
    ) -> BoxFuture<'a, Result<ResolvedImage, PortError>> {
        self.asked.lock().unwrap().push(format!("{name} {platform}"));
        let found = self.known.iter().find(|(known, _)| known == name);
        let answer = match found {
            None => Err(PortError::NotFound { name: name.to_string() }),
            Some((_, config)) => {
                let mut config = config.clone();
                config.architecture.clone_from(&platform.architecture);
                let config_bytes = config.to_bytes();
                let blob = Descriptor::of("application/vnd.oci.image.config.v1+json", &config_bytes);
                let manifest = Manifest::new(MANIFEST, blob, Vec::new());
                let manifest_bytes = manifest.to_bytes();
                Ok(ResolvedImage {
                    name: name.clone(),
                    root: Descriptor::of("application/vnd.oci.image.index.v1+json", name.to_string().as_bytes()),
                    manifest_descriptor: Descriptor::of(MANIFEST, &manifest_bytes),
                    manifest,
                    manifest_bytes,
                    indexes: Vec::new(),
                    config,
                    config_bytes,
                })
            }
        };
        async move { answer }.boxed()
    }

    fn blob<'a>(&'a self, name: &'a ImageName, blob: &'a Descriptor) -> BoxFuture<'a, Result<Blob, PortError>> {
        let name = format!("{name}: {}", blob.digest);
        async move { Err(PortError::NotFound { name }) }.boxed()
    }
}

/// Options of a build for linux/amd64.
pub(crate) fn options() -> Options {
    Options::new("linux/amd64".parse().unwrap())
}

/// A plan with those images; nothing in it ever waits.
pub(crate) fn plan_with(text: &str, options: &Options) -> Result<Plan, Error> {
    frontend::plan(text.as_bytes(), options, &images(), &Findings::new())
        .now_or_never()
        .unwrap()
}

/// A plan of which nothing special is asked.
pub(crate) fn plan(text: &str) -> Plan {
    plan_with(text, &options()).unwrap()
}

/// The message of a Dockerfile that is refused.
pub(crate) fn refusal(text: &str, options: &Options) -> String {
    plan_with(text, options).unwrap_err().to_string()
}
