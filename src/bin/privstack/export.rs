//! `export`: the vault's entities as files, in forms that `import` reads back.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use privstack_sync::error::{Error, Result};
use serde_json::{Value as Json, json};

use crate::client::Client;
use crate::files::{AtomicFile, file_error, read_bounded};
use crate::markdown;
use crate::names::{safe_part, safe_parts};
use crate::output::Step;
use crate::request::for_each_entity;

/// How files are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// A Markdown file an entity, its fields as front matter.
    #[default]
    Md,
    /// One JSON array a type.
    Json,
    /// One file of JSON Lines a type.
    Jsonl,
}

/// How to export.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// How files are written.
    pub format: Format,
    /// Write over files that this vault did not write.
    pub overwrite: bool,
}

/// What an export did.
#[derive(Debug, Default)]
pub struct Report {
    entities: u64,
    files: u64,
    /// What could not be exported: which, why.
    pub failed: Vec<(String, String)>,
    /// Notes whose formatting Markdown does not hold.
    with_marks: u64,
}

impl Report {
    /// As `--json` prints it.
    pub fn to_json(&self) -> Json {
        let failed: Vec<Json> =
            self.failed.iter().map(|(file, message)| json!({ "file": file, "message": message })).collect();
        json!({ "entities": self.entities, "files": self.files, "with_marks": self.with_marks, "failed": failed })
    }

    /// One line for people.
    pub fn summary(&self) -> String {
        let mut text = format!("{} entities in {} files", self.entities, self.files);
        if self.with_marks > 0 {
            let what = "lost their marked ranges, which Markdown does not hold; --format json does";
            text.push_str(&format!("; {} {what}", self.with_marks));
        }
        text
    }
}

/// Writes all visible entities into a folder.
pub fn export(
    client: &mut dyn Client,
    folder: &Path,
    options: Options,
    progress: &mut dyn FnMut(Step),
) -> Result<Report> {
    if folder.exists() && !folder.is_dir() {
        return Err(Error::invalid(format!("{}: is a file; an export goes into a folder", folder.display())));
    }
    fs::create_dir_all(folder).map_err(|error| file_error(folder, "made", &error))?;
    let mut report = Report::default();
    match options.format {
        Format::Md => {
            let mut notes = Notes { folder, options, taken: HashSet::new() };
            for_each_entity(client, None, |entity| {
                report.with_marks += u64::from(entity.get("marks").is_some());
                match notes.write(entity) {
                    Ok(()) => {
                        report.entities += 1;
                        report.files += 1;
                    }
                    Err(error) if error.code() == privstack_sync::error::ErrorCode::Invalid => {
                        report.failed.push((text(entity, "id").to_owned(), error.message().to_owned()));
                    }
                    Err(error) => return Err(error),
                }
                progress(Step::Done(report.entities));
                Ok(())
            })?;
        }
        Format::Json | Format::Jsonl => {
            let mut records = Records { folder, options, taken: HashSet::new(), open: None };
            for_each_entity(client, None, |entity| {
                report.files += u64::from(records.write(entity)?);
                report.entities += 1;
                progress(Step::Done(report.entities));
                Ok(())
            })?;
            records.close()?;
        }
    }
    Ok(report)
}

fn text<'a>(json: &'a Json, name: &str) -> &'a str {
    json.get(name).and_then(Json::as_str).unwrap_or_default()
}

/// A file with this name, in this folder, that `export` may not write over.
fn is_there(path: &Path) -> Error {
    Error::invalid(format!(
        "{}: is there already and was not exported from this entity; take an empty folder, or --overwrite",
        path.display()
    ))
}

struct Notes<'a> {
    folder: &'a Path,
    options: Options,
    /// Names of this export, in lower case: some systems do not tell them apart otherwise.
    taken: HashSet<String>,
}

