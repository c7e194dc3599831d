//! What the user reads when a registry does not give.

use oci::{Fetch, PortError};
use registry::{Client, ClientOptions};

use crate::server::{Reply, Server, amd64};

async fn error_of(name: &str) -> PortError {
    let client = Client::new(ClientOptions::default()).unwrap();
    let name = oci::ImageName::Registry(name.parse().unwrap());
    client.resolve(&name, &amd64()).await.unwrap_err()
}

#[tokio::test]
async fn statuses_are_told_apart() {
    let denied = br#"{"errors":[{"code":"DENIED","message":"requested access is denied"}]}"#;
    for (status, body, expected) in [
        (
            404,
            &br#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#[..],
            "HOST/app:1: not found",
        ),
        (
            403,
            denied,
            "HOST/app:1: access denied (GET http://HOST/v2/app/manifests/1: 403 Forbidden: DENIED: requested access is \
             denied; it may not exist, or need credentials for `HOST`: `docker login HOST` stores them)",
        ),
        (
            400,
            b"bad thing",
            "HOST/app:1: unexpected answer: GET http://HOST/v2/app/manifests/1: 400 Bad Request: bad thing",
        ),
        (
            301,
            b"",
            "HOST/app:1: unexpected answer: GET http://HOST/v2/app/manifests/1: 301 Moved Permanently without a valid \
             Location",
        ),
    ] {
        let server = Server::start(move |_| Some(Reply::of(status, body))).await;
        let error = error_of(&format!("{}/app:1", server.host)).await.to_string();
        assert_eq!(error, expected.replace("HOST", &server.host));
    }
}

#[tokio::test]
async fn hosts_that_cannot_be_reached_are_named_with_the_reason() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    drop(listener);
    let refused = error_of(&format!("{host}/app:1")).await;
    assert!(matches!(refused, PortError::Unreachable { .. }), "{refused:?}");
    let expected = format!("{host}/app:1: connection refused by `{host}`: no registry listens there");
    assert_eq!(refused.to_string(), expected);
}

#[tokio::test]
async fn a_connection_that_always_breaks_is_an_error_in_the_end() {
    let server = Server::start(|_| {
        Some(Reply {
            cut: Some(3),
            ..Reply::of(200, b"0123456789")
        })
    })
    .await;
    let error = error_of(&format!("{}/app:1", server.host)).await;
    assert!(matches!(error, PortError::Unreachable { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("the connection broke"), "{text}");
    assert_eq!(server.requests("GET", "/manifests/").len(), 5);
}

#[tokio::test]
async fn redirects_in_a_circle_end() {
    let server = Server::start(|request| Some(Reply::of(302, b"").with("Location", &request.path))).await;
    let error = error_of(&format!("{}/app:1", server.host)).await.to_string();
    assert!(error.contains("more than 10 redirects"), "{error}");
}

#[tokio::test]
async fn a_layout_is_not_asked_from_a_registry() {
    let name = oci::ImageName::Layout {
        path: "/x".into(),
        tag: None,
        digest: None,
    };
    let error = Client::new(ClientOptions::default())
        .unwrap()
        .resolve(&name, &amd64())
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "oci-layout:///x: unexpected answer: it is not in a registry"
    );
}
