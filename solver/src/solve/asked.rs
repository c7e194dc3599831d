//! What is asked of vertices, and the answers.
//!
//! A vertex that needs another's answer makes a wish and waits; [`Build::answer_all`] grants the wishes, all side by
//! side. Nothing that answers runs inside something else that does: a chain of stages or steps costs no stack, however
//! long it is, and an event wakes only who waited for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cache::Snapshot;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use graph::VertexId;
use tokio::sync::{OnceCell, SetOnce, mpsc, watch};
use tokio::task::coop::consume_budget;

use super::{Build, Known, Stopped};
use crate::Imported;

/// What has been asked of one vertex.
#[derive(Default)]
pub(crate) struct Asked {
    pub(crate) known: Answer<Known>,
    pub(crate) snapshot: Answer<Option<Snapshot>>,
    /// The result elsewhere that a target is content with.
    pub(super) left: OnceCell<Arc<Imported>>,
    pub(super) context: OnceCell<Arc<crate::files::Context>>,
    /// Whether the key has to wait for files that are still to be made.
    pub(super) waits: watch::Sender<bool>,
}

impl Asked {
    /// Ends when it turns out that the key has to wait.
    pub(super) async fn waits(&self) {
        // The sender lives as long as the vertex: there is no other end than that it is so.
        let _ = self.waits.subscribe().wait_for(|waits| *waits).await;
    }
}

/// An answer that is found once, for all who ask.
pub(crate) struct Answer<T> {
    is_wished: AtomicBool,
    found: SetOnce<Result<T, Stopped>>,
}

impl<T> Default for Answer<T> {
    fn default() -> Self {
        Answer {
            is_wished: AtomicBool::new(false),
            found: SetOnce::new(),
        }
    }
}

impl<T> Answer<T> {
    /// The answer, if it was asked for and found.
    pub(crate) fn get(&self) -> Option<&T> {
        self.found.get()?.as_ref().ok()
    }

    async fn wait(&self) -> Result<&T, Stopped> {
        self.found.wait().await.as_ref().map_err(|stopped| *stopped)
    }

    fn give(&self, answer: Result<T, Stopped>) {
        // Each wish is granted once.
        let _ = self.found.set(answer);
    }
}

/// Something that nobody has asked for before.
pub(super) enum Wish {
    /// The vertex's key, and whether there is a result.
    Key(VertexId),
    /// The vertex's tree.
    Tree(VertexId),
    /// The vertex's tree, unless it may stay where it was found.
    Target(VertexId),
}

impl Build {
    /// The vertex's key, and whether the store has its result.
    pub(super) async fn known(&self, id: VertexId) -> Result<&Known, Stopped> {
        self.wish_for_key(id);
        self.asked[&id].known.wait().await
    }

    /// The vertex's result, made if need be.
    pub(super) async fn snapshot(&self, id: VertexId) -> Result<Option<Snapshot>, Stopped> {
        self.wish_for_tree(id);
        self.asked[&id].snapshot.wait().await.cloned()
    }

    pub(super) fn wish_for_key(&self, id: VertexId) {
        if !self.asked[&id].known.is_wished.swap(true, Ordering::Relaxed) {
            // The other end is there as long as anyone can wish.
            let _ = self.wishes.send(Wish::Key(id));
        }
    }

    pub(super) fn wish_for_tree(&self, id: VertexId) {
        if !self.asked[&id].snapshot.is_wished.swap(true, Ordering::Relaxed) {
            let _ = self.wishes.send(Wish::Tree(id));
        }
    }

    pub(super) fn wish_for_target(&self, id: VertexId) {
        let _ = self.wishes.send(Wish::Target(id));
    }

    /// Grants all wishes, also those made meanwhile.
    pub(super) async fn answer_all(&self, mut wishes: mpsc::UnboundedReceiver<Wish>) {
        let mut under_way = FuturesUnordered::new();
        while !(under_way.is_empty() && wishes.is_empty()) {
            // Answers may come thick and fast; whoever waits for a signal beside us gets a turn.
            consume_budget().await;
            tokio::select! {
                biased;
                Some(wish) = wishes.recv() => under_way.push(self.answer(wish)),
                Some(()) = under_way.next() => {}
            }
        }
    }

    async fn answer(&self, wish: Wish) {
        match wish {
            Wish::Key(id) => self.asked[&id].known.give(self.find(id).await),
            Wish::Tree(id) => self.asked[&id].snapshot.give(self.make_and_tell(id).await),
            Wish::Target(id) => self.settle(id).await,
        }
    }
}
