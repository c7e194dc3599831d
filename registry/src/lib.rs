//! The [distribution specification](https://github.com/opencontainers/distribution-spec) over HTTP: [`Client`] is the
//! [`oci::Fetch`] and [`oci::Push`] of registries.
//!
//! ```text
//! current     HEAD /v2/<repository>/manifests/<tag>                which digest the tag has now
//! resolve     GET  /v2/<repository>/manifests/<tag or digest>      index -> manifest, then the configuration blob
//! blob        GET  /v2/<repository>/blobs/<digest>                 streamed; a broken connection resumes with Range, that
//!                                                                  of a mirror in the end at the next endpoint
//! find_blob   HEAD /v2/<repository>/blobs/<digest>                 there already?
//!             POST /v2/<repository>/blobs/uploads/?mount=<digest>&from=<other repository>   or to be had next door?
//! push_blob   POST /v2/<repository>/blobs/uploads/                 a place to upload to
//!             PUT  <that place>?digest=<digest>                    the whole blob in one request; in pieces after a failure
//!             GET, PATCH <that place>                              after a failure: how much came, and the rest
//! push_manifest  PUT /v2/<repository>/manifests/<tag or digest>
//! ```
//!
//! Each request goes out bare first, or with what was granted before; a 401 is answered by the registry's own challenge.
//! Credentials go to the registry and to the token service it names, never along a redirect to another host.
//!
//! What this crate does not do: keep blobs, verify layers (whoever unpacks them does), know of builds.
#![forbid(unsafe_code)]

mod auth;
mod blob;
mod challenge;
mod client;
mod connections;
mod credentials;
mod detour;
mod early;
mod error;
mod explain;
mod handshake;
mod helper;
mod hosts;
mod lanes;
mod pull;
mod push;
mod pushes;
mod referrers;
mod repository;
mod retry;
mod sending;
#[doc(hidden)]
pub mod testing;
mod trust;
mod upload;

pub use client::{Client, ClientOptions};
pub use connections::trusted_certificates;
pub use credentials::{CredentialSource, Whereabouts};
pub use error::Error;
pub use explain::{ExplainedEndpoint, Inquiry, WantedScheme, Wants};
pub use helper::Helpers;
pub use hosts::{Mirror, Sources};
pub use push::Granted;
pub use referrers::Referrer;
pub use retry::Listener;
