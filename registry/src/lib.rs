//! The [distribution specification](https://github.com/opencontainers/distribution-spec) over HTTP: [`Client`] is the
//! [`oci::Fetch`] and [`oci::Push`] of registries.
//!
//! ```text
//! current     HEAD /v2/<repository>/manifests/<tag>                which digest the tag has now
//! resolve     GET  /v2/<repository>/manifests/<tag or digest>      index -> manifest, then the configuration blob
//! blob        GET  /v2/<repository>/blobs/<digest>                 streamed; a broken connection resumes with Range
//! push_blob   HEAD /v2/<repository>/blobs/<digest>                 there already?
//!             POST /v2/<repository>/blobs/uploads/                 a place to upload to
//!             PUT  <that place>?digest=<digest>                    the whole blob in one request
//! push_manifest  PUT /v2/<repository>/manifests/<tag or digest>
//! ```
//!
//! Each request goes out bare first, or with what was granted before; a 401 is answered by the registry's own challenge.
//! Credentials go to the registry and to the token service it names, never along a redirect to another host.
//!
//! What this crate does not do: keep blobs, verify layers (whoever unpacks them does), know of builds.

mod auth;
mod blob;
mod challenge;
mod client;
mod connections;
mod credentials;
mod error;
mod pull;
mod push;
mod repository;
mod retry;
mod upload;

pub use client::{Client, ClientOptions};
pub use error::Error;
