//! The files of the database: where they lie, whose they are, and whether they still lie there.
//!
//! One process at a time has the database. What says so is a lock of the system (`flock`) on a
//! file beside it, which ends with the process however that ends. The lock comes before the
//! first look into the database and goes after the last.
//!
//! SQLite holds its files by descriptors: removed or replaced, they would take every commit and
//! keep none. So their identities are remembered, and looked at before and after each commit.

use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// Payloads are nobody else's business.
const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o750;

/// Where the files lie.
#[derive(Clone, Debug)]
pub(super) struct Files {
    /// The database, absolute and without symbolic links.
    pub(super) database: PathBuf,
    /// Its write-ahead log.
    log: PathBuf,
    /// What is locked.
    lock: PathBuf,
}

/// The answer to an attempt at the lock.
pub(super) enum Attempt {
    /// This process has the database until the lock is dropped.
    Ours(Lock),
    /// The process with this id has it, if that can be told.
    Taken(Option<u32>),
}

/// The right to the database.
pub(super) struct Lock(Flock<File>);

/// Which file a path led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

/// The files that were opened.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opened {
    database: Identity,
    log: Identity,
    lock: Identity,
}

/// How large the files were, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sizes {
    log: u64,
}

/// A file that is no longer where it was opened, or no longer whole, in words for the operator.
#[derive(Debug)]
pub(super) enum Displaced {
    /// The database: it may come back.
    Database(String),
    /// The log alone: it is made anew.
    Log(String),
    /// The lock: another process may have the database by now.
    Lock(String),
}

impl Files {
    /// The files of the database at `path`, whose folder is created where it is missing.
    ///
    /// # Errors
    /// The path names no file, or the folder cannot be created.
    pub(super) fn at(path: &Path) -> io::Result<Files> {
        let path = std::path::absolute(path)?;
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::Error::new(ErrorKind::InvalidInput, "it names no file"));
        };
        DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder)?;
        // SQLite keeps the log beside the file that a symbolic link leads to.
        let database = path.canonicalize().or_else(|error| match error.kind() {
            ErrorKind::NotFound => Ok(folder.canonicalize()?.join(name)),
            _ => Err(error),
        })?;
        let beside = |suffix: &str| {
            let mut name = database.clone().into_os_string();
            name.push(suffix);
            PathBuf::from(name)
        };
        Ok(Files { log: beside("-wal"), lock: beside("-lock"), database })
    }

    /// Takes the lock if nobody has it.
    ///
    /// # Errors
    /// The lock file cannot be opened, or the file system knows no locks.
    pub(super) fn try_lock(&self) -> io::Result<Attempt> {
        let file = create_or_open(&self.lock)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(mut lock) => {
                lock.set_len(0)?;
                writeln!(lock, "{}", std::process::id())?;
                Ok(Attempt::Ours(Lock(lock)))
            }
            Err((_, Errno::EWOULDBLOCK)) => {
                let written = std::fs::read_to_string(&self.lock).unwrap_or_default();
                Ok(Attempt::Taken(written.trim().parse().ok()))
            }
            Err((_, errno)) => Err(errno.into()),
        }
    }

    /// Creates the database's file, empty, where it is missing: SQLite would let others read it.
    ///
    /// # Errors
    /// It cannot be created or may not be written.
    pub(super) fn create_database(&self) -> io::Result<()> {
        // Closed before SQLite opens it: closing a file later would end SQLite's own locks on it.
        create_or_open(&self.database).map(drop)
    }

    /// The identities of the files that were just opened.
    ///
    /// # Errors
    /// One of them is not there, or the database has another name too, by which another process
    /// could open it with a lock and a log of its own.
    pub(super) fn opened(&self, lock: &Lock) -> io::Result<Opened> {
        let database = std::fs::metadata(&self.database)?;
        if database.nlink() > 1 {
            return Err(io::Error::other("the file has another name (a hard link), remove one"));
        }
        Ok(Opened {
            database: Identity::of(&database),
            log: Identity::of(&std::fs::metadata(&self.log)?),
            lock: Identity::of(&lock.0.metadata()?),
        })
    }

    /// Whether the files that were opened are still the ones at their paths. Costs microseconds.
    ///
    /// # Errors
    /// One of them is not.
    pub(super) fn check(&self, opened: &Opened) -> Result<(), Displaced> {
        check_one(&self.lock, opened.lock).map_err(|what| {
            Displaced::Lock(format!("{what}: another process may use the database; restart"))
        })?;
        self.check_database(opened)?;
        check_one(&self.log, opened.log).map(drop).map_err(Displaced::Log)
    }

    /// Whether the database is still the file that was opened before.
    ///
    /// # Errors
    /// It is not.
    pub(super) fn check_database(&self, before: &Opened) -> Result<(), Displaced> {
        let found = check_one(&self.database, before.database);
        let whole = found.and_then(|found| match found.len() {
            0 => Err(format!("{} was emptied", self.database.display())),
            _ => Ok(()),
        });
        whole.map_err(|what| {
            Displaced::Database(format!("{what}: put it back, or restart to use what is there now"))
        })
    }

    /// How large the files are now.
    pub(super) fn sizes(&self) -> Sizes {
        Sizes { log: std::fs::metadata(&self.log).map_or(0, |metadata| metadata.len()) }
    }

    /// Whether the log is as large as it was after the last commit. Only a commit makes it smaller.
    ///
    /// # Errors
    /// It is not.
    pub(super) fn check_sizes(&self, before: Sizes) -> Result<(), Displaced> {
        if self.sizes().log >= before.log {
            return Ok(());
        }
        Err(Displaced::Log(format!(
            "{} was cut short by another program: what was stored since it was last copied into \
             the database may be lost",
            self.log.display()
        )))
    }
}

