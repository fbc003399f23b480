//! The file with the process id.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A file that holds this process's id and a line break.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    content: String,
}

impl PidFile {
    /// Writes the file of the setting `pid`, if that names one.
    ///
    /// # Errors
    /// As [`create`](PidFile::create).
    pub fn create_if_named(path: &str) -> io::Result<Option<PidFile>> {
        (!path.is_empty()).then(|| PidFile::create(Path::new(path))).transpose()
    }

    /// Writes the file, over an older one, and creates missing folders.
    ///
    /// # Errors
    /// It cannot be written; the text names it.
    pub fn create(path: &Path) -> io::Result<PidFile> {
        let content = format!("{}\n", std::process::id());
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        folder
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| fs::write(path, &content))
            .map_err(|error| {
                let text = format!("cannot write the pid file {}: {error}", path.display());
                io::Error::new(error.kind(), text)
            })?;
        Ok(PidFile { path: path.to_owned(), content })
    }

    /// Removes the file at a clean end, unless it is another process's by now.
    pub fn remove(self) {
        if fs::read_to_string(&self.path).is_ok_and(|content| content == self.content)
            && let Err(error) = fs::remove_file(&self.path)
        {
            log::warn!("cannot remove the pid file {}: {error}", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_comes_and_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/pid");
        let pid_file = PidFile::create(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
        pid_file.remove();
        assert!(!path.exists());
    }

    #[test]
    fn the_file_of_a_successor_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pid");
        let pid_file = PidFile::create(&path).unwrap();
        fs::write(&path, "1\n").unwrap();
        pid_file.remove();
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n");
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = PidFile::create(folder.path()).unwrap_err().to_string();
        assert!(error.contains(&folder.path().display().to_string()), "{error}");
    }
}
