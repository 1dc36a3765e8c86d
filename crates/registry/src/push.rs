//! Blobs and manifests to a registry: what is there is not sent again.

use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::path::Path;

use bulkhead_image::Digest;

use crate::client::{Ask, Repository};
use crate::error::{RegistryError, Result};
use crate::http::Reply;
use crate::url::Url;

/// Bytes of one piece, where a blob goes in pieces.
const PIECE: u64 = 16 << 20;

/// A blob to be sent.
pub struct Upload<'a> {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Where it is.
    pub path: &'a Path,
    /// Told how many bytes have gone, now and then.
    pub progress: &'a (dyn Fn(u64) + Sync),
}

impl std::fmt::Debug for Upload<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upload").field("digest", &self.digest).field("size", &self.size).finish_non_exhaustive()
    }
}

/// A place that waits for a blob.
struct Session {
    at: Url,
    /// Bytes of the smallest piece that it takes.
    least: u64,
}

/// Reader that tells how far it is.
struct Told<'a> {
    inner: io::Take<&'a File>,
    done: u64,
    progress: &'a (dyn Fn(u64) + Sync),
}

impl Read for Told<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.done += u64::try_from(n).unwrap_or(0);
        (self.progress)(self.done);
        Ok(n)
    }
}

impl<'a> Repository<'a> {
    /// Lets the registry read another repository of its own for what is mounted from there.
    pub fn also_read(&mut self, path: &str) {
        let scope = format!("repository:{path}:pull");
        if path != self.path && !self.scopes.contains(&scope) {
            self.scopes.push(scope);
        }
    }

    /// Whether the blob is there, and of this size.
    ///
    /// # Errors
    /// No answer to that.
    pub fn has(&self, digest: &Digest, size: Option<u64>) -> Result<bool> {
        let what = format!("blob {digest}");
        let url = self.url(&format!("blobs/{digest}"));
        let reply =
            self.ask(&Ask { method: "HEAD", url, headers: Vec::new(), bytes: None, what: &what, also: &[404] })?;
        let fits = size.is_none_or(|size| reply.length().is_none_or(|length| length == size));
        Ok(reply.status == 200 && fits)
    }

    /// Asks the registry to take a blob from its own repository `from`; whether it did.
    ///
    /// # Errors
    /// No answer to that.
    pub fn mount(&self, digest: &Digest, from: &str) -> Result<bool> {
        let url = self.url("blobs/uploads/").with("mount", &digest.to_string()).with("from", from);
        let reply = self.post(url)?;
        if reply.status == 202
            && let Ok(session) = self.session(&reply)
        {
            // It opened an upload instead, which nobody needs.
            self.cancel(&session);
        }
        Ok(reply.status == 201)
    }

    fn post(&self, url: Url) -> Result<Reply> {
        let also = [404, 405];
        let ask = Ask { method: "POST", url, headers: Vec::new(), bytes: Some(&[]), what: "an upload", also: &also };
        let reply = self.ask(&ask)?;
        if also.contains(&reply.status) {
            return Err(crate::answer::refusal(
                reply,
                &self.host(),
                &self.path,
                self.known(),
                self.client.limits().message,
            ));
        }
        Ok(reply)
    }

    fn session(&self, reply: &Reply) -> Result<Session> {
        let lie = |reason: &str| RegistryError::lie(&self.host(), "an upload", reason);
        let location = reply.header("location").ok_or_else(|| lie("it does not say where to"))?;
        let at = self.base.url.join(location).map_err(|_| lie("it names a place that is none"))?;
        if at.host == self.base.url.host || at.secure || !self.base.url.secure {
            let least = reply.header("oci-chunk-min-length").and_then(|text| text.trim().parse().ok()).unwrap_or(0);
            return Ok(Session { at, least });
        }
        Err(lie("it names a place that is not encrypted"))
    }

    fn cancel(&self, session: &Session) {
        let url = session.at.clone();
        let ask = Ask { method: "DELETE", url, headers: Vec::new(), bytes: None, what: "an upload", also: &[404, 405] };
        // The registry removes what nobody finishes.
        drop(self.once(&ask, None));
    }