/// Looks at the file that was opened by `path`.
fn check_one(path: &Path, opened: Identity) -> Result<Metadata, String> {
    match std::fs::metadata(path) {
        Ok(found) if Identity::of(&found) == opened => Ok(found),
        Ok(_) => Err(format!("{} was replaced", path.display())),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Err(format!("{} was removed", path.display()))
        }
        Err(error) => Err(format!("{} cannot be reached: {error}", path.display())),
    }
}

impl Identity {
    fn of(metadata: &Metadata) -> Identity {
        Identity { device: metadata.dev(), inode: metadata.ino() }
    }
}

impl From<Displaced> for crate::store::StoreError {
    fn from(displaced: Displaced) -> crate::store::StoreError {
        let (Displaced::Database(text) | Displaced::Log(text) | Displaced::Lock(text)) = displaced;
        crate::store::StoreError::Unavailable(text)
    }
}

fn create_or_open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(FILE_MODE)
        .open(path)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn ours(files: &Files) -> Lock {
        match files.try_lock().unwrap() {
            Attempt::Ours(lock) => lock,
            Attempt::Taken(by) => panic!("taken by {by:?}"),
        }
    }

    #[test]
    fn folders_and_files_are_created_for_the_owner_alone() {
        let directory = tempfile::tempdir().unwrap();
        let files = Files::at(&directory.path().join("a/b/jobs.db")).unwrap();
        files.create_database().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o077;
        assert_eq!(mode(&files.database), 0);
        assert_eq!(mode(files.database.parent().unwrap()) & 0o027, 0);
        assert!(Files::at(Path::new("/")).is_err());
    }

    #[test]
    fn a_link_leads_to_the_files_beside_its_target() {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path().canonicalize().unwrap();
        fs::create_dir(folder.join("data")).unwrap();
        fs::write(folder.join("data/real.db"), "").unwrap();
        std::os::unix::fs::symlink("data/real.db", folder.join("link.db")).unwrap();
        let files = Files::at(&folder.join("link.db")).unwrap();
        assert_eq!(files.database, folder.join("data/real.db"));
        assert_eq!(files.log, folder.join("data/real.db-wal"));
    }

    #[test]
    fn one_at_a_time_has_the_lock() {
        let directory = tempfile::tempdir().unwrap();
        let files = Files::at(&directory.path().join("jobs.db")).unwrap();
        let lock = ours(&files);
        let Attempt::Taken(by) = files.try_lock().unwrap() else { panic!("locked twice") };
        assert_eq!(by, Some(std::process::id()));
        drop(lock);
        ours(&files);
    }

    #[test]
    fn files_that_are_gone_or_others_are_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let files = Files::at(&directory.path().join("jobs.db")).unwrap();
        let lock = ours(&files);
        files.create_database().unwrap();
        fs::write(&files.database, "pages").unwrap();
        fs::write(&files.log, "pages").unwrap();
        let opened = files.opened(&lock).unwrap();
        files.check(&opened).unwrap();
        let aside = directory.path().join("aside");

        fs::rename(&files.database, &aside).unwrap();
        let text = format!("{:?}", files.check(&opened).unwrap_err());
        assert!(text.starts_with("Database") && text.contains("was removed"), "{text}");
        fs::write(&files.database, "").unwrap();
        let text = format!("{:?}", files.check(&opened).unwrap_err());
        assert!(text.starts_with("Database") && text.contains("was replaced"), "{text}");
        fs::rename(&aside, &files.database).unwrap();
        files.check(&opened).unwrap();

        let sizes = files.sizes();
        files.check_sizes(sizes).unwrap();
        fs::write(&files.log, "page").unwrap();
        assert!(matches!(files.check_sizes(sizes), Err(Displaced::Log(_))));
        fs::write(&files.database, "").unwrap();
        let text = format!("{:?}", files.check(&opened).unwrap_err());
        assert!(text.starts_with("Database") && text.contains("was emptied"), "{text}");
        fs::write(&files.database, "pages").unwrap();

        fs::remove_file(&files.log).unwrap();
        assert!(matches!(files.check(&opened), Err(Displaced::Log(_))));
        fs::remove_file(&files.lock).unwrap();
        assert!(matches!(files.check(&opened), Err(Displaced::Lock(_))));
    }
}
