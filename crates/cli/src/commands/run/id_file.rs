//! `--cidfile`: the container's id in a file that nobody else had.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::error::CliError;

/// The file. Dropped before an id was written, or after [`IdFile::forget`], it is removed.
#[derive(Debug)]
pub(in crate::commands) struct IdFile {
    path: PathBuf,
    file: File,
    keep: bool,
}

impl IdFile {
    /// Makes the file before anything is started. One that is there is another container's.
    ///
    /// # Errors
    /// It exists, or cannot be made.
    pub(in crate::commands) fn make(path: &Path) -> Result<Self, CliError> {
        let shown = path.to_string_lossy();
        match std::fs::OpenOptions::new().write(true).create_new(true).open(path) {
            Ok(file) => Ok(Self { path: path.to_path_buf(), file, keep: false }),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
                let why = "container ID file found, make sure the other container isn't running or delete the file";
                Err(CliError::invalid("--cidfile", &shown, why))
            }
            Err(e) => Err(CliError::invalid("--cidfile", &shown, format!("the file cannot be made: {e}"))),
        }
    }

    /// Writes the id, without a line end as Docker does it.
    ///
    /// # Errors
    /// What the system says.
    pub(in crate::commands) fn write(&mut self, id: &str) -> Result<(), CliError> {
        self.file.write_all(id.as_bytes()).map_err(|e| {
            CliError::usage(format!("cannot write the container's id to {:?}: {e}", self.path.display().to_string()))
        })?;
        self.keep = true;
        Ok(())
    }

    /// The container did not come to be.
    pub(in crate::commands) fn forget(&mut self) {
        self.keep = false;
    }
}

impl Drop for IdFile {
    fn drop(&mut self) {
        if !self.keep {
            // It is empty, or names nothing: worth no further word.
            drop(std::fs::remove_file(&self.path));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_new_and_goes_with_its_container() {
        let path = std::env::temp_dir().join(format!("bulkhead-cid-{}", std::process::id()));
        drop(IdFile::make(&path).unwrap());
        assert!(!path.exists());
        let mut file = IdFile::make(&path).unwrap();
        file.write("abc").unwrap();
        assert!(IdFile::make(&path).unwrap_err().to_string().contains("container ID file found"));
        file.forget();
        drop(file);
        assert!(!path.exists());
        let mut file = IdFile::make(&path).unwrap();
        file.write("abc").unwrap();
        drop(file);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "abc");
        std::fs::remove_file(&path).unwrap();
        assert!(IdFile::make(Path::new("/nonexistent/x")).is_err());
    }
}
