//! What is known of a vertex without doing its work: its key, and whether there is a result.
//!
//! The key is worked out in two speeds (see `key`); the second needs the trees that are read, and so may build stages.

use std::pin::pin;

use cache::CacheKey;
use futures_util::future::{Either, join, join_all, select};
use graph::{InputIndex, Op, Vertex, VertexId};

use super::{Build, Found, Known, Stopped};
use crate::key::{self, CopySource};
use crate::ops;
use crate::readings::Reading;

impl Build {
    pub(super) async fn find(&self, id: VertexId) -> Result<Known, Stopped> {
        if self.solver.cancel.is_cancelled() {
            return Err(Stopped);
        }
        let vertex = self.definition.vertex(id);
        let known = match &vertex.op {
            Op::Image(image) => self.find_image(vertex, image).await?,
            // Its readers know their files by content; the tree as a whole has no key.
            Op::Local(_) => Known {
                key: key::of_nothing(),
                alias: None,
                found: Found::Yes(None),
                afresh: false,
            },
            Op::Http(_) | Op::Git(_) => return self.find_remote(vertex).await,
            Op::Exec(_) | Op::File(_) => self.find_work(id).await?,
            Op::Merge(merge) => {
                let mut below = self.below(id, Some(merge.base)).await?;
                let mut over = Vec::new();
                for input in &merge.over {
                    let next = self.below(id, Some(*input)).await?;
                    below.afresh |= next.afresh;
                    over.push(next.key);
                }
                self.look_up(vertex, key::of_merge(below.key, &over), below.afresh)
                    .await?
            }
        };
        if !matches!(known.found, Found::No) && !matches!(vertex.op, Op::Local(_)) {
            self.solver.reporter.start(&vertex.metadata.name).cached();
        }
        Ok(known)
    }

    async fn find_image(&self, vertex: &Vertex, image: &graph::ImageSource) -> Result<Known, Stopped> {
        let resolved = ops::image::resolve(&*self.solver.images, image)
            .await
            .map_err(|e| self.fail(vertex, None, e))?;
        let chain = oci::ChainId::of(&resolved.config.rootfs.diff_ids);
        let key = key::of_image(chain);
        let Some(chain) = chain else {
            return Ok(Known {
                key,
                alias: None,
                found: Found::Yes(None),
                afresh: false,
            });
        };
        let snapshot = self
            .solver
            .store
            .chain(&chain)
            .map_err(|error| self.fail(vertex, None, error.into()))?;
        Ok(Known {
            key,
            alias: None,
            found: snapshot.map_or(Found::No, |found| Found::Yes(Some(found))),
            afresh: false,
        })
    }

    async fn find_work(&self, id: VertexId) -> Result<Known, Stopped> {
        let vertex = self.definition.vertex(id);
        let Below { key: base, mut afresh } = self.below(id, vertex.op.base()).await?;
        let names = self.below_names(id).await?;
        afresh |= names.as_ref().is_some_and(|names| names.afresh);
        let names = names.map(|names| names.key);
        let readings = Reading::of(&vertex.op);
        let mut sources = Vec::new();
        let mut reads_afresh = false;
        for reading in &readings {
            let input = vertex.inputs[reading.from().0];
            sources.push(match self.definition.vertex(input).op {
                Op::Local(_) => CopySource::Content(self.checksum(vertex, reading).await?),
                _ => {
                    let known = self.known(input).await?;
                    reads_afresh |= known.afresh;
                    CopySource::Tree(known.key)
                }
            });
        }
        let quick_key = key_of(vertex, base, names, &sources);
        // What is made again may turn out to be another: only its files tell.
        let quick = self.look_up(vertex, quick_key, afresh || reads_afresh).await?;
        // The layers of an image say as much as its files do, where all of them are read.
        let is_settled = |(source, reading): (&CopySource, &Reading)| {
            let is_image = || matches!(self.definition.vertex(vertex.inputs[reading.from().0]).op, Op::Image(_));
            matches!(source, CopySource::Content(_)) || (reading.is_whole() && is_image())
        };
        let by_content = sources.iter().zip(&readings).all(is_settled);
        if by_content || !matches!(quick.found, Found::No) {
            return Ok(Known {
                afresh: afresh || vertex.metadata.ignore_cache,
                ..quick
            });
        }
        self.asked[&id].waits.send_replace(true);
        self.build_ahead(vertex).await?;
        for (source, reading) in sources.iter_mut().zip(&readings) {
            if !is_settled((source, reading)) {
                *source = CopySource::Content(self.checksum(vertex, reading).await?);
            }
        }
        let slow = self
            .look_up(vertex, key_of(vertex, base, names, &sources), afresh)
            .await?;
        if let Found::Yes(_) = slow.found {
            self.solver
                .store
                .alias(&quick_key, &slow.key)
                .map_err(|error| self.fail(vertex, None, error.into()))?;
        }
        Ok(Known {
            alias: Some(quick_key),
            ..slow
        })
    }

