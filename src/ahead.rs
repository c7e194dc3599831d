//! Layers made ahead: compressed while later steps still run, for outputs that will ask for them.
//!
//! One thread takes the trees of the image's own steps as they are finished, at a tenth of the priority of the steps, and
//! has the store make their layers, each on all processors. What is under way or not begun when the build is done is waited
//! for or made by the output. What fails here fails there again, and is told then.
//!
//! Layers that an output is going to push are also sent as soon as they are made: a registry has them when the last step
//! ends, and manifests and names follow at the end, as ever. Nothing leads to what was sent for a build that fails then;
//! registries remove such blobs by and by.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use cache::{Compression, Snapshot, Store};
use export::OutputSpec;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use graph::VertexId;
use oci::{Descriptor, Reference};
use sandbox::Cancel;
use solver::Finished;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task;

use crate::deliver;
use crate::images::Images;
use crate::permission::Permission;
use crate::request::BuildRequest;

/// Steps do not feel it, and yet it goes on while all processors are busy.
const NICE: i32 = 10;

/// So many layers are on their way at the same time; the rest of a registry's connections are for who waits.
const SENT_AT_ONCE: usize = 2;

/// The thread at work.
pub(crate) struct Ahead {
    /// `None` is the end.
    trees: Sender<Option<Snapshot>>,
    thread: JoinHandle<()>,
    sending: Option<task::JoinHandle<()>>,
}

impl Ahead {
    /// Starts the thread, if an output of `request` needs compressed layers. Without it everything is only slower.
    pub(crate) fn start(
        request: &BuildRequest,
        epoch: Option<i64>,
        store: &Store,
        (images, permission): (&Arc<Images>, Option<&Permission>),
        cancel: &Cancel,
    ) -> Option<Ahead> {
        let (compression, force) = wanted(request, epoch)?;
        let (trees, queue) = channel();
        let (layers, made) = unbounded_channel();
        let names = pushed_so(request, epoch, (compression, force));
        let sending = (!names.is_empty()).then(|| {
            let (store, images, permission) = (store.clone(), images.clone(), permission.cloned());
            tokio::spawn(async move {
                if let Some(permission) = permission
                    && !permission.is_granted().await
                {
                    return;
                }
                send_layers(&store, &images, &names, made).await;
            })
        });
        let (store, cancel) = (store.clone(), cancel.clone());
        let work = move || {
            let _ = rustix::process::setpriority_process(None, NICE);
            make_layers(&queue, &cancel, |tree| {
                // The output meets the same failure.
                if let Ok(layer) = store.layer(tree, compression, force) {
                    // Nobody listens if nothing is pushed.
                    let _ = layers.send(layer.descriptor);
                }
            });
        };
        let thread = std::thread::Builder::new().name("ahead".to_owned()).spawn(work).ok()?;
        Some(Ahead { trees, thread, sending })
    }

    /// What the solver tells of finished trees: those of `spines` are of the image.
    pub(crate) fn told(&self, spines: &[Vec<VertexId>]) -> Finished {
        let trees = self.trees.clone();
        let spines: HashSet<VertexId> = spines.iter().flatten().copied().collect();
        Arc::new(move |id, tree| {
            if spines.contains(&id) {
                // If it is gone, the output makes the layer.
                let _ = trees.send(Some(tree.clone()));
            }
        })
    }

    /// Waits for the layer under way, once the outputs have theirs.
    pub(crate) fn finish(self) {
        let _ = self.trees.send(None);
        // All has been sent, or need not be.
        self.sending.inspect(task::JoinHandle::abort);
        // A panic there has been told, and the output made what was missing.
        let _ = self.thread.join();
    }
}

/// Sends layers to the repositories of `names`. What fails is met again by the output, which waits for a blob that is
/// under way and sends none that is there.
async fn send_layers(store: &Store, images: &Images, names: &[Reference], made: UnboundedReceiver<Descriptor>) {
    let Ok(client) = images.client().await else { return };
    let layers = stream::unfold(made, |mut made| async { made.recv().await.map(|layer| (layer, made)) });
    // Where one cannot be sent the others cannot, either: the output shall not have to wait for that.
    let _ = layers
        .map(Ok)
        .try_for_each_concurrent(SENT_AT_ONCE, |layer| async move {
            for name in names {
                export::layer_to_registry(store, name, &layer, client).await?;
            }
            Ok::<_, export::Error>(())
        })
        .await;
}

/// A name in each repository that an output pushes layers of that form to.
fn pushed_so(request: &BuildRequest, epoch: Option<i64>, form: (Compression, bool)) -> Vec<Reference> {
    let mut names: Vec<Reference> = Vec::new();
    for output in &request.outputs {
        let OutputSpec::Image {
            push: true, options, ..
        } = output
        else {
            continue;
        };
        let how = deliver::assembly(request, epoch, output);
        if (how.compression, how.force_compression) != form {
            continue;
        }
        for name in &options.names {
            if names.iter().all(|known| known.name() != name.name()) {
                names.push(name.clone());
            }
        }
    }
    names
}

fn make_layers(queue: &Receiver<Option<Snapshot>>, cancel: &Cancel, make: impl Fn(&Snapshot)) {
    while let Ok(Some(tree)) = queue.recv() {
        if cancel.is_cancelled() {
            return;
        }
        make(&tree);
    }
}

/// How the first output that needs compressed layers wants them.
fn wanted(request: &BuildRequest, epoch: Option<i64>) -> Option<(Compression, bool)> {
    let images = request.outputs.iter().filter(|output| output.options().is_some());
    let mut assemblies = images.map(|output| deliver::assembly(request, epoch, output));
    let how = assemblies.find(|how| how.compression != Compression::Uncompressed)?;
    let as_they_are = how.epoch.is_none() || !how.rewrite_timestamp;
    as_they_are.then_some((how.compression, how.force_compression))
}
