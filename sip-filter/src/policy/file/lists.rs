//! The list files that one policy file names, each read once.
//!
//! Says where a list file is; what its lines mean is for [`crate::policy::list_file`].

use std::path::Path;

use toml::Spanned;

use crate::policy::list_file::{ListFile, ListFileError, ListFiles};
use crate::policy::mistake::Report;

/// How a list names a list file.
const KEYWORD: &str = "file:";

/// The list files read so far.
pub(super) struct Lists<'a> {
    directory: &'a Path,
    reader: &'a dyn ListFiles,
    files: Vec<ListFile>,
}

impl<'a> Lists<'a> {
    /// None yet; relative paths are relative to the directory of this policy file.
    pub(super) fn of(policy_file: &'a Path, reader: &'a dyn ListFiles) -> Self {
        Lists { directory: policy_file.parent().unwrap_or(Path::new("")), reader, files: Vec::new() }
    }

    /// What relative paths are relative to.
    pub(super) fn directory(&self) -> &'a Path {
        self.directory
    }

    /// The path behind `file:`, if the entry is one.
    pub(super) fn path_in(entry: &str) -> Option<&Path> {
        entry.strip_prefix(KEYWORD).map(Path::new)
    }

    /// The number of a list file, read unless it was already; none when there is a mistake or nobody reads it.
    pub(super) fn read(
        &mut self,
        path: &Path,
        entry: &Spanned<String>,
        report: &mut Report,
    ) -> Option<usize> {
        match self.load(path) {
            Ok(number) => {
                if let Some(file) = number.map(|number| &self.files[number])
                    && file.prefixes.is_empty()
                    && file.is_sound
                {
                    let message = format!("the list file {} names no prefix", file.path.display());
                    report.warning(entry.span(), message, "remove the entry, or fill the file".to_owned());
                }
                number
            }
            Err(error) => {
                report.mistake(entry.span(), error.to_string(), error.remedy().to_owned());
                None
            }
        }
    }

    fn load(&mut self, path: &Path) -> Result<Option<usize>, ListFileError> {
        if path.as_os_str().is_empty() {
            return Err(ListFileError::Nameless);
        }
        let path = self.directory.join(path);
        if let Some(number) = self.files.iter().position(|file| file.path == path) {
            return Ok(Some(number));
        }
        let Some(bytes) = self.reader.read(&path)? else { return Ok(None) };
        self.files.push(ListFile::parse(path, bytes)?);
        Ok(Some(self.files.len() - 1))
    }

    pub(super) fn file(&self, number: usize) -> &ListFile {
        &self.files[number]
    }

    pub(super) fn file_mut(&mut self, number: usize) -> &mut ListFile {
        &mut self.files[number]
    }

    /// Hands over what was noted about the lines of the list files.
    pub(super) fn report(self, report: &mut Report) {
        for file in self.files {
            file.report(report);
        }
    }
}
