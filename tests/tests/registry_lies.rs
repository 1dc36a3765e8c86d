//! A registry that lies: each lie is refused by its name, and nothing of it stays.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bulkhead_image::testing::{EntrySpec, Style, TarBuilder, gzip};
use bulkhead_tests::configured::Configured;
use bulkhead_tests::registry::{Asked, Honest, Liar, layer, load, reply};
use bulkhead_tests::{Bench, eventually};

/// Nothing of an image, a layer, a blob or a download.
fn assert_empty(bench: &Bench) {
    for place in ["layers", "staging", "blobs"] {
        let left: Vec<_> = std::fs::read_dir(bench.path("root").join(place)).into_iter().flatten().flatten().collect();
        assert!(left.is_empty(), "{place}: {left:?}");
    }
    assert_eq!(bench.say(&["images", "-aq"]).ok(), "");
    let usage = bench.say(&["system", "df", "--format", "{{.Type}} {{.TotalCount}} {{.Size}}"]).ok();
    assert!(usage.starts_with("Images 0 0B\n"), "{usage}");
}

/// Pulls from a registry that answers like this, which must fail with these words.
fn refused(
    bench: &Bench,
    words: &[&str],
    answer: impl Fn(&Asked, &mut TcpStream) + Send + Sync + 'static,
) -> Vec<Asked> {
    let liar = Liar::start(answer);
    let error = bench.say(&["pull", &liar.name("x/y:1")]).fails(1);
    for word in words {
        assert!(error.contains(word), "{word}: {error}");
    }
    assert_empty(bench);
    liar.asked()
}

fn image() -> Honest {
    Honest::new(vec![layer("low", 1, 50_000), layer("high", 2, 2000)])
}

fn is_blob(asked: &Asked, digest: &str) -> bool {
    asked.path.ends_with(&format!("/blobs/{digest}"))
}

#[test]
fn an_honest_one_is_believed() {
    let bench = Bench::new();
    let honest = image();
    let liar = Liar::start(move |asked, stream| honest.answer(asked, stream));
    bench.say(&["pull", "-q", &liar.name("x/y:1")]).ok();
    assert_eq!(std::fs::read_dir(bench.path("root/layers")).unwrap().count(), 2);
    bench.say(&["rmi", &liar.name("x/y:1")]).ok();
    assert_empty(&bench);
}

#[test]
fn blobs_that_are_not_what_they_should_be() {
    let bench = Bench::new();
    let honest = image();
    let (lowest, size) = honest.layers[0].clone();
    let spoil = |spoil: fn(&[u8], &mut TcpStream)| {
        let (honest, lowest) = (honest.clone(), lowest.clone());
        move |asked: &Asked, stream: &mut TcpStream| match honest.blob(&lowest) {
            Some(bytes) if is_blob(asked, &lowest) => spoil(bytes, stream),
            _ => honest.answer(asked, stream),
        }
    };
    // Another byte, and so another digest.
    let other = |bytes: &[u8], stream: &mut TcpStream| {
        let mut bytes = bytes.to_vec();
        bytes[1000] ^= 1;
        reply(stream, "200 OK", &[], &bytes);
    };
    refused(&bench, &[&format!("blob {lowest}"), "its digest is sha256:"], spoil(other));
    // Longer and shorter than the manifest says.
    let longer = |bytes: &[u8], stream: &mut TcpStream| reply(stream, "200 OK", &[], &[bytes, b"x"].concat());
    refused(&bench, &[&format!("it is {} bytes long, and {size} were announced", size + 1)], spoil(longer));
    let shorter = |bytes: &[u8], stream: &mut TcpStream| reply(stream, "200 OK", &[], &bytes[1..]);
    refused(&bench, &[&format!("it is {} bytes long, and {size} were announced", size - 1)], spoil(shorter));
    // Without a length: one that does not end, and one that ends too early.
    const CHUNKED: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
    let endless = |_: &[u8], stream: &mut TcpStream| {
        drop(stream.write_all(CHUNKED.as_bytes()));
        let piece = [b"1000\r\n".as_slice(), &[7; 0x1000], b"\r\n"].concat();
        while stream.write_all(&piece).is_ok() {}
    };
    refused(&bench, &[&format!("it is longer than the {size} bytes that were announced")], spoil(endless));
    let early = |bytes: &[u8], stream: &mut TcpStream| {
        let text = [CHUNKED.as_bytes(), b"a\r\n", &bytes[..10], b"\r\n0\r\n\r\n"].concat();
        drop(stream.write_all(&text));
    };
    refused(&bench, &[&format!("it ended after 10 bytes, and {size} were announced")], spoil(early));
    let gone = |_: &[u8], stream: &mut TcpStream| reply(stream, "404 Not Found", &[], b"{}");
    refused(&bench, &["does not have blob", &lowest], spoil(gone));
}

