//! Pulling: a name to the documents of one platform's image, and the blobs of it.

use oci::{
    Blob, BoxFuture, Descent, Descriptor, Digest, Fetch, ImageName, ManifestKind, Platform, PortError, Reference,
    ResolvedImage, media_type,
};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, StatusCode};

use crate::client::{Ask, Client, DIGEST_HEADER, read_body};
use crate::detour::Wanted;
use crate::error::Error;
use crate::repository::{Action, Repository};
use crate::retry::Contact;

/// No manifest, index or configuration may be larger, as on the other side.
const DOCUMENT_LIMIT: u64 = oci::layout::DOCUMENT_LIMIT;

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
            let opened = self.blob_of(reference, blob).await;
            opened.map_err(|error| error.of(&format!("{}@{}", reference.name(), blob.digest)))
        })
    }

    fn at_once(&self) -> usize {
        self.lanes().transfers()
    }

    fn distrust(&self, name: &ImageName, blob: &Descriptor) -> bool {
        in_registry(name).is_ok_and(|reference| self.distrust_givers(reference, blob))
    }
}

fn in_registry(name: &ImageName) -> Result<&Reference, PortError> {
    match name {
        ImageName::Registry(reference) => Ok(reference),
        ImageName::Layout { .. } | ImageName::Results(_) => Err(PortError::Protocol {
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
        let pinned = self.pinned_for_mirrors(reference).await?;
        let reference = pinned.as_ref().unwrap_or(reference);
        let wanted = reference.digest().map_or(Wanted::Tag, |_| Wanted::Content);
        let mut places = self.places(reference, wanted)?.into_iter().peekable();
        while let Some(repository) = places.next() {
            let asking = self.resolve_at(&repository, name, reference, platform);
            match self.soon(&repository, asking).await {
                Err(error) if places.peek().is_some() => self.pass_over(&repository, &error),
                resolved => return resolved,
            }
        }
        unreachable!("there is a last place")
    }

    /// The name with the digest that its tag has, if what is asked for the image first may not say what a tag means.
    async fn pinned_for_mirrors(&self, reference: &Reference) -> Result<Option<Reference>, Error> {
        if reference.digest().is_some() || !self.needs_digest_first(reference)? {
            return Ok(None);
        }
        let digest = self.current_digest(reference).await?;
        Ok(digest.map(|digest| reference.pinned(digest)))
    }

    async fn blob_of(&self, reference: &Reference, blob: &Descriptor) -> Result<Blob, Error> {
        let mut places = self.places_of_blob(reference, blob.digest)?.into_iter();
        while let Some(repository) = places.next() {
            let others = places.as_slice().to_vec();
            let is_last = others.is_empty();
            // Waited for before the mirror's time begins: it is not to blame for what else it sends us.
            let lane = self.lanes().transfer(&repository.url("")).await;
            let opening = self.open_blob(repository.clone(), others, blob, lane);
            match self.soon(&repository, opening).await {
                Err(error) if !is_last => self.pass_over(&repository, &error),
                opened => return opened,
            }
        }
        unreachable!("there is a last place")
    }

    async fn resolve_at(
        &self,
        repository: &Repository,
        name: &ImageName,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<ResolvedImage, Error> {
        let mut document = self.top_document(repository, reference).await?;
        let mut descriptor = document.describe()?;
        let root = descriptor.clone();
        let mut way = Descent::to(platform);
        let mut indexes = Vec::new();
        loop {
            match ManifestKind::parse(&document.media_type, &document.bytes)? {
                ManifestKind::Index(index) => {
                    way.enter(&index)?;
                    descriptor = way.next()?;
                    let outer = std::mem::replace(&mut document, self.manifest(repository, &descriptor).await?);
                    indexes.push(outer.bytes);
                }
                ManifestKind::Manifest(manifest) => {
                    let config_bytes = self.config(repository, &manifest.config).await?;
                    return Ok(ResolvedImage {
                        name: name.clone(),
                        root,
                        indexes,
                        manifest_descriptor: descriptor,
                        config: manifest.configuration(&config_bytes)?,
                        manifest,
                        manifest_bytes: document.bytes,
                        config_bytes,
                    });
                }
            }
        }
    }

    /// The manifests of all platforms that the name leads to, through whatever indexes. What is said about images is left
    /// out.
    ///
    /// # Errors
    /// As [`Fetch::resolve`].
    pub async fn manifests(&self, name: &Reference) -> Result<Vec<Descriptor>, PortError> {
        self.all_manifests(name).await.map_err(|error| error.of(name))
    }

    async fn all_manifests(&self, name: &Reference) -> Result<Vec<Descriptor>, Error> {
        let repository = self.repository(name)?;
        let top = self.top_document(&repository, name).await?;
        let mut indexes = match ManifestKind::parse(&top.media_type, &top.bytes)? {
            ManifestKind::Manifest(_) => return Ok(vec![top.describe()?]),
            ManifestKind::Index(index) => vec![index],
        };
        let is_image = |entry: &Descriptor| entry.platform.as_ref().is_none_or(|platform| platform.os != "unknown");
        let mut found: Vec<Descriptor> = Vec::new();
        for _ in 0..oci::descent::NESTING_LIMIT {
            let mut inner = Vec::new();
            for entry in indexes.into_iter().flat_map(|index| index.manifests) {
                if media_type::is_manifest(&entry.media_type) {
                    if is_image(&entry) && found.iter().all(|known| known.digest != entry.digest) {
                        found.push(entry);
                    }
                } else if let document = self.manifest(&repository, &entry).await?
                    && let ManifestKind::Index(index) = ManifestKind::parse(&document.media_type, &document.bytes)?
                {
                    inner.push(index);
                }
            }
            if inner.is_empty() {
                return Ok(found);
            }
            indexes = inner;
        }
        Err(oci::descent::too_deep().into())
    }

    /// What the name points at, as it was served, and its descriptor. Documents that are not of images are left to whoever
    /// asks.
    ///
    /// # Errors
    /// As [`Fetch::resolve`].
    pub async fn root(&self, name: &Reference) -> Result<(Descriptor, Vec<u8>), PortError> {
        let root = async {
            let repository = self.repository(name)?;
            let document = self.top_document(&repository, name).await?;
            Ok::<_, Error>((document.describe()?, document.bytes))
        };
        root.await.map_err(|error| error.of(&name))
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
        let mut places = self.places(name, Wanted::Digest)?.into_iter().peekable();
        while let Some(repository) = places.next() {
            match self.soon(&repository, self.digest_at(&repository, name)).await {
                // All else may be better when the document itself is asked for, and is told of then if not.
                Err(error @ Error::Unreachable(_)) if places.peek().is_some() => self.pass_over(&repository, &error),
                Err(_) if places.peek().is_some() => {}
                answer => return answer,
            }
        }
        Ok(None)
    }

    /// The digest that one endpoint says a tag has.
    pub(crate) async fn digest_at(&self, repository: &Repository, name: &Reference) -> Result<Option<Digest>, Error> {
        let url = repository.url(&format!("manifests/{}", name.tag().unwrap_or("latest")));
        let ask = Ask::new(repository, Action::Pull, Method::HEAD, url).accepting(&accepted_manifests());
        let response = self.obtain(&ask, &[StatusCode::OK]).await?;
        let digest = response
            .headers()
            .get(DIGEST_HEADER)
            .and_then(|value| value.to_str().ok());
        Ok(digest.and_then(|digest| digest.parse().ok()))
    }

    /// The digest of what the name points at, computed.
    pub(crate) async fn root_digest(&self, repository: &Repository, name: &Reference) -> Result<Digest, Error> {
        let document = self.top_document(repository, name).await?;
        Ok(Digest::of(&document.bytes))
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
        descriptor.check_size(&document.bytes)?;
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
        let mut tries = self.tries(contact);
        loop {
            match self.document_once(&ask).await {
                Ok(document) => return Ok(document),
                Err(error) if repository.endpoint().has_next => return Err(error),
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

pub(crate) fn accepted_manifests() -> String {
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
