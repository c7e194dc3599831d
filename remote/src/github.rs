//! Entries of GitHub's cache service, as jobs of its actions reach it: version 2.
//!
//! ```text
//! POST {url}/twirp/github.actions.results.api.v1.CacheService/CreateCacheEntry          -> an address to upload to
//! PUT  {address}                                                                        a block blob of Azure's
//! POST …/FinalizeCacheEntryUpload                                                       now it can be found
//! POST …/GetCacheEntryDownloadURL     by a name, or by how the newest one's begins      -> an address to read from
//! ```
//!
//! An entry never changes: a name that is taken stays taken. The addresses are signed, and the token is sent to the service
//! only. What a token may read and write is in it, for us to choose names by; it is the service that sees to it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use reqwest::Url;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::http::Client;
use crate::wire::{self, Arriving, Error, Part, body, send, shown};

const SERVICE: &str = "twirp/github.actions.results.api.v1.CacheService";
const ANSWER_LIMIT: usize = 64 << 10;
/// Larger entries are sent in blocks of so many bytes.
const BLOCK: u64 = 32 << 20;
const BLOCKS_AT_ONCE: usize = 4;

/// Where the service is, and who asks.
#[derive(Clone)]
pub struct Options {
    /// What jobs have as `ACTIONS_RESULTS_URL`.
    pub url: String,
    /// What jobs have as `ACTIONS_RUNTIME_TOKEN`.
    pub token: String,
    /// Of entries: those of another version are not found.
    pub version: String,
    /// How long one request to the service may take, with all waiting that it asks for.
    pub timeout: Duration,
}

/// The service.
#[derive(Clone)]
pub struct Entries {
    client: Client,
    base: Url,
    token: String,
    version: String,
    timeout: Duration,
}

/// An entry that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its whole name.
    pub key: String,
    url: Url,
}

/// What a token may do with the entries of a branch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// `refs/heads/main`.
    pub name: String,
    /// Whether it may write them.
    pub is_writable: bool,
}

#[derive(Deserialize)]
struct Created {
    #[serde(default)]
    ok: bool,
    #[serde(default)]
    signed_upload_url: String,
}

