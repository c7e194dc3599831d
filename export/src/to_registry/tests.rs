use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;

use oci::{BoxFuture, Descriptor, PortError};

use super::*;
use crate::testing::{self, Heard, Unheard, alone, assembly, two};
use crate::{Error, Media};

/// A registry that notes what it is given, and takes nothing whose name it is told to refuse.
#[derive(Default)]
struct Registry {
    log: Mutex<Vec<String>>,
    refuse: Option<&'static str>,
    /// Repositories and digests that are there before.
    has: Vec<String>,
    /// What is asked for, and where it may be taken from.
    asked: Mutex<Vec<String>>,
    moving: AtomicUsize,
    most_at_once: AtomicUsize,
}

impl Registry {
    fn note(&self, line: String) -> Result<(), PortError> {
        if self.refuse.is_some_and(|word| line.contains(word)) {
            return Err(PortError::NotFound { name: line });
        }
        self.log.lock().unwrap().push(line);
        Ok(())
    }
}

impl Push for Registry {
    fn find_blob<'a>(
        &'a self,
        name: &'a Reference,
        blob: &'a Descriptor,
        from: &'a [Reference],
    ) -> BoxFuture<'a, Result<bool, PortError>> {
        let from: Vec<String> = from.iter().map(Reference::name).collect();
        let asked = format!("{} {} from {}", name.name(), blob.digest, from.join(" "));
        self.asked.lock().unwrap().push(asked);
        Box::pin(async move { Ok(self.has.contains(&format!("{} {}", name.name(), blob.digest))) })
    }

    fn push_blob<'a>(
        &'a self,
        name: &'a Reference,
        blob: &'a Descriptor,
        content: PathBuf,
        sent: &'a (dyn Fn(u64) + Send + Sync),
    ) -> BoxFuture<'a, Result<(), PortError>> {
        Box::pin(async move {
            let now = self.moving.fetch_add(1, Ordering::SeqCst) + 1;
            self.most_at_once.fetch_max(now, Ordering::SeqCst);
            tokio::task::yield_now().await;
            assert_eq!(std::fs::metadata(content).unwrap().len(), blob.size);
            // As after a broken connection: all of it twice.
            sent(blob.size);
            sent(blob.size);
            self.moving.fetch_sub(1, Ordering::SeqCst);
            self.note(format!("blob {} {}", name.name(), blob.digest))
        })
    }

    fn abandon<'a>(&'a self, name: &'a Reference) -> BoxFuture<'a, ()> {
        self.log.lock().unwrap().push(format!("abandon {}", name.name()));
        Box::pin(async {})
    }

    fn push_manifest<'a>(
        &'a self,
        name: &'a Reference,
        manifest: &'a Descriptor,
        bytes: &'a [u8],
    ) -> BoxFuture<'a, Result<(), PortError>> {
        Box::pin(async move {
            assert_eq!(oci::Digest::of(bytes), manifest.digest);
            self.note(format!("manifest {name}"))
        })
    }
}

fn names(texts: &[&str]) -> Vec<Reference> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[tokio::test]
async fn blobs_go_first_and_once_for_each_repository() {
    let (_directory, store) = testing::store();
    let mut bundle = alone(&store, &assembly(Media::Oci));
    let repeated = bundle.images[0].layers[0].clone();
    bundle.images[0].layers.push(repeated);
    let (registry, heard) = (Registry::default(), Heard::default());
    let names = names(&["h.io/a:1", "h.io/a:2", "h.io/b:1"]);
    to_registry(&store, &bundle, &names, &registry, &heard).await.unwrap();
    let image = &bundle.images[0];
    let (layer, config) = (&image.layers[0], &image.config);
    let mut log = registry.log.into_inner().unwrap();
    log[0..2].sort_by_key(|line| !line.ends_with(&layer.digest.to_string()));
    log[2..4].sort_by_key(|line| !line.ends_with(&layer.digest.to_string()));
    assert_eq!(
        log,
        [
            format!("blob h.io/a {}", layer.digest),
            format!("blob h.io/a {}", config.digest),
            format!("blob h.io/b {}", layer.digest),
            format!("blob h.io/b {}", config.digest),
            "manifest h.io/a:1".to_owned(),
            "manifest h.io/a:2".to_owned(),
            "manifest h.io/b:1".to_owned(),
        ]
    );
    let heard = heard.0.into_inner().unwrap();
    let size = layer.size;
    assert!(heard.contains(&format!("pushing {} {size}/{size} done", layer.digest)));
    assert!(heard.iter().all(|line| !line.contains(&format!(" {}/", 2 * size))));
}

