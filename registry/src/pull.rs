//! Pulling: a name to the documents of one platform's image, and the blobs of it.

use oci::{
    Blob, BoxFuture, Descriptor, Digest, Fetch, ImageConfig, ImageName, ManifestKind, Platform, PortError, Reference,
    ResolvedImage, media_type,
};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, StatusCode};

use crate::client::{Ask, Client, DIGEST_HEADER, read_body};
use crate::error::Error;
use crate::repository::{Action, Repository};
use crate::retry::{Contact, Tries};

/// No manifest, index or configuration may be larger, as on the other side.
const DOCUMENT_LIMIT: u64 = oci::layout::DOCUMENT_LIMIT;
/// How deep indexes may lie in one another.
const NESTING_LIMIT: usize = 4;

/// A document, its bytes, and the media type it was served as.
struct Document {
    media_type: String,
    bytes: Vec<u8>,
}

impl Fetch for Client {
    fn resolve<'a>(
        &'a self,
        name: &'a ImageName,
        platform: &'a Platform,
    ) -> BoxFuture<'a, Result<ResolvedImage, PortError>> {
        Box::pin(async move {
            let _flight = trace::flight_of("resolve", name);
            let reference = in_registry(name)?;
            let resolved = self.resolve_reference(name, reference, platform).await;
            resolved.map_err(|error| error.of(name))
        })
    }

    fn blob<'a>(&'a self, name: &'a ImageName, blob: &'a Descriptor) -> BoxFuture<'a, Result<Blob, PortError>> {
        Box::pin(async move {
            let reference = in_registry(name)?;
            let repository = self.repository(reference).map_err(|error| error.of(name))?;
            let opened = self.open_blob(repository, blob).await;
            opened.map_err(|error| error.of(&format!("{}@{}", reference.name(), blob.digest)))
        })
    }
}

fn in_registry(name: &ImageName) -> Result<&Reference, PortError> {
    match name {
        ImageName::Registry(reference) => Ok(reference),
        ImageName::Layout { .. } => Err(PortError::Protocol {
            name: name.to_string(),
            detail: "it is not in a registry".to_owned(),
        }),
    }
}

