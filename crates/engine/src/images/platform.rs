//! `OS/ARCHITECTURE[/VARIANT]`, in the spelling of images.

/// What an image is made for, or what a machine runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    /// Operating system: `linux`.
    pub os: String,
    /// Processor: `amd64`, `arm64`, ….
    pub architecture: String,
    /// Variant of the processor, often empty.
    pub variant: String,
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if self.variant.is_empty() { Ok(()) } else { write!(f, "/{}", self.variant) }
    }
}

/// The names that people and kernels use, in the spelling of images.
fn architecture(name: &str) -> &str {
    match name {
        "x86_64" | "x86-64" => "amd64",
        "aarch64" => "arm64",
        "i386" | "i686" | "x86" => "386",
        "armhf" | "armel" => "arm",
        other => other,
    }
}

impl Platform {
    /// This machine's.
    #[must_use]
    pub fn host() -> Self {
        Self {
            os: "linux".to_owned(),
            architecture: architecture(std::env::consts::ARCH).to_owned(),
            variant: String::new(),
        }
    }

    /// As a user writes it; a single word is an operating system or an architecture, as for Docker.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let good = |part: &&str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
        };
        let lower = text.to_ascii_lowercase();
        let parts: Vec<&str> = lower.split('/').collect();
        if !parts.iter().all(good) {
            return None;
        }
        let host = Self::host();
        let (os, name, variant) = match parts.as_slice() {
            ["linux"] => ("linux", host.architecture.as_str(), ""),
            [one @ ("windows" | "darwin" | "freebsd")] => (*one, host.architecture.as_str(), ""),
            [name] => ("linux", *name, ""),
            [os, name] => (*os, *name, ""),
            [os, name, variant] => (*os, *name, *variant),
            _ => return None,
        };
        Some(Self { os: os.to_owned(), architecture: architecture(name).to_owned(), variant: variant.to_owned() })
    }

    /// Whether `other` is of this kind. A variant counts where both name one.
    #[must_use]
    pub fn fits(&self, other: &Self) -> bool {
        let usual = |p: &Self| match (p.architecture.as_str(), p.variant.as_str()) {
            ("arm64", "") => "v8".to_owned(),
            ("amd64", "") => "v1".to_owned(),
            (_, variant) => variant.to_owned(),
        };
        let variants = self.variant.is_empty() || other.variant.is_empty() || usual(self) == usual(other);
        self.os == other.os && architecture(&self.architecture) == architecture(&other.architecture) && variants
    }
}

#[cfg(test)]
mod tests {
    use super::Platform;

    fn parsed(text: &str) -> Option<String> {
        Platform::parse(text).map(|p| p.to_string())
    }

    #[test]
    fn platforms_as_people_write_them() {
        let host = Platform::host();
        assert_eq!(parsed("linux"), Some(host.to_string()));
        assert_eq!(parsed("linux/AMD64").as_deref(), Some("linux/amd64"));
        assert_eq!(parsed("x86_64").as_deref(), Some("linux/amd64"));
        assert_eq!(parsed("linux/arm64/v8").as_deref(), Some("linux/arm64/v8"));
        for text in ["", "/", "linux/", "a/b/c/d", "linux amd64", "linux/é"] {
            assert_eq!(parsed(text), None, "{text}");
        }
    }

    #[test]
    fn a_variant_counts_where_both_have_one() {
        let fits = |a: &str, b: &str| Platform::parse(a).unwrap().fits(&Platform::parse(b).unwrap());
        assert!(fits("linux/arm64", "linux/arm64/v8") && fits("linux/aarch64", "arm64"));
        assert!(!fits("linux/arm/v6", "linux/arm/v7") && !fits("linux/amd64", "linux/arm64"));
        assert!(!fits("windows/amd64", "linux/amd64"));
    }
}
