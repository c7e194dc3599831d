//! Registries with TLS: authorities of one's own, certificates that say who we are, and both versions of HTTP.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::registry::{Access, Registry};
use crate::support::{Bases, Workshop, ends_with, has, progress, run, skipped};

const DOCKERFILE: &str = "FROM busybox\nRUN echo reached > /file\nCMD [\"cat\", \"/file\"]\n";

/// An authority, and what it signs.
struct Authority {
    folder: PathBuf,
}

impl Authority {
    fn new(folder: &Path) -> Option<Authority> {
        if !has("openssl") {
            return skipped("openssl");
        }
        let authority = Authority {
            folder: folder.to_owned(),
        };
        let mut making = elliptic(&["req", "-x509", "-days", "9"], "/CN=authority of a test");
        run(making
            .arg("-out")
            .arg(authority.certificate())
            .arg("-keyout")
            .arg(authority.path("ca.key")));
        Some(authority)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn certificate(&self) -> PathBuf {
        self.path("ca.crt")
    }

    /// A certificate with that extension, and its key.
    fn sign(&self, name: &str, extension: &str) -> [PathBuf; 2] {
        let files = ["crt", "key", "csr", "ext"].map(|end| self.path(&format!("{name}.{end}")));
        let [certificate, key, request, extensions] = files;
        fs::write(&extensions, extension).unwrap();
        let mut asking = elliptic(&["req"], &format!("/CN={name}"));
        run(asking.arg("-out").arg(&request).arg("-keyout").arg(&key));
        let mut signing = Command::new("openssl");
        signing
            .args(["x509", "-req", "-days", "9", "-CAcreateserial", "-in"])
            .arg(&request);
        signing
            .arg("-CA")
            .arg(self.certificate())
            .arg("-CAkey")
            .arg(self.path("ca.key"));
        run(signing.arg("-extfile").arg(&extensions).arg("-out").arg(&certificate));
        [certificate, key]
    }

    /// A registry that it vouches for, with more lines in the sections `tls` and `http` of its configuration.
    fn registry(&self, tls: &str, http: &str) -> Option<Registry> {
        let [certificate, key] = self.sign("server", "subjectAltName=IP:127.0.0.1\n");
        let (certificate, key) = (certificate.display(), key.display());
        Registry::start_with(
            Access::Open,
            &format!("  tls: {{certificate: '{certificate}', key: '{key}'{tls}}}\n{http}"),
        )
    }

    /// One that speaks to those only who show a certificate of the same authority.
    fn choosy_registry(&self) -> Option<Registry> {
        self.registry(&format!(", clientcas: ['{}']", self.certificate().display()), "")
    }
}

fn elliptic(arguments: &[&str], subject: &str) -> Command {
    let mut command = Command::new("openssl");
    let curve = [
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-subj",
        subject,
    ];
    command.args(arguments).args(curve);
    command
}

/// A folder of certificates for the host of a registry: its own place in it.
fn certs(workshop: &Workshop, name: &str, registry: &Registry) -> (PathBuf, PathBuf) {
    let certs = workshop.path(name);
    let of_host = certs.join(registry.host());
    fs::create_dir_all(&of_host).unwrap();
    (certs, of_host)
}

/// Builds and pushes, pulls into an empty store, and runs what came.
fn round_trip(bases: &Bases, registry: &Registry, certs: &Path) {
    let (here, elsewhere) = (Workshop::own(), Workshop::own());
    let context = here.context("tls", &[("Dockerfile", DOCKERFILE)]);
    let name = registry.name("tls:1");
    let mut push = here.build(bases, &context);
    progress(push.args(["--push", "-t", &name, "--registry-certs"]).arg(certs));
    run(elsewhere
        .rbuild()
        .args(["pull", "--registry-certs"])
        .arg(certs)
        .arg(&name));
    assert_eq!(run(elsewhere.rbuild().args(["run", &name])), "reached\n");
}

#[test]
fn a_registry_under_an_own_authority_is_pushed_to_and_pulled_from() {
    let workshop = Workshop::own();
    let Some(bases) = Bases::find() else { return };
    let Some(authority) = Authority::new(&workshop.path("..")) else {
        return;
    };
    let Some(registry) = authority.registry("", "") else {
        return;
    };
    let context = workshop.context("tls", &[("Dockerfile", DOCKERFILE)]);
    let name = registry.name("tls:1");

    let said = ends_with(workshop.build(bases, &context).args(["--push", "-t", &name]), 3);
    assert!(
        said.contains("certificate") && said.contains("--registry-certs"),
        "{said}"
    );

    let (certs, of_host) = certs(&workshop, "certs.d", &registry);
    fs::copy(authority.certificate(), of_host.join("ca.crt")).unwrap();
    let mut push = workshop.build(bases, &context);
    progress(push.args(["--push", "-t", &name, "--registry-certs"]).arg(&certs));

    let elsewhere = Workshop::own();
    run(elsewhere
        .rbuild()
        .args(["pull", "--insecure-registry", &registry.host(), &name]));
    assert_eq!(run(elsewhere.rbuild().args(["run", &name])), "reached\n");

    let output = format!(
        "type=image,name={},push=true,registry.insecure=true",
        registry.name("tls:2")
    );
    progress(workshop.build(bases, &context).args(["-o", &output]));
}

#[test]
fn a_registry_that_wants_to_know_who_we_are_is_shown_the_certificate_of_its_folder() {
    let (workshop, Some(bases)) = (Workshop::own(), Bases::find()) else {
        return;
    };
    let Some(authority) = Authority::new(&workshop.path("..")) else {
        return;
    };
    let Some(registry) = authority.choosy_registry() else {
        return;
    };
    let (certs, of_host) = certs(&workshop, "certs.d", &registry);
    fs::copy(authority.certificate(), of_host.join("ca.crt")).unwrap();

    let mut pull = workshop.rbuild();
    pull.args(["pull", &registry.name("tls:1"), "--registry-certs"])
        .arg(&certs);
    let said = ends_with(&mut pull, 3);
    assert!(
        said.contains(&format!("`{}` wants a client certificate", registry.host())),
        "{said}"
    );
    assert!(
        said.contains("hint: `client.cert` and `client.key` in its folder of --registry-certs"),
        "{said}"
    );

    let [certificate, key] = authority.sign("client", "extendedKeyUsage=clientAuth\n");
    fs::copy(certificate, of_host.join("client.cert")).unwrap();
    fs::copy(key, of_host.join("client.key")).unwrap();
    round_trip(bases, &registry, &certs);

    // A certificate of somebody else's is not taken, and that is said.
    fs::create_dir(workshop.path("other")).unwrap();
    let stranger = Authority::new(&workshop.path("other")).unwrap();
    let [certificate, key] = stranger.sign("client", "extendedKeyUsage=clientAuth\n");
    fs::copy(certificate, of_host.join("client.cert")).unwrap();
    fs::copy(key, of_host.join("client.key")).unwrap();
    let said = ends_with(&mut pull, 3);
    assert!(said.contains("wants a client certificate that it trusts"), "{said}");
}

#[test]
fn a_registry_that_wants_to_know_who_we_are_is_shown_the_certificate_of_hosts_toml() {
    let (workshop, Some(bases)) = (Workshop::own(), Bases::find()) else {
        return;
    };
    let Some(authority) = Authority::new(&workshop.path("..")) else {
        return;
    };
    let Some(registry) = authority.choosy_registry() else {
        return;
    };
    let (certs, of_host) = certs(&workshop, "hosts", &registry);
    let [certificate, key] = authority.sign("client", "extendedKeyUsage=clientAuth\n");
    fs::create_dir(of_host.join("mine")).unwrap();
    for (file, name) in [
        (authority.certificate(), "mine/authority.pem"),
        (certificate, "mine/me.pem"),
        (key, "mine/me-key.pem"),
    ] {
        fs::copy(file, of_host.join(name)).unwrap();
    }
    let hosts = format!(
        "server = \"https://{}\"\nca = \"mine/authority.pem\"\nclient = [[\"mine/me.pem\", \"mine/me-key.pem\"]]\n",
        registry.host()
    );
    fs::write(of_host.join("hosts.toml"), hosts).unwrap();
    round_trip(bases, &registry, &certs);
}

#[test]
fn a_registry_is_spoken_to_in_the_version_of_http_that_it_offers() {
    let (workshop, Some(bases)) = (Workshop::own(), Bases::find()) else {
        return;
    };
    let Some(authority) = Authority::new(&workshop.path("..")) else {
        return;
    };
    for (configuration, spoken, other) in [
        ("", "HTTP/2.0", "HTTP/1.1"),
        ("  http2: {disabled: true}\n", "HTTP/1.1", "HTTP/2.0"),
    ] {
        let Some(registry) = authority.registry("", configuration) else {
            return;
        };
        let (certs, of_host) = certs(&workshop, "certs.d", &registry);
        fs::copy(authority.certificate(), of_host.join("ca.crt")).unwrap();
        round_trip(bases, &registry, &certs);
        let log = registry.access_log();
        assert!(
            log.contains("PUT /v2/tls/manifests/1") && log.contains("GET /v2/tls/blobs/"),
            "{log}"
        );
        assert!(log.contains(spoken) && !log.contains(other), "{log}");
    }
}
