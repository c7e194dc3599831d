//! Whether the registries will take what a build makes, found out before the first RUN.
//!
//! Each repository that an output or a cache goes to is asked for a place to upload to, which is given back at once. That
//! begins with the build, beside its planning; a step that runs a process waits for the answer, and so does what is sent.
//! A cache whose errors are to be ignored, or that is waited for only so long, is not asked about: that it cannot be kept is told
//! when it would be.
//!
//! For the registry of a cache that says nothing at all nobody waits long.
//!
//! A build that runs nothing therefore waits no longer than one round trip, and a build with nothing to push asks nobody.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use export::OutputSpec;
use export::records::CachePlace;
use futures_util::future::join_all;
use oci::{PortError, Reference};
use registry::Granted;
use sandbox::Cancel;
use solver::{BeforeRun, Failure, Reporter};
use tokio::sync::watch;

use crate::caches::{Silent, unless_silent};
use crate::error::CommandError;
use crate::images::Images;
use crate::interrupt;
use crate::request::BuildRequest;

/// What is known so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Awaited,
    Granted,
    Refused,
}

/// The question that is under way.
#[derive(Clone)]
pub(crate) struct Permission {
    answer: watch::Receiver<Answer>,
    refusal: Arc<Mutex<Option<CommandError>>>,
    cancel: Cancel,
}

impl Permission {
    /// Begins to ask. `None` if nothing goes to a registry, or the user wants nobody asked. A refusal stops the build.
    pub(crate) fn ask(
        request: &BuildRequest,
        images: &Arc<Images>,
        reporter: &Reporter,
        cancel: &Cancel,
    ) -> Option<Permission> {
        let repositories = repositories(request);
        if repositories.is_empty() || !request.push_probe {
            return None;
        }
        let (tell, answer) = watch::channel(Answer::Awaited);
        let permission = Permission {
            answer,
            refusal: Arc::default(),
            cancel: cancel.clone(),
        };
        let (this, images, reporter) = (permission.clone(), images.clone(), reporter.clone());
        tokio::spawn(async move {
            let asked = repositories.iter().map(|name| ask(name, &images, &reporter));
            let mut granted = Vec::new();
            let mut refusal = None;
            for answer in join_all(asked).await {
                match answer {
                    Ok(one) => granted.push(one),
                    Err(error) => refusal = refusal.or(Some(error)),
                }
            }
            let is_granted = refusal.is_none();
            *this.refusal.lock().unwrap_or_else(PoisonError::into_inner) = refusal;
            // Nobody need be listening any more.
            let _ = tell.send(if is_granted { Answer::Granted } else { Answer::Refused });
            if !is_granted {
                this.cancel.cancel();
            }
            // Nobody waits for that.
            if let Ok(client) = images.client().await {
                join_all(granted.into_iter().map(|one| client.give_back(one))).await;
            }
        });
        Some(permission)
    }

    /// Waits for the answer; whether it is yes. The end of a cancelled build is no.
    pub(crate) async fn is_granted(&self) -> bool {
        let mut answer = self.answer.clone();
        tokio::select! {
            answered = answer.wait_for(|answer| *answer != Answer::Awaited) => answered.is_ok_and(|answer| *answer == Answer::Granted),
            () = interrupt::wished(&self.cancel) => false,
        }
    }

    /// What steps wait for that run something.
    pub(crate) fn before_run(&self) -> BeforeRun {
        let this = self.clone();
        Arc::new(move || {
            let this = this.clone();
            Box::pin(async move { this.is_granted().await })
        })
    }

    /// Why the build was stopped, if it was because of a refusal.
    pub(crate) fn refusal(&self) -> Option<CommandError> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Something must go there, and how much it is worth waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Worth {
    /// Only what spares work: not as much as an image.
    Cache,
    Image,
}

/// A name in each repository that something must go to.
fn repositories(request: &BuildRequest) -> Vec<(Reference, Worth)> {
    let pushed = request.outputs.iter().filter_map(|output| match output {
        OutputSpec::Image {
            push: true, options, ..
        } => Some(&options.names),
        _ => None,
    });
    let caches = request.cache_to.iter().filter_map(|to| match &to.place {
        CachePlace::Registry(name) if !to.ignore_error && request.cache_budget.is_none() => Some(name),
        _ => None,
    });
    let caches = caches.map(|name| (name, Worth::Cache));
    let names = caches.chain(pushed.flatten().map(|name| (name, Worth::Image)));
    let by_repository: BTreeMap<String, (&Reference, Worth)> = names.map(|named| (named.0.name(), named)).collect();
    let named = by_repository.into_values();
    named.map(|(name, worth)| (name.clone(), worth)).collect()
}

async fn ask(
    (name, worth): &(Reference, Worth),
    images: &Images,
    reporter: &Reporter,
) -> Result<Granted, CommandError> {
    let repository = name.name();
    let step = reporter.start(format!("[internal] ask whether {repository} may be pushed to"));
    let asked = async { images.client().await?.may_push(name).await };
    let sign = async {
        if let (Worth::Cache, Ok(client)) = (worth, images.client().await) {
            // Even a refusal is an answer.
            let _ = client.current(name).await;
        }
    };
    let silent = |silent: Silent| PortError::Unreachable {
        name: repository.clone(),
        detail: silent.to_string(),
    };
    let asked = unless_silent(asked, sign).await;
    let error = match asked.unwrap_or_else(|error| Err(silent(error))) {
        Ok(granted) => {
            step.done();
            return Ok(granted);
        }
        Err(error) => error,
    };
    let refused = format!("cannot push to `{repository}`");
    step.failed(Failure {
        message: CommandError::failed(&refused).because(&error).message().to_owned(),
        ..Failure::default()
    });
    let failure = CommandError::failed(format!("failed to build: {refused}")).because(&error);
    Err(match error {
        // Why a certificate is not trusted has a hint of its own.
        PortError::Unreachable { detail, .. } if !detail.contains("UnknownIssuer") => match worth {
            Worth::Cache => {
                failure.hint("check the name and the network; ignore-error=true in --cache-to builds without")
            }
            Worth::Image => failure.hint("check the name and the network; --no-push-probe builds first"),
        },
        _ => failure,
    })
}
