//! Layers that are sent before the image that they are of is finished: as soon as they are there, and large ones while they
//! are still compressed.
//!
//! A registry has them when the last step ends, and manifests and names follow at the end, as ever. Nothing leads to what
//! was sent for a build that fails then; registries remove such blobs by and by. What fails here is met again by the output,
//! which waits for a blob that is under way and sends none that is there.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cache::{Compression, Store};
use export::Progress;
use futures_util::future::join_all;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use oci::{Descriptor, End, Growing, Push as _, Reference};
use registry::Client;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::AbortHandle;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// So many layers are on their way at the same time; the rest of a registry's connections are for who waits.
const SENT_AT_ONCE: usize = 2;
/// How often whoever waits is told how far it is.
const GLANCE: Duration = Duration::from_millis(100);

/// The way to the registries. Clones share it, and the last one that is dropped leaves it.
#[derive(Clone)]
pub(crate) struct Lead {
    shared: Arc<Shared>,
}

struct Shared {
    queue: UnboundedSender<(Layer, TaskTrackerToken)>,
    under_way: TaskTracker,
    sending: AbortHandle,
    compression: Compression,
    moved: Arc<Moved>,
}

/// How far everything is, for whoever comes to wait for it.
#[derive(Default)]
struct Moved {
    /// Bytes so far, and of how many, by what is told of.
    items: Mutex<BTreeMap<String, (u64, Option<u64>)>>,
    growing: Mutex<Vec<(Arc<Growing>, u64)>>,
}

/// A layer to be sent.
enum Layer {
    Whole(Descriptor),
    Growing(Arc<Growing>),
}

impl Lead {
    /// Sends layers of `store` in one compression to the repositories of `names` by the client, once there is one. Without it
    /// nothing is sent.
    pub(crate) fn start(
        store: &Store,
        (names, compression): (Vec<Reference>, Compression),
        client: impl Future<Output = Option<Client>> + Send + 'static,
    ) -> Lead {
        let (queue, layers) = unbounded_channel();
        let (store, moved) = (store.clone(), Arc::new(Moved::default()));
        let noted = Arc::clone(&moved);
        let sending = tokio::spawn(async move {
            if let Some(client) = client.await {
                let way = Way {
                    store: &store,
                    client: &client,
                    names: &names,
                    moved: &noted,
                };
                way.send_layers(layers).await;
            }
        });
        let under_way = TaskTracker::new();
        // It only counts, and what is counted need not be the last.
        under_way.close();
        Lead {
            shared: Arc::new(Shared {
                queue,
                under_way,
                sending: sending.abort_handle(),
                compression,
                moved,
            }),
        }
    }

    /// Whether layers in `compression` are those that the registries will be sent.
    pub(crate) fn is_for(&self, compression: Compression) -> bool {
        self.shared.compression == compression
    }

    /// Sends a layer that is in the store.
    pub(crate) fn send(&self, layer: Descriptor) {
        self.queue(Layer::Whole(layer));
    }

    /// Sends a layer while it is being made.
    pub(crate) fn begin(&self, layer: &Arc<Growing>) {
        self.queue(Layer::Growing(Arc::clone(layer)));
    }

    /// Waits until nothing is under way, and tells `progress` of what is. No layer may be in the making.
    pub(crate) async fn settle(&self, progress: &dyn Progress) {
        let waiting = self.shared.under_way.wait();
        tokio::pin!(waiting);
        while tokio::time::timeout(GLANCE, &mut waiting).await.is_err() {
            self.shared.moved.tell(progress);
        }
    }

    fn queue(&self, layer: Layer) {
        // If nobody sends them any more, the output does.
        let _ = self.shared.queue.send((layer, self.shared.under_way.token()));
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.sending.abort();
    }
}

impl Moved {
    fn tell(&self, progress: &dyn Progress) {
        let mut items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
        // What is done is told of once.
        items.retain(|item, (bytes, total)| {
            let is_done = Some(*bytes) == *total;
            progress.moved(item, *bytes, *total, is_done);
            !is_done
        });
        drop(items);
        for (layer, bytes) in self.growing.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            if let Some(End::Blob(digest)) = layer.end() {
                progress.moved(&export::item_of(digest), *bytes, Some(layer.length()), false);
            }
        }
    }

    /// Notes bytes of a layer that is sent while it grows.
    fn left(&self, layer: &Arc<Growing>, bytes: u64) {
        let mut growing = self.growing.lock().unwrap_or_else(PoisonError::into_inner);
        match growing.iter_mut().find(|(known, _)| Arc::ptr_eq(known, layer)) {
            Some((_, sum)) => *sum += bytes,
            None => growing.push((Arc::clone(layer), bytes)),
        }
    }

    /// Of what has grown, the digest is known, and the rest is told under it.
    fn forget(&self, layer: &Arc<Growing>) {
        let mut growing = self.growing.lock().unwrap_or_else(PoisonError::into_inner);
        growing.retain(|(known, _)| !Arc::ptr_eq(known, layer));
    }
}

impl Progress for Moved {
    fn moved(&self, item: &str, current: u64, total: Option<u64>, _: bool) {
        let mut items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
        items.insert(item.to_owned(), (current, total));
    }
}

/// What is sent where.
struct Way<'a> {
    store: &'a Store,
    client: &'a Client,
    names: &'a [Reference],
    moved: &'a Moved,
}

impl Way<'_> {
    async fn send_layers(&self, layers: UnboundedReceiver<(Layer, TaskTrackerToken)>) {
        let layers = stream::unfold(layers, |mut layers| async {
            layers.recv().await.map(|layer| (layer, layers))
        });
        // Where one cannot be sent the others cannot, either: the output shall not have to wait for that.
        let _ = layers
            .map(Ok)
            .try_for_each_concurrent(SENT_AT_ONCE, |(layer, under_way)| async move {
                let sent = self.send(layer).await;
                drop(under_way);
                sent
            })
            .await;
    }

    async fn send(&self, layer: Layer) -> Result<(), export::Error> {
        let layer = match layer {
            Layer::Whole(layer) => layer,
            Layer::Growing(growing) => match self.grown(&growing).await {
                Some(layer) => layer,
                // Whoever made it has said why.
                None => return Ok(()),
            },
        };
        export::layer_to_registries(self.store, self.names, &layer, self.client, self.moved).await
    }

    /// Sends a layer as it grows to each registry, where other repositories than the first are given it then. What it
    /// became.
    async fn grown(&self, layer: &Arc<Growing>) -> Option<Descriptor> {
        let names = self.names;
        let is_first =
            |(place, name): &(usize, &Reference)| names[..*place].iter().all(|other| other.host() != name.host());
        let firsts = names.iter().enumerate().filter(is_first);
        // Of several registries the first is told of.
        let sent = |bytes| self.moved.left(layer, bytes);
        let sending = firsts.map(|(place, name)| {
            let told: &(dyn Fn(u64) + Send + Sync) = if place == 0 { &sent } else { &|_| {} };
            self.client.push_growing(name, layer, told)
        });
        join_all(sending).await;
        self.moved.forget(layer);
        match layer.end() {
            Some(End::Blob(digest)) => Some(Descriptor::new("", digest, layer.length())),
            Some(End::GivenUp) | None => None,
        }
    }
}
