//! What outlives a restart and a reboot: the registrations, in one file that is replaced whole.
//!
//! Its first line says when the rest was written and how to tell that it is whole; each further line is a registration.
//! JSON rather than a database: the whole of it is needed at once and only at the start, a bit that flipped has to be
//! noticed rather than end the daemon, and people can read it. Knows files, but no clock.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

use super::{
    Flow, Now, Witness,
    failures::nanoseconds,
    keeper::{CONTACTS_MAX, TEXT_MAX},
};

/// Where the kernel says which boot this is.
const BOOT_ID_PATH: &str = "/proc/sys/kernel/random/boot_id";
/// The form of the file; another one is not read.
const FORMAT: u32 = 1;
/// Bytes of the first line at most.
const HEADER_MAX: usize = 512;
/// Bytes of each other line at most: two texts, of which JSON makes six bytes out of one (`\u0000`), and the rest.
const LINE_MAX: usize = 2 * 6 * TEXT_MAX + 1_024;
/// The file is read into memory; no more than what the fullest table takes, however it came to be so long.
const BYTES_MAX: usize = HEADER_MAX + CONTACTS_MAX * LINE_MAX;
/// Only root may read who is registered from where.
const MODE: u32 = 0o600;
/// How long a state that was written stands at least.
const REST_MIN: Duration = Duration::from_secs(1);
/// So many times what writing took.
const REST_TIMES: u32 = 20;
/// How long until writing is tried again after it failed.
const REST_FAILED: Duration = Duration::from_secs(10);

/// A registration, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// The address of record.
    pub aor: String,
    /// The contact's URI; empty where it is not known.
    pub contact: String,
    /// Where it really is.
    pub flow: Flow,
    /// Who says so.
    pub witness: Witness,
    /// How much longer it stood when it was stored, in whole milliseconds.
    #[serde(with = "milliseconds")]
    pub remaining: Duration,
}

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    format: u32,
    /// The boot whose clock `boot_ns` is of.
    boot_id: String,
    boot_ns: u64,
    wall: SystemTime,
    /// Of the bytes behind the first line.
    crc32: u32,
}

/// The file; clones write it one at a time.
#[derive(Debug, Clone)]
pub struct Store {
    path: PathBuf,
    boot_id: String,
    /// The newest revision that was written; held while one is, since all write under one name first.
    written: Arc<Mutex<u64>>,
    /// Held, not read: the lock ends with the process. Of a file beside the state file, which is replaced; none where nothing can
    /// be written there, and so by nobody.
    _lock: Option<Arc<fs::File>>,
}

/// What was in the file.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// What still stands, with what remains of it now.
    pub stored: Vec<Stored>,
    /// The file was damaged and stands here now; nothing of it is believed.
    pub damaged: Option<PathBuf>,
}

/// Why state could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The directory is not there and cannot be made.
    #[error("cannot make {}: {error}; make it, or name another path for the state file", .path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Another daemon keeps its registrations there.
    #[error("another sip-filter keeps its registrations in {}: stop it first, or give this instance its own --state", .0.display())]
    InUse(PathBuf),
    /// The file is there and cannot be read, or not be moved aside although it is damaged.
    #[error("cannot read {}: {error}; registrations of before are not known", .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The file cannot be written; what was written before stands.
    #[error("cannot write {}: {error}; make room or give rights, it is tried again", .path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

