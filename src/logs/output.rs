//! Where the lines of a log end up: a file that can be reopened, or a stream of the process.
//!
//! Owned by the sink's writer thread, the only one that may block in here.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::poll::{PollFd, PollFlags, PollTimeout};

/// What a writer thread writes to.
pub(super) trait Output: Send {
    /// Writes some of `bytes` and answers how many. May block.
    ///
    /// # Errors
    /// Nothing was written.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Takes back `torn`, the last bytes written.
    ///
    /// # Errors
    /// They stay: what was sent down a pipe is gone.
    fn take_back(&mut self, torn: &[u8]) -> io::Result<()>;

    /// Lets the old file go and opens the one that has its name now.
    ///
    /// # Errors
    /// The old file is still written.
    fn reopen(&mut self) -> io::Result<()>;
}

/// Standard output or standard error. Reopening leaves it as it is.
pub(super) struct Stream(File);

impl Stream {
    /// The stream, under a descriptor of its own.
    ///
    /// # Errors
    /// The stream is closed, or descriptors are used up.
    pub(super) fn new(stream: impl AsFd) -> io::Result<Stream> {
        Ok(Stream(File::from(stream.as_fd().try_clone_to_owned()?)))
    }

    /// What the stream leads to.
    ///
    /// # Errors
    /// That of `fstat`.
    pub(super) fn identity(&self) -> io::Result<Identity> {
        identity(&self.0)
    }
}

impl Output for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        write_blocking(&self.0, bytes)
    }

    fn take_back(&mut self, torn: &[u8]) -> io::Result<()> {
        take_back(&self.0, torn)
    }

    fn reopen(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A file with a path.
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
}

impl LogFile {
    /// Opens the file to append to it, and creates it and its folder where they are missing.
    ///
    /// # Errors
    /// Those of opening.
    pub(super) fn open(path: &Path) -> io::Result<LogFile> {
        Ok(LogFile { path: path.to_owned(), file: open(path)? })
    }

    /// What the path leads to.
    ///
    /// # Errors
    /// That of `fstat`.
    pub(super) fn identity(&self) -> io::Result<Identity> {
        identity(&self.file)
    }
}

impl Output for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        write_blocking(&self.file, bytes)
    }

    fn take_back(&mut self, torn: &[u8]) -> io::Result<()> {
        take_back(&self.file, torn)
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.file = open(&self.path)?;
        Ok(())
    }
}

/// Device and inode: two logs that lead to the same place share a writer.
pub(super) type Identity = (u64, u64);

fn identity(file: &File) -> io::Result<Identity> {
    file.metadata().map(|metadata| (metadata.dev(), metadata.ino()))
}

fn open(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)?;
    }
    // Reading is asked for so that a named pipe opens without waiting for its reader, and for
    // the looks at the end of the file.
    let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
    if ends_inside_a_line(&file) {
        // Left by a process that was killed while it wrote. The next line is to be whole.
        file.write_all(b"\n")?;
    }
    Ok(file)
}

fn ends_inside_a_line(file: &File) -> bool {
    let mut last = [b'\n'];
    let Ok(metadata) = file.metadata() else { return false };
    metadata.is_file()
        && metadata.len() > 0
        && file.read_exact_at(&mut last, metadata.len() - 1).is_ok()
        && last != [b'\n']
}

/// Writes as to a blocking descriptor: another process may have made a shared one non-blocking.
fn write_blocking(mut file: &File, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match file.write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let mut writable = [PollFd::new(file.as_fd(), PollFlags::POLLOUT)];
                nix::poll::poll(&mut writable, PollTimeout::NONE)?;
            }
            result => return result,
        }
    }
}

/// Cuts `torn` off the end of a regular file, provided that it is there: another process may
/// have written to the file, or cut it.
fn take_back(file: &File, torn: &[u8]) -> io::Result<()> {
    let metadata = file.metadata()?;
    let keep = metadata.len().checked_sub(torn.len() as u64).filter(|_| metadata.is_file());
    let Some(keep) = keep else { return Err(io::ErrorKind::Unsupported.into()) };
    let mut end = vec![0; torn.len()];
    file.read_exact_at(&mut end, keep)?;
    if end != torn {
        return Err(io::ErrorKind::InvalidData.into());
    }
    file.set_len(keep)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_folders_are_created_also_when_reopening() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/log");
        let mut log = LogFile::open(&path).unwrap();
        assert_eq!(log.write(b"one\n").unwrap(), 4);
        std::fs::rename(folder.path().join("a"), folder.path().join("z")).unwrap();
        assert_eq!(log.write(b"two\n").unwrap(), 4);
        log.reopen().unwrap();
        assert_eq!(log.write(b"three\n").unwrap(), 6);
        assert_eq!(std::fs::read(folder.path().join("z/b/log")).unwrap(), b"one\ntwo\n");
        assert_eq!(std::fs::read(path).unwrap(), b"three\n");
    }

    #[test]
    fn a_failed_reopening_keeps_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut log = LogFile::open(&path).unwrap();
        std::fs::rename(&path, folder.path().join("old")).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(log.reopen().is_err());
        log.write(b"one\n").unwrap();
        assert_eq!(std::fs::read(folder.path().join("old")).unwrap(), b"one\n");
    }

    #[test]
    fn only_the_very_bytes_are_taken_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut log = LogFile::open(&path).unwrap();
        log.write(b"one\ntw").unwrap();
        assert!(log.take_back(b"ot").is_err());
        assert!(log.take_back(b"longer than it all").is_err());
        log.take_back(b"tw").unwrap();
        assert_eq!(std::fs::read(path).unwrap(), b"one\n");
    }

    #[test]
    fn a_torn_last_line_does_not_spoil_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        std::fs::write(&path, "one\ntorn").unwrap();
        LogFile::open(&path).unwrap().write(b"two\n").unwrap();
        LogFile::open(&path).unwrap().write(b"three\n").unwrap();
        assert_eq!(std::fs::read(path).unwrap(), b"one\ntorn\ntwo\nthree\n");
    }

    #[test]
    fn a_named_pipe_opens_without_a_reader_and_takes_nothing_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let mut log = LogFile::open(&path).unwrap();
        log.write(b"on").unwrap();
        assert!(log.take_back(b"on").is_err());
    }
}
