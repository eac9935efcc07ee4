//! The report of bad rows: JSON lines, in a file that is made when the first bad row comes.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::row::Rejection;
use crate::exit::Exit;
use crate::failure::{Done, Failure};

/// Writes bad rows to a file.
#[derive(Debug)]
pub(crate) struct Report {
    path: PathBuf,
    file: Option<BufWriter<File>>,
}

impl Report {
    /// A report that would go to `path`.
    pub(crate) fn new(path: PathBuf) -> Report {
        Report { path, file: None }
    }

    /// Adds bad rows and hands them to the system.
    pub(crate) fn add(&mut self, rejections: &[Rejection]) -> Done {
        if rejections.is_empty() {
            return Ok(());
        }
        let failed = |cause| Failure::file(Exit::Io, "write", &self.path, cause);
        let file = match &mut self.file {
            Some(file) => file,
            empty => {
                let created = File::create(&self.path)
                    .map_err(|cause| Failure::file(Exit::CannotCreate, "create", &self.path, cause))?;
                empty.insert(BufWriter::new(created))
            }
        };
        for rejection in rejections {
            serde_json::to_writer(&mut *file, rejection).map_err(|error| failed(error.into()))?;
            file.write_all(b"\n").map_err(failed)?;
        }
        file.flush().map_err(failed)
    }

    /// The file, if there was anything to write.
    pub(crate) fn written(&self) -> Option<&Path> {
        self.file.as_ref().map(|_| self.path.as_path())
    }
}
