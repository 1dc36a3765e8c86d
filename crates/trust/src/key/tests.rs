use proptest::prelude::*;

use super::*;

pub(crate) fn key(name: &str) -> PublicKey {
    let text: &[u8] = match name {
        "p256" => include_bytes!("../vectors/p256.pub"),
        "p384" => include_bytes!("../vectors/p384.pub"),
        "ed25519" => include_bytes!("../vectors/ed25519.pub"),
        _ => include_bytes!("../vectors/rsa2048.pub"),
    };
    PublicKey::parse(name, text).unwrap()
}

#[test]
fn each_kind_is_read_and_verifies_what_openssl_has_signed() {
    let text = include_bytes!("../vectors/simple.json");
    for (name, kind, signature) in [
        ("p256", Kind::P256, include_str!("../vectors/simple.p256.sig")),
        ("p384", Kind::P384, include_str!("../vectors/simple.p384-sha256.sig")),
        ("p384", Kind::P384, include_str!("../vectors/simple.p384-sha384.sig")),
        ("ed25519", Kind::Ed25519, include_str!("../vectors/simple.ed25519.sig")),
        ("rsa", Kind::Rsa(2048), include_str!("../vectors/simple.rsa2048.sig")),
    ] {
        let (key, mut signature) = (key(name), STANDARD.decode(signature).unwrap());
        assert_eq!(key.kind, kind);
        assert!(key.verifies(text, &signature), "{name}");
        assert!(!key.verifies(&text[1..], &signature), "{name}");
        *signature.last_mut().unwrap() ^= 1;
        assert!(!key.verifies(text, &signature), "{name}");
        assert!(!key.verifies(text, &[]), "{name}");
    }
}

#[test]
fn what_is_no_key_is_refused_by_what_it_is() {
    let block = |label: &str, body: &str| format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n");
    let of = |text: &str| PublicKey::parse("k", text.as_bytes()).unwrap_err();
    assert!(of(&block("CERTIFICATE", "AAAA")).contains("\"CERTIFICATE\""));
    assert!(of(&block("EC PRIVATE KEY", "AAAA")).contains("a private key"));
    assert!(of(&block("PUBLIC KEY", "!!")).contains("not base64"));
    assert!(of(&block("PUBLIC KEY", "AAAA")).contains("SubjectPublicKeyInfo"));
    assert!(of("ssh-ed25519 AAAA").contains("does not begin"));
    assert!(of("").contains("does not begin"));
    assert!(of(include_str!("../vectors/rsa1024.pub")).contains("1024 bits; 2048 to 8192"));
    assert!(of(include_str!("../vectors/compressed.pub")).contains("uncompressed"));
    assert!(of(include_str!("../vectors/p521.pub")).contains("P-256 or P-384"));
    let two = format!("{0}{0}", include_str!("../vectors/p256.pub"));
    assert!(of(&two).contains("follows"));
}

#[test]
fn der_has_one_encoding() {
    let der = pem(include_bytes!("../vectors/ed25519.pub")).unwrap();
    subject(&der).unwrap();
    // The same lengths, written longer than they have to be.
    let mut long = vec![SEQUENCE, 0x81];
    long.extend_from_slice(&der[1..]);
    subject(&long).unwrap_err();
    let mut longer = vec![SEQUENCE, 0x82, 0];
    longer.extend_from_slice(&der[1..]);
    subject(&longer).unwrap_err();
    let mut behind = der.clone();
    behind.push(0);
    subject(&behind).unwrap_err();
    let mut bits = der.clone();
    let at = der.len() - 33;
    bits[at] = 1;
    subject(&bits).unwrap_err();
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        drop(PublicKey::parse("k", &bytes));
        drop(subject(&bytes));
    }

    #[test]
    fn a_key_with_one_bit_turned_is_refused_or_another(at in 0_usize..294, bit in 0_u8..8) {
        let mut der = pem(include_bytes!("../vectors/rsa2048.pub")).unwrap();
        der[at] ^= 1 << bit;
        let text = include_bytes!("../vectors/simple.json");
        let signature = STANDARD.decode(include_str!("../vectors/simple.rsa2048.sig")).unwrap();
        if let Ok((kind, bytes)) = subject(&der) {
            let key = PublicKey { kind, fingerprint: Digest::of(&der), file: String::new(), bytes: bytes.to_vec() };
            prop_assert!(!key.verifies(text, &signature));
        }
    }
}