#[test]
fn the_rest_of_a_blob_must_be_the_rest() {
    let bench = Bench::new();
    let honest = image();
    let (lowest, size) = honest.layers[0].clone();
    let asked = {
        let (honest, lowest) = (honest.clone(), lowest.clone());
        refused(&bench, &["the rest from byte 1000 was asked for", "bytes 7-"], move |asked, stream| {
            let Some(bytes) = honest.blob(&lowest).filter(|_| is_blob(asked, &lowest)) else {
                return honest.answer(asked, stream);
            };
            if asked.header("range").is_empty() {
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", bytes.len());
                drop(stream.write_all(&[head.as_bytes(), &bytes[..1000]].concat()));
            } else {
                let range = format!("bytes 7-{}/{}", bytes.len() - 1, bytes.len());
                reply(stream, "206 Partial Content", &[("content-range", &range)], &bytes[7..]);
            }
        })
    };
    assert!(asked.iter().any(|a| a.header("range") == "bytes=1000-"), "{asked:?}");
    // One that sends all of it again is taken from the beginning.
    let liar = Liar::start(move |asked, stream| {
        let Some(bytes) = honest.blob(&lowest).filter(|_| is_blob(asked, &lowest)) else {
            return honest.answer(asked, stream);
        };
        if asked.header("range").is_empty() {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", bytes.len());
            drop(stream.write_all(&[head.as_bytes(), &bytes[..size / 2]].concat()));
        } else {
            reply(stream, "200 OK", &[], bytes);
        }
    });
    bench.say(&["pull", "-q", &liar.name("x/y:1")]).ok();
    assert_eq!(std::fs::read_dir(bench.path("root/layers")).unwrap().count(), 2);
}