#[tokio::test]
async fn after_a_failed_blob_no_name_is_given() {
    let (_directory, store) = testing::store();
    let bundle = alone(&store, &assembly(Media::Oci));
    let registry = Registry {
        refuse: Some("blob"),
        ..Registry::default()
    };
    let failure = to_registry(&store, &bundle, &names(&["h.io/a:1"]), &registry, &Unheard).await;
    assert_eq!(failure.unwrap_err().to_string(), "failed to push `h.io/a:1`");
    assert_eq!(registry.log.into_inner().unwrap(), ["abandon h.io/a"]);
}

#[tokio::test]
async fn what_a_registry_has_is_not_sent() {
    let (_directory, store) = testing::store();
    let bundle = alone(&store, &assembly(Media::Oci));
    let (layer, config) = (&bundle.images[0].layers[0], &bundle.images[0].config);
    let registry = Registry {
        has: vec![format!("h.io/a {}", layer.digest)],
        ..Registry::default()
    };
    let heard = Heard::default();
    to_registry(&store, &bundle, &names(&["h.io/a:1"]), &registry, &heard)
        .await
        .unwrap();
    let sent = [format!("blob h.io/a {}", config.digest), "manifest h.io/a:1".to_owned()];
    assert_eq!(registry.log.into_inner().unwrap(), sent);
    let done = format!("pushing {} {size}/{size} done", layer.digest, size = layer.size);
    assert!(heard.0.into_inner().unwrap().contains(&done));
}

#[tokio::test]
async fn a_blob_may_be_taken_from_where_it_was_seen_and_from_where_it_was_just_sent() {
    let (_directory, store) = testing::store();
    let bundle = alone(&store, &assembly(Media::Oci));
    let layer = bundle.images[0].layers[0].digest;
    store.saw(&"h.io/base".parse().unwrap(), &[layer]).unwrap();
    let registry = Registry::default();
    to_registry(&store, &bundle, &names(&["h.io/a:1", "h.io/b:1"]), &registry, &Unheard)
        .await
        .unwrap();
    let asked = registry.asked.into_inner().unwrap();
    for expected in [
        format!("h.io/a {layer} from h.io/base"),
        format!("h.io/b {layer} from h.io/a h.io/base"),
    ] {
        assert!(asked.contains(&expected), "{expected}: {asked:?}");
    }
    let known = store.places(&[layer]).unwrap();
    assert_eq!(known[0].1.len(), 3);
}

#[tokio::test]
async fn a_few_blobs_move_at_once() {
    let (_directory, store) = testing::store();
    let mut bundle = alone(&store, &assembly(Media::Oci));
    for number in 0..9 {
        let bytes = format!("layer {number}");
        store.put_blob(bytes.as_bytes()).unwrap();
        bundle.images[0]
            .layers
            .push(Descriptor::of(oci::media_type::LAYER, bytes.as_bytes()));
    }
    let registry = Registry::default();
    to_registry(&store, &bundle, &names(&["h.io/a:1"]), &registry, &Unheard)
        .await
        .unwrap();
    assert_eq!(registry.most_at_once.load(Ordering::SeqCst), Push::at_once(&registry));
}

#[tokio::test]
async fn a_pruned_layer_is_named() {
    let (_directory, store) = testing::store();
    let mut bundle = alone(&store, &assembly(Media::Oci));
    bundle.images[0]
        .layers
        .push(Descriptor::of(oci::media_type::LAYER, b"absent"));
    let failure = to_registry(&store, &bundle, &names(&["a"]), &Registry::default(), &Unheard).await;
    assert!(matches!(failure, Err(Error::MissingBlob(digest)) if digest == oci::Digest::of(b"absent")));
}

#[tokio::test]
async fn manifests_go_by_digest_before_the_index_goes_by_name() {
    let (_directory, store) = testing::store();
    let bundle = two(&store, &assembly(Media::Oci));
    let registry = Registry::default();
    let names = names(&["h.io/a:1", "h.io/a:2"]);
    to_registry(&store, &bundle, &names, &registry, &Unheard).await.unwrap();
    let log = registry.log.into_inner().unwrap();
    let [first, second] =
        [0, 1].map(|place: usize| format!("manifest h.io/a:1@{}", bundle.images[place].manifest.digest));
    assert_eq!(
        log[3..],
        [first, second, "manifest h.io/a:1".into(), "manifest h.io/a:2".into()]
    );
}
