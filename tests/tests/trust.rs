//! Rules about images: who has signed what is looked at before a layer is fetched, and an archive, another name or an id
//! is no way around them.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use bulkhead_image::Digest;
use bulkhead_image::testing::{ImageSpec, oci_files, write_files};
use bulkhead_tests::configured::Configured;
use bulkhead_tests::registry::{Honest, Liar, layer, reply};
use bulkhead_tests::{is_root, skip};
use serde_json::{Value, json};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// Documents by what is asked for (`manifests/TAG`, `blobs/DIGEST`, `referrers/DIGEST`), beside an image.
type Beside = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

/// A registry with one image under every tag, and what a test puts beside it.
struct Signed {
    registry: Liar,
    image: Honest,
    beside: Beside,
}

impl Signed {
    fn new() -> Self {
        let image = Honest::new(vec![layer("file", 7, 2000)]);
        let beside = Beside::default();
        let (known, honest) = (Arc::clone(&beside), image.clone());
        let registry = Liar::start(move |asked, stream| {
            let known = known.lock().unwrap();
            let place: Vec<&str> = asked.path.split('?').next().unwrap().rsplit('/').take(2).collect();
            if let [last, kind] = place.as_slice()
                && let Some(bytes) = known.get(&format!("{kind}/{last}"))
            {
                let kind = if *kind == "blobs" { "application/octet-stream" } else { MANIFEST };
                let index = bytes.windows(11).any(|part| part == b"\"manifests\"");
                let kind = if index { "application/vnd.oci.image.index.v1+json" } else { kind };
                return reply(stream, "200 OK", &[("content-type", kind)], bytes);
            }
            if asked.path.contains("/referrers/") || asked.path.contains("/manifests/sha256-") {
                return reply(stream, "404 Not Found", &[], b"{}");
            }
            honest.answer(asked, stream);
        });
        Self { registry, image, beside }
    }

    fn put(&self, place: String, bytes: Vec<u8>) {
        self.beside.lock().unwrap().insert(place, bytes);
    }

    /// A manifest of these layers: (media type, bytes, note with the signature).
    fn manifest(&self, layers: &[(&str, &[u8], Option<&str>)]) -> Vec<u8> {
        let layers: Vec<Value> = layers
            .iter()
            .map(|(kind, bytes, note)| {
                let digest = Digest::of(bytes).to_string();
                self.put(format!("blobs/{digest}"), bytes.to_vec());
                let notes = note.map(|note| json!({ "dev.cosignproject.cosign/signature": note }));
                json!({ "mediaType": kind, "digest": digest, "size": bytes.len(), "annotations": notes })
            })
            .collect();
        let config =
            json!({ "mediaType": "application/vnd.oci.empty.v1+json", "digest": Digest::of(b"{}"), "size": 2 });
        let all = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers });
        all.to_string().into_bytes()
    }

    /// Puts a signed text at the tag of this digest.
    fn tag(&self, of: &str, payload: &str, signature: &str) {
        let kind = "application/vnd.dev.cosign.simplesigning.v1+json";
        let manifest = self.manifest(&[(kind, payload.as_bytes(), Some(signature))]);
        self.put(format!("manifests/{}.sig", of.replace(':', "-")), manifest);
    }

    /// Puts a bundle beside the image, listed by the registry or under the tag for those that cannot list.
    fn bundle(&self, bundle: &Value, listed: bool) {
        let manifest = self.manifest(&[(BUNDLE, bundle.to_string().as_bytes(), None)]);
        let digest = Digest::of(&manifest).to_string();
        let entry = json!({ "mediaType": MANIFEST, "digest": digest, "size": manifest.len(), "artifactType": BUNDLE });
        self.put(format!("manifests/{digest}"), manifest);
        let index = json!({ "schemaVersion": 2, "manifests": [entry] }).to_string().into_bytes();
        let place = if listed {
            format!("referrers/{}", self.image.digest)
        } else {
            format!("manifests/{}", self.image.digest.replace(':', "-"))
        };
        self.put(place, index);
    }

    fn clear(&self) {
        self.beside.lock().unwrap().clear();
    }

    /// Layers were asked for.
    fn fetched(&self) -> bool {
        let layer = &self.image.layers[0].0;
        self.registry.asked().iter().any(|asked| asked.path.ends_with(layer.as_str()))
    }
}