impl Notes<'_> {
    fn write(&mut self, entity: &Json) -> Result<()> {
        let id = text(entity, "id");
        let content = markdown::render(entity)?;
        let path = self.place(entity, id)?;
        if fs::read(&path).is_ok_and(|old| old == content.as_bytes()) {
            return Ok(());
        }
        let mut file = AtomicFile::create(&path, false)?;
        file.write(content.as_bytes())?;
        file.commit()
    }

    /// Where an entity goes: where its field `path` says, else by its title, else by its id; if another has that name,
    /// with a part of its id. An earlier export of the same entity is written over, any other file only if told to.
    fn place(&mut self, entity: &Json, id: &str) -> Result<PathBuf> {
        let field = |name: &str| entity.get("fields").map(|fields| text(fields, name)).unwrap_or_default();
        let mut parts = safe_parts(field("path"));
        if parts.is_empty() {
            parts.extend(Some(safe_part(field("title"))).filter(|name| !name.is_empty()));
        }
        let name = parts.pop().unwrap_or_else(|| id.to_owned());
        let stem = match name.rsplit_once('.') {
            Some((stem, "md" | "markdown" | "MD")) if !stem.is_empty() => stem.to_owned(),
            _ => name,
        };
        let folder = self.folder_of(&parts)?;
        let prefix = parts.join("/").to_lowercase();
        let short: String = id.chars().rev().take(8).collect::<Vec<_>>().into_iter().rev().collect();
        let mut refused = None;
        for name in [format!("{stem}.md"), format!("{stem}-{short}.md"), format!("{stem}-{id}.md")] {
            if !self.taken.insert(format!("{prefix}/{}", name.to_lowercase())) {
                continue;
            }
            let path = folder.join(name);
            match self.owner(&path)? {
                Owner::Nobody => return Ok(path),
                Owner::Entity(owner) if owner == id => return Ok(path),
                // Another entity's earlier export: it may still come, so take the next name.
                Owner::Entity(_) => refused = Some(path),
                Owner::Foreign if self.options.overwrite => return Ok(path),
                Owner::Foreign => return Err(is_there(&path)),
            }
        }
        Err(is_there(&refused.unwrap_or(folder)))
    }

    /// The folder of these parts, made where it is missing; refuses to follow a symbolic link out of the export.
    fn folder_of(&self, parts: &[String]) -> Result<PathBuf> {
        let mut folder = self.folder.to_owned();
        for part in parts {
            folder.push(part);
            match fs::symlink_metadata(&folder) {
                Ok(facts) if facts.is_dir() => {}
                Ok(_) => {
                    let what = format!("{}: is not a folder, and a note belongs into it", folder.display());
                    return Err(Error::invalid(what));
                }
                Err(_) => fs::create_dir(&folder).map_err(|error| file_error(&folder, "made", &error))?,
            }
        }
        Ok(folder)
    }

    fn owner(&self, path: &Path) -> Result<Owner> {
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Owner::Nobody),
            Err(error) => return Err(file_error(path, "read", &error)),
            Ok(facts) if !facts.is_file() => return Err(is_there(path)),
            Ok(_) => {}
        }
        let old = read_bounded(path, 256 << 20)?;
        let id = std::str::from_utf8(&old)
            .ok()
            .and_then(|old| markdown::parse(old, "").ok())
            .and_then(|(document, _)| document.id);
        Ok(id.map_or(Owner::Foreign, |id| Owner::Entity(id.to_string())))
    }
}

/// Whose file is in the way.
enum Owner {
    Nobody,
    Entity(String),
    Foreign,
}

struct Records<'a> {
    folder: &'a Path,
    options: Options,
    taken: HashSet<String>,
    /// The type that is being written; entities come in the order of their types.
    open: Option<(String, AtomicFile, u64)>,
}

impl Records<'_> {
    /// Writes an entity; answers whether that started a file.
    fn write(&mut self, entity: &Json) -> Result<bool> {
        let entity_type = text(entity, "type");
        let starts = self.open.as_ref().is_none_or(|(open, ..)| open != entity_type);
        if starts {
            self.close()?;
            let file = AtomicFile::create(&self.place(entity_type)?, false)?;
            self.open = Some((entity_type.to_owned(), file, 0));
        }
        if let Some((_, file, count)) = &mut self.open {
            let before = match (self.options.format, *count) {
                (Format::Jsonl, _) => "",
                (_, 0) => "[\n",
                _ => ",\n",
            };
            let after = if self.options.format == Format::Jsonl { "\n" } else { "" };
            file.write(format!("{before}{entity}{after}").as_bytes())?;
            *count += 1;
        }
        Ok(starts)
    }

    fn place(&mut self, entity_type: &str) -> Result<PathBuf> {
        let name = Some(safe_part(entity_type)).filter(|name| !name.is_empty()).unwrap_or_else(|| "type".to_owned());
        let ending = if self.options.format == Format::Jsonl { "jsonl" } else { "json" };
        let mut number = 1;
        let name = loop {
            let tried = if number == 1 { format!("{name}.{ending}") } else { format!("{name}-{number}.{ending}") };
            if self.taken.insert(tried.to_lowercase()) {
                break tried;
            }
            number += 1;
        };
        let path = self.folder.join(name);
        if !self.options.overwrite && fs::symlink_metadata(&path).is_ok() {
            return Err(is_there(&path));
        }
        Ok(path)
    }

    fn close(&mut self) -> Result<()> {
        let Some((_, mut file, _)) = self.open.take() else { return Ok(()) };
        if self.options.format == Format::Json {
            file.write(b"\n]\n")?;
        }
        file.commit()
    }
}