    /// Sends a blob: in one piece, and in several when that fails in a way that may pass.
    ///
    /// # Errors
    /// What the registry says; a connection that breaks too often.
    pub fn send(&self, upload: &Upload<'_>) -> Result<()> {
        let file = File::open(upload.path).map_err(RegistryError::file("open", upload.path))?;
        let limits = self.client.limits();
        let mut failures = 0;
        loop {
            self.client.check()?;
            let session = self.session(&self.post(self.url("blobs/uploads/"))?)?;
            let tried = if failures == 0 {
                self.at_once(upload, &file, &session)
            } else {
                self.in_pieces(upload, &file, session)
            };
            let error = match tried {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            failures += 1;
            let expired = matches!(error, RegistryError::Denied { .. }) && failures == 1;
            let other_way =
                failures == 1 && matches!(error, RegistryError::Status { status: 400 | 405 | 411 | 413 | 416, .. });
            if !(error.passes() || expired || other_way) || failures >= limits.attempts {
                return Err(error);
            }
            if expired {
                self.forget_token();
            }
            self.client.rest(limits.wait(failures, None))?;
        }
    }

    fn rewound<'f>(upload: &'f Upload<'_>, mut file: &'f File, from: u64, count: u64) -> Result<Told<'f>> {
        file.seek(SeekFrom::Start(from)).map_err(RegistryError::file("read", upload.path))?;
        Ok(Told { inner: file.take(count), done: from, progress: upload.progress })
    }

    fn at_once(&self, upload: &Upload<'_>, file: &File, session: &Session) -> Result<()> {
        let mut body = Self::rewound(upload, file, 0, upload.size)?;
        let ask = Ask {
            method: "PUT",
            url: session.at.clone().with("digest", &upload.digest.to_string()),
            headers: vec![("content-type", "application/octet-stream".to_owned())],
            bytes: None,
            what: "an upload",
            also: &[],
        };
        let reply = self.once(&ask, Some((&mut body, upload.size))).map_err(|(error, _)| error)?;
        self.confirm(&reply, &upload.digest)
    }

    fn in_pieces(&self, upload: &Upload<'_>, file: &File, mut session: Session) -> Result<()> {
        let limits = self.client.limits();
        let (mut done, mut failures) = (0, 0);
        while done < upload.size {
            self.client.check()?;
            let count = PIECE.max(session.least).min(upload.size - done);
            let mut body = Self::rewound(upload, file, done, count)?;
            let ask = Ask {
                method: "PATCH",
                url: session.at.clone(),
                headers: vec![
                    ("content-type", "application/octet-stream".to_owned()),
                    ("content-range", format!("{done}-{}", done + count - 1)),
                ],
                bytes: None,
                what: "an upload",
                also: &[],
            };
            match self.once(&ask, Some((&mut body, count))) {
                Ok(reply) => {
                    session = Session { least: session.least, ..self.session(&reply)? };
                    done += count;
                    failures = 0;
                }
                Err((error, again)) => {
                    failures += 1;
                    if !error.passes() || failures >= limits.attempts {
                        return Err(error);
                    }
                    self.client.rest(limits.wait(failures, again))?;
                    (session, done) = self.progress(session, upload.size)?;
                }
            }
        }
        let ask = Ask {
            method: "PUT",
            url: session.at.with("digest", &upload.digest.to_string()),
            headers: Vec::new(),
            bytes: Some(&[]),
            what: "an upload",
            also: &[],
        };
        let reply = self.ask(&ask)?;
        self.confirm(&reply, &upload.digest)
    }

    /// How much of an upload has arrived.
    fn progress(&self, session: Session, size: u64) -> Result<(Session, u64)> {
        let ask =
            Ask { method: "GET", url: session.at, headers: Vec::new(), bytes: None, what: "an upload", also: &[] };
        let reply = self.ask(&ask)?;
        let last = reply.header("range").and_then(|range| range.trim().trim_start_matches("bytes=").strip_prefix("0-"));
        // "0-0" is what registries say of nothing, and of one byte: a byte twice is refused, a byte too few is not there.
        let done = last.and_then(|last| last.parse::<u64>().ok()).filter(|last| *last > 0).map_or(0, |last| last + 1);
        if done > size {
            return Err(RegistryError::lie(&self.host(), "an upload", "it has more than was sent"));
        }
        Ok((Session { least: session.least, ..self.session(&reply)? }, done))
    }

    fn confirm(&self, reply: &Reply, digest: &Digest) -> Result<()> {
        match reply.header("docker-content-digest").and_then(|text| text.trim().parse::<Digest>().ok()) {
            Some(found) if found != *digest => {
                let reason = format!("{digest} was sent, and it has {found}");
                Err(RegistryError::lie(&self.host(), "an upload", reason))
            }
            _ => Ok(()),
        }
    }

    /// Puts a manifest under a tag, or under its digest.
    ///
    /// # Errors
    /// What the registry says.
    pub fn put_manifest(&self, tag: &str, media_type: &str, bytes: &[u8]) -> Result<Digest> {
        let digest = Digest::of(bytes);
        let what = format!("{}:{tag}", self.path);
        let ask = Ask {
            method: "PUT",
            url: self.url(&format!("manifests/{tag}")),
            headers: vec![("content-type", media_type.to_owned())],
            bytes: Some(bytes),
            what: &what,
            also: &[],
        };
        let reply = self.ask(&ask)?;
        self.confirm(&reply, &digest)?;
        Ok(digest)
    }
}