#[derive(Deserialize)]
struct Located {
    #[serde(default)]
    ok: bool,
    #[serde(default)]
    signed_download_url: String,
    #[serde(default)]
    matched_key: String,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("url", &self.url)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl Entries {
    /// The service at an address; connects to nothing yet.
    ///
    /// # Errors
    /// If the address is none.
    pub fn new(client: Client, options: Options) -> Result<Entries, Error> {
        let text = match options.url.ends_with('/') {
            true => options.url,
            false => options.url + "/",
        };
        let base = Url::parse(&text).map_err(|error| Error::Address {
            url: text,
            detail: error.to_string(),
        })?;
        Ok(Entries {
            client,
            base,
            token: options.token,
            version: options.version,
            timeout: options.timeout,
        })
    }

    /// The entry `key`, or else the newest whose name begins with one of `beginnings`.
    ///
    /// # Errors
    /// If the service fails.
    pub async fn find(&self, key: &str, beginnings: &[String]) -> Result<Option<Found>, Error> {
        let question = json!({"key": key, "restore_keys": beginnings, "version": self.version});
        let answer = match self.ask("GetCacheEntryDownloadURL", &question).await {
            Ok(answer) => answer,
            Err(Error::Missing { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let located: Located = self.understood("GetCacheEntryDownloadURL", answer)?;
        if !located.ok {
            return Ok(None);
        }
        Ok(Some(Found {
            url: self.address(&located.signed_download_url)?,
            key: located.matched_key,
        }))
    }

    /// The content of a small entry.
    ///
    /// # Errors
    /// If it is gone, or larger than `limit`.
    pub async fn read(&self, found: &Found, limit: usize) -> Result<Vec<u8>, Error> {
        let shown = shown("GET", &found.url);
        let response = send(&shown, async || Ok(self.client.to(&found.url).get(found.url.clone()))).await?;
        body(&shown, response, limit).await
    }

    /// Opens an entry.
    ///
    /// # Errors
    /// If it is gone, or the storage fails.
    pub async fn open(&self, found: &Found) -> Result<Arriving, Error> {
        let url = found.url.clone();
        wire::open(&self.client, Arc::new(move || url.clone())).await
    }

    /// Makes the entry `key` of a file; `false` if there is one, or somebody else is making it. `sent` is told of bytes that
    /// have arrived.
    ///
    /// # Errors
    /// If the service, the storage or the file fails.
    pub async fn create(
        &self,
        key: &str,
        path: &Path,
        size: u64,
        sent: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<bool, Error> {
        let question = json!({"key": key, "version": self.version});
        let answer = match self.ask("CreateCacheEntry", &question).await {
            Ok(answer) => answer,
            Err(error) if error.status() == Some(409) => return Ok(false),
            Err(error) => return Err(error),
        };
        let created: Created = self.understood("CreateCacheEntry", answer)?;
        if !created.ok {
            return Ok(false);
        }
        self.upload(self.address(&created.signed_upload_url)?, path, size, sent)
            .await?;
        // Numbers of 64 bits are texts in this protocol's JSON.
        let end = json!({"key": key, "version": self.version, "size_bytes": size.to_string()});
        let answer = self.ask("FinalizeCacheEntryUpload", &end).await?;
        match answer["ok"].as_bool() {
            Some(true) => Ok(true),
            _ => Err(Error::Answer {
                request: self.request("FinalizeCacheEntryUpload"),
                detail: format!("the entry `{key}` was not taken"),
            }),
        }
    }

    async fn upload(&self, url: Url, path: &Path, size: u64, sent: &(dyn Fn(u64) + Send + Sync)) -> Result<(), Error> {
        let shown = shown("PUT", &url);
        let parts = Part::all(path, size, BLOCK);
        if let [whole] = &parts[..] {
            send(&shown, async || {
                let request = self.client.to(&url).put(url.clone());
                whole.of(request.header("x-ms-blob-type", "BlockBlob")).await
            })
            .await?;
            sent(size);
            return Ok(());
        }
        let block = async |(name, part): (String, &Part)| {
            let url = with(&url, &[("comp", "block"), ("blockid", &name)]);
            send(&shown, async || part.of(self.client.to(&url).put(url.clone())).await).await?;
            sent(part.size);
            Ok(name)
        };
        // All names of blocks must have the same length.
        let names = (0..).map(|number: usize| BASE64_STANDARD.encode(format!("{number:08}")));
        let blocks: Vec<String> = stream::iter(names.zip(&parts).map(block))
            .buffered(BLOCKS_AT_ONCE)
            .try_collect()
            .await?;
        let latest = blocks.iter().map(|name| format!("<Latest>{name}</Latest>"));
        let list = format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>{}</BlockList>",
            latest.collect::<String>()
        );
        let url = with(&url, &[("comp", "blocklist")]);
        send(&shown, async || {
            let request = self.client.to(&url).put(url.clone());
            Ok(request.header(CONTENT_TYPE, "application/xml").body(list.clone()))
        })
        .await?;
        Ok(())
    }

    async fn ask(&self, method: &str, question: &Value) -> Result<Value, Error> {
        let url = self
            .base
            .join(&format!("{SERVICE}/{method}"))
            .map_err(|error| Error::Address {
                url: self.base.to_string(),
                detail: error.to_string(),
            })?;
        let shown = self.request(method);
        let asking = async {
            let response = send(&shown, async || {
                let request = self.client.to(&url).post(url.clone());
                let request = request.header(AUTHORIZATION, format!("Bearer {}", self.token));
                let request = request.header(CONTENT_TYPE, "application/json");
                Ok(request.body(question.to_string()))
            })
            .await?;
            body(&shown, response, ANSWER_LIMIT).await
        };
        let answer: Vec<u8> = tokio::time::timeout(self.timeout, asking)
            .await
            .map_err(|_| Error::Broken {
                request: shown.clone(),
                detail: format!("no answer in {:?}", self.timeout),
            })??;
        self.understood(method, answer)
    }

    fn understood<T: serde::de::DeserializeOwned>(&self, method: &str, answer: impl Answer) -> Result<T, Error> {
        answer.parse().map_err(|error| Error::Answer {
            request: self.request(method),
            detail: format!("the answer is not valid: {error}"),
        })
    }

    fn address(&self, text: &str) -> Result<Url, Error> {
        let url = Url::parse(text)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https"));
        url.ok_or_else(|| Error::Answer {
            request: shown("POST", &self.base),
            detail: "the service gives an address that is none".to_owned(),
        })
    }

    fn request(&self, method: &str) -> String {
        format!("{} {method}", shown("POST", &self.base))
    }
}

impl std::fmt::Debug for Entries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entries")
            .field("base", &self.base.as_str())
            .finish_non_exhaustive()
    }
}

/// What a document can be read from.
trait Answer {
    fn parse<T: serde::de::DeserializeOwned>(self) -> serde_json::Result<T>;
}

impl Answer for Vec<u8> {
    fn parse<T: serde::de::DeserializeOwned>(self) -> serde_json::Result<T> {
        serde_json::from_slice(&self)
    }
}

impl Answer for Value {
    fn parse<T: serde::de::DeserializeOwned>(self) -> serde_json::Result<T> {
        serde_json::from_value(self)
    }
}

fn with(url: &Url, fields: &[(&str, &str)]) -> Url {
    let mut url = url.clone();
    url.query_pairs_mut().extend_pairs(fields);
    url
}

/// What a token says of what it may do; nothing if it says nothing that we understand. Nothing is verified: the service does.
#[must_use]
pub fn scopes(token: &str) -> Vec<Scope> {
    #[derive(Deserialize)]
    struct Claims {
        ac: String,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Claimed {
        scope: String,
        permission: u32,
    }
    let claims = token.split('.').nth(1);
    let claims = claims.and_then(|claims| BASE64_URL_SAFE_NO_PAD.decode(claims.trim_end_matches('=')).ok());
    let claims = claims.and_then(|claims| serde_json::from_slice::<Claims>(&claims).ok());
    let scopes = claims.and_then(|claims| serde_json::from_str::<Vec<Claimed>>(&claims.ac).ok());
    let scope = |claimed: Claimed| Scope {
        name: claimed.scope,
        is_writable: claimed.permission & 2 != 0,
    };
    scopes.unwrap_or_default().into_iter().map(scope).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_what_it_may_do() {
        let ac = r#"[{"Scope":"refs/heads/topic","Permission":3},{"Scope":"refs/heads/main","Permission":1}]"#;
        let claims = BASE64_URL_SAFE_NO_PAD.encode(json!({"ac": ac, "exp": 1}).to_string());
        let scope = |name: &str, is_writable| Scope {
            name: name.to_owned(),
            is_writable,
        };
        let expected = [scope("refs/heads/topic", true), scope("refs/heads/main", false)];
        assert_eq!(scopes(&format!("e30.{claims}.sig")), expected);
        for token in ["", "opaque", "a.b.c", "e30.e30.x"] {
            assert_eq!(scopes(token), [], "{token}");
        }
    }
}
