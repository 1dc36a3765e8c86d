//! Registries for tests: Debian's `docker-registry` on loopback, and one that answers what a test wants it to.

#![allow(clippy::missing_panics_doc, reason = "a failure is the result of the test")]

use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use bulkhead_image::testing::{Files, ImageSpec, TarBuilder, oci_files, write_files};

use crate::{Bench, Said, eventually};

/// User of a registry that asks for one.
pub const USER: &str = "keeper";
/// His password.
pub const PASSWORD: &str = "right-pass";
/// The password as the registry has it (bcrypt).
const HASH: &str = "$2b$04$oKoWoK0hurWGH/Hyhg0YW.ZKcSgKamxLnYyiTBOoxsPXQLWKF0F.6";

/// Debian's registry, ended when this is dropped.
#[derive(Debug)]
pub struct Registry {
    child: Child,
    dir: PathBuf,
    /// `127.0.0.1:PORT`.
    pub host: String,
}

/// How a registry is set up.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// It asks for [`USER`] and [`PASSWORD`].
    pub auth: bool,
    /// It speaks TLS with a certificate of [`authority`], which lies in this directory.
    pub tls: Option<PathBuf>,
    /// It asks its clients for a certificate of that authority too.
    pub clients: bool,
}

impl Registry {
    /// What is missing for it on this machine.
    #[must_use]
    pub fn missing() -> Option<&'static str> {
        let there = |name: &str| Path::new("/usr/bin").join(name).exists();
        if !there("docker-registry") {
            Some("the package docker-registry")
        } else if !there("openssl") {
            Some("the package openssl")
        } else {
            None
        }
    }

    /// Starts one that keeps its blobs in `dir`, and waits until it answers.
    #[must_use]
    pub fn start(dir: &Path, setup: &Setup) -> Self {
        std::fs::create_dir_all(dir).unwrap();
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let host = free.local_addr().unwrap().to_string();
        drop(free);
        let at = |name: &str| dir.join(name).display().to_string();
        let mut config = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\n  delete:\n    enabled: true\n\
             http:\n  addr: {host}\n",
            at("data")
        );
        if let Some(keys) = &setup.tls {
            let key = |name: &str| keys.join(name).display().to_string();
            config.push_str(&format!(
                "  tls:\n    certificate: {}\n    key: {}\n",
                key("server.crt"),
                key("server.key")
            ));
            if setup.clients {
                config.push_str(&format!("    clientcas:\n      - {}\n", key("ca.crt")));
            }
        }
        if setup.auth {
            std::fs::write(dir.join("htpasswd"), format!("{USER}:{HASH}\n")).unwrap();
            config.push_str(&format!("auth:\n  htpasswd:\n    realm: test\n    path: {}\n", at("htpasswd")));
        }
        std::fs::write(dir.join("config.yml"), config).unwrap();
        let log = std::fs::File::create(dir.join("log")).unwrap();
        // It ends with the thread that started it, whatever becomes of the test.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "docker-registry", "serve", &at("config.yml")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let registry = Self { child, dir: dir.to_path_buf(), host };
        let up = eventually(10, || TcpStream::connect(&registry.host).is_ok());
        assert!(up, "{}", std::fs::read_to_string(registry.dir.join("log")).unwrap_or_default());
        registry
    }

    /// A reference of this registry.
    #[must_use]
    pub fn name(&self, image: &str) -> String {
        format!("{}/{image}", self.host)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Makes an authority (`ca.crt`) and a certificate of it for 127.0.0.1 (`server.crt`, `server.key`) in `dir`.
pub fn authority(dir: &Path) {
    std::fs::create_dir_all(dir).unwrap();
    let script = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout ca.key -out ca.crt \
                  -subj '/CN=test authority' -addext basicConstraints=critical,CA:TRUE && \
                  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout server.key -out server.csr \
                  -subj /CN=registry && \
                  printf 'subjectAltName=IP:127.0.0.1\\nbasicConstraints=CA:FALSE\\n' >ext && \
                  openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -out server.crt -extfile ext";
    let said: Said = Command::new("sh").args(["-ec", script]).current_dir(dir).output().unwrap().into();
    said.ok();
}

/// A layer with one file of `size` bytes that do not compress, the same for the same `seed`.
#[must_use]
pub fn layer(name: &str, seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut content = Vec::with_capacity(size);
    while content.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        content.extend_from_slice(&state.to_le_bytes());
    }
    content.truncate(size);
    TarBuilder::new().file(name, 0o644, &content).finish()
}

/// Loads an image of these layers under this name.
pub fn load(bench: &Bench, name: &str, layers: Vec<Vec<u8>>) {
    let dir = bench.path(&format!("layout-{}", name.replace(['/', ':'], "-")));
    std::fs::create_dir_all(&dir).unwrap();
    write_files(&dir, &oci_files(&[ImageSpec::new(name, layers)])).unwrap();
    bench.say(&["load", "-i", dir.to_str().unwrap()]).ok();
    std::fs::remove_dir_all(&dir).unwrap();
}