    /// The key of the tree that names of owners are looked up in, if it is not the one that is changed.
    async fn below_names(&self, id: VertexId) -> Result<Option<Below>, Stopped> {
        match &self.definition.vertex(id).op {
            Op::File(graph::FileOp { names: Some(input), .. }) => self.below(id, Some(*input)).await.map(Some),
            _ => Ok(None),
        }
    }

    /// The key of a tree that the vertex stands on.
    ///
    /// Where that has to wait for files still to be made, so has this vertex's own, and no record will know it: the
    /// stages that it reads are built meanwhile.
    async fn below(&self, id: VertexId, base: Option<InputIndex>) -> Result<Below, Stopped> {
        let vertex = self.definition.vertex(id);
        let Some(base) = base else {
            return Ok(Below {
                key: key::of_nothing(),
                afresh: false,
            });
        };
        let below = vertex.inputs[base.0];
        let known = match select(pin!(self.known(below)), pin!(self.asked[&below].waits())).await {
            Either::Left((known, _)) => known?,
            Either::Right(((), known)) => {
                self.asked[&id].waits.send_replace(true);
                let (known, ahead) = join(known, self.build_ahead(vertex)).await;
                ahead?;
                known?
            }
        };
        Ok(Below {
            key: known.key,
            afresh: known.afresh,
        })
    }

    /// Makes the trees that the vertex stands on and copies from, except those that are found and images: a vertex that
    /// no record knows by what led to it is hardly known by the files it reads if these were never made.
    async fn build_ahead(&self, vertex: &Vertex) -> Result<(), Stopped> {
        let inputs = vertex.op.inputs().into_iter();
        let making = inputs.map(|input| async move {
            let id = vertex.inputs[input.0];
            let is_stage = matches!(self.definition.vertex(id).op, Op::Exec(_) | Op::File(_) | Op::Merge(_));
            if is_stage && matches!(self.known(id).await?.found, Found::No) {
                self.snapshot(id).await?;
            }
            Ok(())
        });
        join_all(making).await.into_iter().collect()
    }

    /// The record of `key`; none where the vertex is made again, because it shall be or stands on what is.
    async fn look_up(&self, vertex: &Vertex, key: CacheKey, afresh: bool) -> Result<Known, Stopped> {
        let afresh = afresh || vertex.metadata.ignore_cache;
        let known = |actual: CacheKey, found| Known {
            afresh,
            key: actual,
            alias: Some(key).filter(|key| *key != actual),
            found,
        };
        if afresh {
            return Ok(known(key, Found::No));
        }
        let looked = {
            let _span = trace::span_of("look up", &vertex.metadata.name);
            self.solver.store.lookup(&key)
        };
        match looked {
            Ok(Some(record)) => return Ok(known(record.key, Found::Yes(Some(record.snapshot)))),
            Ok(None) => {}
            Err(error) => return Err(self.fail(vertex, None, error.into())),
        }
        let imported = match &self.solver.imports {
            Some(imports) => imports.find(&key).await,
            None => None,
        };
        Ok(match imported {
            Some(imported) => known(imported.key, Found::There(imported)),
            None => known(key, Found::No),
        })
    }
}

/// What is known of a tree that a vertex stands on.
struct Below {
    key: CacheKey,
    /// Whether it is made again.
    afresh: bool,
}

fn key_of(vertex: &Vertex, base: CacheKey, names: Option<CacheKey>, sources: &[CopySource]) -> CacheKey {
    let _span = trace::span_of("key", &vertex.metadata.name);
    match &vertex.op {
        Op::Exec(exec) => key::of_exec(exec, base, sources),
        Op::File(file) => key::of_file(file, base, names, sources),
        Op::Image(_) | Op::Local(_) | Op::Http(_) | Op::Git(_) | Op::Merge(_) => {
            unreachable!("they have keys of their own")
        }
    }
}
