//! Layers made ahead: compressed while later steps still run, for outputs that will ask for them.
//!
//! One thread takes the trees of the image's own steps as they are finished, at a tenth of the priority of the steps, and
//! has the store make their layers, each on all processors. What is under way or not begun when the build is done is waited
//! for or made by the output. What fails here fails there again, and is told then.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use cache::{Compression, Snapshot, Store};
use graph::VertexId;
use sandbox::Cancel;
use solver::Finished;

use crate::deliver;
use crate::request::BuildRequest;

/// Steps do not feel it, and yet it goes on while all processors are busy.
const NICE: i32 = 10;

/// The thread at work.
pub(crate) struct Ahead {
    /// `None` is the end.
    trees: Sender<Option<Snapshot>>,
    thread: JoinHandle<()>,
}

impl Ahead {
    /// Starts the thread, if an output of `request` needs compressed layers. Without it everything is only slower.
    pub(crate) fn start(request: &BuildRequest, epoch: Option<i64>, store: &Store, cancel: &Cancel) -> Option<Ahead> {
        let (compression, force) = wanted(request, epoch)?;
        let (trees, queue) = channel();
        let (store, cancel) = (store.clone(), cancel.clone());
        let work = move || {
            let _ = rustix::process::setpriority_process(None, NICE);
            make_layers(&queue, &cancel, |tree| {
                // The output meets the same failure.
                let _ = store.layer(tree, compression, force);
            });
        };
        let thread = std::thread::Builder::new().name("ahead".to_owned()).spawn(work).ok()?;
        Some(Ahead { trees, thread })
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
