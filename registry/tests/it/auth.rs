//! Being let in: who is told which secret, and how often.

use oci::{Fetch, PortError, Push, media_type};
use std::sync::Mutex;

use crate::server::{Reply, Request, Server, amd64, client_with_config};

/// `user:secret` and `<other>:wrong` in base64.
const GOOD: &str = "dXNlcjpzZWNyZXQ=";
const BAD: &str = "dXNlcjp3cm9uZw==";

/// Lets in who bears `token`; tokens come from `/token` on the same host, if `gives` agrees.
async fn guarded(gives: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Server {
    Server::start(move |request| {
        if request.path == "/token" {
            return Some(gives(request));
        }
        if request.header("authorization") == Some("Bearer token") {
            return None;
        }
        let realm = format!("http://{}/token", request.header("host").unwrap());
        let challenge = format!(r#"Bearer realm="{realm}",service="the service",scope="repository:app:pull""#);
        Some(Reply::of(401, br#"{"errors":[{"code":"UNAUTHORIZED"}]}"#).with("WWW-Authenticate", &challenge))
    })
    .await
}

fn token() -> Reply {
    Reply::of(200, br#"{"token":"token","expires_in":300}"#)
}

fn config(server: &Server, entry: &str) -> String {
    format!(r#"{{"auths":{{"{}":{entry}}}}}"#, server.host)
}

#[tokio::test]
async fn strangers_get_a_token_once_for_many_requests() {
    let server = guarded(|_| token()).await;
    server.image("1", "linux/amd64");
    let blob = server.blob(media_type::LAYER, b"layer");
    let client = server.client();
    let name = server.name("app:1");
    client.resolve(&name, &amd64()).await.unwrap();
    for _ in 0..3 {
        client.blob(&name, &blob).await.unwrap();
    }
    let asked = server.requests("GET", "/token");
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].query, "service=the+service&scope=repository:app:pull");
    assert_eq!(asked[0].header("authorization"), None);
}

#[tokio::test]
async fn many_refusals_at_once_cause_one_question() {
    let server = guarded(|_| token()).await;
    let blob = server.blob(media_type::LAYER, b"layer");
    let (client, name) = (server.client(), server.name("app:1"));
    let asked = (0..8).map(|_| client.blob(&name, &blob));
    let answers = futures_util::future::join_all(asked).await;
    assert!(answers.into_iter().all(|answer| answer.is_ok()));
    assert_eq!(server.requests("GET", "/token").len(), 1);
}

#[tokio::test]
async fn pushing_asks_for_the_right_to_push_with_the_stored_login() {
    let server = guarded(|request| match request.header("authorization") {
        Some(login) if login == format!("Basic {GOOD}") => token(),
        _ => Reply::of(401, br#"{"details":"incorrect username or password"}"#),
    })
    .await;
    let image = server.image("1", "linux/amd64");
    let bytes = server.stored_manifest("1").unwrap().1;
    let name = server.reference("app:2");
    let (_folder, _, client) = client_with_config(&config(&server, &format!(r#"{{"auth":"{GOOD}"}}"#)));
    client.push_manifest(&name, &image, &bytes).await.unwrap();
    let asked = &server.requests("GET", "/token")[0];
    assert_eq!(
        asked.query,
        "service=the+service&scope=repository:app:pull,push&account=user".replace(',', "%2C")
    );

    let (_folder, path, client) = client_with_config(&config(&server, &format!(r#"{{"auth":"{BAD}"}}"#)));
    let error = client.push_manifest(&name, &image, &bytes).await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, PortError::Denied { .. }), "{error:?}");
    assert!(
        text.contains("401 Unauthorized: incorrect username or password"),
        "{text}"
    );
    assert!(
        text.contains(&format!("user `user` from `{}` were refused", path.display())),
        "{text}"
    );
    assert!(text.contains(&format!("`docker login {}`", server.host)), "{text}");
    assert!(!text.contains("wrong"), "{text}");
}

#[tokio::test]
async fn an_identity_token_is_posted_or_used_as_a_password_where_post_is_unknown() {
    for status in [200, 404, 405] {
        let server = guarded(move |request| match (request.method.as_str(), status) {
            ("POST", 200) => Reply::of(200, br#"{"access_token":"token"}"#),
            ("POST", _) => Reply::of(status, b""),
            // `:refresh` in base64.
            _ if request.header("authorization") == Some("Basic OnJlZnJlc2g=") => token(),
            _ => Reply::of(400, b""),
        })
        .await;
        server.image("1", "linux/amd64");
        let (_folder, _, client) = client_with_config(&config(&server, r#"{"identitytoken":"refresh"}"#));
        client.resolve(&server.name("app:1"), &amd64()).await.unwrap();
        let posted = String::from_utf8(server.requests("POST", "/token")[0].body.clone()).unwrap();
        assert!(
            posted.starts_with("grant_type=refresh_token&client_id=rbuild&"),
            "{posted}"
        );
        assert!(posted.ends_with("&refresh_token=refresh"), "{posted}");
        assert_eq!(server.requests("GET", "/token").len(), usize::from(status != 200));
    }
}

#[tokio::test]
async fn a_token_that_is_refused_later_is_asked_for_anew() {
    let valid = Mutex::new(1);
    let server = Server::start(move |request| {
        let mut valid = valid.lock().unwrap();
        if request.path == "/token" {
            return Some(Reply::of(200, format!(r#"{{"token":"t{valid}"}}"#).as_bytes()));
        }
        if request.header("authorization") == Some(&format!("Bearer t{valid}")) {
            *valid += 1;
            return None;
        }
        let challenge = format!(r#"Bearer realm="http://{}/token""#, request.header("host").unwrap());
        Some(Reply::of(401, b"").with("WWW-Authenticate", &challenge))
    })
    .await;
    server.image("1", "linux/amd64");
    // Manifest, then configuration: the first token is used up by then.
    server.client().resolve(&server.name("app:1"), &amd64()).await.unwrap();
    assert_eq!(server.requests("GET", "/token").len(), 2);
}

#[tokio::test]
async fn a_registry_that_never_lets_in_is_not_asked_for_ever() {
    let server = guarded(|_| Reply::of(200, br#"{"token":"useless"}"#)).await;
    let error = server
        .client()
        .resolve(&server.name("app:1"), &amd64())
        .await
        .unwrap_err();
    assert!(matches!(error, PortError::Denied { .. }), "{error:?}");
    let text = error.to_string();
    assert!(
        text.contains("401 Unauthorized: UNAUTHORIZED; it may not exist, or need credentials"),
        "{text}"
    );
    assert_eq!(server.requests("GET", "/manifests/").len(), 2);
}

#[tokio::test]
async fn basic_is_sent_only_when_wanted_and_kept() {
    let server = Server::start(|request| {
        let known = request.header("authorization") == Some(&format!("Basic {GOOD}"));
        (!known).then(|| Reply::of(401, b"").with("WWW-Authenticate", r#"Negotiate, Basic realm="r""#))
    })
    .await;
    server.image("1", "linux/amd64");
    let (_folder, _, client) = client_with_config(&config(&server, &format!(r#"{{"auth":"{GOOD}"}}"#)));
    client.resolve(&server.name("app:1"), &amd64()).await.unwrap();
    assert_eq!(
        server.requests("GET", "/v2/").len(),
        3,
        "bare, with login, and the configuration"
    );
    let error = server
        .client()
        .resolve(&server.name("app:1"), &amd64())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("wants a user and a password; `docker login 127.0.0.1"),
        "{error}"
    );
}

#[tokio::test]
async fn a_login_helper_is_asked_each_time_and_named_when_it_fails() {
    let server = guarded(|_| token()).await;
    let config = r#"{"credsStore":"rbuild-test-does-not-exist"}"#;
    let (_folder, path, client) = client_with_config(config);
    let error = client.resolve(&server.name("app:1"), &amd64()).await.unwrap_err();
    assert!(matches!(error, PortError::Denied { .. }), "{error:?}");
    let text = error.to_string();
    assert!(
        text.contains(&path.display().to_string()) && text.contains("credential helper"),
        "{text}"
    );
}

#[tokio::test]
async fn a_redirect_to_another_host_carries_no_secret() {
    let storage = Server::start(|_| Some(Reply::of(200, b"layer"))).await;
    let target = format!("http://{}/bucket/layer?signature=1", storage.host);
    let server = Server::start(move |request| {
        if request.header("authorization") != Some(&format!("Basic {GOOD}")) {
            return Some(Reply::of(401, b"").with("WWW-Authenticate", "Basic"));
        }
        Some(Reply::of(307, b"").with("Location", &target))
    })
    .await;
    let blob = server.blob(media_type::LAYER, b"layer");
    let (_folder, _, client) = client_with_config(&config(&server, &format!(r#"{{"auth":"{GOOD}"}}"#)));
    client.blob(&server.name("app:1"), &blob).await.unwrap();
    let seen = storage.requests("GET", "/bucket/");
    assert_eq!((seen.len(), seen[0].header("authorization")), (1, None));
}

#[tokio::test]
async fn a_challenge_from_the_other_end_of_a_redirect_is_not_answered() {
    let storage = Server::start(|_| Some(Reply::of(401, b"").with("WWW-Authenticate", "Basic"))).await;
    let target = format!("http://{}/phish", storage.host);
    let server = Server::start(move |_| Some(Reply::of(302, b"").with("Location", &target))).await;
    let blob = server.blob(media_type::LAYER, b"layer");
    let (_folder, _, client) = client_with_config(&config(&server, &format!(r#"{{"auth":"{GOOD}"}}"#)));
    let answer = client.blob(&server.name("app:1"), &blob).await;
    assert!(matches!(answer, Err(PortError::Denied { .. })));
    assert_eq!(storage.requests("GET", "")[0].header("authorization"), None);
    assert_eq!(storage.requests("GET", "").len(), 1);
}