/// A key pair in this directory, `NAME.key` and `NAME.pub`.
fn key(dir: &Path, name: &str) {
    let script = format!(
        "openssl ecparam -name prime256v1 -genkey -noout -out {name}.key && openssl ec -in {name}.key -pubout -out {name}.pub"
    );
    let made = Command::new("sh").args(["-ec", &script]).current_dir(dir).stderr(Stdio::null()).status().unwrap();
    assert!(made.success());
    std::fs::set_permissions(dir.join(format!("{name}.pub")), std::fs::Permissions::from_mode(0o644)).unwrap();
}

/// A signature by the key of this name, in base64.
fn sign(dir: &Path, name: &str, bytes: &[u8]) -> String {
    std::fs::write(dir.join("message"), bytes).unwrap();
    let script = format!("openssl dgst -sha256 -sign {name}.key message | base64 -w0");
    let said = Command::new("sh").args(["-ec", &script]).current_dir(dir).output().unwrap();
    assert!(said.status.success());
    String::from_utf8(said.stdout).unwrap()
}

fn payload(name: &str, digest: &str) -> String {
    json!({ "critical": {
        "identity": { "docker-reference": name },
        "image": { "docker-manifest-digest": digest },
        "type": "cosign container image signature",
    }, "optional": null })
    .to_string()
}

/// A bundle over a statement about this digest.
fn bundle(dir: &Path, name: &str, digest: &str) -> Value {
    let kind = "application/vnd.in-toto+json";
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{ "digest": { "sha256": digest.trim_start_matches("sha256:") } }],
        "predicateType": "https://sigstore.dev/cosign/sign/v1",
        "predicate": {},
    })
    .to_string();
    let message = format!("DSSEv1 {} {kind} {} {statement}", kind.len(), statement.len());
    std::fs::write(dir.join("statement"), &statement).unwrap();
    let said = Command::new("base64").args(["-w0", "statement"]).current_dir(dir).output().unwrap();
    json!({
        "mediaType": BUNDLE,
        "verificationMaterial": { "publicKey": { "hint": "" } },
        "dsseEnvelope": {
            "payload": String::from_utf8(said.stdout).unwrap(), "payloadType": kind,
            "signatures": [{ "sig": sign(dir, name, message.as_bytes()) }],
        },
    })
}

/// A file of these rules.
fn write(configured: &Configured, text: &str) {
    std::fs::write(configured.file(), text).unwrap();
}

fn there(configured: &Configured, name: &str) -> bool {
    configured.say(&["image", "inspect", name]).code == 0
}

/// Keys lie where the rule says: beside the file, under the name that the program sees.
fn place(configured: &Configured) -> (std::path::PathBuf, String) {
    let dir = configured.file().parent().unwrap().to_path_buf();
    let seen = if is_root() { "/etc/bulkhead".to_owned() } else { dir.display().to_string() };
    (dir, seen)
}

fn ready(test: &str) -> bool {
    let there = Path::new("/usr/bin/openssl").exists();
    if !there {
        skip(test, "the package openssl");
    }
    there
}

