//! Who points at a manifest: signatures, bills of materials, attestations. By the registry's own
//! [list](https://github.com/opencontainers/distribution-spec/blob/main/spec.md#listing-referrers), or by the index under
//! the tag `sha256-<hex>` that clients keep where registries have none.

use oci::{Digest, PortError, Reference};
use reqwest::header::LINK;
use reqwest::{Method, Response, StatusCode, Url};
use serde::Deserialize;

use std::collections::BTreeMap;

use crate::client::{Ask, Client, read_body};
use crate::error::Error;
use crate::repository::{Action, Repository};
use crate::retry::Contact;

/// No page may be larger.
const PAGE_LIMIT: usize = 4 << 20;
/// Nor may there be more of them: a registry could link for ever.
const PAGES: usize = 64;
const INDEX: &str = oci::media_type::INDEX;

/// A manifest that points at another.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Referrer {
    /// Of the manifest.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// What kind of thing it is, for example `application/spdx+json`; empty if it does not say.
    #[serde(default)]
    pub artifact_type: String,
    /// Free text.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    manifests: Vec<Referrer>,
}

impl Client {
    /// The manifests in the repository of `name` that point at the manifest `digest`; of the kind `artifact_type` only, if
    /// one is given. A manifest that nothing points at has none, which is no error.
    ///
    /// # Errors
    /// If the registry cannot be reached, refuses, or answers with something else than lists.
    pub async fn referrers(
        &self,
        name: &Reference,
        digest: Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Referrer>, PortError> {
        let found = async {
            let repository = self.repository(name)?;
            let found = match self.listed(&repository, digest, artifact_type).await? {
                Some(found) => found,
                None => self.under_tag(&repository, digest).await?,
            };
            let is_wanted = |referrer: &Referrer| artifact_type.is_none_or(|wanted| referrer.artifact_type == wanted);
            Ok(found.into_iter().filter(is_wanted).collect())
        };
        found.await.map_err(|error: Error| error.of(&name))
    }

    /// All pages of the registry's list; `None` if it keeps none.
    async fn listed(
        &self,
        repository: &Repository,
        digest: Digest,
        artifact_type: Option<&str>,
    ) -> Result<Option<Vec<Referrer>>, Error> {
        let mut url = repository.url(&format!("referrers/{digest}"));
        if let Some(wanted) = artifact_type {
            url.query_pairs_mut().append_pair("artifactType", wanted);
        }
        let mut found = Vec::new();
        for page in 0..PAGES {
            let ask = Ask::new(repository, Action::Pull, Method::GET, url).accepting(INDEX);
            let response = match self.asked(&ask).await {
                // Not every registry says it with this status, but none has referrers of what it refuses to list.
                Err(Error::NotFound { .. }) if page == 0 => return Ok(None),
                Err(Error::Status { status, .. })
                    if page == 0 && matches!(status, StatusCode::METHOD_NOT_ALLOWED | StatusCode::BAD_REQUEST) =>
                {
                    return Ok(None);
                }
                other => other?,
            };
            let next = next_page(&ask, &response)?;
            found.extend(read_page(&ask, response).await?);
            match next {
                Some(next) => url = next,
                None => return Ok(Some(found)),
            }
        }
        let request = format!("GET {}", repository.url(&format!("referrers/{digest}")));
        let detail = format!("the list has more than {PAGES} pages");
        Err(Error::Answer { request, detail })
    }

    async fn under_tag(&self, repository: &Repository, digest: Digest) -> Result<Vec<Referrer>, Error> {
        let url = repository.url(&format!("manifests/sha256-{}", digest.hex()));
        let ask = Ask::new(repository, Action::Pull, Method::GET, url).accepting(INDEX);
        match self.asked(&ask).await {
            Ok(response) => read_page(&ask, response).await,
            Err(Error::NotFound { .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    async fn asked(&self, ask: &Ask<'_>) -> Result<Response, Error> {
        let mut tries = self.tries(Contact::First);
        loop {
            match self.obtain(ask, &[StatusCode::OK]).await {
                Ok(response) => return Ok(response),
                Err(error) => tries.again(error).await?,
            }
        }
    }
}

async fn read_page(ask: &Ask<'_>, response: Response) -> Result<Vec<Referrer>, Error> {
    let body = read_body(&ask.method, response, PAGE_LIMIT).await?;
    let page: Page = serde_json::from_slice(&body).map_err(|error| Error::Answer {
        request: ask.shown(),
        detail: format!("the list is not valid: {error}"),
    })?;
    Ok(page.manifests)
}

/// Where the list goes on: the `Link` header with `rel="next"`, on the same registry.
fn next_page(ask: &Ask<'_>, response: &Response) -> Result<Option<Url>, Error> {
    let Some(target) = response
        .headers()
        .get(LINK)
        .and_then(|value| value.to_str().ok())
        .and_then(next_link)
    else {
        return Ok(None);
    };
    match ask.url.join(target) {
        Ok(url) if ask.repository.owns(&url) => Ok(Some(url)),
        _ => Err(Error::Answer {
            request: ask.shown(),
            detail: format!("the list goes on at `{target}`, which is not on the registry"),
        }),
    }
}

fn next_link(header: &str) -> Option<&str> {
    header.split(',').find_map(|link| {
        let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
        let is_next = |parameter: &str| matches!(parameter.trim(), "rel=\"next\"" | "rel=next");
        parameters.split(';').any(is_next).then_some(target)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_the_link_that_says_so() {
        for (header, expected) in [
            (r#"</v2/a/referrers/x?n=2>; rel="next""#, Some("/v2/a/referrers/x?n=2")),
            (r#"</a>; rel="prev", </b>;rel=next"#, Some("/b")),
            (r#"</a>; rel="prev""#, None),
            ("junk", None),
        ] {
            assert_eq!(next_link(header), expected, "{header}");
        }
    }
}