#[test]
fn manifests_that_are_not_what_they_should_be() {
    let bench = Bench::new();
    let honest = image();
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let with = |document: Vec<u8>, kind: &'static str, digest: Option<String>| {
        let honest = honest.clone();
        move |asked: &Asked, stream: &mut TcpStream| {
            if !asked.path.contains("/manifests/") {
                return honest.answer(asked, stream);
            }
            let mut headers = vec![("content-type", kind)];
            headers.extend(digest.as_deref().map(|digest| ("docker-content-digest", digest)));
            reply(stream, "200 OK", &headers, &document);
        }
    };
    // The same tag, two answers: the head promises one manifest, and another one comes.
    let other = Honest::new(vec![layer("other", 3, 10)]);
    let words = ["its digest is", &other.digest, &format!("{} was announced", honest.digest)];
    refused(&bench, &words, with(other.manifest.clone(), kind, Some(honest.digest.clone())));
    // A million layers: too long for a manifest. As many as a manifest can hold: too many for an image.
    let one =
        format!(r#"{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{}","size":1}}"#, honest.digest);
    let many = |count: usize| {
        let config = format!(
            r#"{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{}","size":1}}"#,
            honest.digest
        );
        let layers = vec![one.as_str(); count].join(",");
        format!(r#"{{"schemaVersion":2,"mediaType":"{kind}","config":{config},"layers":[{layers}]}}"#).into_bytes()
    };
    refused(&bench, &["x/y:1", "longer than 4194304 bytes"], with(many(1_000_000), kind, None));
    refused(&bench, &["limit `layers` reached: at most 127"], with(many(20_000), kind, None));
    refused(&bench, &["was announced as \"text/html\""], with(honest.manifest.clone(), "text/html", None));
    let old = br#"{"schemaVersion":1,"name":"x","fsLayers":[],"history":[]}"#.to_vec();
    let pretty = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    refused(&bench, &["schemaVersion 1 is not accepted"], with(old, pretty, None));
    let foreign = String::from_utf8(honest.manifest.clone()).unwrap();
    let foreign = foreign.replace("application/vnd.oci.image.layer.v1.tar+gzip", "application/vnd.evil.layer");
    refused(&bench, &["a layer of media type \"application/vnd.evil.layer\""], with(foreign.into_bytes(), kind, None));
    // An index that leads to itself, and one with nothing for this machine.
    let index = |entry: &str| {
        let kind = "application/vnd.oci.image.index.v1+json";
        format!(r#"{{"schemaVersion":2,"mediaType":"{kind}","manifests":[{entry}]}}"#).into_bytes()
    };
    let kind_of_index = "application/vnd.oci.image.index.v1+json";
    let elsewhere = format!(
        r#"{{"mediaType":"{kind}","digest":"{}","size":{},"platform":{{"os":"linux","architecture":"s390x"}}}}"#,
        honest.digest,
        honest.manifest.len()
    );
    refused(&bench, &["no image for platform linux/", "linux/s390x"], with(index(&elsewhere), kind_of_index, None));
    let wrong = elsewhere.replace(",\"platform\":{\"os\":\"linux\",\"architecture\":\"s390x\"}", "");
    let answers = with(index(&wrong), kind_of_index, None);
    refused(&bench, &["its digest is"], answers);
}

#[test]
fn a_small_blob_that_unpacks_to_much_is_stopped() {
    let bench = Bench::new();
    // A file of 100 GiB of zeros, of which 20 MB are there: little of it goes over the network.
    let huge = EntrySpec { size: Some(100 << 30), style: Style::Gnu, ..EntrySpec::new(b'0', "zeros") };
    let bomb = TarBuilder::new().entry(huge).raw(&vec![0; 20 << 20]).unfinished();
    let honest = Honest::new(vec![layer("low", 1, 1000), bomb]);
    assert!(honest.layers[1].1 < 400_000, "{:?}", honest.layers);
    refused(&bench, &["limit `bytes` reached: at most 68719476736"], move |asked, stream| honest.answer(asked, stream));
    // A stream inside a stream: the inner one is no archive, and nobody unpacks it again.
    let honest = Honest::new(vec![gzip(&gzip(&vec![0; 10 << 20]))]);
    refused(&bench, &["archive refused"], move |asked, stream| honest.answer(asked, stream));
    // Layers whose sizes are more than an image may have are not asked for.
    let honest = image();
    let manifest = String::from_utf8(honest.manifest.clone()).unwrap();
    let size = format!("\"size\":{}", honest.layers[0].1);
    let large = manifest.replace(&size, &format!("\"size\":{}", 65_u64 << 30)).into_bytes();
    assert_ne!(large, honest.manifest);
    let asked = refused(&bench, &["its layers are larger than 68719476736 bytes"], move |asked, stream| {
        if asked.path.contains("/manifests/") {
            return reply(stream, "200 OK", &[], &large);
        }
        honest.answer(asked, stream);
    });
    assert!(asked.iter().all(|a| !a.path.contains("/blobs/")), "{asked:?}");
}

#[test]
fn redirects_lead_nowhere_inside() {
    let bench = Bench::new();
    let honest = image();
    let (lowest, _) = honest.layers[0].clone();
    let to = |location: &str| {
        let (honest, lowest, location) = (honest.clone(), lowest.clone(), location.to_owned());
        move |asked: &Asked, stream: &mut TcpStream| {
            if is_blob(asked, &lowest) {
                return reply(stream, "307 Temporary Redirect", &[("location", &location)], b"");
            }
            honest.answer(asked, stream);
        }
    };
    for (location, reason) in [
        ("http://169.254.169.254/latest/meta-data", "169.254.169.254 is a link-local or reserved address"),
        ("http://10.1.2.3/blob", "10.1.2.3 is an address of a private network"),
        ("https://192.168.0.1:8443/blob", "192.168.0.1 is an address of a private network"),
        ("http://[fe80::1]/blob", "fe80::1 is a link-local or reserved address"),
        ("http://[::ffff:10.0.0.1]/blob", "is an address of a private network"),
        ("file:///etc/shadow", "it is no address of https or http"),
        ("http://user:secret@127.0.0.1/", "it is no address of https or http"),
    ] {
        refused(&bench, &["is not followed to", reason], to(location));
    }
    let asked = refused(&bench, &["it redirects more than 5 times"], to(&format!("/v2/x/y/blobs/{lowest}")));
    assert!(asked.iter().filter(|a| a.path.contains(&lowest)).count() <= 7, "{}", asked.len());
}

#[test]
fn credentials_go_to_their_registry_only() {
    let bench = Bench::new();
    let honest = image();
    let (lowest, _) = honest.layers[0].clone();
    // A place elsewhere that asks who we are.
    let thief = Liar::start(|_, stream| {
        reply(stream, "401 Unauthorized", &[("www-authenticate", "Basic realm=\"give\"")], b"{}");
    });
    let location = format!("http://localhost:{}/blob", thief.host.rsplit(':').next().unwrap());
    let registry = {
        let (honest, lowest, location) = (honest.clone(), lowest.clone(), location.clone());
        Liar::start(move |asked, stream| {
            if asked.header("authorization").is_empty() {
                return reply(stream, "401 Unauthorized", &[("www-authenticate", "Basic realm=\"x\"")], b"{}");
            }
            if is_blob(asked, &lowest) {
                return reply(stream, "302 Found", &[("location", &location)], b"");
            }
            honest.answer(asked, stream);
        })
    };
    let config = bench.path("config.json");
    // keeper:right-pass
    let auth = "a2VlcGVyOnJpZ2h0LXBhc3M=";
    let auths = format!(r#"{{"auths":{{"{}":{{"auth":"{auth}"}},"localhost":{{"auth":"{auth}"}}}}}}"#, registry.host);
    std::fs::write(&config, auths).unwrap();
    let mut command = bench.command(&["pull", &registry.name("x/y:1")]);
    let said: bulkhead_tests::Said = command.env("REGISTRY_AUTH_FILE", &config).output().unwrap().into();
    let error = said.fails(1);
    assert!(error.contains("asks for credentials") && error.contains("localhost"), "{error}");
    assert!(!error.contains("right-pass") && !error.contains(auth), "{error}");
    assert!(registry.asked().iter().any(|a| a.header("authorization").ends_with(auth)));
    assert!(!thief.asked().is_empty() && thief.asked().iter().all(|a| a.header("authorization").is_empty()));
    assert_empty(&bench);
    // A token of a place inside, or unencrypted elsewhere.
    for realm in ["http://169.254.169.254/token", "http://10.0.0.1/token", "http://auth.example/token", "ftp://x/"] {
        let header = format!("Bearer realm=\"{realm}\",service=\"x\"");
        let answer = move |_: &Asked, stream: &mut TcpStream| {
            reply(stream, "401 Unauthorized", &[("www-authenticate", &header)], b"{}");
        };
        refused(&bench, &["is not followed to", realm], answer);
    }
}

#[test]
fn tokens_are_fetched_and_fetched_again_when_they_expire() {
    let bench = Bench::new();
    let honest = image();
    let served = Arc::new(AtomicUsize::new(0));
    let tokens = {
        let served = Arc::clone(&served);
        Liar::start(move |asked, stream| {
            assert!(
                asked.path.contains("service=here") && asked.path.contains("scope=repository%3Ax%2Fy%3Apull"),
                "{asked:?}"
            );
            let number = served.fetch_add(1, Ordering::SeqCst);
            reply(stream, "200 OK", &[], format!("{{\"token\":\"t{number}\",\"expires_in\":60}}").as_bytes());
        })
    };
    let realm = format!("Bearer realm=\"http://{}/token\",service=\"here\"", tokens.host);
    let count = AtomicUsize::new(0);
    let registry = Liar::start(move |asked, stream| {
        // The first token is good for two requests, the manifest and the configuration; those after it for all.
        let fresh = match asked.header("authorization").strip_prefix("Bearer ") {
            Some("t0") => count.fetch_add(1, Ordering::SeqCst) < 2,
            other => other.is_some(),
        };
        if fresh {
            honest.answer(asked, stream);
        } else {
            reply(stream, "401 Unauthorized", &[("www-authenticate", &realm)], b"{}");
        }
    });
    bench.say(&["pull", "-q", &registry.name("x/y:1")]).ok();
    assert!(served.load(Ordering::SeqCst) >= 2, "{}", served.load(Ordering::SeqCst));
}

#[test]
fn those_who_are_busy_are_asked_again_and_their_words_are_told() {
    let bench = Bench::new();
    let honest = image();
    let count = AtomicUsize::new(0);
    let registry = Liar::start(move |asked, stream| match count.fetch_add(1, Ordering::SeqCst) % 3 {
        0 => reply(stream, "503 Service Unavailable", &[], b""),
        1 => reply(stream, "429 Too Many Requests", &[("retry-after", "0")], b"{}"),
        _ => honest.answer(asked, stream),
    });
    // One layer at a time would need as many waits; the manifest alone shows it.
    bench.say(&["manifest", "inspect", &registry.name("x/y:1")]).ok();
    let words =
        br#"{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your pull rate limit\u001b[2J"}]}"#;
    let full = |_: &Asked, stream: &mut TcpStream| {
        reply(stream, "429 Too Many Requests", &[("retry-after", "100000")], words);
    };
    let error = ["has had too many requests: You have reached your pull rate limit", "wait 100000 seconds", "hint:"];
    refused(&bench, &error, full);
    let honest = image();
    let registry = Liar::start(move |asked, stream| {
        let few = [("ratelimit-limit", "100;w=21600"), ("ratelimit-remaining", "3;w=21600")];
        if asked.path.contains("/manifests/") {
            return reply(stream, "200 OK", &few, &honest.manifest);
        }
        honest.answer(asked, stream);
    });
    let said = bench.say(&["pull", &registry.name("x/y:1")]);
    assert!(said.err.contains("allows 3 of 100 more pulls in 360 minutes"), "{said:?}");
    said.ok();
}

#[test]
fn a_drip_and_a_silence_are_not_waited_for() {
    let configured = Configured::new("[registry]\ntimeout = 1\nattempts = 1\n");
    let honest = image();
    let (lowest, _) = honest.layers[0].clone();
    let drip = {
        let (honest, lowest) = (honest.clone(), lowest.clone());
        Liar::start(move |asked, stream| match honest.blob(&lowest) {
            Some(bytes) if is_blob(asked, &lowest) => {
                drop(
                    stream.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", bytes.len()).as_bytes()),
                );
                for byte in bytes {
                    std::thread::sleep(std::time::Duration::from_millis(20));
                    if stream.write_all(&[*byte]).is_err() {
                        return;
                    }
                }
            }
            _ => honest.answer(asked, stream),
        })
    };
    let error = configured.say(&["pull", &drip.name("x/y:1")]).fails(1);
    assert!(error.contains("it comes slower than 1024 bytes a second"), "{error}");
    assert_empty(&configured.bench);
    let silent = Liar::start(|asked, _| {
        if asked.path.contains("/manifests/") {
            std::thread::sleep(std::time::Duration::from_secs(3));
        }
    });
    let error = configured.say(&["pull", &silent.name("x/y:1")]).fails(1);
    assert!(error.contains("broke") && error.contains("silent for 1 seconds"), "{error}");
    assert_empty(&configured.bench);
}

#[test]
fn a_pull_that_is_killed_leaves_nothing_and_can_be_made_again() {
    let bench = Bench::new();
    let honest = image();
    let (highest, size) = honest.layers[1].clone();
    let (slow, first) = (honest.clone(), AtomicUsize::new(0));
    let registry = Liar::start(move |asked, stream| {
        // The first time the upper layer comes to a stop, while the lower one is unpacked.
        if is_blob(asked, &highest) && first.fetch_add(1, Ordering::SeqCst) == 0 {
            drop(stream.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n").as_bytes()));
            std::thread::sleep(std::time::Duration::from_secs(20));
        }
        slow.answer(asked, stream);
    });
    let name = registry.name("x/y:1");
    let mut child = bench.command(&["pull", "-q", &name]).spawn().unwrap();
    let begun = || {
        let entries = std::fs::read_dir(bench.path("root/staging")).into_iter().flatten().flatten();
        entries.map(|e| e.path().join("layers")).filter_map(|l| std::fs::read_dir(l).ok()).any(|l| l.count() > 0)
    };
    assert!(eventually(10, begun), "the lower layer is unpacked while the upper one is on its way");
    child.kill().unwrap();
    child.wait().unwrap();
    bench.say(&["pull", "-q", &name]).ok();
    assert_eq!(std::fs::read_dir(bench.path("root/staging")).unwrap().count(), 0);
    bench.say(&["system", "fsck"]).ok();
}

#[test]
fn a_blob_that_does_not_go_at_once_goes_in_pieces() {
    let bench = Bench::new();
    let got = Arc::new(AtomicUsize::new(0));
    let (taken, lost) = (Arc::clone(&got), AtomicUsize::new(0));
    let registry = Liar::start(move |asked, stream| {
        let length: usize = asked.header("content-length").parse().unwrap_or(0);
        let place = ("location", "/v2/x/y/blobs/uploads/one?state=s");
        match asked.method.as_str() {
            "GET" if asked.path.contains("/uploads/") => {
                let range = format!("0-{}", taken.load(Ordering::SeqCst) - 1);
                reply(stream, "204 No Content", &[place, ("range", &range)], b"");
            }
            "GET" => reply(stream, "200 OK", &[], b"{}"),
            "HEAD" => reply(stream, "404 Not Found", &[], b""),
            "POST" => reply(stream, "202 Accepted", &[place], b""),
            // All at once is too much, unless it is a configuration.
            "PUT" if asked.path.contains("/uploads/") && length > 10_000 => {
                reply(stream, "413 Payload Too Large", &[], b"");
            }
            "PATCH" => {
                let from = asked.header("content-range").split('-').next().unwrap().parse::<usize>().unwrap();
                assert_eq!(from, taken.load(Ordering::SeqCst), "{asked:?}");
                // The second piece gets lost on its way, but for 1000 bytes.
                if from > 0 && lost.fetch_add(1, Ordering::SeqCst) == 0 {
                    taken.fetch_add(1000, Ordering::SeqCst);
                    return;
                }
                taken.fetch_add(length, Ordering::SeqCst);
                reply(stream, "202 Accepted", &[place], b"");
            }
            _ => reply(stream, "201 Created", &[], b""),
        }
    });
    let name = registry.name("x/y:1");
    load(&bench, &name, vec![layer("f", 20, 20 << 20)]);
    bench.say(&["push", &name]).ok();
    let asked = registry.asked();
    let put =
        asked.iter().find(|a| a.method == "PUT" && a.path.contains("digest=sha256%3A") && a.path.contains("state=s"));
    assert_eq!(got.load(Ordering::SeqCst).to_string(), put.unwrap().header("content-length"), "all of it, once");
    assert_eq!(asked.iter().filter(|a| a.method == "PATCH").count(), 3);
    assert!(asked.iter().any(|a| a.method == "PUT" && a.path.ends_with("/manifests/1")));
}

#[test]
fn those_outside_are_reached_through_the_proxy() {
    let bench = Bench::new();
    let proxy = Liar::start(|_, stream| reply(stream, "403 Forbidden", &[], b""));
    let through = format!("http://someone:s3cret@{}", proxy.host);
    let mut command = bench.command(&["pull", "registry.example/x/y:1"]);
    command.env("HTTPS_PROXY", &through).env("NO_PROXY", "other.example").env_remove("https_proxy");
    let error = bulkhead_tests::Said::from(command.output().unwrap()).fails(1);
    assert!(error.contains("cannot reach registry.example: the proxy refused"), "{error}");
    assert!(!error.contains("s3cret"), "{error}");
    let asked = proxy.asked();
    assert_eq!((asked[0].method.as_str(), asked[0].path.as_str()), ("CONNECT", "registry.example:443"));
    assert_eq!(asked[0].header("proxy-authorization"), "Basic c29tZW9uZTpzM2NyZXQ=");
    assert_eq!(asked.len(), 1);
}