impl Client {
    async fn resolve_reference(
        &self,
        name: &ImageName,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<ResolvedImage, Error> {
        let repository = self.repository(reference)?;
        let mut document = self.top_document(&repository, reference).await?;
        let mut descriptor = document.describe()?;
        let root = descriptor.clone();
        let mut index_bytes = None;
        for _ in 0..NESTING_LIMIT {
            match ManifestKind::parse(&document.media_type, &document.bytes)? {
                ManifestKind::Index(index) => {
                    descriptor = index.select(platform)?.clone();
                    let outer = std::mem::replace(&mut document, self.manifest(&repository, &descriptor).await?);
                    index_bytes.get_or_insert(outer.bytes);
                }
                ManifestKind::Manifest(manifest) => {
                    let config_bytes = self.config(&repository, &manifest.config).await?;
                    return Ok(ResolvedImage {
                        name: name.clone(),
                        root,
                        index_bytes,
                        manifest_descriptor: descriptor,
                        manifest,
                        manifest_bytes: document.bytes,
                        config: ImageConfig::parse(&config_bytes)?,
                        config_bytes,
                    });
                }
            }
        }
        Err(Error::Content(oci::Error::Document {
            what: "the image index",
            reason: format!("indexes lie in one another more than {NESTING_LIMIT} deep"),
        }))
    }

    /// The digest that the registry says the name points at, if it says so: one request, which registries do not count as
    /// a pull. It is good for finding what is known already, and for nothing else.
    ///
    /// # Errors
    /// [`PortError::Unreachable`]. Other refusals are left to [`Fetch::resolve`], which meets them again.
    pub async fn current(&self, name: &Reference) -> Result<Option<Digest>, PortError> {
        match self.current_digest(name).await {
            Ok(digest) => Ok(digest),
            Err(error @ Error::Unreachable(_)) => Err(error.of(&name)),
            Err(_) => Ok(None),
        }
    }

    async fn current_digest(&self, name: &Reference) -> Result<Option<Digest>, Error> {
        let repository = self.repository(name)?;
        let url = repository.url(&format!("manifests/{}", name.tag().unwrap_or("latest")));
        let ask = Ask::new(&repository, Action::Pull, Method::HEAD, url).accepting(&accepted_manifests());
        let response = self.obtain(&ask, &[StatusCode::OK]).await?;
        let digest = response
            .headers()
            .get(DIGEST_HEADER)
            .and_then(|value| value.to_str().ok());
        Ok(digest.and_then(|digest| digest.parse().ok()))
    }

    /// What the name itself points at. A header with its digest is not believed: the digest is computed.
    async fn top_document(&self, repository: &Repository, reference: &Reference) -> Result<Document, Error> {
        let Some(digest) = reference.digest() else {
            let tag = reference.tag().unwrap_or("latest");
            return self
                .document(repository, &format!("manifests/{tag}"), Contact::First)
                .await;
        };
        let document = self
            .document(repository, &format!("manifests/{digest}"), Contact::First)
            .await?;
        verify(digest, &document.bytes)?;
        Ok(document)
    }

    async fn manifest(&self, repository: &Repository, descriptor: &Descriptor) -> Result<Document, Error> {
        refuse_large(descriptor)?;
        let place = format!("manifests/{}", descriptor.digest);
        let document = self.document(repository, &place, Contact::Established).await?;
        verify(descriptor.digest, &document.bytes)?;
        Ok(Document {
            media_type: descriptor.media_type.clone(),
            bytes: document.bytes,
        })
    }

    async fn config(&self, repository: &Repository, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
        refuse_large(descriptor)?;
        let place = format!("blobs/{}", descriptor.digest);
        let document = self.document(repository, &place, Contact::Established).await?;
        verify(descriptor.digest, &document.bytes)?;
        Ok(document.bytes)
    }

    async fn document(&self, repository: &Repository, place: &str, contact: Contact) -> Result<Document, Error> {
        let accepted = accepted_manifests();
        let ask = Ask::new(repository, Action::Pull, Method::GET, repository.url(place));
        let ask = ask.accepting(if place.starts_with("manifests/") {
            &accepted
        } else {
            "*/*"
        });
        let mut tries = Tries::new(contact);
        loop {
            match self.document_once(&ask).await {
                Ok(document) => return Ok(document),
                Err(error) => tries.again(error).await?,
            }
        }
    }

    async fn document_once(&self, ask: &Ask<'_>) -> Result<Document, Error> {
        let response = self.obtain(ask, &[StatusCode::OK]).await?;
        let media_type = response
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        Ok(Document {
            media_type: media_type.unwrap_or_default().to_owned(),
            bytes: read_body(&ask.method, response, DOCUMENT_LIMIT as usize).await?,
        })
    }
}

impl Document {
    fn describe(&self) -> Result<Descriptor, oci::Error> {
        let media_type = match ManifestKind::parse(&self.media_type, &self.bytes)? {
            ManifestKind::Manifest(manifest) => manifest.media_type,
            ManifestKind::Index(index) => index.media_type,
        };
        Ok(Descriptor::of(&media_type, &self.bytes))
    }
}

fn accepted_manifests() -> String {
    media_type::ACCEPTED_MANIFESTS.join(", ")
}

fn refuse_large(descriptor: &Descriptor) -> Result<(), oci::Error> {
    if descriptor.size <= DOCUMENT_LIMIT {
        return Ok(());
    }
    Err(oci::Error::Document {
        what: "the image manifest",
        reason: format!(
            "it points at a document of {} bytes; {DOCUMENT_LIMIT} are allowed",
            descriptor.size
        ),
    })
}

fn verify(expected: Digest, bytes: &[u8]) -> Result<(), oci::Error> {
    let actual = Digest::of(bytes);
    if actual == expected {
        Ok(())
    } else {
        Err(oci::Error::DigestMismatch { expected, actual })
    }
}
