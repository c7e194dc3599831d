//! Layers that are sent before the image that they are of is finished: as soon as they are there, and large ones while they
//! are still compressed.
//!
//! A registry has them when the last step ends, and manifests and names follow at the end, as ever. Nothing leads to what
//! was sent for a build that fails then; registries remove such blobs by and by. What fails here is met again by the output,
//! which waits for a blob that is under way and sends none that is there.

use std::sync::Arc;

use cache::{Compression, Store};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use oci::{Descriptor, End, Growing, Reference};
use registry::Client;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::AbortHandle;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// So many layers are on their way at the same time; the rest of a registry's connections are for who waits.
const SENT_AT_ONCE: usize = 2;

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
        let store = store.clone();
        let sending = tokio::spawn(async move {
            if let Some(client) = client.await {
                send_layers(&store, &client, &names, layers).await;
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

    /// Waits until nothing is under way. No layer may be in the making.
    pub(crate) async fn settle(&self) {
        self.shared.under_way.wait().await;
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

async fn send_layers(
    store: &Store,
    client: &Client,
    names: &[Reference],
    layers: UnboundedReceiver<(Layer, TaskTrackerToken)>,
) {
    let layers = stream::unfold(layers, |mut layers| async {
        layers.recv().await.map(|layer| (layer, layers))
    });
    // Where one cannot be sent the others cannot, either: the output shall not have to wait for that.
    let _ = layers
        .map(Ok)
        .try_for_each_concurrent(SENT_AT_ONCE, |(layer, under_way)| async move {
            let sent = send_layer(store, client, names, layer).await;
            drop(under_way);
            sent
        })
        .await;
}

async fn send_layer(store: &Store, client: &Client, names: &[Reference], layer: Layer) -> Result<(), export::Error> {
    let layer = match layer {
        Layer::Whole(layer) => layer,
        Layer::Growing(growing) => match grown(client, names, &growing).await {
            Some(layer) => layer,
            // Whoever made it has said why.
            None => return Ok(()),
        },
    };
    export::layer_to_registries(store, names, &layer, client).await
}

/// Sends a layer as it grows to each registry, where other repositories than the first are given it then. What it became.
async fn grown(client: &Client, names: &[Reference], growing: &Arc<Growing>) -> Option<Descriptor> {
    use oci::Push as _;

    let is_first =
        |(place, name): &(usize, &Reference)| names[..*place].iter().all(|other| other.host() != name.host());
    let firsts = names.iter().enumerate().filter(is_first);
    let sending = firsts.map(|(_, name)| client.push_growing(name, growing));
    futures_util::future::join_all(sending).await;
    match growing.end() {
        Some(End::Blob(digest)) => Some(Descriptor::new("", digest, growing.length())),
        Some(End::GivenUp) | None => None,
    }
}