#[test]
fn only_what_a_key_has_signed_is_fetched() {
    if !ready("only_what_a_key_has_signed_is_fetched") {
        return;
    }
    let configured = Configured::new("");
    let (dir, seen) = place(&configured);
    key(&dir, "good");
    key(&dir, "other");
    let signed = Signed::new();
    let (host, digest) = (signed.registry.host.clone(), signed.image.digest.clone());
    write(
        &configured,
        &format!("[[trust]]\nimages = \"{host}/team\"\naccept = \"signed\"\nkeys = [\"{seen}/good.pub\"]\n"),
    );
    let (name, app) = (format!("{host}/team/app"), format!("{host}/team/app:1"));
    let refused = |why: &str| {
        let said = configured.say(&["pull", &app]).fails(1);
        assert!(said.contains("is not trusted: the rule for") && said.contains(why), "{why}: {said}");
        assert!(!signed.fetched() && !there(&configured, &app), "{why}");
    };
    refused("and there is none");
    let good = payload(&name, &digest);
    signed.tag(&digest, &good, &sign(&dir, "other", good.as_bytes()));
    refused("it was not made with one of the keys");
    let other = payload(&format!("{host}/team/else"), &digest);
    signed.tag(&digest, &other, &sign(&dir, "good", other.as_bytes()));
    refused("it is for another repository");
    // Signed, but of another image; as when the tag of a signature is moved.
    let moved = payload(&name, &Digest::of(b"x").to_string());
    signed.tag(&digest, &moved, &sign(&dir, "good", moved.as_bytes()));
    refused("it is of another image");
    let signature = sign(&dir, "good", good.as_bytes());
    signed.tag(&digest, &good.replace("null", "{}"), &signature);
    refused("it was not made with one of the keys");
    let mut certificate = bundle(&dir, "good", &digest);
    certificate["verificationMaterial"] = json!({ "certificate": { "rawBytes": "AA==" } });
    signed.clear();
    signed.bundle(&certificate, true);
    refused("made with a certificate");
    // What would run is said without fetching it.
    let said = configured.say(&["image", "verify", "--remote", &app]);
    assert!(said.code == 1 && said.out.contains("not trusted") && said.out.contains("certificate"), "{said:?}");

    for listed in [true, false] {
        signed.clear();
        signed.bundle(&bundle(&dir, "good", &digest), listed);
        configured.say(&["image", "verify", "--remote", &app]).ok();
        assert!(!signed.fetched());
    }
    signed.clear();
    signed.tag(&digest, &good, &signature);
    configured.say(&["pull", &app]).ok();
    assert!(signed.fetched());
    let said = configured.say(&["image", "verify", &app]).ok();
    assert!(said.contains(": trusted") && said.contains("signed by") && said.contains("(tag)"), "{said}");
    let shown: Value = serde_json::from_str(&configured.say(&["image", "inspect", &app]).ok()).unwrap();
    assert_eq!(shown[0]["Verified"][0]["Digest"], digest.as_str());
    let id = shown[0]["Id"].as_str().unwrap().to_owned();
    assert!(configured.say(&["images", "--format", "{{.SignedBy}}"]).ok().starts_with("sha256:"));
    // Named and made into a container by any of its names.
    configured.say(&["create", "--pull", "never", "--name", "kept", &app, "x"]).ok();

    // A key that is not trusted any more takes what it has signed along: new containers, and those that are there.
    write(
        &configured,
        &format!("[[trust]]\nimages = \"{host}/team\"\naccept = \"signed\"\nkeys = [\"{seen}/other.pub\"]\n"),
    );
    for words in
        [&["create", "--pull", "never", &app, "x"][..], &["create", &id, "x"], &["start", "kept"], &["tag", &id, &app]]
    {
        let said = configured.say(words);
        assert!(said.code != 0 && said.err.contains("is not trusted"), "{words:?}: {said:?}");
    }
    assert!(configured.say(&["image", "verify", &app]).fails(1).is_empty());
    // A rule for another registry says nothing here, and the digest of the image may be listed.
    for (images, accept) in
        [("quay.io".to_owned(), "\"none\"".to_owned()), (host.clone(), format!("\"listed\"\ndigests = [\"{digest}\"]"))]
    {
        write(&configured, &format!("[[trust]]\nimages = \"{images}\"\naccept = {accept}\n"));
        configured.say(&["image", "verify", &app]).ok();
    }
    configured.say(&["rm", "kept"]).ok();
}

