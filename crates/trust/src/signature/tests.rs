use proptest::prelude::*;

use super::*;
use crate::key::tests::key;

const MANIFEST: &[u8] = include_bytes!("../vectors/manifest.json");
const TEXT: &[u8] = include_bytes!("../vectors/simple.json");
const MESSAGE: &str = include_str!("../vectors/bundle.message.json");
const DSSE: &str = include_str!("../vectors/bundle.dsse.json");

fn judge(envelope: &Envelope, keys: &[&str], name: &str, document: &[u8]) -> Result<String, String> {
    let keys: Vec<PublicKey> = keys.iter().map(|name| key(name)).collect();
    let keys: Vec<&PublicKey> = keys.iter().collect();
    let name = Name::of(&name.parse().unwrap());
    let subject = Subject { name: &name, digest: Digest::of(document), document };
    check(envelope, &keys, &subject).map(|key| key.file.clone())
}

fn simple(payload: &[u8]) -> Envelope {
    let signature = include_str!("../vectors/simple.p256.sig").to_owned();
    Envelope::Simple { payload: payload.to_vec(), signature }
}

const NAME: &str = "registry.example/team/app:1";

#[test]
fn a_signed_text_is_of_one_image_in_one_repository() {
    let good = simple(TEXT);
    assert_eq!(judge(&good, &["ed25519", "p256"], NAME, MANIFEST).unwrap(), "p256");
    assert_eq!(judge(&good, &["p256"], "REGISTRY.example:443/team/app:other", MANIFEST).unwrap(), "p256");
    let wrong = |keys: &[&str], name: &str, document: &[u8]| judge(&good, keys, name, document).unwrap_err();
    assert!(wrong(&["p384", "ed25519", "rsa"], NAME, MANIFEST).contains("not made with one of the keys"));
    assert!(wrong(&[], NAME, MANIFEST).contains("not made with one of the keys"));
    assert!(wrong(&["p256"], "registry.example/team/other", MANIFEST).contains("for another repository"));
    assert!(wrong(&["p256"], NAME, b"{}").contains("of another image, sha256:aebe5b78"));
    let mut spoilt = TEXT.to_vec();
    spoilt[20] ^= 1;
    assert!(judge(&simple(&spoilt), &["p256"], NAME, MANIFEST).is_err());
    let odd = Envelope::Simple { payload: TEXT.to_vec(), signature: "?".into() };
    assert!(judge(&odd, &["p256"], NAME, MANIFEST).unwrap_err().contains("base64"));
}

#[test]
fn a_bundle_is_of_the_manifest_or_of_a_statement_about_it() {
    for text in [MESSAGE, DSSE] {
        let good = Envelope::Bundle(text.as_bytes().to_vec());
        assert_eq!(judge(&good, &["p384", "p256"], NAME, MANIFEST).unwrap(), "p256");
        assert!(judge(&good, &["p384"], NAME, MANIFEST).unwrap_err().contains("not made with"));
        assert!(judge(&good, &["p256"], NAME, b"{}").unwrap_err().contains("of another image"));
    }
    let with = |from: &str, to: &str, text: &str| {
        let changed = text.replace(from, to);
        assert_ne!(changed, text, "{from}");
        judge(&Envelope::Bundle(changed.into_bytes()), &["p256"], NAME, MANIFEST).unwrap_err()
    };
    let certificate =
        with("\"publicKey\":{\"hint\":\"uKdzGxJpXrv3aWQ=\"}", "\"certificate\":{\"rawBytes\":\"AA==\"}", MESSAGE);
    assert!(certificate.contains("made with a certificate"), "{certificate}");
    assert!(with("v0.3", "v0.1", MESSAGE).contains("version 0.3 is read"));
    assert!(with("SHA2_256", "SHA2_512", MESSAGE).contains("SHA2_512"));
    assert!(with("application/vnd.in-toto+json", "text/plain", DSSE).contains("text/plain"));
    assert!(with("\"publicKey\"", "\"other\"", DSSE).contains("does not say that a key"));
    assert!(with("messageSignature", "other", MESSAGE).contains("not one signature"));
}

#[test]
fn a_signed_statement_of_another_kind_is_no_signature() {
    // Made with a key of this test, over statements that say something else.
    use ring::signature::{Ed25519KeyPair, KeyPair as _};
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let mut der = vec![0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    der.extend_from_slice(pair.public_key().as_ref());
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----", STANDARD.encode(der));
    let key = PublicKey::parse("own", pem.as_bytes()).unwrap();
    let name = Name::of(&NAME.parse().unwrap());
    let subject = Subject { name: &name, digest: Digest::of(MANIFEST), document: MANIFEST };
    let say = |kind: &str, about: &str| {
        let hex = Digest::of(MANIFEST).hex();
        let statement = format!(
            r#"{{"_type":"https://in-toto.io/Statement/v1","subject":[{{"name":"{about}","digest":{{"sha256":"{hex}"}}}}],
                "predicateType":"{kind}","predicate":{{}}}}"#
        );
        let signature = pair.sign(&encoding(STATEMENT, statement.as_bytes()));
        let bundle = serde_json::json!({
            "mediaType": BUNDLES[0],
            "verificationMaterial": { "publicKey": { "hint": "" } },
            "dsseEnvelope": {
                "payload": STANDARD.encode(&statement), "payloadType": STATEMENT,
                "signatures": [{ "sig": STANDARD.encode(signature.as_ref()) }],
            },
        });
        check(&Envelope::Bundle(bundle.to_string().into_bytes()), &[&key], &subject).map(|_| ())
    };
    say(SIGN, "").unwrap();
    say(SIGN, "registry.example/team/app").unwrap();
    assert!(say(SIGN, "registry.example/team/other").unwrap_err().contains("another repository"));
    let scan = say("https://cosign.sigstore.dev/attestation/vuln/v1", "").unwrap_err();
    assert!(scan.contains("attestation/vuln") && scan.contains("no signature of an image"), "{scan}");
}

proptest! {
    #[test]
    fn any_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300), text in ".{0,80}") {
        let (bundle, simple) = (Envelope::Bundle(bytes.clone()), Envelope::Simple { payload: bytes, signature: text });
        prop_assert!(judge(&bundle, &["p256"], NAME, MANIFEST).is_err());
        prop_assert!(judge(&simple, &["p256"], NAME, MANIFEST).is_err());
    }

    #[test]
    fn a_bundle_with_one_byte_changed_is_refused_or_says_the_same(at in 0_usize..660, to in any::<u8>()) {
        let mut bytes = DSSE.as_bytes().to_vec();
        let at = at % bytes.len();
        bytes[at] = to;
        // What is not signed (a hint, a time) may change; who signed what may not.
        if let Ok(by) = judge(&Envelope::Bundle(bytes), &["p256"], NAME, MANIFEST) {
            prop_assert_eq!(by, "p256");
        }
    }
}
