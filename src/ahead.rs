//! Layers made ahead: compressed while later steps still run, for outputs that will ask for them.
//!
//! One thread takes the trees of the image's own steps as they are finished, at a tenth of the priority of the steps, and
//! has the store make their layers, each on all processors. What is under way or not begun when the build is done is waited
//! for or made by the output. What fails here fails there again, and is told then.
//!
//! Layers that an output is going to push leave at once, see `lead.rs`.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use cache::{Compression, Snapshot, Store};
use export::OutputSpec;
use graph::VertexId;
use oci::Reference;
use sandbox::Cancel;
use solver::Finished;

use crate::deliver;
use crate::images::Images;
use crate::lead::Lead;
use crate::permission::Permission;
use crate::request::BuildRequest;

/// Steps do not feel it, and yet it goes on while all processors are busy.
const NICE: i32 = 10;

/// The thread at work.
pub(crate) struct Ahead {
    /// `None` is the end.
    trees: Sender<Option<Snapshot>>,
    thread: JoinHandle<()>,
    lead: Option<Lead>,
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
        let names = pushed_so(request, epoch, (compression, force));
        let lead = (!names.is_empty()).then(|| {
            let (images, permission) = (images.clone(), permission.cloned());
            Lead::start(store, (names, compression), async move {
                if let Some(permission) = permission
                    && !permission.is_granted().await
                {
                    return None;
                }
                images.client().await.ok().cloned()
            })
        });
        let (store, cancel, leading) = (store.clone(), cancel.clone(), lead.clone());
        let work = move || {
            let _ = rustix::process::setpriority_process(None, NICE);
            make_layers(&queue, &cancel, |tree| {
                let is_under_way = AtomicBool::new(false);
                let watch = |layer: &_| {
                    leading.iter().for_each(|lead| lead.begin(layer));
                    is_under_way.store(true, Ordering::Relaxed);
                };
                // The output meets the same failure.
                if let Ok(layer) = store.layer_watched(tree, compression, force, &watch)
                    && let Some(lead) = &leading
                    && !is_under_way.into_inner()
                {
                    lead.send(layer.descriptor);
                }
            });
        };
        let thread = std::thread::Builder::new().name("ahead".to_owned()).spawn(work).ok()?;
        Some(Ahead { trees, thread, lead })
    }

    /// The way of layers to the registries, if there is one.
    pub(crate) fn lead(&self) -> Option<Lead> {
        self.lead.clone()
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
        // A panic there has been told, and the output made what was missing.
        let _ = self.thread.join();
    }
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