impl Store {
    /// Names the file and takes it for this process, and makes its directory where it is missing.
    ///
    /// # Errors
    ///
    /// [`StateError::Directory`]; [`StateError::InUse`]; [`StateError::Read`] where the kernel does not say which boot this is.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        let directory = directory(path);
        fs::create_dir_all(directory)
            .map_err(|error| StateError::Directory { path: directory.to_path_buf(), error })?;
        let boot_id = fs::read_to_string(BOOT_ID_PATH)
            .map_err(|error| StateError::Read { path: BOOT_ID_PATH.into(), error })?;
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(MODE);
        let lock = options.open(path.with_added_extension("lock")).ok();
        if let Some(Err(fs::TryLockError::WouldBlock)) = lock.as_ref().map(fs::File::try_lock) {
            return Err(StateError::InUse(path.to_path_buf()));
        }
        Ok(Self {
            path: path.to_path_buf(),
            boot_id: boot_id.trim().to_owned(),
            written: Arc::default(),
            _lock: lock.map(Arc::new),
        })
    }

    /// What is in the file and still stands; nothing where there is no file.
    ///
    /// Within one boot CLOCK_BOOTTIME says how much time has passed, which nobody can set. After a reboot the wall clock
    /// does: one that went forwards ends registrations early, one that went backwards leaves them what they had.
    ///
    /// # Errors
    ///
    /// [`StateError::Read`].
    pub fn load(&self, now: Now) -> Result<Loaded, StateError> {
        let failed = |error| StateError::Read { path: self.path.clone(), error };
        let bytes = match read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Loaded::default()),
            Err(error) => return Err(failed(error)),
        };
        let Some((header, mut stored)) = parse(&bytes) else {
            let aside = self.path.with_added_extension("damaged");
            fs::rename(&self.path, &aside).map_err(failed)?;
            return Ok(Loaded { stored: Vec::new(), damaged: Some(aside) });
        };
        let passed = if header.boot_id == self.boot_id {
            Duration::from_nanos(now.boot_ns.saturating_sub(header.boot_ns))
        } else {
            now.wall.duration_since(header.wall).unwrap_or_default()
        };
        stored.retain_mut(|stored| {
            stored.remaining = stored.remaining.saturating_sub(passed);
            !stored.remaining.is_zero()
        });
        Ok(Loaded { stored, damaged: None })
    }

    /// Replaces what is in the file, whole or not at all, where no newer revision was written by this daemon. Takes as
    /// long as the disk does, and as another save that is under way.
    ///
    /// # Errors
    ///
    /// [`StateError::Write`].
    pub fn save(&self, revision: u64, stored: &[Stored], now: Now) -> Result<(), StateError> {
        // A number that a panic left is as good as before: it changes after the file has.
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if revision < *written {
            return Ok(());
        }
        self.write(stored, now).map_err(|error| StateError::Write { path: self.path.clone(), error })?;
        *written = revision;
        Ok(())
    }

    fn write(&self, stored: &[Stored], now: Now) -> io::Result<()> {
        let mut body = Vec::new();
        for stored in stored {
            serde_json::to_writer(&mut body, stored)?;
            body.push(b'\n');
        }
        let header = Header {
            format: FORMAT,
            boot_id: self.boot_id.clone(),
            boot_ns: now.boot_ns,
            wall: now.wall,
            crc32: crc32fast::hash(&body),
        };
        let mut head = serde_json::to_vec(&header)?;
        head.push(b'\n');
        let directory = directory(&self.path);
        // What a daemon that was killed while it wrote has left takes no room for long: one name, written over.
        let name = self.path.with_added_extension("new");
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(MODE).open(&name)?;
        file.write_all(&head)?;
        file.write_all(&body)?;
        file.sync_all()?;
        fs::rename(&name, &self.path)?;
        // The name is on the disk once its directory is.
        fs::File::open(directory)?.sync_all()
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(BYTES_MAX as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Nothing where any of it is not as it was written.
fn parse(bytes: &[u8]) -> Option<(Header, Vec<Stored>)> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let header: Header = serde_json::from_slice(&bytes[..end]).ok()?;
    let body = &bytes[end + 1..];
    if header.format != FORMAT || header.crc32 != crc32fast::hash(body) {
        return None;
    }
    let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let stored = lines.map(serde_json::from_slice).collect::<Result<_, _>>().ok()?;
    Some((header, stored))
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// When it is time to save: at most once a second, and no more than a small part of the time.
#[derive(Debug, Default)]
pub struct Pace {
    saved: u64,
    not_before_ns: u64,
}

impl Pace {
    /// True where a revision is not saved and it is time to.
    pub fn is_due(&self, revision: u64, now: Now) -> bool {
        revision != self.saved && now.boot_ns >= self.not_before_ns
    }

    /// That revision was saved, which took so long and ended now.
    pub fn saved(&mut self, revision: u64, took: Duration, now: Now) {
        self.saved = revision;
        self.not_before_ns = now.boot_ns.saturating_add(nanoseconds(REST_MIN.max(took * REST_TIMES)));
    }

    /// Saving failed now.
    pub fn failed(&mut self, now: Now) {
        self.not_before_ns = now.boot_ns.saturating_add(nanoseconds(REST_FAILED));
    }
}

/// How a lifetime is written.
mod milliseconds {
    use std::time::Duration;

    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests;
