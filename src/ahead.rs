//! Layers made ahead: compressed, or only hashed, while later steps still run, for outputs that will ask for them.
//!
//! One thread takes the trees of the image's own steps as they are finished, at a tenth of the priority of the steps, and
//! has the store make their layers, each on all processors. What is under way or not begun when the build is done is waited
//! for or made by the output. What fails here fails there again, and is told then. The thread begins with the first tree there
//! is something to be done for; layers that are only hashed wait for a later step to be hashed beside.
//!
//! Layers that an output is going to push leave at once, see `lead.rs`.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
    maker: Arc<Maker>,
}

/// What is to be made of trees.
struct Maker {
    store: Store,
    form: (Compression, bool),
    cancel: Cancel,
    lead: Option<Lead>,
    work: Mutex<Work>,
}

#[derive(Default)]
struct Work {
    /// Finished, with no step after it so far.
    newest: Option<Snapshot>,
    thread: Option<Thread>,
}

struct Thread {
    /// `None` is the end.
    trees: Sender<Option<Snapshot>>,
    handle: JoinHandle<()>,
}

impl Ahead {
    /// Prepares the thread, if an output of `request` needs layers. Without it everything is only slower.
    pub(crate) fn start(
        request: &BuildRequest,
        epoch: Option<i64>,
        store: &Store,
        (images, permission): (&Arc<Images>, Option<&Permission>),
        cancel: &Cancel,
    ) -> Option<Ahead> {
        let form = wanted(request, epoch)?;
        let names = pushed_so(request, epoch, form);
        let lead = (!names.is_empty()).then(|| {
            let (images, permission) = (images.clone(), permission.cloned());
            Lead::start(store, (names, form.0), async move {
                if let Some(permission) = permission
                    && !permission.is_granted().await
                {
                    return None;
                }
                images.client().await.ok().cloned()
            })
        });
        let maker = Maker {
            store: store.clone(),
            form,
            cancel: cancel.clone(),
            lead,
            work: Mutex::default(),
        };
        Some(Ahead { maker: Arc::new(maker) })
    }

    /// The way of layers to the registries, if there is one.
    pub(crate) fn lead(&self) -> Option<Lead> {
        self.maker.lead.clone()
    }

    /// What the solver tells of finished trees: those of `spines` are of the image.
    pub(crate) fn told(&self, spines: &[Vec<VertexId>]) -> Finished {
        let maker = Arc::clone(&self.maker);
        let spines: HashSet<VertexId> = spines.iter().flatten().copied().collect();
        Arc::new(move |id, tree| {
            if spines.contains(&id) {
                maker.take(tree);
            }
        })
    }

    /// Waits for the layer under way, once the outputs have theirs.
    pub(crate) fn finish(self) {
        let Some(thread) = self.maker.work().thread.take() else {
            return;
        };
        let _ = thread.trees.send(None);
        // A panic there has been told, and the output made what was missing.
        let _ = thread.handle.join();
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        // The thread ends when nobody can send to it any more.
        drop(self.maker.work().thread.take());
    }
}

impl Maker {
    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the layer of a finished tree made.
    fn take(self: &Arc<Self>, tree: &Snapshot) {
        let mut work = self.work();
        let tree = match self.form {
            (Compression::Uncompressed, _) => work.newest.replace(tree.clone()),
            _ => Some(tree.clone()),
        };
        let Some(tree) = tree else {
            return;
        };
        if work.thread.is_none() {
            work.thread = self.begin();
        }
        if let Some(thread) = &work.thread {
            // If it is gone, the output makes the layer.
            let _ = thread.trees.send(Some(tree));
        }
    }

    fn begin(self: &Arc<Self>) -> Option<Thread> {
        let (trees, queue) = channel();
        let maker = Arc::clone(self);
        let work = move || {
            let _ = rustix::process::setpriority_process(None, NICE);
            maker.make_layers(&queue);
        };
        let handle = std::thread::Builder::new().name("ahead".to_owned()).spawn(work).ok()?;
        Some(Thread { trees, handle })
    }

    fn make_layers(&self, queue: &Receiver<Option<Snapshot>>) {
        while let Ok(Some(tree)) = queue.recv() {
            if self.cancel.is_cancelled() {
                return;
            }
            self.make(&tree);
        }
    }

    fn make(&self, tree: &Snapshot) {
        let (compression, force) = self.form;
        let is_under_way = AtomicBool::new(false);
        let watch = |layer: &_| {
            self.lead.iter().for_each(|lead| lead.begin(layer));
            is_under_way.store(true, Ordering::Relaxed);
        };
        // The output meets the same failure.
        if let Ok(layer) = self.store.layer_watched(tree, compression, force, &watch)
            && let Some(lead) = &self.lead
            && !is_under_way.into_inner()
        {
            lead.send(layer.descriptor);
        }
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

/// How the first output that needs compressed layers wants them, or else the first that needs layers at all.
fn wanted(request: &BuildRequest, epoch: Option<i64>) -> Option<(Compression, bool)> {
    let images = request.outputs.iter().filter(|output| output.options().is_some());
    let assemblies: Vec<_> = images.map(|output| deliver::assembly(request, epoch, output)).collect();
    let mut compressed = assemblies
        .iter()
        .filter(|how| how.compression != Compression::Uncompressed);
    let how = compressed.next().or(assemblies.first())?;
    let as_they_are = how.epoch.is_none() || !how.rewrite_timestamp;
    as_they_are.then_some((how.compression, how.force_compression))
}