/// What a client asked.
#[derive(Debug, Clone)]
pub struct Asked {
    /// `GET`, `PUT`, ….
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Headers, names in lower case.
    pub headers: BTreeMap<String, String>,
}

impl Asked {
    /// A header; empty when there is none.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// What is done with a request: anything may be written to the stream, which is closed afterwards.
pub type Answer = dyn Fn(&Asked, &mut TcpStream) + Send + Sync;

/// A registry that answers what it is told to, on loopback.
pub struct Liar {
    /// `127.0.0.1:PORT`.
    pub host: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for Liar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Liar").field("host", &self.host).finish_non_exhaustive()
    }
}

impl Liar {
    /// Begins to answer.
    #[must_use]
    pub fn start(answer: impl Fn(&Asked, &mut TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let (asked, over) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (log, ended, answer): (_, _, Arc<Answer>) = (Arc::clone(&asked), Arc::clone(&over), Arc::new(answer));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(mut stream) = stream else { continue };
                let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
                std::thread::spawn(move || {
                    let Some(request) = read_request(&mut stream) else { return };
                    log.lock().unwrap().push(request.clone());
                    answer(&request, &mut stream);
                    drop(stream.shutdown(Shutdown::Both));
                });
            }
        });
        Self { host, asked, over, thread: Some(thread) }
    }

    /// What it was asked until now.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// A reference of this registry.
    #[must_use]
    pub fn name(&self, image: &str) -> String {
        format!("{}/{image}", self.host)
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(&self.host));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// The head of a request; nothing for what is not HTTP, such as the beginning of TLS.
fn read_request(stream: &mut TcpStream) -> Option<Asked> {
    let mut first = [0];
    stream.peek(&mut first).ok().filter(|n| *n == 1)?;
    if !first[0].is_ascii_uppercase() {
        // As servers of HTTP do it: all of the beginning is read, or the answer would be lost with it.
        drop(stream.read(&mut [0; 4096]));
        drop(stream.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n"));
        return None;
    }
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|l: &String| l.parse().ok()).unwrap_or(0);
    std::io::copy(&mut reader.take(length), &mut std::io::sink()).ok()?;
    Some(Asked { method, path, headers })
}

/// Writes a whole answer. What a client that has gone does not read is no failure.
pub fn reply(stream: &mut TcpStream, status: &str, headers: &[(&str, &str)], body: &[u8]) {
    let mut head = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    drop(stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)));
}

/// An image as a registry has it: answers of an honest one, for a test to spoil some of them.
#[derive(Debug, Clone)]
pub struct Honest {
    files: Files,
    /// The manifest, and its digest with `sha256:`.
    pub manifest: Vec<u8>,
    /// Its digest.
    pub digest: String,
    /// Digests and sizes of its layers.
    pub layers: Vec<(String, usize)>,
}

impl Honest {
    /// An image of these layers.
    #[must_use]
    pub fn new(layers: Vec<Vec<u8>>) -> Self {
        Self::of(&ImageSpec::new("x/y:1", layers))
    }

    /// This image.
    #[must_use]
    pub fn of(image: &ImageSpec) -> Self {
        let files = oci_files(std::slice::from_ref(image));
        let index: serde_json::Value = serde_json::from_slice(&files["index.json"]).unwrap();
        let digest = index["manifests"][0]["digest"].as_str().unwrap().to_owned();
        let manifest = files[&place(&digest)].clone();
        let document: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
        let layers = document["layers"].as_array().unwrap().iter();
        let layers = layers
            .map(|l| (l["digest"].as_str().unwrap().to_owned(), usize::try_from(l["size"].as_u64().unwrap()).unwrap()))
            .collect();
        Self { files, manifest, digest, layers }
    }

    /// The bytes of a blob.
    #[must_use]
    pub fn blob(&self, digest: &str) -> Option<&[u8]> {
        self.files.get(&place(digest)).map(Vec::as_slice)
    }

    /// The honest answer.
    pub fn answer(&self, asked: &Asked, stream: &mut TcpStream) {
        let kind = ("content-type", "application/vnd.oci.image.manifest.v1+json");
        if asked.path.trim_end_matches('/') == "/v2" {
            return reply(stream, "200 OK", &[], b"{}");
        }
        if asked.path.contains("/manifests/") {
            let digest = ("docker-content-digest", self.digest.as_str());
            return reply(stream, "200 OK", &[kind, digest], &self.manifest);
        }
        match asked.path.rsplit('/').next().and_then(|digest| self.blob(digest)) {
            Some(bytes) => reply(stream, "200 OK", &[], bytes),
            None => reply(stream, "404 Not Found", &[], b"{}"),
        }
    }
}

fn place(digest: &str) -> String {
    format!("blobs/sha256/{}", digest.trim_start_matches("sha256:"))
}