#[test]
fn lists_and_digests_hold_and_nothing_leads_around_them() {
    let configured = Configured::new("");
    let signed = Signed::new();
    let (host, digest) = (signed.registry.host.clone(), signed.image.digest.clone());
    let app = format!("{host}/app:1");
    let rule = |listed: &str, more: &str| {
        format!("[[trust]]\nimages = \"{host}\"\naccept = \"listed\"\ndigests = [\"{listed}\"]\n{more}")
    };
    write(&configured, &rule(&Digest::of(b"x").to_string(), ""));
    let said = configured.say(&["pull", &app]).fails(1);
    assert!(said.contains("does not list its digest") && !signed.fetched(), "{said}");
    write(&configured, &rule(&digest, "pinned = true\n"));
    let before = signed.registry.asked().len();
    let said = configured.say(&["pull", &app]).fails(1);
    assert!(said.contains("asks for a reference with a digest") && signed.registry.asked().len() == before, "{said}");
    let pinned = format!("{host}/app@{digest}");
    configured.say(&["pull", &pinned]).ok();
    configured.say(&["image", "verify", &pinned]).ok();

    // An archive with the name of somebody else's image, a new name for an image, an import.
    let layout = configured.bench.path("layout");
    std::fs::create_dir_all(&layout).unwrap();
    let files =
        [ImageSpec::new("localhost/mine:1", vec![layer("f", 1, 100)]), ImageSpec::new(&app, vec![layer("f", 2, 100)])];
    write_files(&layout, &oci_files(&files)).unwrap();
    let load = ["load", "-i", layout.to_str().unwrap()];
    let said = configured.say(&load).fails(1);
    assert!(said.contains("is not trusted") && said.contains("did not come from there"), "{said}");
    assert!(!there(&configured, "localhost/mine:1"), "all of it or nothing");
    write(&configured, "");
    configured.say(&load).ok();
    write(&configured, &rule(&digest, ""));
    // What was loaded before there was a rule does not start, by its name or by its id.
    let shown: Value = serde_json::from_str(&configured.say(&["image", "inspect", &app]).ok()).unwrap();
    let id = shown[0]["Id"].as_str().unwrap().to_owned();
    configured.say(&["create", "--pull", "never", "--name", "made", "localhost/mine:1", "x"]).ok();
    for words in [
        &["commit", "made", &format!("{host}/other:4")][..],
        &["create", "--pull", "never", &app, "x"],
        &["create", &id, "x"],
        &["tag", "localhost/mine:1", &format!("{host}/other:2")],
        &["import", layout.join("oci-layout").to_str().unwrap(), &format!("{host}/other:3")],
    ] {
        let said = configured.say(words);
        assert!(said.code != 0 && said.err.contains("is not trusted"), "{words:?}: {said:?}");
    }
    configured.say(&["rm", "made"]).ok();
    assert_eq!(configured.say(&["image", "verify", &app]).code, 1);
    configured.say(&["tag", "localhost/mine:1", "localhost/mine:2"]).ok();
    let tree: Value = serde_json::from_str(&configured.say(&["image", "tree", "--format", "json"]).ok()).unwrap();
    assert_eq!(tree.as_array().unwrap().len(), 3);
    assert!(tree[0]["Layers"][0]["Size"].as_u64().unwrap() > 0);

    // What the file says is shown with its place; what it cannot say stops every command.
    let row = configured.row(&format!("trust.{host:?}"));
    assert_eq!(
        (&row["Value"], &row["Source"]),
        (&json!("listed digests=1"), &json!(format!("{}:2", configured.name())))
    );
    write(&configured, "[[trust]]\nimages = \"*\"\naccept = \"singed\"\n");
    let said = configured.say(&["images"]).fails(1);
    assert!(said.contains("config.toml:3: trust.accept: \"singed\" cannot be used"), "{said}");
}
