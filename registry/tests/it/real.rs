//! Against a real registry: the one `RBUILD_TEST_REGISTRY` names (`127.0.0.1:5000`), or Debian's `docker-registry`.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use oci::{Descriptor, Digest, Fetch, ImageConfig, ImageName, Manifest, PortError, Push, Reference, media_type};
use registry::{Client, ClientOptions};

use crate::server::amd64;

/// A registry that is there, or was started for one test and ends with it.
struct Real {
    host: String,
    started: Option<(Child, tempfile::TempDir)>,
}

impl Real {
    fn find() -> Option<Real> {
        if let Ok(host) = std::env::var("RBUILD_TEST_REGISTRY") {
            return Some(Real { host, started: None });
        }
        let real = Real::start();
        if real.is_none() {
            eprintln!("skipped: needs `docker-registry` in PATH, or a registry named by RBUILD_TEST_REGISTRY");
        }
        real
    }

    fn start() -> Option<Real> {
        let folder = tempfile::tempdir().unwrap();
        let host = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .to_string();
        let storage = folder.path().join("storage");
        let config = format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: \"{host}\"}}\n",
            storage.display()
        );
        let path = folder.path().join("config.yml");
        std::fs::write(&path, config).unwrap();
        let mut command = Command::new("docker-registry");
        command
            .arg("serve")
            .arg(path)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command.spawn().ok()?;
        let started = Some((child, folder));
        let real = Real { host, started };
        let listens = || TcpStream::connect(&real.host).is_ok();
        let up = (0..100).any(|_| {
            sleep(Duration::from_millis(100));
            listens()
        });
        assert!(up, "docker-registry does not listen after ten seconds");
        Some(real)
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        if let Some((child, _)) = &mut self.started {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[tokio::test]
async fn what_is_pushed_comes_back_the_same() {
    let Some(real) = Real::find() else { return };
    let host = &real.host;
    let folder = tempfile::tempdir().unwrap();
    let client = Client::new(ClientOptions::default()).unwrap();
    let name: Reference = format!("{host}/rbuild-test/roundtrip:1").parse().unwrap();
    // New bytes each time, so that there is something to send.
    let mut layer = vec![0_u8; 5_000_000];
    let stamp = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    layer[..16].copy_from_slice(&stamp.as_nanos().to_le_bytes());
    let mut config = ImageConfig::scratch(&amd64());
    config.rootfs.diff_ids = vec![oci::DiffId(oci::Digest::of(&layer))];
    let config = config.to_bytes();
    let mut descriptors = Vec::new();
    for (media_type, bytes) in [(media_type::CONFIG, &config), (media_type::LAYER, &layer)] {
        let descriptor = Descriptor::of(media_type, bytes);
        let path = folder.path().join(descriptor.digest.hex());
        std::fs::write(&path, bytes).unwrap();
        client.push_blob(&name, &descriptor, path, &|_| {}).await.unwrap();
        assert!(client.find_blob(&name, &descriptor, &[]).await.unwrap());
        descriptors.push(descriptor);
    }
    let manifest = Manifest::new(
        media_type::MANIFEST,
        descriptors[0].clone(),
        vec![descriptors[1].clone()],
    );
    let descriptor = Descriptor::of(media_type::MANIFEST, &manifest.to_bytes());
    client
        .push_manifest(&name, &descriptor, &manifest.to_bytes())
        .await
        .unwrap();

    let pinned = ImageName::Registry(name.pinned(descriptor.digest));
    for name in [ImageName::Registry(name.clone()), pinned] {
        let resolved = client.resolve(&name, &amd64()).await.unwrap();
        assert_eq!(resolved.root, descriptor);
        assert_eq!(resolved.config_bytes, config);
    }
    let mut reader = client
        .blob(&ImageName::Registry(name.clone()), &descriptors[1])
        .await
        .unwrap();
    let read = tokio::task::spawn_blocking(move || {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).map(|_| bytes)
    });
    assert_eq!(Digest::of(&read.await.unwrap().unwrap()), descriptors[1].digest);
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let Some(real) = Real::find() else { return };
    let host = &real.host;
    let client = Client::new(ClientOptions::default()).unwrap();
    let name = ImageName::Registry(format!("{host}/rbuild-test/absent:1").parse().unwrap());
    let absent = client.resolve(&name, &amd64()).await.unwrap_err();
    assert!(matches!(absent, PortError::NotFound { .. }), "{absent:?}");
}
