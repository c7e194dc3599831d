//! Who points at a manifest, by the registry's list and by the tag that stands in for it.

use oci::{Digest, PortError, media_type};
use serde_json::json;

use crate::server::{Reply, Server};

fn page(entries: &[(&str, &str)]) -> Vec<u8> {
    let manifests: Vec<_> = entries
        .iter()
        .map(|(name, kind)| {
            json!({
                "mediaType": media_type::MANIFEST, "size": 7, "digest": Digest::of(name.as_bytes()),
                "artifactType": kind, "annotations": {"name": name},
            })
        })
        .collect();
    let index = json!({"schemaVersion": 2, "mediaType": media_type::INDEX, "manifests": manifests});
    serde_json::to_vec(&index).unwrap()
}

async fn names(server: &Server, kind: Option<&str>) -> Result<Vec<String>, PortError> {
    let name = server.reference("app:1");
    let found = server.client().referrers(&name, Digest::of(b"subject"), kind).await?;
    Ok(found
        .iter()
        .map(|referrer| referrer.annotations["name"].clone())
        .collect())
}

#[tokio::test]
async fn all_pages_of_a_list_are_read_and_filtered() {
    let server = Server::start(|request| {
        if !request.is("GET", "/referrers/") {
            return None;
        }
        let next = format!("<{}?page=2>; rel=\"next\"", request.path);
        Some(match request.query.as_str() {
            "page=2" => Reply::of(200, &page(&[("c", "sbom")])),
            _ => Reply::of(200, &page(&[("a", "sbom"), ("b", "signature")])).with("Link", &next),
        })
    })
    .await;
    assert_eq!(names(&server, None).await.unwrap(), ["a", "b", "c"]);
    assert_eq!(names(&server, Some("sbom")).await.unwrap(), ["a", "c"]);
    assert_eq!(server.requests("GET", "/referrers/")[2].query, "artifactType=sbom");
}

#[tokio::test]
async fn where_there_is_no_list_the_tag_of_the_digest_has_it() {
    let server = Server::plain().await;
    assert_eq!(names(&server, None).await.unwrap(), [""; 0]);
    let tag = format!("sha256-{}", Digest::of(b"subject").hex());
    server.manifest(media_type::INDEX, &tag, &page(&[("a", "sbom"), ("b", "signature")]));
    assert_eq!(names(&server, Some("signature")).await.unwrap(), ["b"]);
}

#[tokio::test]
async fn a_list_that_leads_elsewhere_or_never_ends_is_refused() {
    for (link, expected) in [
        ("<http://elsewhere.example/x>; rel=next", "not on the registry"),
        ("<?again>; rel=next", "more than 64 pages"),
    ] {
        let server = Server::start(move |request| {
            let reply = Reply::of(200, &page(&[])).with("Link", link);
            request.is("GET", "/referrers/").then_some(reply)
        })
        .await;
        let error = names(&server, None).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
